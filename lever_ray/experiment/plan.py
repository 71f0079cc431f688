"""What an experiment consists of: setups, cells and their readable ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lever_ray.composition.groups import cover
from lever_ray.composition.operators import Operator, check_answers, check_composable, composition_operator
from lever_ray.composition.rankers import RANKERS
from lever_ray.composition.search import Strategy
from lever_ray.config import ExperimentSettings, LibrarySettings, StrategySettings
from lever_ray.embedding.outcome import BEHAVIOUR_KINDS
from lever_ray.embedding.regressor import MODELS, TARGETS, TERM_MODELS
from lever_ray.errors import InvalidValue, UnknownName, check_known
from lever_ray.library.retrieval import USUAL_RETRIEVAL, Retrieval
from lever_ray.query.compose import RegressorSettings
from lever_ray.query.composer import PLAN_WIDTH
from lever_ray.tasks import registry
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment, Source

MOST_CONTRASTS = 8


@dataclass(frozen=True)
class Setup:
    """A composition problem.

    Attributes:
        mode: which pool of the source's.
        objective: the composite objective's name.
        groups: the sub-objectives that cover it.
        pool: objectives that the groups may come from; never the composite itself.
    """

    mode: str
    objective: str
    groups: tuple[str, ...]
    pool: tuple[str, ...]

    @classmethod
    def of(cls, mode: str, objective: str, source: Source) -> Setup:
        """Cover an objective with a mode's pool.

        Args:
            mode: a key of the source's pools.
            objective: the composite objective.
            source: of the environments.

        Raises:
            UnknownName: the mode or an objective term is not known.
            UncoveredObjective: the pool has no exact cover.
        """
        check_known("mode", mode, tuple(source.pools))
        wanted = Objective.of(objective).resolved(source.terms)
        pool = tuple(name for name in source.pools[mode] if name != wanted.name)
        return cls(mode, wanted.name, cover(wanted, pool), pool)


def modes_of(source: str) -> tuple[str, ...]:
    """A source's modes in its order; none where the source is not known."""
    try:
        return tuple(registry.source(source).pools)
    except UnknownName:
        return ()


@dataclass(frozen=True)
class ExperimentPlan:
    """An experiment's settings, checked; everything is fixed before any reward is seen.

    Attributes:
        family: name of the source of the environments.
        budget: name of the training budget.
        episodes: its episodes.
        gammas: discounts of the members.
        training_seeds: seeds of the scratch control.
        setups, strategies, rankers, operators, support, regressor, random_rollouts, repeats: see
            :class:`lever_ray.config.ExperimentSettings`.
        gamma: discount of the members where one was chosen; controls are measured at all of ``gammas`` even so.
        width: beam width of the operator ``plan``.
        retrieval: who is a member of a group.
    """

    family: str
    budget: str
    episodes: int
    gammas: tuple[float, ...]
    training_seeds: int
    setups: tuple[Setup, ...]
    strategies: tuple[Strategy, ...]
    rankers: tuple[str, ...]
    operators: tuple[str, ...]
    support: str
    regressor: RegressorSettings
    random_rollouts: int
    repeats: int = 5
    gamma: float | None = None
    width: int = PLAN_WIDTH
    retrieval: Retrieval = USUAL_RETRIEVAL

    @property
    def member_gammas(self) -> tuple[float, ...]:
        """Discounts at which members are composed."""
        return self.gammas if self.gamma is None else (self.gamma,)

    def rankers_of(self, operator: Operator) -> tuple[str, ...]:
        """The rankers that an operator's candidates are ranked by: ``offline-return`` alone for routes."""
        return ("offline-return",) if operator.is_route else self.rankers

    def strategies_of(self, operator: Operator) -> tuple[Strategy, ...]:
        """The strategies that an operator is tried with: one where it has no candidates to choose from."""
        return self.strategies if operator.needs_candidates else self.strategies[:1]

    @property
    def cells_per_environment(self) -> int:
        """Rows that one environment gives."""
        operators = [composition_operator(name) for name in self.operators]
        ways = sum(len(self.rankers_of(each)) * len(self.strategies_of(each)) for each in operators)
        return len(self.member_gammas) * len(self.setups) * ways


def make_plan(
    experiment: ExperimentSettings, library: LibrarySettings, strategy: StrategySettings, *, episodes: int
) -> ExperimentPlan:
    """Check settings and expand them; what ``strategy`` says takes the place of what the experiment does.

    Raises:
        UnknownName: the source, a mode, objective term, strategy, ranker, operator, support or retrieval rule,
            regressor or embedding is not known.
        InvalidValue: an empty list, a number outside its domain, or a setup that needs an objective which the
            library lacks.
        UncoveredObjective: a setup's pool has no exact cover.
    """
    experiment = _narrowed(experiment, strategy)
    for name in ("setups", "strategies", "rankers", "operators"):
        if not getattr(experiment, name):
            raise InvalidValue(f"experiment.{name} is empty; name at least one")
    for name in ("random_rollouts", "bootstrap", "repeats"):
        if getattr(experiment, name) < 1:
            raise InvalidValue(f"experiment.{name} is {getattr(experiment, name)}; at least 1 is needed")
    if len(experiment.contrasts) > MOST_CONTRASTS:
        raise InvalidValue(
            f"experiment.contrasts has {len(experiment.contrasts)} entries; at most {MOST_CONTRASTS} are tested, "
            "so that correcting for them leaves some power"
        )
    _check_all_known("ranker", experiment.rankers, RANKERS)
    _check_all_known("regressor model", [experiment.regressor_model], (*MODELS, *TERM_MODELS))
    _check_all_known("regressor target", [experiment.regressor_target], TARGETS)
    _check_all_known("embedding", [experiment.embedding], BEHAVIOUR_KINDS)
    if experiment.regressor_model in TERM_MODELS and experiment.regressor_target == "composite":
        raise InvalidValue(
            f"experiment.regressor_model {experiment.regressor_model!r} learns from returns on own "
            "objectives; set experiment.regressor_target to own or recorded"
        )
    for operator in experiment.operators:
        check_composable(composition_operator(operator), support=experiment.support, weighted=False)
    source = registry.source(library.family)
    setups = tuple(Setup.of(setup.mode, setup.objective, source) for setup in experiment.setups)
    held = {Objective.of(objective).resolved(source.terms).name for objective in library.objectives}
    for setup in setups:
        missing = [name for name in setup.groups if name not in held]
        if missing:
            raise InvalidValue(
                f"setup {setup.mode}/{setup.objective} needs policies for {missing}; add them to library.objectives"
            )
    if strategy.gamma is not None and strategy.gamma not in library.gammas:
        raise InvalidValue(
            f"strategy.gamma is {strategy.gamma:g}, and library.gammas are {library.gammas}; add it to them, or choose "
            "another strategy"
        )
    return ExperimentPlan(
        family=library.family,
        budget=library.budget,
        episodes=episodes,
        gammas=tuple(library.gammas),
        training_seeds=library.training_seeds,
        setups=setups,
        strategies=tuple(
            Strategy.of(name, k=strategy.k, budget=strategy.budget, restarts=strategy.restarts)
            for name in experiment.strategies
        ),
        rankers=tuple(experiment.rankers),
        operators=tuple(experiment.operators),
        support=experiment.support,
        regressor=RegressorSettings(
            experiment.regressor_model, experiment.regressor_target, experiment.embedding, experiment.canonical
        ),
        random_rollouts=experiment.random_rollouts,
        repeats=experiment.repeats,
        gamma=strategy.gamma,
        width=strategy.width or PLAN_WIDTH,
        retrieval=Retrieval(experiment.retrieval, experiment.threshold),
    )


def _narrowed(experiment: ExperimentSettings, strategy: StrategySettings) -> ExperimentSettings:
    """The experiment with what a strategy was chosen or tuned with."""
    name = "" if strategy.name == "all" else strategy.name
    lists = {"strategies": name, "operators": strategy.operator, "rankers": strategy.ranker}
    changes: dict[str, Any] = {key: [value] for key, value in lists.items() if value}
    changes |= {key: getattr(strategy, key) for key in _SINGLE if getattr(strategy, key)}
    if strategy.threshold is not None:
        changes["threshold"] = strategy.threshold
    return replace(experiment, **changes)


_SINGLE = ("support", "regressor_model", "regressor_target", "embedding", "canonical", "retrieval")
"""Settings of which an experiment and a strategy have one each."""


def _check_all_known(kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)


def check_all_answer(operators: Iterable[str], task: Environment) -> None:
    """Refuse operators that cannot answer an environment, before anything is measured there.

    Raises:
        InvalidValue: see :func:`lever_ray.composition.operators.check_answers`.
    """
    for name in operators:
        check_answers(composition_operator(name), task)


def cell_id(plan: ExperimentPlan, setup: Setup, gamma: float, environment: str, seed: int | None) -> str:
    """Readable id, e.g. ``SOURCE/g0/X1/double/path-gold-hazard/seed-0007``; ``.../env-maze`` without a seed."""
    place = f"env-{environment}" if seed is None else f"seed-{seed:04d}"
    return f"{plan.family}/g{gamma:g}/{plan.budget}/{setup.mode}/{setup.objective}/{place}"
