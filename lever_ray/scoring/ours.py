"""Our own entrants: the first table of a benchmark.

Rankers score every candidate of ``sum`` and ``max``; operators answer by the recipe that stands beside their name.
Regressors learn from the public split alone, the asked environment left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from lever_ray.composition.operators import OPERATORS as OPERATORS_BY_NAME
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers.offline_return import OfflineReturn
from lever_ray.composition.rankers.protocol import Ranker
from lever_ray.composition.rankers.recorded_return import RecordedReturn
from lever_ray.composition.rankers.regressor import FittedRanker, Regressor
from lever_ray.composition.recipe import Recipe
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.controls import space_of
from lever_ray.experiment.statistics import Row
from lever_ray.library.memory import MemoryLibrary
from lever_ray.library.record import PolicyRecord
from lever_ray.policies.group import GroupKey, PolicyGroup
from lever_ray.query.composer import Composer
from lever_ray.query.ranking import fit
from lever_ray.scoring.benchmark import Benchmark
from lever_ray.scoring.question import Answer, Members, Question, Route
from lever_ray.scoring.scores import OWN, Scores, identity, judged, measures
from lever_ray.scoring.settings import OPERATORS
from lever_ray.tasks.canonical import canonical_states
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.support import taken_actions
from lever_ray.watching import Watch

OWN_REGRESSOR = Regressor()
COMPOSITE_REGRESSOR = Regressor(regressor_model="ridge", regressor_target="composite")
RANKERS: dict[str, Ranker] = {
    "regressor, own returns": OWN_REGRESSOR,
    "regressor, composite returns": COMPOSITE_REGRESSOR,
    "recorded-return": RecordedReturn(),
    "offline-return": OfflineReturn(),
}
RECIPES: dict[str, Recipe] = {
    "sum, hybrid-3": Recipe(strategy="hybrid", k=3, operator="sum"),
    "max, hybrid-3": Recipe(strategy="hybrid", k=3, operator="max"),
    "gpi, hybrid-3": Recipe(strategy="hybrid", k=3, operator="gpi", ranker="offline-return"),
    "options": Recipe(strategy="exhaustive", operator="options"),
    "plan": Recipe(operator="plan"),
}
"""Operators, fixed before any return was seen; ``options`` and ``plan`` take the question's pool."""
YARDSTICKS: dict[str, str] = {"best single policy, oracle": "best_single", "scratch, best gamma": "scratch"}
"""Rows that answer nothing: what a question's yardsticks are worth."""


def random_scores(question: Question) -> np.ndarray:
    """float64[K]: uniform draws, seeded by the question's name."""
    seed = int.from_bytes(hashlib.sha256(question.name.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).random(len(question.candidates))


def own_returns(question: Question) -> np.ndarray:
    """float64[K]: recorded returns of the members on their own objectives, added up."""
    totals = [group.totals[column] for group, column in zip(question.groups, question.candidates.T, strict=True)]
    return np.sum(totals, axis=0)


SIMPLE: dict[str, Callable[[Question], np.ndarray]] = {"random": random_scores, "own returns, added up": own_returns}
"""Rankers of tier I0."""


class OwnEntrants:
    """What answers a benchmark's questions with the methods of this package.

    Args:
        benchmark: it; private questions need its answers, for the environments.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self._libraries: dict[str, MemoryLibrary] = {}
        self._fitted: dict[tuple[object, ...], FittedRanker] = {}

    def ranking(self, ranker: Ranker, question: Question, operator: str) -> np.ndarray:
        """float64[K]: a ranker's scores of all candidates as an operator composes them."""
        problem, combine = problem_of(question, question.groups), OPERATORS_BY_NAME[operator]
        space = space_of(problem, combine)
        scorer = self._ready(ranker, question).bind(problem)
        mixtures = space.mixtures(question.candidates)
        return scorer.score(space, mixtures, operator=combine, masked=True).comparable()

    def answer(self, recipe: Recipe, question: Question) -> Answer:
        """What a recipe answers."""
        whole = not recipe.make_operator().needs_candidates
        problem = problem_of(question, question.pool if whole else question.groups)
        scorer = self._ready(recipe.make_ranker(), question).bind(problem)
        found = Composer(recipe, scorer).compose(problem)
        return found.q if found.actions is None else Route(found.actions)

    def _ready(self, ranker: Ranker, question: Question) -> Ranker:
        """A ranker, fitted on the public environments of the family other than the one asked about."""
        if not isinstance(ranker, Regressor):
            return ranker
        left_out = question.environment if question.split == "public" else ""
        key = (ranker, question.family, left_out, question.gamma, question.objective)
        if key not in self._fitted:
            assert question.task is not None
            wanted = Objective.of(question.objective).resolved(question.task.terms)
            keys = [GroupKey(question.environment, "", question.gamma, self.benchmark.episodes)]
            library = self._library(question.family)
            self._fitted[key] = FittedRanker(fit(library, wanted, keys, ranker, task=question.task))
        return self._fitted[key]

    def _library(self, family: str) -> MemoryLibrary:
        """The public policies of a family."""
        if family not in self._libraries:
            public = self.benchmark.environments_of("public")
            names = [name for name in public if self.benchmark.environments[name]["family"] == family]
            self._libraries[family] = MemoryLibrary(record for name in names for record in self._records(name))
        return self._libraries[family]

    def _records(self, environment: str) -> list[PolicyRecord]:
        task = self.benchmark.task(environment)
        return [
            PolicyRecord(
                environment=environment,
                task=task,
                objective=Objective.of(members.objective),
                description=members.descriptions[place],
                q=members.q[place],
                successors=members.successors[place],
                mean_rewards=members.mean_rewards[place],
                gamma=gamma,
                total=members.totals[place],
                episodes=self.benchmark.episodes,
                seed=int(members.policies[place]),
            )
            for gamma, members in self.benchmark.members_of(environment, tier="I2")
            for place in range(len(members))
            if members.successors is not None and members.mean_rewards is not None
        ]


def problem_of(question: Question, members: tuple[Members, ...]) -> Problem:
    """A question as the parts of this package take it; it needs the environment."""
    assert question.task is not None, "asked for at a tier that has it"
    groups = tuple(policy_group(each) for each in members)
    taken = taken_actions(
        np.bitwise_or.reduce(np.concatenate([each.support for each in groups])), question.task.actions
    )
    recorded = np.where(taken, question.task.dynamics.moves, -1).astype(np.int32)
    wanted = Objective.of(question.objective).resolved(question.task.terms)
    states = canonical_states(question.task, recorded)
    return Problem(question.task, wanted, groups, question.environment, states)


def policy_group(members: Members) -> PolicyGroup:
    """Members as operators and rankers take them."""
    return PolicyGroup(
        objective=members.objective,
        ids=tuple(f"{policy}" for policy in members.policies),
        q=members.q,
        support=members.support,
        totals=members.totals,
        mean_rewards=members.mean_rewards,
    )


def score_ours(benchmark: Benchmark, split: str, *, executor: Executor, watch: Watch | None = None) -> Scores:
    """Score our own rankers, operators and yardsticks.

    Args:
        benchmark: it.
        split: of which questions; the private one needs the answers.
        executor: where environments are asked.
        watch: told how many are done.

    Raises:
        NothingToLearnFrom: a family has a single public environment, from which no regressor learns.
        InvalidValue: there is no such split, or its answers are not here.
    """
    names = benchmark.environments_of(split)
    benchmark.key(benchmark.questions(split)[0])
    kept = None if benchmark.answers is None else benchmark.answers.resolve()
    shared = (benchmark.folder.resolve(), kept, benchmark.id, split)
    found = gathered(executor, _environment_rows, names, shared=shared, watch=watch, stage=f"{split} environments")
    return Scores(sorted((row for part in found for row in part), key=_place))


def _place(row: Row) -> tuple[int, int]:
    """Where an entrant and operator stand in the table."""
    entrants, operators = [*SIMPLE, *RANKERS, *RECIPES, *YARDSTICKS], [*OPERATORS, OWN]
    return entrants.index(row["entrant"]), operators.index(row["operator"])


@lru_cache(maxsize=1)
def _entrants(folder: Path, answers: Path | None, _identity: str) -> OwnEntrants:
    """The benchmark that a worker has open: regressors are fitted once for all its environments."""
    return OwnEntrants(Benchmark(folder, answers))


def _environment_rows(environment: str, folder: Path, answers: Path | None, known: str, split: str) -> list[Row]:
    ours = _entrants(folder, answers, known)
    names = [name for name in ours.benchmark.questions(split) if _is_about(ours.benchmark, name, environment)]
    asked = [ours.benchmark.question(name, tier="I3") for name in names]
    ranked = [row for operator in OPERATORS for row in _ranker_rows(ours, asked, operator)]
    return ranked + _operator_rows(ours, asked) + _yardstick_rows(ours.benchmark, names)


def _ranker_rows(ours: OwnEntrants, asked: Sequence[Question], operator: str) -> list[Row]:
    rows = []
    for name, rank in SIMPLE.items():
        given = {question.name: rank(question) for question in asked}
        rows += judged(ours.benchmark, given, entrant=name, tier="I0", operator=operator)
    for name, ranker in RANKERS.items():
        given = {question.name: ours.ranking(ranker, question, operator) for question in asked}
        rows += judged(ours.benchmark, given, entrant=name, tier=ranker.tier, operator=operator)
    return rows


def _operator_rows(ours: OwnEntrants, asked: Sequence[Question]) -> list[Row]:
    rows = []
    for name, recipe in RECIPES.items():
        given = {question.name: ours.answer(recipe, question) for question in asked}
        rows += judged(ours.benchmark, given, entrant=name, tier=recipe.tier)
    return rows


def _is_about(benchmark: Benchmark, name: str, environment: str) -> bool:
    return bool(benchmark.about_question(name)["environment"] == environment)


def _yardstick_rows(benchmark: Benchmark, names: Sequence[str]) -> list[Row]:
    rows = []
    for entrant, yardstick in YARDSTICKS.items():
        for name in names:
            key = benchmark.key(name)
            worth = measures(key, key.yardsticks[yardstick], OPERATORS[0], ranks=False)
            rows.append(identity(benchmark, name, entrant, "I4", OWN) | worth)
    return rows
