"""One way of answering queries, tried over environments: how good its answers are and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from lever_ray.composition.operators import check_composable, composition_operator
from lever_ray.composition.rankers import check_ranker
from lever_ray.composition.search import Strategy
from lever_ray.embedding.regressor import TARGET_TIERS, FittedRegressor
from lever_ray.errors import InvalidValue
from lever_ray.executor import Executor, in_order
from lever_ray.experiment.plan import Setup, check_all_answer
from lever_ray.experiment.statistics import interquartile_mean, offered
from lever_ray.experiment.timing import VERY_SLOW, asked_repeatedly
from lever_ray.library.reader import LibraryReader
from lever_ray.library.retrieval import USUAL_RETRIEVAL, Retrieval
from lever_ray.library.stored import GroupKey
from lever_ray.query.compose import RegressorSettings, compose, fit
from lever_ray.query.composer import PLAN_WIDTH
from lever_ray.query.members import retrieve
from lever_ray.query.result import CompositionResult
from lever_ray.query.warm import warm_up_for
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import random_return, rollout

_FITTED: dict[tuple[Any, ...], FittedRegressor] = {}
"""Regressors that this process fitted, by everything that decides them."""
_MOST_FITTED = 4_096


USUAL_REGRESSOR = RegressorSettings()


@dataclass(frozen=True)
class Choice:
    """How a query is answered.

    Attributes:
        strategy: which candidates, with its parameters.
        operator: name of the operator.
        ranker: name of the ranker.
        gamma: discount of the members.
        support: ``mask`` or ``ignore``.
        regressor: of the ranker ``regressor``.
        width: beam width of the operator ``plan``.
        retrieval: who the members of a group are.

    Raises:
        UnknownName: operator, ranker or support rule is not known.
        InvalidValue: the ranker cannot rank the operator's candidates, or the operator gives the support rule no
            meaning, or the width is below 1.
    """

    strategy: Strategy
    operator: str = "sum"
    ranker: str = "regressor"
    gamma: float = 0.0
    support: str = "mask"
    regressor: RegressorSettings = USUAL_REGRESSOR
    width: int = PLAN_WIDTH
    retrieval: Retrieval = USUAL_RETRIEVAL

    def __post_init__(self) -> None:
        operator = composition_operator(self.operator)
        check_ranker(self.ranker, operator)
        check_composable(operator, support=self.support, weighted=False)
        if self.width < 1:
            raise InvalidValue(f"width is {self.width}; a beam keeps at least 1 state")

    @property
    def has_candidates(self) -> bool:
        """Whether the strategy matters: ``plan`` searches the recorded transitions of every member."""
        return composition_operator(self.operator).needs_candidates

    @property
    def tier(self) -> str:
        """Information used: ``I0`` Q-tables, ``I1`` successors, ``I2`` mean rewards, ``I3`` reward function."""
        ranker = {"recorded-return": "I2", "offline-return": "I3"}.get(self.ranker)
        return max(composition_operator(self.operator).tier, ranker or TARGET_TIERS[self.regressor.target])

    @property
    def label(self) -> str:
        """In words, e.g. ``hybrid-3 sum regressor(own) unmasked g0.99``; what is usual is left out.

        ``budgeted-100x4``: 100 evaluations, 4 restarts; ``16 states``: canonical ones, of the embedding.
        """
        members = "" if self.retrieval.rule == "objective" else f" {self.retrieval.label}"
        if not self.has_candidates:
            return f"{self.operator}-{self.width}{members} g{self.gamma:g}"
        odd = [
            f"{value} states" if name == "canonical" else value
            for name, value in asdict(self.regressor).items()
            if self.ranker == "regressor" and value != getattr(USUAL_REGRESSOR, name)
        ]
        ranker = self.ranker + (f"({', '.join(odd)})" if odd else "")
        unmasked = " unmasked" if self.support == "ignore" else ""
        apart = f"x{self.strategy.restarts}" if self.strategy.name == "budgeted" else ""
        return f"{self.strategy.id}{apart} {self.operator} {ranker}{unmasked}{members} g{self.gamma:g}"


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

    def __call__(self, choices: Sequence[Choice], environments: Sequence[str]) -> list[list[Measured]]:
        """Every choice in every environment: a list for each choice, in the order of the environments.

        Raises:
            Exception: what the first failing environment raised.
        """
        if not choices or not environments:
            return [[] for _ in choices]
        self._measure_references([name for name in environments if name not in self._references])
        self._open_for_ranking(choices)
        work = [(name, self._references[name], tuple(choices)) for name in environments]
        shared = (self._library, self._problem)
        visits = in_order(self._executor.map(_visit, work, shared=shared))
        return [list(column) for column in zip(*visits, strict=True)]

    def _measure_references(self, names: Sequence[str]) -> None:
        objective = self._problem.setup.objective
        found = in_order(self._executor.map(_reference, names, shared=(self._library, objective)))
        self._references |= dict(zip(names, found, strict=True))

    def _open_for_ranking(self, choices: Sequence[Choice]) -> None:
        """Have the shards embed their policies once; the answer travels with the library to every worker."""
        terms = self._library.environment(self._problem.tuning[0]).task.terms
        objective = Objective.of(self._problem.setup.objective).resolved(terms)
        for gamma, regressor in {(each.gamma, each.regressor) for each in choices if each.ranker == "regressor"}:
            self._library.ranking_rows(
                terms=terms,
                target=regressor.target,
                objective=objective,
                gamma=gamma,
                episodes=self._problem.episodes,
                kind=regressor.embedding,
                canonical=regressor.canonical,
            )


def check_operators(library: LibraryReader, problem: TuningProblem, operators: Sequence[str]) -> None:
    """Refuse, before anything is tried, operators that some environment cannot answer.

    Raises:
        InvalidValue: see :func:`~lever_ray.experiment.plan.check_all_answer`.
    """
    for environment in (*problem.tuning, *problem.held_out):
        check_all_answer(operators, library.environment(environment).task)


def check_retrievable(
    library: LibraryReader, problem: TuningProblem, gammas: Sequence[float], retrievals: Sequence[Retrieval]
) -> None:
    """Refuse, before anything is tried, thresholds at which some group of some environment has no member.

    Raises:
        LibraryError: naming the environment, the group and the closest similarity.
    """
    for environment in (*problem.tuning, *problem.held_out):
        for gamma in gammas:
            keys = [GroupKey(environment, name, gamma, problem.episodes) for name in problem.setup.groups]
            for retrieval in retrievals:
                retrieve(library, keys, _apart(retrieval, problem))


def _apart(retrieval: Retrieval, problem: TuningProblem) -> Retrieval:
    """The same, without policies for the whole composite objective."""
    return replace(retrieval, without=problem.setup.objective)


def _reference(environment: str, library: LibraryReader, objective: str) -> _Reference:
    task = library.environment(environment).task
    return _Reference(optimum(task, objective=objective).total, random_return(task, objective))


def _visit(
    work: tuple[str, _Reference, tuple[Choice, ...]], library: LibraryReader, problem: TuningProblem
) -> list[Measured]:
    """Try choices in one environment."""
    environment, reference, choices = work
    task = library.environment(environment).task
    warm_up_for(task)
    scale = offered(reference.best, reference.chance)
    measured = []
    for choice in choices:
        answer, seconds = _timed(choice, library, problem, environment)
        achieved = rollout(task, objective=problem.setup.objective, q=answer.q, actions=answer.actions).total
        quality = (achieved - reference.chance) / scale
        measured.append(Measured(quality, float(answer.evaluated), seconds, answer.coverage.on_policy))
    return measured


def _timed(
    choice: Choice, library: LibraryReader, problem: TuningProblem, environment: str
) -> tuple[CompositionResult, float]:
    """The query's answer and its median seconds; an answer given first opens files and compiles, untimed."""
    keys = [GroupKey(environment, name, choice.gamma, problem.episodes) for name in problem.setup.groups]
    regressor = choice.regressor if choice.ranker != "regressor" else _fitted(choice, library, problem, keys[0])

    def ask() -> CompositionResult:
        return compose(
            library,
            environment=environment,
            objective=problem.setup.objective,
            groups=problem.setup.groups,
            strategy=choice.strategy,
            operator=choice.operator,
            ranker=choice.ranker,
            regressor=regressor,
            support=choice.support,
            gamma=choice.gamma,
            episodes=problem.episodes,
            width=choice.width,
            retrieval=_apart(choice.retrieval, problem),
        )

    answer = ask()
    if answer.timings["rank"] + answer.timings["compose"] >= VERY_SLOW:
        return answer, answer.timings["total"]
    return answer, median(each.timings["total"] for each in asked_repeatedly(ask, problem.repeats))


def _fitted(choice: Choice, library: LibraryReader, problem: TuningProblem, key: GroupKey) -> FittedRegressor:
    """The choice's regressor for one environment; fitted once per process where the library's content is known."""
    objective = Objective.of(problem.setup.objective).resolved(library.environment(key.environment).task.terms)
    question = (problem.library, problem.setup.objective, key.environment, key.gamma, key.episodes, choice.regressor)
    found = _FITTED.get(question) if problem.library else None
    if found is None:
        found = fit(library, key.environment, objective, key, choice.regressor)
        if problem.library and len(_FITTED) < _MOST_FITTED:
            _FITTED[question] = found
    return found
