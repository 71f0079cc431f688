"""One candidate-budget choice, tried over environments: how good and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lever_ray.composition.operators import composition_operator
from lever_ray.composition.optimum import optimum
from lever_ray.composition.rankers import RANKERS
from lever_ray.composition.search import Strategy
from lever_ray.errors import check_known
from lever_ray.experiment.plan import Setup
from lever_ray.gridworld.rollout import random_return, rollout
from lever_ray.library.reader import LibraryReader
from lever_ray.library.shard import GroupKey
from lever_ray.query.compose import compose
from lever_ray.query.warm import warm_up


@dataclass(frozen=True)
class Choice:
    """How a query is answered.

    Attributes:
        strategy: and its parameter.
        operator: name of the operator.
        ranker: name of the ranker.

    Raises:
        UnknownName: operator or ranker is not known.
    """

    strategy: Strategy
    operator: str
    ranker: str

    def __post_init__(self) -> None:
        composition_operator(self.operator)
        check_known("ranker", self.ranker, RANKERS)

    @property
    def label(self) -> str:
        """E.g. ``hybrid-3 sum offline-return``."""
        return f"{self.strategy.id} {self.operator} {self.ranker}"


@dataclass(frozen=True)
class TrialResult:
    """What a choice gave, averaged over environments.

    Attributes:
        quality: mean normalised quality, (J - J_rand) / (J* - J_rand).
        candidates: mean number of candidates evaluated.
        seconds: median seconds per query, fitting excluded.
    """

    quality: float
    candidates: float
    seconds: float


@dataclass(frozen=True)
class Problem:
    """What choices are tried on.

    Attributes:
        setup: the composition problem.
        gamma: discount of the members.
        episodes: their training budget.
        environments: names of the environments.
    """

    setup: Setup
    gamma: float
    episodes: int
    environments: tuple[str, ...]


def try_choice(choice: Choice, library: LibraryReader, problem: Problem) -> TrialResult:
    """Answer the problem's query in every environment and measure the answers in the real environment."""
    warm_up()
    outcomes = [_try_one(choice, library, problem, environment) for environment in problem.environments]
    quality, candidates, seconds = np.array(outcomes).T
    return TrialResult(float(quality.mean()), float(candidates.mean()), float(np.median(seconds)))


def _try_one(choice: Choice, library: LibraryReader, problem: Problem, environment: str) -> Sequence[float]:
    objective, groups = problem.setup.objective, problem.setup.groups
    library.groups([GroupKey(environment, name, problem.gamma, problem.episodes) for name in groups])  # opened, untimed
    answer = compose(
        library,
        environment=environment,
        objective=objective,
        groups=groups,
        strategy=choice.strategy,
        operator=choice.operator,
        ranker=choice.ranker,
        gamma=problem.gamma,
        episodes=problem.episodes,
    )
    layout = library.environment(environment).layout
    best, chance = optimum(layout, objective=objective).total, random_return(layout, objective)
    achieved = rollout(layout, objective=objective, q=answer.q).total
    return (achieved - chance) / (best - chance), answer.evaluated, answer.timings["total"]
