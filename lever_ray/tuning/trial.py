"""One way of answering queries, tried over environments: how good its answers are and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from lever_ray.composition.rankers.regressor import FittedRanker, Regressor
from lever_ray.composition.recipe import Recipe
from lever_ray.errors import InvalidValue
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.plan import Setup, check_all_answer
from lever_ray.experiment.statistics import offered
from lever_ray.experiment.timing import VERY_SLOW, asked_repeatedly
from lever_ray.library.reader import LibraryReader
from lever_ray.policies.group import GroupKey
from lever_ray.query.compose import compose
from lever_ray.query.members import retrieve
from lever_ray.query.ranking import discounts, fit, open_for_ranking
from lever_ray.query.result import CompositionResult
from lever_ray.query.warm import warm_up_for
from lever_ray.statistics.intervals import interquartile_mean
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import random_return, rollout
from lever_ray.watching import Watch

_FITTED: dict[tuple[Any, ...], FittedRanker] = {}
"""Regressors that this process fitted, by everything that decides them."""
_MOST_FITTED = 4_096


class Measured(NamedTuple):
    """What a choice gave in one environment.

    Attributes:
        quality: normalised, (J - J_rand) / (J* - J_rand), J measured in the real environment after composing; NaN
            where the environment offers nothing over chance.
        candidates: evaluated.
        seconds: per query, median of repeats; fitting and compilation excluded.
        coverage: share of the composed route's steps on recorded transitions.
    """

    quality: float
    candidates: float
    seconds: float
    coverage: float


class Averages(NamedTuple):
    """What a choice gave over environments.

    Attributes:
        quality: interquartile mean.
        candidates: mean number evaluated.
        seconds: median per query.
        coverage: mean.
    """

    quality: float
    candidates: float
    seconds: float
    coverage: float

    @classmethod
    def of(cls, measured: Sequence[Measured]) -> Averages:
        """Of at least one environment."""
        quality, candidates, seconds, coverage = np.array(measured).T
        middle = interquartile_mean(quality)
        return cls(middle, float(candidates.mean()), float(np.median(seconds)), float(coverage.mean()))

    def cost(self, name: str) -> float:
        """``candidates`` or ``seconds``."""
        return float(getattr(self, name))


COSTS: tuple[str, ...] = ("candidates", "seconds")
"""What can be minimised: candidates evaluated per query (deterministic), or seconds per query."""


@dataclass(frozen=True)
class TuningProblem:
    """What choices are tried on.

    Attributes:
        setup: the composition problem.
        episodes: training budget of the members.
        tuning: environments that choices are compared on, in the order in which they are tried.
        held_out: environments that are looked at once, when tuning is over.
        library: digest of the library's content; empty where it is not known.
        repeats: times that a query is timed.
    """

    setup: Setup
    episodes: int
    tuning: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    library: str = ""
    repeats: int = 1


def split_environments(names: Sequence[str], held_out: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Deal environments to tuning and held-out, at least one to each, in an order that follows from the names alone.

    Every study on a library sees the same split, whatever its sampler's seed, so that trying several seeds does not
    look at the held-out environments through the back door.

    Args:
        names: the environments.
        held_out: share of them that is held out, between 0 and 1.

    Raises:
        InvalidValue: there are fewer than two environments.
    """
    if len(names) < 2:
        raise InvalidValue(
            f"the library has {len(names)} environment, too few to split into tuning and held-out ones; "
            "raise library.layouts to at least 2 (10 or more for intervals that say something)"
        )
    order = np.random.default_rng(0).permutation(len(names))
    kept = len(names) - max(1, min(len(names) - 1, int(held_out * len(names))))
    return tuple(names[place] for place in order[:kept]), tuple(sorted(names[place] for place in order[kept:]))


class _Reference(NamedTuple):
    """What returns of an environment are normalised with: J*, as its family finds it, and J_rand."""

    best: float
    chance: float


class Bench:
    """Measures choices; environments fan out over an executor, and the choices of a batch share each visit.

    Args:
        library: where queries take their policies from; it must survive being sent to the executor's workers.
        problem: what choices are tried on.
        executor: where environments are visited.
    """

    def __init__(self, library: LibraryReader, problem: TuningProblem, executor: Executor) -> None:
        self._library, self._problem, self._executor = library, problem, executor
        self._references: dict[str, _Reference] = {}

    def __call__(
        self, choices: Sequence[Recipe], environments: Sequence[str], *, watch: Watch | None = None
    ) -> list[list[Measured]]:
        """Every choice in every environment: a list for each choice, in the order of the environments.

        Raises:
            Exception: what the first failing environment raised.
        """
        if not choices or not environments:
            return [[] for _ in choices]
        self._measure_references([name for name in environments if name not in self._references], watch)
        objective, episodes = self._problem.setup.objective, self._problem.episodes
        recipes = [choice.override(episodes=episodes) for choice in choices]
        open_for_ranking(self._library, recipes, [objective], self._problem.tuning[0])
        work = [(name, self._references[name], tuple(choices)) for name in environments]
        shared = (self._library, self._problem)
        visits = gathered(self._executor, _visit, work, shared=shared, watch=watch, stage="environments")
        return [list(column) for column in zip(*visits, strict=True)]

    def _measure_references(self, names: Sequence[str], watch: Watch | None) -> None:
        shared = (self._library, self._problem.setup.objective)
        self._library.publish(names)
        found = gathered(self._executor, _reference, names, shared=shared, watch=watch, stage="optima")
        self._references |= dict(zip(names, found, strict=True))


def check_operators(library: LibraryReader, problem: TuningProblem, operators: Sequence[str]) -> None:
    """Refuse, before anything is tried, operators that some environment cannot answer.

    Raises:
        InvalidValue: see :func:`~lever_ray.experiment.plan.check_all_answer`.
    """
    for environment in (*problem.tuning, *problem.held_out):
        check_all_answer(operators, library.environment(environment).task)


def check_retrievable(
    library: LibraryReader, problem: TuningProblem, gammas: Sequence[float], strictest: Sequence[Recipe]
) -> None:
    """Refuse, before anything is tried, thresholds at which some group of some environment has no member.

    Raises:
        LibraryError: naming the environment, the group and the closest similarity.
    """
    for environment in (*problem.tuning, *problem.held_out):
        for gamma in gammas:
            keys = [GroupKey(environment, name, gamma, problem.episodes) for name in problem.setup.groups]
            for recipe in strictest:
                retrieve(library, keys, recipe.make_retrieval(without=problem.setup.name))


def _reference(environment: str, library: LibraryReader, objective: str) -> _Reference:
    task = library.environment(environment).task
    return _Reference(optimum(task, objective=objective).total, random_return(task, objective))


def _visit(
    work: tuple[str, _Reference, tuple[Recipe, ...]], library: LibraryReader, problem: TuningProblem
) -> list[Measured]:
    """Try choices in one environment."""
    environment, reference, choices = work
    task = library.environment(environment).task
    warm_up_for(task)
    scale = offered(reference.best, reference.chance)
    measured = []
    for choice in choices:
        answer, seconds = _timed(choice, library, problem, environment)
        achieved = rollout(task, objective=problem.setup.objective, **answer.played).total
        quality = (achieved - reference.chance) / scale
        measured.append(Measured(quality, float(answer.evaluated), seconds, answer.coverage.on_policy))
    return measured


def _timed(
    choice: Recipe, library: LibraryReader, problem: TuningProblem, environment: str
) -> tuple[CompositionResult, float]:
    """The query's answer and its median seconds; an answer given first opens files and compiles, untimed."""
    recipe = choice.override(episodes=problem.episodes)
    if isinstance(ranker := choice.make_ranker(), Regressor):
        recipe = recipe.override(ranker=_fitted(choice, ranker, library, problem, environment))

    groups: Sequence[str] = problem.setup.groups
    if choice.make_operator().pools_members:
        groups = problem.setup.pooled(key.objective for key in library.keys(environment))

    def ask() -> CompositionResult:
        return compose(
            library,
            environment=environment,
            objective=problem.setup.objective,
            groups=groups,
            recipe=recipe,
            without=problem.setup.name,
        )

    answer = ask()
    if answer.timings["rank"] + answer.timings["compose"] >= VERY_SLOW:
        return answer, answer.timings["total"]
    return answer, median(each.timings["total"] for each in asked_repeatedly(ask, problem.repeats))


def _fitted(
    choice: Recipe, ranker: Regressor, library: LibraryReader, problem: TuningProblem, environment: str
) -> FittedRanker:
    """The choice's regressor for one environment; fitted once per process where the library's content is known."""
    gammas = discounts(library, environment, choice, problem.episodes)
    keys = [GroupKey(environment, problem.setup.groups[0], gamma, problem.episodes) for gamma in gammas]
    question = (problem.library, problem.setup.objective, environment, gammas, problem.episodes, ranker)
    found = _FITTED.get(question) if problem.library else None
    if found is None:
        objective = Objective.of(problem.setup.objective).resolved(library.environment(environment).task.terms)
        found = FittedRanker(fit(library, objective, keys, ranker))
        if problem.library and len(_FITTED) < _MOST_FITTED:
            _FITTED[question] = found
    return found
