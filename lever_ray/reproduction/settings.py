"""What the study can be told: its size, and what differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lever_ray.composition.operators import OPERATORS
from lever_ray.errors import InvalidValue, UnknownName, check_known, look_up
from lever_ray.learning.budgets import BUDGETS
from lever_ray.reproduction.sizes import FAMILIES, SIZES, Part, StudyPlan

UNIONS = ("mode", "case")
DEFAULT_SIZE = "quick"


@dataclass(frozen=True)
class StudySettings:
    """Settings of ``lever-ray reproduce``; what is not said is as the size has it.

    Attributes:
        size: one of :data:`~lever_ray.reproduction.sizes.SIZES`.
        families, budgets: those of the size that are run; others may be named, too.
        layouts: of every family.
        gammas, training_seeds, operators, k, route_k, unions, lessons, first_layout, random_rollouts, repeats,
            bootstrap: see :class:`~lever_ray.reproduction.sizes.StudyPlan`; ``k`` is ``ks`` there, ``route_k``
            ``route_ks``.
        modes: those whose setups are run.
    """

    size: str = DEFAULT_SIZE
    families: tuple[str, ...] | None = None
    budgets: tuple[str, ...] | None = None
    layouts: int | None = None
    gammas: tuple[float, ...] | None = None
    training_seeds: int | None = None
    modes: tuple[str, ...] | None = None
    operators: tuple[str, ...] | None = None
    k: tuple[int, ...] | None = None
    route_k: tuple[int, ...] | None = None
    unions: str | None = None
    lessons: int | None = None
    first_layout: int | None = None
    random_rollouts: int | None = None
    repeats: int | None = None
    bootstrap: int | None = None


_LISTS: dict[str, type] = {"families": str, "budgets": str, "gammas": float, "modes": str, "operators": str}
_LISTS |= {"k": int, "route_k": int}
_WORDS = ("size", "unions")
_LEAST = {"first_layout": 0}
"""Least of a whole number where it is not 1."""
_TAKEN = ("gammas", "training_seeds", "operators", "unions", "lessons", "first_layout", "random_rollouts", "repeats")
"""Settings that a plan has under the same name."""
NAMES: tuple[str, ...] = tuple(part.name for part in fields(StudySettings))


def study_settings(given: Mapping[str, Any]) -> StudySettings:
    """Settings from what was given by name, e.g. on a command line.

    Raises:
        UnknownName: there is no such setting.
        InvalidValue: a value has the wrong type.
    """
    for name in given:
        check_known("setting", name, NAMES)
    return StudySettings(**{name: _typed(name, value) for name, value in given.items()})


def _typed(name: str, value: Any) -> Any:
    if name in _LISTS:
        several = value if isinstance(value, list | tuple) else [value]
        if not several:
            raise InvalidValue(f"{name} is empty; name at least one, or leave it out")
        found = tuple(_one(name, each, _LISTS[name]) for each in several)
        if len(set(found)) < len(found):
            raise InvalidValue(f"{name} is {value}, which holds a value twice; name each once")
        return found
    return _one(name, value, str if name in _WORDS else int)


def _one(name: str, value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = {str: "a name", int: "a whole number", float: "a number"}[kind]
        raise InvalidValue(f"{name} holds {value!r}; {wanted} is needed")
    least = _LEAST.get(name, 1)
    if isinstance(value, int) and value < least:
        raise InvalidValue(f"{name} holds {value}; at least {least} is needed")
    return value


def study_plan(settings: StudySettings) -> StudyPlan:
    """The study that settings ask for.

    Raises:
        UnknownName: a size, family, budget, mode, operator or kind of union is not known.
        InvalidValue: a discount lies outside [0, 1], or nothing is left to run.
    """
    plan = look_up("size", settings.size, SIZES)
    _check_names(settings)
    taken = {name: getattr(settings, name) for name in (*_TAKEN, "bootstrap") if getattr(settings, name) is not None}
    for name, several in (("k", "ks"), ("route_k", "route_ks")):
        if getattr(settings, name) is not None:
            taken[several] = tuple(sorted(getattr(settings, name)))
    if settings.modes is not None:
        taken["setups"] = tuple(setup for setup in plan.setups if setup[0] in settings.modes)
        if not taken["setups"]:
            raise InvalidValue(f"modes is {list(settings.modes)}, of which size {plan.size} has no setup")
    return replace(plan, parts=_parts(plan, settings), **taken)


def _check_names(settings: StudySettings) -> None:
    for kind, names, known in (
        ("family", settings.families, FAMILIES),
        ("training budget", settings.budgets, tuple(BUDGETS)),
        ("mode", settings.modes, ("trivial", "double", "triple")),
        ("operator", settings.operators, tuple(OPERATORS)),
        ("kind of union", None if settings.unions is None else (settings.unions,), UNIONS),
    ):
        for name in names or ():
            check_known(kind, name, known)
    for name in settings.operators or ():
        if name == "switch":
            raise UnknownName("operator", name, SIZES[DEFAULT_SIZE].operators, hint="The study has no such operator.")
    for gamma in settings.gammas or ():
        if not 0.0 <= gamma <= 1.0:
            raise InvalidValue(f"gammas holds {gamma:g}; a discount must lie in [0, 1]")


def _parts(plan: StudyPlan, settings: StudySettings) -> tuple[Part, ...]:
    """The parts that are asked; a family or budget that the size has not takes the layouts of the first part."""
    usual = {(part.family, part.budget): part.layouts for part in plan.parts}
    families = settings.families or plan.families
    budgets = settings.budgets or tuple(dict.fromkeys(part.budget for part in plan.parts))
    return tuple(
        Part(family, budget, settings.layouts or usual.get((family, budget), plan.parts[0].layouts))
        for family in families
        for budget in budgets
    )
