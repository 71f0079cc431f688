"""What a composition is compared with: scratch, single library policies, random Q-tables, the optimum, chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lever_ray.composition.groups import CandidateSpace, objective_weights
from lever_ray.composition.operators import OPERATORS, Operator, is_masked
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers.protocol import Scorer
from lever_ray.experiment.plan import ExperimentPlan
from lever_ray.learning.sarsa import train
from lever_ray.policies.group import PolicyGroup
from lever_ray.query.composer import Composer
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.protocol import Environment, Optimum
from lever_ray.tasks.rollout import random_return, rollout

UNKNOWN = Optimum(-np.inf, exact=False, path=(), actions=np.empty(0, np.int16))
"""Of environments whose family has no way to find optima: whatever was reached is better."""


class ScratchRun(NamedTuple):
    """One training from scratch.

    Attributes:
        final: greedy return of the final policy.
        best_snapshot: greedy return of the best snapshot.
        seconds: wall-clock seconds.
        environment_steps: that it took.
    """

    final: float
    best_snapshot: float
    seconds: float
    environment_steps: int

    @classmethod
    def train(cls, task: Environment, objective: str, *, episodes: int, gamma: float, seed: int) -> ScratchRun:
        """Train on the composite objective itself."""
        run = train(task, objective=objective, episodes=episodes, gamma=gamma, seed=seed)
        return cls(run.total, run.best.total, run.seconds, run.environment_steps)


@dataclass(frozen=True)
class Scratch:
    """Training from scratch on the composite objective at one gamma, averaged over training seeds.

    Attributes:
        final: mean greedy return of the final policy.
        best_snapshot: mean greedy return of the best snapshot.
        highest: highest greedy return of any snapshot of any seed.
        seconds: mean wall-clock seconds of one training.
        environment_steps: mean environment steps of one training.
    """

    final: float
    best_snapshot: float
    highest: float
    seconds: float
    environment_steps: float

    @classmethod
    def of(cls, runs: Sequence[ScratchRun]) -> Scratch:
        """The mean over some runs."""
        return cls(
            final=float(np.mean([run.final for run in runs])),
            best_snapshot=float(np.mean([run.best_snapshot for run in runs])),
            highest=max(run.best_snapshot for run in runs),
            seconds=float(np.mean([run.seconds for run in runs])),
            environment_steps=float(np.mean([run.environment_steps for run in runs])),
        )


@dataclass(frozen=True, eq=False)
class Controls:
    """Controls of one environment and composite objective, shared by every cell that needs them.

    Attributes:
        optimum: best return possible, as exact as its family finds it; :data:`UNKNOWN` where it has no way to.
        random: J_rand, mean return of the uniformly random policy.
        scratch: training from scratch, by gamma.
        longer: the same with m times the episodes, by m and gamma.
    """

    optimum: Optimum
    random: float
    scratch: dict[float, Scratch]
    longer: dict[int, dict[float, Scratch]]

    @property
    def best_scratch(self) -> Scratch:
        """Scratch at the gamma that is best for this very environment: a stronger control than one gamma for all."""
        return max(self.scratch.values(), key=lambda scratch: scratch.final)

    @property
    def best_scratch_snapshot(self) -> float:
        """Mean return of the best snapshots, at the gamma that is best for this environment."""
        return max(scratch.best_snapshot for scratch in self.scratch.values())

    def best_longer(self, groups: int) -> Scratch:
        """Scratch with as many times the episodes as there are groups, at the gamma best for this environment."""
        return max(self.longer[groups].values(), key=lambda scratch: scratch.final)

    @property
    def highest(self) -> float:
        """The optimum where it is exact, else the highest return that its search or training from scratch found."""
        trained = [scratch.highest for runs in (self.scratch, *self.longer.values()) for scratch in runs.values()]
        return self.optimum.total if self.optimum.exact else max(self.optimum.total, *trained)


def real_returns(
    compiled: CompiledTask, space: CandidateSpace, candidates: np.ndarray, *, operator: Operator, masked: bool
) -> np.ndarray:
    """float64[K]: returns in the real environment of index tuples int[K, m] (measured afterwards; tier I4).

    Routes of ``gpi`` and ``switch`` keep to recorded transitions, which the environment repeats.
    """
    mixtures = space.mixtures(candidates)
    return operator.returns(compiled, space, mixtures, masked=masked, recorded=False)[0]


def measure_controls(task: Environment, objective: str, plan: ExperimentPlan) -> Controls:
    """Train, plan and roll out what does not depend on any composition."""
    multiples = sorted({len(setup.groups) for setup in plan.setups if setup.objective == objective})
    return Controls(
        optimum=best_known(task, objective),
        random=random_return(task, objective, episodes=plan.random_rollouts),
        scratch=_scratch(task, objective, plan, episodes=plan.episodes),
        longer={m: _scratch(task, objective, plan, episodes=m * plan.episodes) for m in multiples},
    )


def best_known(task: Environment, objective: str) -> Optimum:
    """J* as the family finds it; :data:`UNKNOWN` where it has no way to."""
    return UNKNOWN if task.hooks.optimum is None else optimum(task, objective=objective)


def _scratch(task: Environment, objective: str, plan: ExperimentPlan, *, episodes: int) -> dict[float, Scratch]:
    return {gamma: _scratch_at(task, objective, gamma, plan, episodes) for gamma in plan.gammas}


def _scratch_at(task: Environment, objective: str, gamma: float, plan: ExperimentPlan, episodes: int) -> Scratch:
    seeds = range(plan.training_seeds)
    return Scratch.of([ScratchRun.train(task, objective, episodes=episodes, gamma=gamma, seed=seed) for seed in seeds])


@dataclass(frozen=True, eq=False)
class SinglePolicies:
    """Every library policy of an environment and gamma, run alone on the composite objective.

    Attributes:
        space: one group with all of them.
        masked: whether they keep to actions that they took in training.
        returns: float64[P], their returns in the real environment.
    """

    space: CandidateSpace
    masked: bool
    returns: np.ndarray

    @classmethod
    def of(cls, groups: Sequence[PolicyGroup], compiled: CompiledTask, *, masked: bool) -> SinglePolicies:
        """Collect the members of ``groups`` and run each."""
        space = CandidateSpace.of([PolicyGroup.merge("any", groups)])
        alone = np.arange(space.sizes[0])[:, None]
        returns = real_returns(compiled, space, alone, operator=OPERATORS["sum"], masked=masked)
        return cls(space, masked, returns)

    def chosen_by(self, scorer: Scorer) -> float:
        """Return of the policy that a ranker's scorer puts first."""
        mixtures = self.space.mixtures(np.arange(len(self.returns))[:, None])
        scores = scorer.score(self.space, mixtures, operator=OPERATORS["sum"], masked=self.masked)
        return float(self.returns[scores.best()])

    @property
    def oracle(self) -> float:
        """Return of the best one."""
        return float(self.returns.max())


def random_groups(groups: Sequence[PolicyGroup], *, seed: int) -> list[PolicyGroup]:
    """Groups of the same sizes and support whose Q-values are standard normal: the library's knowledge taken away."""
    rng = np.random.default_rng(seed)
    return [replace(group, q=rng.standard_normal(group.q.shape, dtype=np.float32)) for group in groups]


def seed_of(task: Environment) -> int:
    """What random draws about an environment are seeded with: its own seed, else one that follows from what it is."""
    return int(task.digest[:8], 16) if task.seed is None else task.seed


def space_of(problem: Problem, operator: Operator) -> CandidateSpace:
    """The candidates of a problem, as an operator combines them."""
    weights = objective_weights(problem.objective, [group.objective for group in problem.members])
    return CandidateSpace.of(problem.members, weights=weights, normalised=operator.normalised)


def random_q_return(composer: Composer, problem: Problem, compiled: CompiledTask) -> float:
    """Return of the composition that the same search finds among random Q-tables in place of a problem's members."""
    made_up = random_groups(problem.members, seed=seed_of(problem.task))
    asked = replace(problem, members=tuple(made_up), environment="random")
    answer, operator = composer.compose(asked), composer.recipe.make_operator()
    if operator.pools_members:
        return rollout(problem.task, objective=problem.objective, **answer.played).total
    chosen, masked = answer.search.candidate_row, is_masked(composer.recipe.support)
    return float(real_returns(compiled, space_of(asked, operator), chosen, operator=operator, masked=masked)[0])
