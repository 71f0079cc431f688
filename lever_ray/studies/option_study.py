"""What policies are worth as options: quality on fresh layouts beside every control, one factor at a time.

Settings were chosen on other seeds. Coefficients of outcomes (tier I1) are fitted on layouts of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from time import perf_counter

import numpy as np

from lever_ray.composition.option_operator import Options
from lever_ray.composition.options import OptionRoute, exit_moves, search_options
from lever_ray.composition.outcome_task import OutcomeWorth, outcome_task
from lever_ray.composition.routes import member_actions
from lever_ray.embedding.offline import SUM, Pool, make_pool, offline_returns
from lever_ray.embedding.outcome import outcomes
from lever_ray.embedding.regressor import LinearPredictor, fit_regressor, term_weights
from lever_ray.embedding.successor import make_embedder
from lever_ray.errors import InvalidValue, check_known
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.statistics import Row
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import Snapshot, TrainingRun, train
from lever_ray.query.warm import warm_up, warm_up_options
from lever_ray.studies.option_levels import level_trials
from lever_ray.studies.option_trials import trials
from lever_ray.studies.option_variants import TIERS, Variant, estimates, factors, pools, pools_by_cuts
from lever_ray.tasks.canonical import canonical_states
from lever_ray.tasks.gridworld.layout import Layout, layout_family
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.registry import source
from lever_ray.tasks.rollout import random_return, rollout
from lever_ray.tasks.support import support_bits, taken_actions
from lever_ray.watching import Watch


@dataclass(frozen=True)
class OptionStudy:
    """What is trained, pooled and searched.

    Attributes:
        family: layout family.
        layouts: how many.
        first_layout: first layout seed; the others follow it.
        lessons: layouts that coefficients of outcomes are fitted on.
        first_lesson: first seed of these.
        training_seeds: per policy.
        setups: (mode, composite objective); the pool of a mode is every policy that it may use.
        vary: ``setups`` measures events alone and cut 8 on all of them, and on the last one alone: ``factors`` one
            factor at a time, ``pools`` every number of members with every cut, ``estimates`` what choice points are
            ranked by, ``trials`` what may be done on top, see :mod:`lever_ray.studies.option_trials`, and other orders,
            see :mod:`lever_ray.studies.option_levels`.

    Raises:
        InvalidValue: a number is below 1, or lessons and layouts overlap.
        UnknownName: the family is no layout family, or ``vary`` none of these.
    """

    family: str = "grid8"
    layouts: int = 300
    first_layout: int = 20_000
    lessons: int = 20
    first_lesson: int = 30_000
    training_seeds: int = 3
    setups: tuple[tuple[str, str], ...] = (
        ("trivial", "path-gold"),
        ("trivial", "path-gold-hazard"),
        ("double", "path-gold-hazard"),
        ("double", "path-gold-hazard-lever"),
        ("triple", "path-gold-hazard-lever"),
        ("trivial", "path-gold-hazard-lever"),
    )
    vary: str = "setups"

    def __post_init__(self) -> None:
        layout_family(self.family)
        check_known("way to vary", self.vary, ("setups", "factors", "pools", "trials", "estimates"))
        for name in ("layouts", "lessons", "training_seeds"):
            if getattr(self, name) < 1:
                raise InvalidValue(f"{name} is {getattr(self, name)}; at least 1 is needed")
        apart = self.first_lesson + self.lessons <= self.first_layout
        if not apart and self.first_lesson < self.first_layout + self.layouts:
            raise InvalidValue(
                f"lessons {self.first_lesson} to {self.first_lesson + self.lessons - 1} are among the layouts from "
                f"{self.first_layout} on; learn from others"
            )

    @property
    def variants(self) -> list[Variant]:
        """What is measured on every setup."""
        ways = {
            "factors": factors(),
            "pools": pools_by_cuts(),
            "estimates": estimates(),
            "trials": [*factors()[:2], pools()[2]],
        }
        return ways.get(self.vary, factors()[:2])

    @property
    def problems(self) -> list[Setup]:
        """The composition problems."""
        chosen = self.setups if self.vary == "setups" else self.setups[-1:]
        return [Setup.of(mode, objective, source(self.family)) for mode, objective in chosen]


LESSONS, LAYOUTS = "layouts to learn from", "layouts"
"""Stages of a study that first learns what outcomes are worth."""
Lesson = tuple[np.ndarray, np.ndarray, list[str]]
"""Outcomes float32[P, 5], own returns float64[P] and objectives of one layout's policies."""


def run_option_study(study: OptionStudy, *, executor: Executor, watch: Watch | None = None) -> list[Row]:
    """One row per layout, setup, variant and tier: quality of the route beside its controls."""
    names = tuple(dict.fromkeys(name for setup in study.problems for name in setup.pool))
    seeds = list(range(study.first_lesson, study.first_lesson + study.lessons))
    lessons = gathered(executor, lesson, seeds, shared=(study, names), watch=watch, stage=LESSONS)
    worths = {setup.mode + setup.objective: learnt_worth(setup, lessons) for setup in study.problems}
    asked = list(range(study.first_layout, study.first_layout + study.layouts))
    found = gathered(executor, _layout_rows, asked, shared=(study, worths), watch=watch, stage=LAYOUTS)
    return [row for rows in found for row in rows]


def lesson(seed: int, study: OptionStudy, names: tuple[str, ...]) -> Lesson:
    """What one layout's policies for some objectives tell of outcomes."""
    warm_up()
    world = World(Layout.sample(study.family, seed=seed), study)
    pool, members = world.pool(factors()[0], names)
    embedder = make_embedder(world.layout, canonical_states(world.layout, world.layout.dynamics.moves))
    x = outcomes(embedder, pool, np.arange(len(members), dtype=np.int32)[:, None])
    return x, np.array([snapshot.total for _, snapshot in members]), [name for name, _ in members]


def learnt_worth(setup: Setup, lessons: list[Lesson]) -> OutcomeWorth:
    """What outcomes are worth for an objective, learnt from policies of the setup's pool."""
    objective = Objective.of(setup.objective).resolved(Layout.terms)
    kept = [np.isin(names, setup.pool) for _, _, names in lessons]
    x = np.concatenate([each[0][rows] for each, rows in zip(lessons, kept, strict=True)])
    y = np.concatenate([each[1][rows] for each, rows in zip(lessons, kept, strict=True)])
    chosen = [name for _, _, names in lessons for name in names if name in setup.pool]
    terms = np.array([term_weights(name, Layout.terms) for name in chosen])
    fitted = fit_regressor(
        x, y, model="additive-ridge", target="own", kind="outcome", terms=terms, names=Layout.terms, objective=objective
    )
    predictor = fitted.predictor
    assert isinstance(predictor, LinearPredictor)
    return OutcomeWorth.of(predictor.coefficients, predictor.intercept, known=fitted.identified)


class World:
    """One layout, with what was trained on it."""

    def __init__(self, layout: Layout, study: OptionStudy) -> None:
        self.layout, self.study = layout, study
        self.run = cache(self._run)

    def _run(self, objective: str, gamma: float, seed: int, budget: str) -> TrainingRun:
        episodes = training_budget(budget).episodes
        return train(self.layout, objective=objective, episodes=episodes, gamma=gamma, seed=seed)

    def pool(self, variant: Variant, names: tuple[str, ...]) -> tuple[Pool, list[tuple[str, Snapshot]]]:
        """Members of a variant, with the names of what they were trained for."""
        members = [
            (name, run.snapshots[-1] if label == "final" else run.labelled()[label])
            for name in names
            for gamma in variant.gammas
            for seed in range(variant.seeds or self.study.training_seeds)
            for run in [self.run(name, gamma, seed, variant.budget)]
            for label in variant.labels
        ]
        support = support_bits(np.stack([snapshot.visits for _, snapshot in members]) > 0)
        return make_pool(np.stack([snapshot.q for _, snapshot in members]), support), members

    def scratch(self, objective: str) -> float:
        """The best of training from scratch at each discount, final or best snapshot, means over training seeds."""
        means = []
        for gamma in (0.0, 0.9, 0.99):
            runs = [self.run(objective, gamma, seed, "X1") for seed in range(self.study.training_seeds)]
            means += [np.mean([run.total for run in runs]), np.mean([run.best.total for run in runs])]
        return float(max(means))


def _layout_rows(seed: int, study: OptionStudy, worths: Mapping[str, OutcomeWorth]) -> list[Row]:
    warm_up()
    warm_up_options()
    world, rows = World(Layout.sample(study.family, seed=seed), study), []
    for setup in study.problems:
        problem = _Measured(world, setup, worths[setup.mode + setup.objective])
        rows += [problem.row(variant, tier) for variant in study.variants for tier in variant.tiers]
        if study.vary == "trials":
            rows += [row for variant in study.variants for tier in TIERS for row in problem.trial_rows(variant, tier)]
    common = {"layout_seed": seed, "trivial_layout": world.layout.trivial, "family": study.family}
    return [common | row for row in rows]


class _Measured:
    """One setup on one layout, with what its answers are measured against."""

    def __init__(self, world: World, setup: Setup, worth: OutcomeWorth) -> None:
        self.world, self.setup, layout = world, setup, world.layout
        self.tasks = {
            "I3": layout.compile(setup.objective),
            "I1": outcome_task(layout.dynamics, layout.horizon, worth),
        }
        self.chance = random_return(layout, setup.objective)
        self.scratch = world.scratch(setup.objective)
        self.best = max(optimum(layout, objective=setup.objective).total, self.scratch)

    def row(self, variant: Variant, tier: str) -> Row:
        """The route of a variant at a tier, and its controls under the same rule."""
        pool, members = self.world.pool(variant, self.setup.pool)
        actions, task = member_actions(pool), self.tasks[tier]
        begun = perf_counter()
        route = _searched(task, actions, variant.options, pool)
        seconds = perf_counter() - begun
        reached = self._return(route)
        alone = np.arange(len(members), dtype=np.int32)[:, None]
        singles, _ = offline_returns(self.tasks["I3"], pool, alone, SUM, True, False)
        scored, _ = offline_returns(task, pool, alone, SUM, True, True)
        controls = {
            "random_tables": self._under(
                random_actions(pool, self.world.layout.seed or 0), task, variant.options, pool
            ),
            "constant_actions": self._under(constant_actions(pool), task, variant.options, pool),
            "moves": self._under(constant_actions(pool), task, Options(cut=1, width=100), pool),
            "best_single": float(singles.max()),
            "best_single_by_score": float(singles[int(np.argmax(scored))]),
            "scratch": self.scratch,
        }
        strongest = max(controls["best_single"], self.scratch)
        return {
            "mode": self.setup.mode,
            "setup": self.setup.objective,
            "variant": variant.name,
            "tier": tier,
            "members": len(members),
            "quality/normalised": self._normalised(reached),
            "quality/share": reached / self.best,
            "quality/over_control": (reached - strongest) / (self.best - self.chance),
            "quality/over_single": (reached - controls["best_single_by_score"]) / (self.best - self.chance),
            **{f"quality/{name}": self._normalised(value) for name, value in controls.items()},
            "strongest": strongest,
            "segments": route.simulated,
            "steps": len(route.actions),
            "milliseconds": 1e3 * seconds,
        }

    def trial_rows(self, variant: Variant, tier: str) -> list[Row]:
        """What is done on top of a variant's route, trial by trial, and other orders; with a cut, these alone."""
        usual, (pool, _) = self.row(variant, tier), self.world.pool(variant, self.setup.pool)
        task, actions = self.tasks[tier], member_actions(pool)
        rows, rules = [], variant.options.rules
        tried = {} if rules.cut else trials(task, self.tasks["I3"], pool, actions, variant.options)
        for name, trial in (tried | level_trials(task, actions, rules)).items():
            total = trial.total
            if trial.actions is not None:
                total = rollout(self.world.layout, objective=self.setup.objective, actions=trial.actions).total
            reached = {
                "variant": f"{variant.name}, {name}",
                "quality/normalised": self._normalised(total),
                "quality/share": total / self.best,
                "quality/over_control": self._normalised(total) - self._normalised(usual["strongest"]),
                "quality/over_single": self._normalised(total) - usual["quality/best_single_by_score"],
                "segments": trial.segments,
                "milliseconds": 1e3 * trial.seconds,
            }
            rows.append(usual | reached)
        return rows

    def _normalised(self, value: float) -> float:
        return (value - self.chance) / (self.best - self.chance)

    def _under(self, actions: np.ndarray, task: CompiledTask, options: Options, pool: Pool) -> float:
        """What other members return under the same rule."""
        return self._return(_searched(task, actions, options, pool))

    def _return(self, route: OptionRoute) -> float:
        """In the real environment; what it reaches beyond the best known raises that for the rows to come."""
        total = rollout(self.world.layout, objective=self.setup.objective, actions=route.actions).total
        self.best = max(self.best, total)
        return total


def _searched(task: CompiledTask, actions: np.ndarray, options: Options, pool: Pool) -> OptionRoute:
    taken = taken_actions(np.bitwise_or.reduce(pool.support), pool.actions)
    toward = exit_moves(task, taken) if options.estimate == "exit" else None
    return search_options(task, actions, rules=options.rules, toward=toward)


def random_actions(pool: Pool, seed: int) -> np.ndarray:
    """int16[P, S]: as many tables of standard normal values, masked as the members are."""
    shape = (*pool.support.shape[:2], pool.actions)
    q = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return member_actions(make_pool(q, pool.support))


def constant_actions(pool: Pool) -> np.ndarray:
    """int16[A, S]: one action everywhere, where any member took it."""
    union = np.bitwise_or.reduce(pool.support)
    q = np.zeros((pool.actions, len(union), pool.actions), np.float32)
    q[np.arange(pool.actions), :, np.arange(pool.actions)] = 1.0
    support = np.stack([union & np.uint8(1 << action) for action in range(pool.actions)])
    return member_actions(make_pool(q, support))
