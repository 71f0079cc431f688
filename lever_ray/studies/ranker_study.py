"""How well rankers order candidates on unseen layouts, with all and with part of what training recorded.

Policies are trained per layout; recorded (cell, action) pairs are then dropped down to a share, the coverage. Layouts
are dealt into folds; regressors are fitted on the layouts of the other folds at equal coverage and rank the
candidates of this one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from lever_ray.composition.groups import CandidateSpace, objective_weights
from lever_ray.composition.operators import table_operator
from lever_ray.composition.rankers.offline_return import OfflineReturnScorer
from lever_ray.composition.rankers.recorded_return import RecordedReturnScorer
from lever_ray.composition.scores import Scores
from lever_ray.composition.table_operators import kernel_form
from lever_ray.embedding.offline import SUM, Pool, make_pool, offline_returns
from lever_ray.embedding.outcome import OFF_SUPPORT, behaviour_features, outcomes
from lever_ray.embedding.recorded import recorded_returns
from lever_ray.embedding.regressor import TERM_MODELS, FittedRegressor, fit_regressor, term_weights
from lever_ray.embedding.successor import Embedder, make_embedder
from lever_ray.errors import InvalidValue, check_known
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.statistics import Row
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import train
from lever_ray.policies.group import PolicyGroup
from lever_ray.statistics.contrasts import rank_correlation
from lever_ray.studies.groups import PUBLISHED_SETUPS, group_of_snapshots
from lever_ray.studies.partial_records import DROPS, thin_groups
from lever_ray.studies.ranker_cases import RANKER_CASES, RankerCase
from lever_ray.tasks.canonical import canonical_states
from lever_ray.tasks.gridworld.layout import Layout, layout_family
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.registry import source
from lever_ray.tasks.rollout import random_return
from lever_ray.tasks.support import taken_actions
from lever_ray.watching import Watch


@dataclass(frozen=True)
class RankerStudy:
    """What is trained, what of it is dropped, and what ranks.

    Attributes:
        family: layout family.
        layouts: how many.
        first_layout: first layout seed; the others follow it.
        gammas: discounts.
        setups: (mode, composite objective).
        coverages: shares of recorded pairs that are kept, in (0, 1].
        drop: one of :data:`DROPS`.
        cases: the rankers.
        operator: a built-in operator over tables.
        training_seeds: per policy; three snapshots of each are members.
        budget: training budget.
        candidates: per setup at most; a seeded sample where there are more.
        folds: of layouts; as many as layouts leave out one at a time.
        random_rollouts: for J_rand.

    Raises:
        UnknownName: family, drop rule, mode or objective is not known.
        InvalidValue: a number is outside its domain.
    """

    family: str = "grid8"
    layouts: int = 100
    first_layout: int = 0
    gammas: tuple[float, ...] = (0.0, 0.99)
    setups: tuple[tuple[str, str], ...] = PUBLISHED_SETUPS
    coverages: tuple[float, ...] = (1.0, 0.5, 0.3)
    drop: str = "shared"
    cases: tuple[RankerCase, ...] = RANKER_CASES
    operator: str = "sum"
    training_seeds: int = 3
    budget: str = "X1"
    candidates: int = 1_000
    folds: int = 10
    random_rollouts: int = 100

    def __post_init__(self) -> None:
        layout_family(self.family)
        check_known("drop rule", self.drop, DROPS)
        training_budget(self.budget)
        table_operator(self.operator)
        if not 2 <= self.folds <= self.layouts:
            raise InvalidValue(f"folds is {self.folds}; from 2 to layouts ({self.layouts}) make sense")
        if not all(0.0 < coverage <= 1.0 for coverage in self.coverages):
            raise InvalidValue(f"coverages are {self.coverages}; each must lie in (0, 1]")
        if self.candidates < 2:
            raise InvalidValue(f"candidates is {self.candidates}; at least 2 can be ranked")

    @property
    def problems(self) -> tuple[Setup, ...]:
        """The setups, with their groups."""
        return tuple(Setup.of(mode, objective, source(self.family)) for mode, objective in self.setups)

    @property
    def objectives(self) -> tuple[str, ...]:
        """What policies are trained for: the pools of all setups."""
        return tuple(dict.fromkeys(name for setup in self.problems for name in setup.pool))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The features that some case reads."""
        return tuple(dict.fromkeys(case.features for case in self.cases if case.learns))


class TrainedLayout(NamedTuple):
    """One layout's policies and yardsticks: groups by (gamma, objective), (J*, J_rand) by composite objective."""

    seed: int
    layout: Layout
    groups: dict[tuple[float, str], PolicyGroup]
    yardsticks: dict[str, tuple[float, float]]


class Recorded(NamedTuple):
    """Policies of one layout at one gamma and coverage: one group per objective, all in one pool."""

    seed: int
    layout: Layout
    groups: dict[str, PolicyGroup]
    pool: Pool
    embedder: Embedder


class Lessons(NamedTuple):
    """What regressors may learn from one layout: its policies, features by kind and masking, returns by target."""

    objectives: np.ndarray
    x: dict[tuple[str, bool], np.ndarray]
    y: dict[str, np.ndarray]


def run_ranker_study(study: RankerStudy, *, executor: Executor, watch: Watch | None = None) -> list[Row]:
    """Train, drop, fit and rank.

    Returns:
        One row per gamma, coverage, layout, setup and case: ``regret``, ``tau`` (NaN where undefined, which
        ``undefined`` says), ``returns_tie`` (all candidates have one real return: no ranker can err, and tau is
        undefined), ``left_support`` (share of candidates) and what identifies the row. Where a regressor finds nothing
        to learn from, the first candidate is chosen, and tau is undefined.
    """
    seeds = list(range(study.first_layout, study.first_layout + study.layouts))
    trained = gathered(executor, train_layout, seeds, shared=(study,), watch=watch, stage="training layouts")
    rows, cases = [], list(product(study.gammas, study.coverages))
    for place, (gamma, coverage) in enumerate(cases, 1):
        case, told = (study, gamma, coverage), f"case {place} of {len(cases)}"
        lessons = gathered(executor, _lessons, trained, shared=case, watch=watch, stage=f"{told}, lessons of layouts")
        shared, folds = (trained, lessons, *case), list(range(study.folds))
        found = gathered(executor, _fold_rows, folds, shared=shared, watch=watch, stage=f"{told}, folds")
        rows += [row for part in found for row in part]
    return rows


def train_layout(seed: int, study: RankerStudy) -> TrainedLayout:
    """Train every objective, gamma and seed on one layout; three snapshots of each."""
    layout = Layout.sample(study.family, seed=seed)
    groups = {
        (gamma, objective): _train_group(layout, study, objective, gamma)
        for gamma, objective in product(study.gammas, study.objectives)
    }
    yardsticks = {
        setup.objective: (
            optimum(layout, objective=setup.objective).total,
            random_return(layout, setup.objective, episodes=study.random_rollouts),
        )
        for setup in study.problems
    }
    return TrainedLayout(seed, layout, groups, yardsticks)


def _train_group(layout: Layout, study: RankerStudy, objective: str, gamma: float) -> PolicyGroup:
    episodes = training_budget(study.budget).episodes
    runs = [
        train(layout, objective=objective, episodes=episodes, gamma=gamma, seed=seed)
        for seed in range(study.training_seeds)
    ]
    return group_of_snapshots(objective, (snapshot for run in runs for snapshot in run.labelled().values()))


def _recorded(trained: TrainedLayout, study: RankerStudy, gamma: float, coverage: float) -> Recorded:
    whole = [trained.groups[gamma, objective] for objective in study.objectives]
    groups = thin_groups(whole, coverage=coverage, drop=study.drop, seed=trained.seed)
    support = np.concatenate([group.support for group in groups])
    known = taken_actions(np.bitwise_or.reduce(support), trained.layout.actions)
    successors = np.where(known, trained.layout.dynamics.moves, np.int32(-1)).astype(np.int32)
    embedder = make_embedder(trained.layout, canonical_states(trained.layout, successors))
    pool = make_pool(np.concatenate([group.q for group in groups]), support)
    return Recorded(trained.seed, trained.layout, {group.objective: group for group in groups}, pool, embedder)


def _lessons(trained: TrainedLayout, study: RankerStudy, gamma: float, coverage: float) -> Lessons:
    """Features and returns of one layout's policies.

    A policy's own return is that of its unmasked greedy rollout: its features are those of the unmasked policy, and it
    is left out (NaN) where the records that are left do not show that rollout. The other targets are returns of the
    masked policy, of the prefix where it leaves the support.
    """
    held = _recorded(trained, study, gamma, coverage)
    singles = np.arange(len(held.pool.q), dtype=np.int32)[:, None]
    x = {
        (kind, masked): behaviour_features(held.embedder, held.pool, singles, masked=masked, kind=kind)
        for kind, masked in product(study.kinds, (False, True))
    }
    groups, layout = held.groups.values(), held.layout
    rewards = np.concatenate([group.mean_rewards for group in groups])
    recorded, _ = recorded_returns(
        layout.dynamics, layout.horizon, layout.discount, held.pool, rewards, singles, SUM, True
    )
    shown = outcomes(held.embedder, held.pool, singles, masked=False)[:, OFF_SUPPORT] == 0
    totals = np.concatenate([group.totals for group in groups])
    y = {"own": np.where(shown, totals, np.nan), "recorded": recorded}
    for setup in study.problems:
        task = layout.compile(setup.objective)
        y[setup.objective], _ = offline_returns(task, held.pool, singles, SUM, True, True)
    return Lessons(np.repeat(list(held.groups), [len(group) for group in groups]), x, y)


def fit_case(case: RankerCase, setup: Setup, lessons: Iterable[Lessons]) -> FittedRegressor:
    """Fit one case's regressor on other layouts, on policies of the setup's pool alone.

    Raises:
        InvalidValue: the policies whose return is known do not suffice, see
            :func:`lever_ray.embedding.regressor.fit_regressor`.
    """
    target = setup.objective if case.target == "composite" else case.target
    xs, ys, names = [], [], []
    for lesson in lessons:
        usable = np.isin(lesson.objectives, setup.pool) & np.isfinite(lesson.y[target])
        xs.append(case.columns(lesson.x[case.features, case.target != "own"])[usable])
        ys.append(lesson.y[target][usable])
        names.append(lesson.objectives[usable])
    weights = {name: term_weights(name, Layout.terms) for name in setup.pool}
    terms = np.array([weights[name] for name in np.concatenate(names)]).reshape(-1, len(Layout.terms))
    return fit_regressor(
        np.concatenate(xs), np.concatenate(ys), model=case.model, target=case.target, kind=case.features,
        terms=terms, names=Layout.terms, objective=Objective.of(setup.objective),
    )  # fmt: skip


def _fitted(case: RankerCase, setup: Setup, lessons: Iterable[Lessons]) -> FittedRegressor | None:
    """None where so little is left of the records that nothing can be learnt."""
    try:
        return fit_case(case, setup, lessons)
    except InvalidValue:
        return None


def _fold_rows(
    fold: int,
    trained: Sequence[TrainedLayout],
    lessons: Sequence[Lessons],
    study: RankerStudy,
    gamma: float,
    coverage: float,
) -> list[Row]:
    """Fit on the other folds, rank on this one."""
    others = [lesson for place, lesson in enumerate(lessons) if place % study.folds != fold]
    fitted: dict[tuple[Any, ...], FittedRegressor | None] = {}
    rows = []
    for unseen in trained[fold :: study.folds]:
        held = _recorded(unseen, study, gamma, coverage)
        for setup in study.problems:
            problem = _Problem.of(held, setup, study, unseen.yardsticks[setup.objective])
            for case in study.cases:
                # what is added up over terms, or relabelled, depends on the composite objective
                whole = case.target == "composite" or case.model in TERM_MODELS
                key = (case, setup if whole else setup.pool)
                if case.learns and key not in fitted:
                    fitted[key] = _fitted(case, setup, others)
                rows.append({"gamma": gamma, "coverage": coverage} | problem.row(case, fitted.get(key)))
    return [{"family": study.family, "drop": study.drop} | row for row in rows]


@dataclass(frozen=True, eq=False)
class _Problem:
    """The candidates of one setup in one layout: what they are really worth, and what rankers know of them."""

    setup: Setup
    held: Recorded
    space: CandidateSpace
    mixtures: np.ndarray
    x: dict[str, np.ndarray]
    baselines: dict[str, Scores]
    returns: np.ndarray
    left_support: np.ndarray
    scale: float

    @classmethod
    def of(cls, held: Recorded, setup: Setup, study: RankerStudy, yardsticks: tuple[float, float]) -> _Problem:
        weights = objective_weights(Objective.of(setup.objective), setup.groups)
        space = CandidateSpace.of([held.groups[name] for name in setup.groups], weights=weights)
        mixtures = space.mixtures(_sample(space, study.candidates, held.seed))
        operator = table_operator(study.operator)
        pool, rows, code = kernel_form(operator, space, mixtures)
        task = held.layout.compile(setup.objective)
        returns, _ = offline_returns(task, pool, rows, code, True, False)
        offline = OfflineReturnScorer(task).score(space, mixtures, operator=operator, masked=True)
        recorded = RecordedReturnScorer(held.layout.dynamics, held.layout.horizon, held.layout.discount)
        nobody = np.zeros(len(mixtures), bool)
        totals = np.concatenate([group.totals for group in space.groups])
        baselines = {
            "own-returns": Scores(totals[mixtures].sum(axis=1), nobody),
            "recorded-return": recorded.score(space, mixtures, operator=operator, masked=True),
            "offline-return": offline,
            "offline-prefix": Scores(offline.values, nobody),
        }
        x = {
            kind: behaviour_features(held.embedder, pool, rows, operator=code, masked=True, kind=kind)
            for kind in study.kinds
        }
        best, chance = yardsticks
        scale = max(best, float(returns.max())) - chance
        return cls(setup, held, space, mixtures, x, baselines, returns, offline.left_support, scale)

    def row(self, case: RankerCase, fitted: FittedRegressor | None) -> Row:
        """One case's row."""
        scores = self._scores(case, fitted)
        chosen = self.returns.mean() if scores is None else self.returns[scores.best()]
        tau, tie = self._tau(scores), bool(np.ptp(self.returns) == 0.0)
        regret = float(self.returns.max() - chosen) / self.scale
        return {
            "mode": self.setup.mode,
            "setup": self.setup.objective,
            "groups": " + ".join(self.setup.groups),
            **case.row(),
            "layout_seed": self.held.seed,
            "trivial_layout": self.held.layout.trivial,
            "candidates": len(self.returns),
            "regret": regret,
            "regret_where_returns_differ": math.nan if tie else regret,
            "tau": tau,
            "undefined": float(math.isnan(tau)),
            "returns_tie": float(tie),
            "left_support": float(self.left_support.mean()),
        }

    def _scores(self, case: RankerCase, fitted: FittedRegressor | None) -> Scores | None:
        if not case.learns:
            return self.baselines.get(case.ranker)
        nothing = np.zeros(len(self.returns))
        values = nothing if fitted is None else fitted.predictor.predict(case.columns(self.x[case.features]))
        return Scores(values, nothing > 0)

    def _tau(self, scores: Scores | None) -> float:
        """Kendall tau-b between scores and real returns; NaN where either ties throughout."""
        return math.nan if scores is None else rank_correlation(scores.comparable(), self.returns)


def _sample(space: CandidateSpace, most: int, seed: int) -> np.ndarray:
    """int64[K, m]: all candidates as index tuples, or a seeded sample of ``most``."""
    flat = np.arange(space.candidates)
    if len(flat) > most:
        flat = np.sort(np.random.default_rng([seed, len(space.sizes)]).choice(len(flat), size=most, replace=False))
    return np.stack(np.unravel_index(flat, space.sizes), axis=1)
