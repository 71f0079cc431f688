"""How much of the records reuse needs: quality of every operator as they are cut from everything to nothing.

What is answered where nothing is left, stated once:

- Tables (``sum``, ``max``) leave out actions that no member of the candidate has on record. Where none is on record in
  an observation there is nothing to choose among, and every action is allowed: the tables' values decide as if nothing
  were masked, and the route goes on. With nothing recorded at all they are the unmasked tables.
- ``gpi``, ``options`` and ``plan`` only take recorded moves. Where none is left the agent stands still, the episode
  counts as truncated and what it earned by then is its return: 0 with nothing recorded, ``quality/standing``.

So tables depend on what a value means whose pair has no record. With ``values="forgotten"`` it is 0, as in training
before a first visit: nothing is known of the pair itself. With ``values="learnt"`` it stays: the mask alone changes,
and where nothing is left to mask by tables act on all that they learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import composition_operator
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers.offline_return import OfflineReturn
from lever_ray.composition.recipe import Recipe
from lever_ray.embedding.offline import SUM, offline_returns
from lever_ray.errors import InvalidValue, check_known, check_whole
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.controls import random_groups
from lever_ray.experiment.plan import ALL_GAMMAS
from lever_ray.experiment.statistics import Row
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import TrainingRun, train
from lever_ray.policies.group import PolicyGroup
from lever_ray.query.composer import Composer
from lever_ray.query.result import CompositionResult
from lever_ray.query.warm import warm_up_for, warm_up_options
from lever_ray.studies.coverage_cuts import CUTS, kept_pairs
from lever_ray.studies.groups import group_of_snapshots
from lever_ray.studies.partial_records import keep_pairs
from lever_ray.tasks.gridworld.layout import Layout, layout_family
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import random_return, rollout
from lever_ray.tasks.support import taken_actions
from lever_ray.watching import Watch

OBJECTIVE = "path-gold-hazard-lever"
OPERATORS: tuple[str, ...] = ("sum", "max", "gpi", "options", "plan")
VALUES: tuple[str, ...] = ("forgotten", "learnt")
"""What members' action values are for pairs whose record is gone: 0, or what they were."""


@dataclass(frozen=True)
class CoverageStudy:
    """What is trained, cut and composed.

    Attributes:
        family: layout family.
        layouts: how many.
        first_layout: first layout seed; the others follow it.
        cuts: see :data:`~lever_ray.studies.coverage_cuts.CUTS`.
        levels: shares that are kept, see :func:`~lever_ray.studies.coverage_cuts.kept_pairs`; 1 has to be among them,
            and of all others at least one.
        draws: places and orders at which each cut is made in a layout; a layout counts with their mean.
        gammas: discounts of the members; operators that take all policies mix them.
        operators: how members combine.
        training_seeds: per term and discount; final policies are the members. Also of training from scratch.
        strategy: which candidates of ``sum``, ``max`` and ``gpi`` are evaluated, by their offline return on what is
            left of the records.
        values: see :data:`VALUES`.
        budget: training budget.

    Raises:
        UnknownName: the family, a cut, an operator, the strategy or the budget is not known.
        InvalidValue: a number is below 1, nothing is asked, a share or discount lies outside [0, 1], or the levels are
            not 1 and others.
    """

    family: str = "grid8"
    layouts: int = 30
    first_layout: int = 70_000
    cuts: tuple[str, ...] = CUTS
    levels: tuple[float, ...] = (
        1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.0,
    )  # fmt: skip
    draws: int = 3
    gammas: tuple[float, ...] = (0.0, 0.99)
    operators: tuple[str, ...] = OPERATORS
    training_seeds: int = 3
    strategy: str = "hybrid-3"
    values: str = "forgotten"
    budget: str = "X1"

    def __post_init__(self) -> None:
        layout_family(self.family)
        training_budget(self.budget)
        check_known("rule for values", self.values, VALUES)
        for name, what in (("layouts", "layouts"), ("draws", "draws"), ("training_seeds", "seeds per policy")):
            check_whole(name, getattr(self, name), 1, what)
        check_whole("first_layout", self.first_layout, 0, "a seed")
        for name in ("cuts", "gammas", "operators"):
            if not getattr(self, name):
                raise InvalidValue(f"{name} of the coverage study must not be empty; give at least one")
        for cut in self.cuts:
            check_known("cut", cut, CUTS)
        for name in ("levels", "gammas"):
            wrong = [value for value in getattr(self, name) if not 0.0 <= value <= 1.0]
            if wrong:
                raise InvalidValue(f"{name} hold {wrong[0]}; each must lie in [0, 1]")
        if 1.0 not in self.levels or len(set(self.levels)) < 2:
            raise InvalidValue(f"levels are {self.levels}; 1, which others are held against, and another are needed")
        for operator in self.operators:
            self.recipe(operator)

    def recipe(self, operator: str) -> Recipe:
        """How an operator answers: scored by exact offline return on what is recorded, masked."""
        made = composition_operator(operator)
        if made.needs_candidates or made.pools_members:
            strategy = self.strategy if made.needs_candidates else "exhaustive"
            return Recipe(strategy=strategy, operator=operator, ranker=OfflineReturn.name)
        return Recipe(operator=operator, ranker=OfflineReturn.name)


def run_coverage_study(study: CoverageStudy, *, executor: Executor, watch: Watch | None = None) -> list[Row]:
    """One row per layout, cut, level, draw, discount and operator: quality, what is covered, and the controls.

    Returns:
        Rows of ``layout_seed, trivial_layout, family, gamma`` (infinity where discounts mix), ``cut, kept, draw,
        operator``; ``quality/...``, all (J - J_rand) / (J* - J_rand): ``normalised``, ``scratch`` (mean final return
        over seeds at the layout's best discount; it may take everything), ``best_single`` (by oracle, under the same
        cut), ``random_tables`` (the same search and cut; they do not change ``plan``), ``standing`` (return 0);
        ``coverage/library`` (of the chosen members), ``coverage/on_policy`` (of the route; 1 where it has no step),
        ``coverage/path`` (share of the best route's transitions that the members have on record together),
        ``coverage/value``; ``success/scratch`` and ``success/own``, 1.0 where quality is at least that of scratch,
        and at least its own with everything kept less a tenth of its size.
    """
    seeds = list(range(study.first_layout, study.first_layout + study.layouts))
    found = gathered(executor, _layout_rows, seeds, shared=(study,), watch=watch, stage="layouts")
    return [row for rows in found for row in rows]


def _layout_rows(seed: int, study: CoverageStudy) -> list[Row]:
    layout = Layout.sample(study.family, seed=seed)
    warm_up_for(layout)
    warm_up_options()
    held = LayoutRecords(layout, study)
    rows = [row for cut, draw in product(study.cuts, range(study.draws)) for row in held.rows(cut, draw)]
    best, chance = max(held.known, *(row["return"] for row in rows)), held.chance
    common = {"layout_seed": seed, "trivial_layout": layout.trivial, "family": study.family}
    return [common | row for row in _with_success([_normalised(row, best, chance) for row in rows])]


def _normalised(row: Row, best: float, chance: float) -> Row:
    """A row with qualities in place of returns."""
    scale = best - chance
    quality = {f"quality/{name}": (row[name] - chance) / scale for name in _RETURNS if name != "return"}
    rest = {name: value for name, value in row.items() if name not in _RETURNS}
    return rest | {"quality/normalised": (row["return"] - chance) / scale} | quality


_RETURNS = ("return", "scratch", "best_single", "random_tables", "standing")


def _with_success(rows: Sequence[Row]) -> list[Row]:
    whole = {_way(row): row["quality/normalised"] for row in rows if row["kept"] == 1.0}
    return [
        row
        | {
            "success/scratch": float(row["quality/normalised"] >= row["quality/scratch"]),
            "success/own": float(row["quality/normalised"] >= whole[_way(row)] - 0.1 * abs(whole[_way(row)])),
        }
        for row in rows
    ]


def _way(row: Row) -> tuple[str, float]:
    return row["operator"], row["gamma"]


class LayoutRecords:
    """One layout with its policies and yardsticks.

    Args:
        layout: it.
        study: what is trained on it.
    """

    def __init__(self, layout: Layout, study: CoverageStudy) -> None:
        self.layout, self.study = layout, study
        self.objective = Objective.of(OBJECTIVE).resolved(layout.terms)
        self.compiled = layout.compile(self.objective)
        self.chance = random_return(layout, self.objective)
        self.groups = [self._group(gamma, term) for gamma, term in product(study.gammas, layout.terms)]
        self.random = random_groups(self.groups, seed=layout.seed or 0)
        self.taken = taken_actions(np.concatenate([group.support for group in self.groups]), layout.actions)
        self.scratch = max(float(np.mean([run.total for run in self._runs(OBJECTIVE, g)])) for g in study.gammas)
        best = optimum(layout, objective=self.objective)
        self.known = max(best.total, self.scratch)
        played = rollout(layout, objective=self.objective, actions=best.actions)
        self.route = np.stack([played.observations[:-1], played.actions], axis=1).astype(np.int64)

    def _runs(self, objective: str, gamma: float) -> list[TrainingRun]:
        episodes = training_budget(self.study.budget).episodes
        seeds = range(self.study.training_seeds)
        return [train(self.layout, objective=objective, episodes=episodes, gamma=gamma, seed=seed) for seed in seeds]

    def _group(self, gamma: float, term: str) -> PolicyGroup:
        members = group_of_snapshots(term, [run.snapshots[-1] for run in self._runs(term, gamma)])
        return replace(members, ids=tuple(f"{identity}-g{gamma:g}" for identity in members.ids))

    def rows(self, cut: str, draw: int) -> list[Row]:
        """Rows of one cut in one draw, with returns in place of qualities."""
        found = []
        for kept in sorted(set(self.study.levels), reverse=True):
            pairs = kept_pairs(
                cut, kept, taken=self.taken, moves=self.layout.dynamics.moves, route=self.route,
                seed=(self.layout.seed or 0, draw),
            )  # fmt: skip
            common = {"cut": cut, "kept": kept, "draw": draw}
            groups, random = (self._cut(whole, pairs) for whole in (self.groups, self.random))
            found += [common | row for row in self._answers(groups, random)]
        return found

    def _cut(self, groups: Sequence[PolicyGroup], pairs: np.ndarray) -> list[PolicyGroup]:
        left = keep_pairs(groups, pairs)
        if self.study.values == "learnt":
            return left
        return [_forgetful(group) for group in left]

    def _answers(self, groups: Sequence[PolicyGroup], random: Sequence[PolicyGroup]) -> list[Row]:
        """Every operator's row, of each discount or of all."""
        rows = []
        for operator in self.study.operators:
            recipe = self.study.recipe(operator)
            for gamma, part in self._asked(recipe):
                row = {"gamma": gamma, "operator": operator}
                rows.append(row | self._row(recipe, groups[part], random[part]))
        return rows

    def _asked(self, recipe: Recipe) -> list[tuple[float, slice]]:
        """The discounts that an operator is asked at, and which groups these are."""
        if not recipe.make_operator().needs_candidates:
            return [(ALL_GAMMAS, slice(None))]
        terms = len(self.layout.terms)
        return [(gamma, slice(place * terms, place * terms + terms)) for place, gamma in enumerate(self.study.gammas)]

    def _row(self, recipe: Recipe, groups: Sequence[PolicyGroup], random: Sequence[PolicyGroup]) -> Row:
        answer, reached = self._answered(recipe, groups)
        space = CandidateSpace.of(groups)
        alone, _ = offline_returns(self.compiled, space.pool, space.rows[:, None], SUM, True, False)
        held = taken_actions(space.union, self.layout.actions)
        reads_tables = recipe.operator != "plan"
        return {
            "return": reached,
            "scratch": self.scratch,
            "best_single": float(alone.max()),
            "random_tables": self._answered(recipe, random)[1] if reads_tables else reached,
            "standing": 0.0,
            "coverage/library": answer.coverage.library,
            "coverage/on_policy": answer.coverage.on_policy,
            "coverage/path": float(held[self.route[:, 0], self.route[:, 1]].mean()),
            "coverage/value": answer.coverage.value,
        }

    def _answered(self, recipe: Recipe, groups: Sequence[PolicyGroup]) -> tuple[CompositionResult, float]:
        """An answer, and its return in the real environment."""
        problem = Problem(self.layout, self.objective, tuple(groups))
        answer = Composer(recipe, recipe.make_ranker().bind(problem)).compose(problem)
        return answer, rollout(self.layout, objective=self.objective, **answer.played).total


def _forgetful(group: PolicyGroup) -> PolicyGroup:
    """The same policies, whose action values are 0 where they have nothing on record, as before a first visit."""
    return replace(group, q=group.q * taken_actions(group.support, group.q.shape[2]))
