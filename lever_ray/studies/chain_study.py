"""Chains that no policy of the library took: does composition fall below scratch exactly where value must propagate?

Library policies are trained in the environment without the chain; scratch may take it. Two by two: the chain's
transitions are recorded in the library (``union``, in no policy's values) or not (``absent``), and policies are trained
and measured under the reward with distance shaping or without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.errors import InvalidValue, check_known, check_whole
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.controls import random_groups
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.statistics import Row
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import TrainingRun
from lever_ray.query.warm import warm_up, warm_up_options, warm_up_routes
from lever_ray.studies.chain import (
    CUTS,
    Chain,
    chain_of,
    check_position,
    library_group,
    reachable_part,
    train_without,
)
from lever_ray.studies.chain_answers import Question, answer, best_single, check_operator, pairs_of
from lever_ray.studies.chain_findings import is_needed
from lever_ray.tasks.gridworld.layout import Layout, layout_family
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.registry import source
from lever_ray.tasks.rollout import random_return, rollout
from lever_ray.tasks.support import support_bits, taken_actions
from lever_ray.watching import Watch

UNION, ABSENT = "union", "absent"


@dataclass(frozen=True)
class ChainStudy:
    """What is taken out of optimal routes, trained and composed.

    Attributes:
        family: layout family.
        layouts: how many.
        first_layout: first layout seed.
        lengths: transitions of the chain; 0 takes nothing out. Routes that are shorter have no rows of that length.
        positions: places of the chain on the route, 0 (its beginning) to 1 (its end).
        cut: ``route`` or ``bottleneck``, see :data:`lever_ray.studies.chain.CUTS`.
        gammas: discounts of members and of scratch.
        shapings: factors of all distance-shaping terms, of the reward that is trained for and measured.
        mode: which sub-objectives members are trained for.
        objective: the composite objective.
        operators: tables, ``gpi``, ``options`` or ``plan``.
        training_seeds: per policy; three snapshots of each are members.
        budget: training budget.

    Raises:
        InvalidValue: a number lies outside its domain, or nothing is asked.
        UnknownName: a name is not known.
    """

    family: str = "grid8"
    layouts: int = 100
    first_layout: int = 0
    lengths: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    positions: tuple[float, ...] = (0.0, 0.5, 1.0)
    cut: str = "route"
    gammas: tuple[float, ...] = (0.0, 0.99)
    shapings: tuple[float, ...] = (1.0, 0.0)
    mode: str = "trivial"
    objective: str = "path-gold-hazard-lever"
    operators: tuple[str, ...] = ("sum", "max", "gpi", "options", "plan")
    training_seeds: int = 3
    budget: str = "X1"

    def __post_init__(self) -> None:
        layout_family(self.family)
        check_known("cut", self.cut, CUTS)
        training_budget(self.budget)
        assert self.setup  # refuses what it does not know
        for name, what in (("layouts", "layouts"), ("training_seeds", "seeds per policy")):
            check_whole(name, getattr(self, name), 1, what)
        check_whole("first_layout", self.first_layout, 0, "a seed")
        for name in ("lengths", "positions", "gammas", "shapings", "operators"):
            if not getattr(self, name):
                raise InvalidValue(f"{name} of the chain study must not be empty; give at least one")
        for length in self.lengths:
            check_whole("lengths", length, 0, "transitions of the chain")
        for gamma in self.gammas:
            if not 0.0 <= gamma <= 1.0:
                raise InvalidValue(f"gammas hold {gamma}; a discount must lie in [0, 1]")
        for position in self.positions:
            check_position(position)
        for operator in self.operators:
            check_operator(operator)

    @property
    def setup(self) -> Setup:
        """The composite objective and its groups."""
        return Setup.of(self.mode, self.objective, source(self.family))

    @property
    def places(self) -> list[tuple[int, float]]:
        """Every (length, position); nothing is taken out at one place alone."""
        return [(length, place) for length in sorted(self.lengths) for place in (self.positions if length else (0.0,))]


def run_chain_study(study: ChainStudy, *, executor: Executor, watch: Watch | None = None) -> list[Row]:
    """One row per layout, shaping, gamma, length, position, arm of the chain and operator.

    Columns beside these: ``quality/normalised``, (J - J_rand) / (J* - J_rand) under the same reward, of the operator's
    answer, and ``quality/mean_candidate`` of all its candidates; ``quality/scratch`` at the layout's best gamma and
    ``quality/scratch_same_gamma``, means over training seeds; ``over/scratch`` and ``over/scratch_same_gamma``, quality
    less these; ``quality/best_single`` by oracle; ``quality/random_tables``, random tables with the same records under
    the same search; ``quality/optimum_recorded``, J*_D of the library's records, and ``quality/optimum_without``, of
    the environment without the chain: how much it is needed (``needed``, in a word); ``chain/taken``, share of the
    chain's pairs that the answer's route takes, NaN where there are none. J of a route that leaves the records is that
    of its prefix.

    Raises:
        InvalidValue: no optimal route is as long as the shortest chain.
    """
    seeds = list(range(study.first_layout, study.first_layout + study.layouts))
    found = gathered(executor, _layout_rows, seeds, shared=(study,), watch=watch, stage="layouts")
    if not any(found):
        raise InvalidValue(
            f"lengths is {study.lengths}; no optimal route has so many transitions: ask for shorter chains"
        )
    return [row for rows in found for row in rows]


def _layout_rows(seed: int, study: ChainStudy) -> list[Row]:
    warm_up()
    warm_up_options()
    warm_up_routes()
    layout = Layout.sample(study.family, seed=seed)
    common = {"layout_seed": seed, "trivial_layout": layout.trivial, "family": study.family, "cut": study.cut}
    return [common | row for shaping in study.shapings for row in _World(layout, study, shaping).rows()]


class _World:
    """A layout under one reward, and what is remembered of it."""

    def __init__(self, layout: Layout, study: ChainStudy, shaping: float) -> None:
        self.layout, self.study, self.shaping, self.setup = layout, study, shaping, study.setup
        self.wanted = Objective.of(study.objective).resolved(layout.terms)
        self.task = layout.compile(study.objective, shaping=shaping)
        self.best = optimum(layout, objective=study.objective, shaping=shaping)
        self.route = rollout(layout, objective=study.objective, actions=self.best.actions, shaping=shaping)
        self.chance = random_return(layout, study.objective, shaping=shaping)
        self._within: dict[bytes, float] = {}
        self._scratch: dict[bytes, dict[float, float]] = {}

    def rows(self) -> list[Row]:
        """Rows of every place and gamma, normalised by the best return of all."""
        study = self.study
        found = []
        for length, position in study.places:
            if length > len(self.route.actions):
                continue
            chain = chain_of(self.layout, self.route, length=length, position=position, cut=study.cut)
            for gamma in study.gammas:
                place = {"shaping": self.shaping, "gamma": gamma, "length": length, "position": position}
                found += [place | row for row in self._asked(chain, gamma)]
        best = max([self.best.total, *(value for row in found for value in _returns(row))])
        return [self._normalised(row, best) for row in found]

    def _asked(self, chain: Chain, gamma: float) -> list[Row]:
        """Raw returns of both arms and every operator, under ``quality/``."""
        groups = [
            library_group(name, self._trained(name, chain.missing, gamma), chain.missing) for name in self.setup.groups
        ]
        guesses = random_groups(groups, seed=self.layout.seed or 0)
        scratch = self._scratch_returns(chain.barred)
        recorded, found = taken_actions(CandidateSpace.of(groups).union, self.layout.actions), []
        for arm, extra in ((UNION, chain.pairs), (ABSENT, np.zeros_like(chain.pairs))):
            asked, guessed = (Question(self.task, self.wanted, each, extra) for each in (groups, guesses))
            common = {
                "quality/scratch": max(scratch.values()),
                "quality/scratch_same_gamma": scratch[gamma],
                "quality/best_single": best_single(asked),
                "quality/optimum_recorded": self._best_within(recorded | extra),
                "quality/optimum_without": self._best_within(~chain.missing),
            }
            for operator in self.study.operators:
                told = self._answered(asked, guessed, operator, chain)
                found.append({"chain": arm, "operator": operator} | told | common)
        return found

    def _answered(self, asked: Question, guessed: Question, operator: str, chain: Chain) -> Row:
        given = answer(asked, operator)
        taken = pairs_of(self.task, given.actions)[chain.pairs]
        return {
            "quality/normalised": given.total,
            "quality/mean_candidate": given.mean,
            "quality/random_tables": answer(guessed, operator).total,
            "chain/taken": float(taken.mean()) if len(taken) else math.nan,
        }

    def _trained(self, objective: str, missing: np.ndarray, gamma: float) -> list[TrainingRun]:
        study = self.study
        return train_without(
            self.layout,
            objective,
            missing,
            gamma=gamma,
            shaping=self.shaping,
            episodes=training_budget(study.budget).episodes,
            seeds=study.training_seeds,
        )

    def _scratch_returns(self, barred: np.ndarray) -> dict[float, float]:
        """Mean return over training seeds by gamma, where some pairs are barred for everyone."""
        key = barred.tobytes()
        if key not in self._scratch:
            self._scratch[key] = {
                gamma: float(np.mean([run.total for run in self._trained(self.study.objective, barred, gamma)]))
                for gamma in self.study.gammas
            }
        return self._scratch[key]

    def _best_within(self, taken: np.ndarray) -> float:
        """J* by some pairs alone; those that cannot be come to change nothing."""
        part = reachable_part(self.layout, taken)
        key = part.tobytes()
        if key not in self._within:
            support = support_bits(part)
            found = optimum(self.layout, objective=self.study.objective, support=support, shaping=self.shaping)
            self._within[key] = found.total
        return self._within[key]

    def _normalised(self, row: Row, best: float) -> Row:
        scaled = {
            name: (value - self.chance) / (best - self.chance) if name.startswith("quality/") else value
            for name, value in row.items()
        }
        over = {f"over/{name}": scaled["quality/normalised"] - scaled[f"quality/{name}"] for name in _SCRATCH}
        return scaled | over | {"needed": is_needed(scaled["quality/optimum_without"], row["length"])}


_SCRATCH = ("scratch", "scratch_same_gamma")


def _returns(row: Row) -> list[float]:
    return [value for name, value in row.items() if name.startswith("quality/")]
