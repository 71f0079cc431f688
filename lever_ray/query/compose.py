"""One query, from text or objective to a composed policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Unpack

from lever_ray.composition.operators import check_factors
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers.regressor import FittedRanker
from lever_ray.composition.recipe import Recipe, RecipeKeywords
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.executor import Executor
from lever_ray.library.reader import LibraryReader
from lever_ray.policies.group import GroupKey
from lever_ray.query.composer import Composer
from lever_ray.query.default import choices, first_ready
from lever_ray.query.members import asked_keys, retrieve
from lever_ray.query.ranking import heedless
from lever_ray.query.result import CompositionResult
from lever_ray.query.warm import warm_up_recipe
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment

Wanted = Objective | str | Mapping[str, float] | Iterable[str]
"""A composite objective: ``"path-gold"``, ``"path-gold[1,2.5]"``, ``{"path": 1, "gold": 2.5}`` or an ``Objective``."""


def compose(
    library: LibraryReader,
    query: str | None = None,
    *,
    environment: str,
    objective: Wanted | None = None,
    groups: Sequence[str] | None = None,
    factors: Mapping[str, float] | None = None,
    recipe: Recipe | str | None = None,
    without: str = "",
    tier: str | None = None,
    executor: Executor | None = None,
    **sugar: Unpack[RecipeKeywords],
) -> CompositionResult:
    """Answer a new composite objective from a library, without touching the environment.

    Args:
        library: a :class:`~lever_ray.library.library.PolicyLibrary`, or one sharded over actors.
        query: what is wanted, in words; or give ``objective``.
        environment: name of the environment in the library.
        objective: the composite objective with the weights of its terms, e.g. ``"path-gold"``, ``"path-gold[1,2.5]"``
            or ``{"path": 1, "gold": 2.5}``; bypasses text. Operators over tables multiply a group's values with the
            weight that its terms have in common.
        groups: sub-objectives to take members from; by default the smallest exact cover that the library holds, and
            everything that it holds for ``options`` and ``plan``, whose members may differ in discount and budget, too.
        factors: more factors on the action values of groups, by sub-objective; they do not change what is wanted.
        recipe: how to answer, or its id. Where neither it nor a part of it is said, ``plan`` searches the recorded
            transitions with the reward; within tier ``I1`` or ``I2``, ``options`` follow policies from event to event.
        without: objective whose own policies are never members.
        tier: the most that the answer may know, ``I1`` to ``I4``; no limit by default.
        executor: where large candidate sets are scored; in this process if None.
        sugar: fields of the recipe that differ from it, e.g. ``strategy="hybrid", k=5, operator="max"``; see
            :class:`~lever_ray.composition.recipe.Recipe`.

    Raises:
        UnmatchedQuery: the text names no objective.
        UnknownName: the environment, an objective term or a keyword is not known; also see
            :class:`~lever_ray.composition.recipe.Recipe`.
        UncoveredObjective: no exact cover exists, or ``groups`` is none.
        InvalidValue: both or neither of ``query`` and ``objective``, bad weights or factors, factors for an operator
            that gives no meaning to them, or a recipe that makes no sense.
        LibraryError: a group has no policy, or none whose description is similar enough; the library is damaged, or
            too small for a regressor.
    """
    _check_kinds(library, query, groups, factors, executor)
    begun = perf_counter()
    held = library.environment(environment)
    opened = perf_counter()
    found = choices(held.task, recipe, sugar, tier=tier, factors=factors is not None, asked=_ASKED)
    operator = found[0].recipe.make_operator()
    if factors is not None:
        check_factors(operator)
    wanted = _objective(query, objective, held.task)
    parsed = perf_counter()
    keys, told = asked_keys(library, environment, wanted, groups, found[0].recipe)
    keys = _kept(keys, without, held.task, pooled=not operator.needs_candidates)
    members = retrieve(library, keys, found[0].recipe.make_retrieval(without=without))
    retrieved = perf_counter()
    (chosen, why), ranker = first_ready(found, library, wanted, keys)
    warm_up_recipe(held.task, chosen)
    prepared = perf_counter()
    problem = Problem(held.task, wanted, tuple(members), environment, held.canonical)
    composer = Composer(chosen, ranker.bind(problem), executor)
    making = perf_counter() - prepared
    answer = composer.compose(problem, factors=None if factors is None else _group_factors(keys, factors, held.task))
    finding = opened - begun + retrieved - parsed
    stages = {"parse": parsed - opened, "retrieve": finding + answer.timings["retrieve"]}
    timings = {**stages, "rank": making + answer.timings["rank"], "compose": answer.timings["compose"]}
    timings |= {"total": sum(timings.values()), "coverage": answer.timings["coverage"]}
    warnings = (*answer.warnings, *heedless(ranker, wanted), *([told] if told else []))
    timings |= {"fit": ranker.fitted.seconds if isinstance(ranker, FittedRanker) else 0.0}
    return replace(answer, timings=timings, warnings=warnings, why=why)


_ASKED = ("library", "query", "environment", "objective", "groups", "factors", "recipe", "without", "tier", "executor")
"""Keywords of :func:`compose` that are no fields of a recipe."""


def _check_kinds(library: object, query: object, groups: object, factors: object, executor: object) -> None:
    """Refuse what is of a kind that cannot be meant."""
    if not hasattr(library, "groups"):
        raise InvalidValue(f"library is {library!r}; open one first: lever.PolicyLibrary.open(path)")
    if query is not None and not isinstance(query, str):
        raise InvalidValue(f"query is {query!r}; write what is wanted in words, or give objective=")
    if groups is not None and (isinstance(groups, str) or not all(isinstance(name, str) for name in groups)):  # type: ignore[attr-defined]
        raise InvalidValue(f"groups is {groups!r}; give a list of objectives, e.g. ['path-gold', 'hazard']")
    if factors is not None and not isinstance(factors, Mapping):
        raise InvalidValue(f"factors is {factors!r}; give a number by group, e.g. {{'gold': 2}}")
    if executor is not None and not hasattr(executor, "map"):
        raise InvalidValue(f"executor is {executor!r}; give one, e.g. lever_ray.executor.SerialExecutor()")


def _kept(keys: list[GroupKey], without: str, task: Environment, *, pooled: bool) -> list[GroupKey]:
    """The groups without those for an objective that is left out, which only a pool can do without."""
    if not without:
        return keys
    unwanted = Objective.of(without).resolved(task.terms)
    kept = [key for key in keys if not Objective.of(key.objective).is_alike(unwanted)]
    if not kept or (len(kept) < len(keys) and not pooled):
        raise InvalidValue(
            f"groups {', '.join(key.objective for key in keys)} take policies for {without!r}, which without= leaves "
            "out"
        )
    return kept


def _number(group: str, factor: object) -> float:
    try:
        return float(factor)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InvalidValue(f"factor of group {group!r} is {factor!r}; a number is needed") from None


def _objective(query: str | None, objective: Wanted | None, task: Environment) -> Objective:
    if query is not None and objective is None:
        from lever_ray.query.parse import parse_query

        objective = parse_query(query, words=task.describe()).objective
    elif objective is None or query is not None:
        raise InvalidValue("give either a query in words or objective=, and not both")
    return Objective.of(objective).resolved(task.terms)


def _group_factors(keys: Sequence[GroupKey], factors: Mapping[str, float], task: Environment) -> list[float]:
    named = [(Objective.of(name).resolved(task.terms), factor) for name, factor in factors.items()]
    given = {group.id: _number(group.id, factor) for group, factor in named}
    if len(given) < len(factors):
        raise InvalidValue(f"factors is {dict(factors)!r}, which names a group twice; give one number for each")
    for name in given:
        if name not in {key.objective for key in keys}:
            raise UnknownName("group", name, [key.objective for key in keys], hint="Factors are given per group.")
    return [given.get(key.objective, 1.0) for key in keys]
