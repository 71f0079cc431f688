"""What an experiment consists of: setups, cells and their readable ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lever_ray.composition.groups import cover
from lever_ray.composition.operators import composition_operator, is_masked
from lever_ray.composition.rankers import RANKERS
from lever_ray.composition.search import Strategy
from lever_ray.config import ExperimentSettings, LibrarySettings, StrategySettings
from lever_ray.embedding.regressor import MODELS, TARGETS
from lever_ray.embedding.successor import KINDS
from lever_ray.errors import InvalidValue, UnknownName, check_known
from lever_ray.gridworld.objective import TERMS, Objective
from lever_ray.query.compose import RegressorSettings

POOLS: dict[str, tuple[str, ...]] = {
    "trivial": TERMS,
    "double": (*TERMS, "path-gold", "hazard-lever"),
    "triple": (*TERMS, "path-gold-hazard"),
}
"""Objectives whose policies each mode may use."""


@dataclass(frozen=True)
class Setup:
    """A composition problem.

    Attributes:
        mode: key of :data:`POOLS`.
        objective: the composite objective's name.
        groups: the sub-objectives that cover it.
        pool: objectives that the groups may come from; never the composite itself.
    """

    mode: str
    objective: str
    groups: tuple[str, ...]
    pool: tuple[str, ...]

    @classmethod
    def of(cls, mode: str, objective: str) -> Setup:
        """Cover an objective with a mode's pool.

        Raises:
            UnknownName: the mode or an objective term is not known.
            UncoveredObjective: the pool has no exact cover.
        """
        check_known("mode", mode, POOLS)
        wanted = Objective.of(objective)
        pool = tuple(name for name in POOLS[mode] if name != wanted.name)
        return cls(mode, wanted.name, cover(wanted, pool), pool)


@dataclass(frozen=True)
class ExperimentPlan:
    """An experiment's settings, checked; everything is fixed before any reward is seen.

    Attributes:
        family: layout family.
        budget: name of the training budget.
        episodes: its episodes.
        gammas: discounts of the members.
        training_seeds: seeds of the scratch control.
        setups, strategies, rankers, operator, support, regressor, random_rollouts: see
            :class:`lever_ray.config.ExperimentSettings`.
    """

    family: str
    budget: str
    episodes: int
    gammas: tuple[float, ...]
    training_seeds: int
    setups: tuple[Setup, ...]
    strategies: tuple[Strategy, ...]
    rankers: tuple[str, ...]
    operator: str
    support: str
    regressor: RegressorSettings
    random_rollouts: int

    @property
    def cells_per_environment(self) -> int:
        """Rows that one environment gives."""
        return len(self.gammas) * len(self.setups) * len(self.strategies) * len(self.rankers)


def make_plan(
    experiment: ExperimentSettings, library: LibrarySettings, strategy: StrategySettings, *, episodes: int
) -> ExperimentPlan:
    """Check settings and expand them.

    Raises:
        UnknownName: a mode, objective term, strategy, ranker, operator, support rule, regressor or embedding is
            not known.
        InvalidValue: an empty list, a number outside its domain, or a setup that needs an objective which the
            library lacks.
        UncoveredObjective: a setup's pool has no exact cover.
    """
    for name in ("setups", "strategies", "rankers"):
        if not getattr(experiment, name):
            raise InvalidValue(f"experiment.{name} is empty; name at least one")
    if experiment.random_rollouts < 1 or experiment.bootstrap < 1:
        raise InvalidValue("experiment.random_rollouts and experiment.bootstrap must be at least 1")
    _check_all_known("ranker", experiment.rankers, RANKERS)
    _check_all_known("regressor model", [experiment.regressor_model], MODELS)
    _check_all_known("regressor target", [experiment.regressor_target], TARGETS)
    _check_all_known("embedding", [experiment.embedding], KINDS)
    composition_operator(experiment.operator)
    is_masked(experiment.support)
    setups = tuple(Setup.of(setup.mode, setup.objective) for setup in experiment.setups)
    held = {Objective.of(objective).name for objective in library.objectives}
    for setup in setups:
        missing = [name for name in setup.groups if name not in held]
        if missing:
            raise InvalidValue(
                f"setup {setup.mode}/{setup.objective} needs policies for {missing}; add them to library.objectives"
            )
    chosen = experiment.strategies if strategy.name == "all" else [strategy.name]
    return ExperimentPlan(
        family=library.family,
        budget=library.budget,
        episodes=episodes,
        gammas=tuple(library.gammas),
        training_seeds=library.training_seeds,
        setups=setups,
        strategies=tuple(Strategy(name, k=strategy.k) for name in chosen),
        rankers=tuple(experiment.rankers),
        operator=experiment.operator,
        support=experiment.support,
        regressor=RegressorSettings(experiment.regressor_model, experiment.regressor_target, experiment.embedding),
        random_rollouts=experiment.random_rollouts,
    )


def _check_all_known(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)


def cell_id(plan: ExperimentPlan, setup: Setup, gamma: float, environment: str) -> str:
    """Readable id, e.g. ``grid16/g0/X1/triple/path-gold-hazard-lever/seed-0007``."""
    seed = int(environment.rsplit("-", 1)[1])
    return f"{plan.family}/g{gamma:g}/{plan.budget}/{setup.mode}/{setup.objective}/seed-{seed:04d}"
