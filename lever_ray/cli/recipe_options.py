"""Options that are fields of a recipe."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lever_ray.errors import InvalidValue

if TYPE_CHECKING:
    from lever_ray.config import StrategySettings

RECIPE_OPTIONS: dict[str, tuple[type, str]] = {
    "strategy": (str, "targeted, hybrid, hybrid-5, budgeted-100, exhaustive, ..."),
    "k": (int, "members per group for hybrid"),
    "budget": (int, "most candidates for budgeted, random and best-first"),
    "restarts": (int, "populations for budgeted"),
    "seed": (int, "of what budgeted and random draw"),
    "operator": (str, "sum, max, normalized-sum, gpi, switch, options or plan"),
    "width": (int, "beam width of the operators plan and options"),
    "cut": (int, "steps after which a segment of options ends at the latest"),
    "cycles": (str, "end or choose: what options do where a policy comes back to where it was"),
    "merge": (str, "dominance or pareto: which states options drop"),
    "segments": (int, "most segments that options simulate"),
    "estimate": (str, "none or exit: what options rank states by"),
    "ranker": (str, "regressor, recorded-return or offline-return; the last is usual for gpi, switch and plan"),
    "regressor_model": (str, "of the regressor: additive-ridge, ridge or hist-gradient-boosting"),
    "regressor_target": (str, "what the regressor learns: own, composite or recorded"),
    "embedding": (str, "what the regressor reads: outcome, psi or psi_static"),
    "canonical": (int, "canonical states that psi and psi_static are averaged over"),
    "support": (str, "mask or ignore: whether actions that no member took are left out"),
    "retrieval": (str, "objective or description: whose policies are members of a group"),
    "threshold": (float, "least similarity of a member's description"),
    "gamma": (float, "discount of the members, where the library holds several"),
    "episodes": (int, "training budget of the members, where the library holds several"),
}
"""How the text of each field is read, and what it is; defaults stand in the recipe alone."""


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """An option for every field, and one for a whole recipe."""
    add = parser.add_argument
    add("--recipe", metavar="ID", help="how to answer, e.g. strategy=hybrid,k=5; the options below change parts of it")
    for name, (kind, told) in RECIPE_OPTIONS.items():
        add(f"--{name.replace('_', '-')}", type=kind, metavar=_METAVARS[kind], help=told)


_METAVARS = {int: "N", float: "X", str: "NAME"}


def recipe_of_options(arguments: argparse.Namespace, settings: StrategySettings) -> dict[str, Any]:
    """Keywords of ``compose``: how ``--recipe`` or settings of ``strategy`` say, but for what single options say.

    Raises:
        InvalidValue: both of them are given.
    """
    from lever_ray.composition.recipe import Recipe
    from lever_ray.query.settings import said

    given = {name: value for name in RECIPE_OPTIONS if (value := getattr(arguments, name)) is not None}
    chosen = said(settings)
    if arguments.recipe is None:
        return {"recipe": Recipe(**chosen), **given} if chosen else given
    if chosen:
        raise InvalidValue(
            f"--recipe {arguments.recipe!r} and settings of strategy ({', '.join(chosen)}) both say how to answer; "
            "give one"
        )
    return {"recipe": arguments.recipe, **given}
