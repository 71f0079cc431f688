"""What an experiment consists of: setups, cells and their readable ids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from lever_ray.composition.groups import cover
from lever_ray.composition.operators import OPERATORS, composition_operator
from lever_ray.composition.rankers.registry import RANKERS
from lever_ray.composition.recipe import Recipe, check_values, with_use
from lever_ray.composition.recipe_parts import has_strategy
from lever_ray.composition.strategies.registry import STRATEGIES, split_id
from lever_ray.config import ContrastSettings, ExperimentSettings, LibrarySettings, StrategySettings
from lever_ray.errors import InvalidValue, UnknownName, check_known
from lever_ray.query.settings import said
from lever_ray.tasks import registry
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment, Source

MOST_CONTRASTS = 8
DIFFERS, MATCHES = CLAIMS = ("differs", "matches")
"""What a contrast may claim."""


@dataclass(frozen=True)
class Setup:
    """A composition problem.

    Attributes:
        mode: which pool of the source's.
        objective: the composite objective's id: its name, and its weights where they are not 1.
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
            InvalidValue: a weight is negative, which the family gives no meaning to.
            UncoveredObjective: the pool has no exact cover.
        """
        check_known("mode", mode, tuple(source.pools))
        wanted = Objective.of(objective).resolved(source.terms)
        if min(wanted.weights) < 0:
            source.sample(0).compile(wanted)  # refused by families that give no meaning to it
        pool = tuple(name for name in source.pools[mode] if name != wanted.name)
        return cls(mode, wanted.id, cover(wanted, pool), pool)

    @property
    def name(self) -> str:
        """The composite objective's terms, without weights: what policies for it are called, which are never used."""
        return Objective.of(self.objective).name

    def pooled(self, held: Iterable[str]) -> tuple[str, ...]:
        """What the mode allows as members of a pool: objectives of it, but what wants the same as the question.

        Args:
            held: objectives that a library holds.
        """
        wanted = Objective.of(self.objective)
        named = [(name, Objective.of(name)) for name in dict.fromkeys(held) if name]
        return tuple(name for name, each in named if each.name in self.pool and not each.is_alike(wanted))


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
        setups: composition problems.
        recipes: how they are answered, those of one operator together, and of one ranker within it.
        random_rollouts, repeats: see :class:`lever_ray.config.ExperimentSettings`.
        gamma: discount of the members where one was chosen; controls are measured at all of ``gammas`` even so.
    """

    family: str
    budget: str
    episodes: int
    gammas: tuple[float, ...]
    training_seeds: int
    setups: tuple[Setup, ...]
    recipes: tuple[Recipe, ...]
    random_rollouts: int
    repeats: int = 5
    gamma: float | None = None

    @property
    def member_gammas(self) -> tuple[float, ...]:
        """Discounts at which members are composed; :data:`ALL_GAMMAS` among them where an operator mixes them."""
        if self.gamma is not None:
            return (self.gamma,)
        mixing = any(recipe.make_operator().pools_members for recipe in self.recipes)
        return (*self.gammas, ALL_GAMMAS) if mixing and len(self.gammas) > 1 else self.gammas

    def recipes_at(self, gamma: float) -> tuple[Recipe, ...]:
        """The recipes with gamma and episodes of the members; only those of operators that mix discounts at all."""
        if gamma != ALL_GAMMAS:
            return tuple(recipe.override(gamma=gamma, episodes=self.episodes) for recipe in self.recipes)
        mixing = (recipe for recipe in self.recipes if recipe.make_operator().pools_members)
        return tuple(recipe.override(episodes=self.episodes) for recipe in mixing)

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the operators, in order."""
        return tuple(dict.fromkeys(recipe.make_operator().name for recipe in self.recipes))

    @property
    def cells_per_environment(self) -> int:
        """Rows that one environment gives."""
        return len(self.setups) * sum(len(self.recipes_at(gamma)) for gamma in self.member_gammas)


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
    if not experiment.setups:
        raise InvalidValue("experiment.setups is empty; name at least one")
    recipes = _recipes(experiment, strategy)
    for name in ("random_rollouts", "bootstrap", "repeats"):
        if getattr(experiment, name) < 1:
            raise InvalidValue(f"experiment.{name} is {getattr(experiment, name)}; at least 1 is needed")
    _check_contrasts(experiment.contrasts)
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
        recipes=recipes,
        random_rollouts=experiment.random_rollouts,
        repeats=experiment.repeats,
        gamma=strategy.gamma,
    )


def _check_contrasts(contrasts: Sequence[ContrastSettings]) -> None:
    if len(contrasts) > MOST_CONTRASTS:
        raise InvalidValue(
            f"experiment.contrasts has {len(contrasts)} entries; at most {MOST_CONTRASTS} are tested, "
            "so that correcting for them leaves some power"
        )
    for contrast in contrasts:
        check_known(f"claim of contrast {contrast.name!r}:", contrast.claim, CLAIMS)
        if not 0 < contrast.margin < 1:
            raise InvalidValue(
                f"contrast {contrast.name!r} has margin {contrast.margin:g}; it is a share of what layouts offer over "
                "chance, above 0 and below 1, e.g. 0.05"
            )


def _recipes(experiment: ExperimentSettings, strategy: StrategySettings) -> tuple[Recipe, ...]:
    """Every strategy, operator and ranker of an experiment, where they go together; a strategy's settings narrow them.

    Operators that answer with a route are ranked by ``offline-return`` alone, and tried with one strategy where they
    have no candidates. Operators that pool members take the strategies and rankers that they have a use for.
    """
    narrowed = said(strategy)
    narrowed.pop("gamma", None)
    lists: dict[str, list[str]] = {
        one: [narrowed[one]] if one in narrowed else getattr(experiment, several) for one, several in _LISTS.items()
    }
    for one, several in _LISTS.items():
        if not lists[one]:
            raise InvalidValue(f"experiment.{several} is empty; name at least one")
    common = said(experiment) | narrowed
    _check_lists(lists)
    check_values(common)
    found: list[Recipe] = []
    for name in lists["operator"]:
        operator = composition_operator(name)
        fixed = operator.is_route and not operator.pools_members and "ranker" not in narrowed
        rankers = [""] if fixed else lists["ranker"]
        strategies = lists["strategy"] if has_strategy(operator) else lists["strategy"][:1]
        ways = [
            with_use(common | {"operator": name, "ranker": ranker, "strategy": which})
            for ranker, which in product(rankers, strategies)
        ]
        found += [Recipe(**way) for way in (_usable(ways) if operator.pools_members else ways)]
    _check_used(narrowed, found)
    if twice := [recipe.label for place, recipe in enumerate(found) if recipe in found[:place]]:
        raise InvalidValue(f"experiment lists {twice[0]!r} twice, in strategies, operators or rankers; name each once")
    return tuple(found)


def _check_lists(lists: Mapping[str, Sequence[str]]) -> None:
    """Refuse names that are not known, even where no recipe would use them."""
    for name in lists["strategy"]:
        check_known("strategy", split_id(name)[0], STRATEGIES)
    for name in lists["operator"]:
        check_known("operator", name, OPERATORS)
    for name in lists["ranker"]:
        check_known("ranker", name, RANKERS)


def _usable(ways: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that make sense, of an operator that pools members: it has no use for some strategies and rankers.

    Raises:
        InvalidValue, UnknownName: none does; the first reason.
    """
    kept, refused = [], []
    for way in ways:
        try:
            Recipe(**way)
        except InvalidValue as error:
            refused.append(error)
        else:
            kept.append(way)
    if not kept:
        raise refused[0]
    return kept


_LISTS = {"strategy": "strategies", "operator": "operators", "ranker": "rankers"}
"""What an experiment lists, by the field of a recipe."""


def _check_used(narrowed: Mapping[str, Any], recipes: Iterable[Recipe]) -> None:
    """Refuse settings of the group ``strategy`` that no recipe has a use for."""
    used = list(recipes)
    for name, value in narrowed.items():
        if name not in _LISTS and all(getattr(recipe, name) != value for recipe in used):
            chosen = ", ".join(dict.fromkeys(recipe.label for recipe in used))
            raise InvalidValue(f"strategy.{name} is {value!r}, which none of {chosen} has a use for; leave it out")


ALL_GAMMAS = math.inf
"""Stands in rows for the discount of members that may have any: only some operators mix them."""


def gamma_told(gamma: float) -> str:
    """A discount in words: ``0.99``, or ``all``."""
    return "all" if gamma == ALL_GAMMAS else f"{gamma:g}"


def check_all_answer(operators: Iterable[str], task: Environment) -> None:
    """Refuse operators that cannot answer an environment, before anything is measured there.

    Raises:
        InvalidValue: see :class:`lever_ray.composition.operators.Operator`.
    """
    for name in operators:
        composition_operator(name).check_task(task)


def cell_id(plan: ExperimentPlan, setup: Setup, gamma: float, environment: str, seed: int | None) -> str:
    """Readable id, e.g. ``SOURCE/g0/X1/double/path-gold-hazard/seed-0007``; ``.../env-maze`` without a seed."""
    place = f"env-{environment}" if seed is None else f"seed-{seed:04d}"
    return f"{plan.family}/g{gamma_told(gamma)}/{plan.budget}/{setup.mode}/{setup.objective}/{place}"
