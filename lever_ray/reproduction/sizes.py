"""What the study consists of: families, layouts, budgets, ways of answering; everything is fixed before any reward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import prod

from lever_ray.composition.recipe import Recipe
from lever_ray.config import ContrastSettings, LibrarySettings
from lever_ray.experiment.plan import ALL_GAMMAS, ExperimentPlan, Setup
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import SNAPSHOTS_KEPT
from lever_ray.studies.groups import PUBLISHED_SETUPS
from lever_ray.tasks import registry
from lever_ray.tasks.protocol import Environment

STUDY = "reproduce"
"""Name of the study: of its folders, of its libraries and in MLflow."""
OBJECTIVES = ("path", "gold", "hazard", "lever", "path-gold", "hazard-lever", "path-gold-hazard")
"""What policies are trained for."""
FAMILIES = ("grid8", "grid16", "grid16-dense", "grid32")
TABLES = ("sum", "max", "normalized-sum")
EVALUATIONS = 100
"""B of ``budgeted``."""

_EXHAUSTIVE = {"operator": "sum", "strategy": "exhaustive", "ranker": "offline-return", "gamma": "0"}
CONTRASTS = (
    ContrastSettings("exhaustive sum, gamma 0, against the best single policy by oracle", _EXHAUSTIVE),
    ContrastSettings(
        "exhaustive sum, gamma 0, against scratch at its best gamma", _EXHAUSTIVE, against="return/scratch_best_gamma"
    ),
    ContrastSettings(
        "exhaustive sum, gamma 0, against random Q-tables under the same search",
        _EXHAUSTIVE,
        against="return/random_q",
    ),
    ContrastSettings(
        "targeted sum, gamma 0.99, against scratch at the same gamma",
        {"operator": "sum", "strategy": "targeted", "ranker": "offline-return", "gamma": "0.99"},
        against="return/scratch",
    ),
    ContrastSettings(
        "budgeted gpi, gamma 0, against the best single policy by oracle",
        {"operator": "gpi", "strategy": f"budgeted-{EVALUATIONS}", "gamma": "0"},
    ),
    ContrastSettings(
        "options over all discounts without the new reward, against the best single policy by oracle",
        {"operator": "options", "ranker": "regressor", "gamma": "inf"},
    ),
    ContrastSettings(
        "options over all discounts without the new reward, against scratch at its best gamma",
        {"operator": "options", "ranker": "regressor", "gamma": "inf"},
        against="return/scratch_best_gamma",
    ),
    ContrastSettings(
        "plan on recorded transitions, gamma 0, matches plan on random walks",
        {"operator": "plan", "gamma": "0"},
        against="return/walk_planner",
        claim="matches",
    ),
)
"""Comparisons that every family and budget is held to, fixed before the run; at most 8."""


@dataclass(frozen=True)
class Part:
    """Layouts of one family at one training budget.

    Attributes:
        family: source of the layouts.
        budget: of training.
        layouts: how many.
    """

    family: str
    budget: str
    layouts: int


@dataclass(frozen=True)
class StudyPlan:
    """The study at some size.

    Attributes:
        size: ``smoke``, ``quick`` or ``full``.
        parts: families and budgets with their layouts.
        gammas: discounts of the members.
        training_seeds: policies per objective, discount and budget; of controls, too.
        setups: mode and composite objective.
        operators: how members combine.
        ks: members per group that ``hybrid`` combines.
        route_ks: the same of ``gpi``, whose candidates each take a rollout.
        regressed: operators over tables that are also ranked by the usual regressor, beside ``offline-return``.
        most_routes: candidates up to which ``gpi`` is also tried exhaustively.
        unions: recorded transitions whose optimum J*_D is found: of each ``mode``'s whole pool, or of each ``case``.
        lessons: most layouts of a family that its regressors learn from, the first ones.
        first_layout: seed of the first layout.
        random_rollouts: episodes of the uniformly random policy.
        repeats: times that a fast query is asked.
        bootstrap: resamples of the layouts.
        coverage_layouts, chain_layouts: of grid8, that the studies of coverage and of chains train on; none of a study
            that is left out.
        curve_layouts: of each family, whose training from scratch is followed.
    """

    size: str
    parts: tuple[Part, ...]
    gammas: tuple[float, ...] = (0.0, 0.99)
    training_seeds: int = 3
    setups: tuple[tuple[str, str], ...] = PUBLISHED_SETUPS
    operators: tuple[str, ...] = (*TABLES, "gpi", "options", "plan")
    ks: tuple[int, ...] = (1, 2, 3, 4, 5)
    route_ks: tuple[int, ...] = (3,)
    regressed: tuple[str, ...] = ("sum",)
    most_routes: int = 100
    unions: str = "mode"
    lessons: int = 20
    first_layout: int = 0
    random_rollouts: int = 100
    repeats: int = 3
    bootstrap: int = 2_000
    coverage_layouts: int = 15
    chain_layouts: int = 20
    curve_layouts: int = 6

    @property
    def families(self) -> tuple[str, ...]:
        """Families in their order."""
        return tuple(dict.fromkeys(part.family for part in self.parts))

    def parts_of(self, family: str) -> list[Part]:
        """The parts of a family."""
        return [part for part in self.parts if part.family == family]

    def seeds(self, part: Part) -> range:
        """Seeds of a part's layouts."""
        return range(self.first_layout, self.first_layout + part.layouts)

    def lessons_of(self, part: Part) -> tuple[str, ...]:
        """Names of the layouts that a part's regressors learn from."""
        return tuple(environment_of(part.family, seed) for seed in self.seeds(part)[: self.lessons])

    def library(self, part: Part) -> LibrarySettings:
        """The policies of a part; those of all budgets of a family lie in one library."""
        return LibrarySettings(
            name=f"{STUDY}-{part.family}-{self.training_seeds}-seeds",
            family=part.family,
            layouts=part.layouts,
            first_layout=self.first_layout,
            training_seeds=self.training_seeds,
            gammas=list(self.gammas),
            budget=part.budget,
            objectives=list(OBJECTIVES),
        )

    def setups_of(self, family: str) -> tuple[Setup, ...]:
        """The composition problems in a family."""
        source = registry.source(family)
        return tuple(Setup.of(mode, objective, source) for mode, objective in self.setups)

    def experiment(self, part: Part) -> ExperimentPlan:
        """A part as an experiment of all ways."""
        return ExperimentPlan(
            family=part.family,
            budget=part.budget,
            episodes=training_budget(part.budget).episodes,
            gammas=self.gammas,
            training_seeds=self.training_seeds,
            setups=self.setups_of(part.family),
            recipes=self.ways,
            random_rollouts=self.random_rollouts,
            repeats=self.repeats,
        )

    @cached_property
    def ways(self) -> tuple[Recipe, ...]:
        """Every way of answering, those of one operator together, and of one ranker within it."""
        return tuple(way for operator in self.operators for way in self._ways_of(operator))

    def _ways_of(self, operator: str) -> Iterator[Recipe]:
        if operator == "plan":
            yield Recipe(strategy="targeted", operator=operator)
        elif operator == "options":
            for ranker in ("regressor", "offline-return"):
                yield Recipe(strategy="exhaustive", operator=operator, ranker=ranker)
        else:
            rankers = (*(("regressor",) if operator in self.regressed else ()), "offline-return")
            hybrids = tuple(f"hybrid-{k}" for k in (self.ks if operator in TABLES else self.route_ks))
            strategies = ("targeted", *hybrids, f"budgeted-{EVALUATIONS}", "exhaustive")
            for ranker in rankers:
                for strategy in strategies:
                    yield Recipe(strategy=strategy, operator=operator, ranker=ranker)

    def ways_at(self, setup: Setup, gamma: float) -> list[Recipe]:
        """The ways that make sense for a setup at a discount; over all discounts those that mix them."""
        product = prod([SNAPSHOTS_KEPT * self.training_seeds] * len(setup.groups))
        return [
            way
            for way in self.ways
            if (gamma != ALL_GAMMAS or way.make_operator().pools_members)
            and not (way.operator == "gpi" and way.strategy == "exhaustive" and product > self.most_routes)
        ]

    @property
    def member_gammas(self) -> tuple[float, ...]:
        """Discounts at which members are composed, :data:`ALL_GAMMAS` among them where an operator mixes them."""
        mixing = "options" in self.operators and len(self.gammas) > 1
        return (*self.gammas, ALL_GAMMAS) if mixing else self.gammas


def environment_of(family: str, seed: int) -> str:
    """Name of a layout in the libraries of the study."""
    return f"{family}-{seed}"


@cache
def layout(family: str, seed: int) -> Environment:
    """The layout that is sampled with a seed."""
    return registry.source(family).sample(seed)


def _parts(layouts: dict[str, int], budgets: Sequence[str]) -> tuple[Part, ...]:
    return tuple(Part(family, budget, count) for family, count in layouts.items() for budget in budgets)


_QUICK = StudyPlan("quick", _parts({"grid8": 30, "grid16": 10, "grid16-dense": 10, "grid32": 6}, ("X1", "X5")))
_FULL = _parts(dict.fromkeys(FAMILIES, 30), ("X1", "X5", "X10"))
SIZES: dict[str, StudyPlan] = {
    "smoke": replace(
        _QUICK,
        size="smoke",
        parts=(Part("grid8", "X1", 4),),
        training_seeds=1,
        setups=(("trivial", "path-gold"), ("double", "path-gold-hazard-lever")),
        ks=(1, 2),
        repeats=2,
        bootstrap=500,
        coverage_layouts=1,
        chain_layouts=0,
        curve_layouts=1,
    ),
    "quick": _QUICK,
    "full": replace(
        _QUICK,
        size="full",
        parts=(Part("grid8", "X1", 300), *(part for part in _FULL if part != Part("grid8", "X1", 30))),
        route_ks=(1, 2, 3, 4, 5),
        most_routes=1_000,
        regressed=TABLES,
        unions="case",
        repeats=5,
        coverage_layouts=30,
        chain_layouts=100,
        curve_layouts=30,
    ),
}
"""``smoke`` in a minute, ``quick`` in a quarter of an hour on 2 cores; ``full`` has 300 layouts for the equivalence
tests of grid8 and 30 elsewhere."""
