"""How a query is answered where nobody says how, or where what is usual cannot be had.

The rule is written down before any reward is seen: docs/findings.md has the measurements that it follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lever_ray.composition.rankers.protocol import Ranker
from lever_ray.composition.rankers.regressor import Regressor
from lever_ray.composition.recipe import Recipe, RecipeKeywords, check_keywords
from lever_ray.errors import InvalidValue, NothingToLearnFrom, check_known
from lever_ray.library.reader import LibraryReader
from lever_ray.policies.group import GroupKey
from lever_ray.query.ranking import ready
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment

TIERS: tuple[str, ...] = ("I0", "I1", "I2", "I3", "I4")
"""What an answer may know, each more than the one before: Q-tables and text, recorded successors, recorded rewards, the
reward function, rollouts in the environment."""
_SAYS_WHO = frozenset({"gamma", "episodes"})
"""Fields of a recipe that say who the members are, and nothing of how they are put together."""


class Choice(NamedTuple):
    """A recipe, and why it is that one.

    Attributes:
        recipe: how to answer.
        why: in words; empty where it was said.
    """

    recipe: Recipe
    why: str = ""


def choices(
    task: Environment,
    recipe: Recipe | str | None,
    sugar: RecipeKeywords,
    *,
    tier: str | None = None,
    factors: bool = False,
    asked: Sequence[str] = (),
) -> list[Choice]:
    """The recipes that a query may be answered by, the best first: the first whose ranker has something to learn from.

    Args:
        task: the environment that is asked about.
        recipe: the one that was given, its id, or None.
        sugar: fields that differ from it.
        tier: the most that the answer may know, one of :data:`TIERS`; None for no limit.
        factors: whether groups have factors, which only tables do.
        asked: other keywords that there are, to be named where one is misspelt.

    Raises:
        UnknownName, InvalidValue: a field or the tier is not known or makes no sense, or the recipe knows more than it
            may.
    """
    check_keywords(sugar, besides=asked)
    if tier is not None:
        check_known("information tier", tier, TIERS)
    if recipe is None and not factors and sugar.keys() <= _SAYS_WHO:
        found = _usual(task, sugar, tier)
    else:
        found = [Choice(_said(recipe, sugar))]
        if recipe is None and not sugar.get("ranker"):
            found += _with_other_rankers(found[0].recipe)
    allowed = [choice for choice in found if tier is None or choice.recipe.tier <= tier]
    if not allowed:
        least = min(choice.recipe.tier for choice in found)
        raise InvalidValue(
            f"tier is {tier!r}, and the answer needs {least}; allow {least}, or choose what needs less, e.g. "
            "operator='options' with ranker='regressor' (I1)"
        )
    return allowed


def first_ready(
    found: Sequence[Choice], library: LibraryReader, objective: Objective, keys: Sequence[GroupKey]
) -> tuple[Choice, Ranker]:
    """The first choice whose ranker can be made ready, and that ranker.

    Raises:
        NothingToLearnFrom, InvalidValue: none can; what stood in the way of the first.
    """
    refused: NothingToLearnFrom | None = None
    for choice in found:
        try:
            return choice, ready(choice.recipe.make_ranker(), library, objective, keys)
        except NothingToLearnFrom as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _said(recipe: Recipe | str | None, sugar: RecipeKeywords) -> Recipe:
    if recipe is None:
        return Recipe(**sugar)
    if not isinstance(recipe, Recipe | str):
        raise InvalidValue(f"recipe is {recipe!r}; give a Recipe, e.g. lever.Recipe(strategy='hybrid', k=5), or its id")
    given = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
    return given.override(**sugar) if sugar else given


def _usual(task: Environment, sugar: RecipeKeywords, tier: str | None) -> list[Choice]:
    """Planning where moves and rewards are at hand; else options, by the outcomes that other environments paid for."""
    members = Recipe(**sugar)
    options = members.override(operator="options", strategy="exhaustive")
    told = f"within {tier} " if tier is not None else ""
    learnt = Choice(
        options,
        f"{told}options do best: policies followed until an event, by what outcomes were worth elsewhere (I1)",
    )
    recorded = Choice(
        options.override(ranker="recorded-return"),
        f"{told}the library has no other environments to learn from: options by recorded rewards (I2)",
    )
    return [_with_reward(task, members, options), learnt, recorded]


def _with_reward(task: Environment, members: Recipe, options: Recipe) -> Choice:
    if task.hooks.plan is None:
        told = f"family {task.family!r} has no planner; moves and rewards are at hand: options by the reward (I3)"
        return Choice(options.override(ranker="offline-return"), told)
    return Choice(
        members.override(operator="plan"),
        "moves and rewards are at hand (I3), and planning was never worse than options there; tier='I1' does without "
        "the reward",
    )


def _with_other_rankers(recipe: Recipe) -> list[Choice]:
    """The same where a regressor has nothing to learn from, the reward first."""
    own = recipe.to_dict().keys() & set(Regressor.parameters)
    if own or not isinstance(recipe.make_ranker(), Regressor):
        return []
    found = []
    for name in ("offline-return", "recorded-return"):
        try:
            other = recipe.override(ranker=name)
        except InvalidValue:  # an operator that it has no use for
            continue
        why = f"ranker 'regressor' needs policies of other environments, and the library has none: {name} ranks"
        found.append(Choice(other, f"{why} ({other.tier})"))
    return found
