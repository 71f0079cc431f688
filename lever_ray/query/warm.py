"""Loading or compiling every kernel ahead of time, so that no clock sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from time import perf_counter

import numpy as np

from lever_ray.collecting import collecting_seldom
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers.offline_return import OfflineReturn
from lever_ray.composition.rankers.protocol import Ranker
from lever_ray.composition.rankers.recorded_return import RecordedReturn
from lever_ray.composition.rankers.regressor import FittedRanker, Regressor
from lever_ray.composition.recipe import Recipe
from lever_ray.composition.routes import ROUTE_CODES, route_of
from lever_ray.embedding.classes import FOUR
from lever_ray.embedding.offline import SUM, make_pool, offline_returns
from lever_ray.embedding.outcome import BEHAVIOUR_KINDS, OUTCOME_FEATURES, behaviour_features
from lever_ray.embedding.recorded import recorded_returns
from lever_ray.embedding.regressor import FittedRegressor, LinearPredictor
from lever_ray.embedding.successor import ENDS, Embedder
from lever_ray.library.search.index import make_index
from lever_ray.policies.group import PolicyGroup
from lever_ray.query.composer import Composer
from lever_ray.tasks.canonical import CanonicalStates, canonical_states
from lever_ray.tasks.features import features
from lever_ray.tasks.kernel import GOAL, MEMORY_WORDS, Dynamics, Rules, compiled_task
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.protocol import Environment, FeatureTables, Slots
from lever_ray.tasks.registry import UnknownFamily, families, family, usual_source
from lever_ray.tasks.rollout import random_return
from lever_ray.tasks.support import full_support
from lever_ray.watching import Watch, watched


def warm_up_for(task: Environment) -> None:
    """Load or compile what answers any query about a task, so that no clock sees it; free from the second call on."""
    _warm_family(task.family)
    if task.actions > FOUR:
        _warm_many()


def warm_up_recipe(task: Environment, recipe: Recipe) -> None:
    """The same for queries that one recipe answers: of several hundred milliseconds, what it has no use for is saved.

    A user's own operator or ranker is not called: what it uses of ours is loaded, the rest is its own affair.
    """
    operator, ranker = recipe.make_operator(), recipe.make_ranker()
    if operator.pools_members:
        warm_up_options()
    route = operator.is_route and not operator.pools_members
    kind = ranker.embedding if isinstance(ranker, Regressor) else ranker.name
    _warm_answer(task.family, ("gpi" if operator.needs_candidates else "plan") if route else "sum", kind)
    if task.actions > FOUR:
        _warm_many()


@cache
def _warm_answer(name: str, operator: str, kind: str) -> None:
    """Answer once on the small example of a family, by a ranker's name or what a regressor reads."""
    task = _example("" if operator == "gpi" else name)  # which answers tasks of one start
    ranker = _rankers(task).get(kind, OfflineReturn())
    if operator == "plan" and task.hooks.plan is None:
        return
    recipe = Recipe(strategy="targeted", operator=operator)
    _answer(_empty_problem(task), recipe, OfflineReturn() if operator != "sum" else ranker)


def _example(name: str) -> Environment:
    """The small example of a family; of the usual one where there is none of that name."""
    try:
        return family(name or usual_source().family).example()
    except UnknownFamily:
        return family(usual_source().family).example()


@cache
def _warm_family(name: str) -> None:
    warm_up(name if name in families() else "")


@cache
def warm_up(name: str = "") -> float:
    """Run every kernel once on the small example of a family; returns the seconds it took. Then it is free.

    Half a minute of CPU time where nothing is compiled yet, about 1 s from numba's cache on disk.

    Args:
        name: of the family; empty for that of the usual source.
    """
    from lever_ray.learning.sarsa import train

    begun = perf_counter()
    task = family(name or usual_source().family).example()
    objective = Objective.of(task.terms[:2])
    run = train(task, objective=objective, episodes=2)
    features(task, state=0, memory=task.dynamics.memory)
    random_return(task, objective, episodes=1)
    if task.hooks.optimum is not None:
        optimum(task, objective=objective)
    problem = _problem(task, objective, run.q, run.snapshots[-1].mean_rewards)
    problem = replace(problem, states=canonical_states(task, run.snapshots[-1].successors))
    for ranker in _rankers(task).values():
        _answer(problem, Recipe(strategy="targeted"), ranker)
    if task.hooks.plan is not None:
        _answer(problem, Recipe(strategy="targeted", operator="plan"), OfflineReturn())
    return perf_counter() - begun


def _answer(problem: Problem, recipe: Recipe, ranker: Ranker) -> None:
    Composer(recipe, ranker.bind(problem)).compose(problem)


def _problem(task: Environment, objective: Objective, q: np.ndarray, rewards: np.ndarray) -> Problem:
    """Two equal groups of one policy each, which has taken every action."""
    everything = full_support(task.observations, task.actions)[None]
    group = PolicyGroup(objective.name, ("a",), q[None], everything, np.zeros(1), rewards[None])
    return Problem(task, objective, (group, group), "warm-up")


def _empty_problem(task: Environment | None = None) -> Problem:
    """On the small example of a family, by default the usual one, with tables and rewards of zeros."""
    task = family(usual_source().family).example() if task is None else task
    nothing, dynamics = np.zeros((task.observations, task.actions), np.float32), task.dynamics
    states = CanonicalStates(dynamics.starts[:1], np.array([dynamics.memory], np.uint64))
    return replace(_problem(task, Objective.of(task.terms[:2]), nothing, nothing), states=states)


def _rankers(task: Environment) -> dict[str, Ranker]:
    """One of each kind: by name, regressors by what they read."""
    tables = task.features()
    widths = {} if tables is None else dict.fromkeys(BEHAVIOUR_KINDS, tables.dimension + ENDS)
    predictors = {
        kind: LinearPredictor(np.zeros(width), 0.0)
        for kind, width in (widths | {"outcome": len(OUTCOME_FEATURES)}).items()
    }
    fitted = {
        kind: FittedRanker(FittedRegressor("ridge", "own", kind, predictor, 0.0, 0))
        for kind, predictor in predictors.items()
    }
    return {**fitted, RecordedReturn.name: RecordedReturn(), OfflineReturn.name: OfflineReturn()}


@cache
def warm_up_options() -> None:
    """Run the kernels of ``options`` once; apart from the others, since few queries need them."""
    recipe = Recipe(strategy="exhaustive", operator="options", ranker="offline-return")
    _answer(_empty_problem(), recipe, OfflineReturn())


def compile_all(watch: Watch | None = None) -> None:
    """Compile every kernel into numba's cache on disk, so that nobody waits for them later.

    Args:
        watch: told how many groups of kernels are compiled; the groups differ in size.
    """
    each = [partial(warm_up, name) for name in families()]
    steps: list[Callable[[], object]] = [*each, warm_up_routes, warm_up_options, _warm_many, _warm_indexes]
    with collecting_seldom():
        for step in watched(steps, watch, "groups of kernels"):
            step()


def _warm_indexes() -> None:
    vectors = np.eye(4, dtype=np.float32)
    for kind in ("flat", "flat-int8"):
        index = make_index(kind, vectors, np.zeros(8, np.int32))
        index.top_k(vectors[:1], 1)
        index.top_k(np.repeat(vectors, 3, axis=0), 1)


@cache
def _warm_many() -> None:
    """Run the kernels that choose among more than four actions, which are compiled apart."""
    shape, start = (2, FOUR + 1), np.zeros(1, np.int32)
    rules = Rules(horizon=2, discount=1.0, memory=(np.uint64(0), np.uint64(0)))
    dynamics = Dynamics(np.ones(shape, np.int32), np.array([0, GOAL], np.int32), start, np.ones(1), rules.memory)
    nothing, none = np.zeros((2, 0), np.int32), np.zeros((2, 0), np.float32)
    tables = FeatureTables(
        np.zeros((2, 1), np.float32), nothing, np.zeros((2, 0, 3), np.float32), nothing, none, Slots(0, 0, 0, 0, 1)
    )
    embedder = Embedder(dynamics, 2, tables, start, np.zeros((1, MEMORY_WORDS), np.uint64))
    task, mixtures = compiled_task(dynamics, np.zeros((1, *shape)), rules), np.array([[0, 1]], np.int32)
    pool = make_pool(np.zeros((2, *shape), np.float32), np.repeat(full_support(*shape)[None], 2, axis=0))
    offline_returns(task, pool, mixtures, SUM, True, True)
    recorded_returns(dynamics, 2, 1.0, pool, np.zeros((2, *shape), np.float32), mixtures, SUM, True)
    for kind in BEHAVIOUR_KINDS:
        behaviour_features(embedder, pool, mixtures, kind=kind)
    for operator in ROUTE_CODES:
        route_of(task, pool, mixtures[0], operator=operator)


@cache
def warm_up_routes() -> None:
    """Run the kernels of ``gpi`` and ``switch`` once; apart from the others, since few queries need them."""
    _answer(_empty_problem(), Recipe(strategy="targeted", operator="gpi"), OfflineReturn())
