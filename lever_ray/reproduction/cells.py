"""Cells of the study: independent pieces, each with a configuration, whose hash is the address of its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

from lever_ray.composition.recipe import Recipe
from lever_ray.experiment.plan import ALL_GAMMAS, Setup, gamma_told
from lever_ray.learning.budgets import training_budget
from lever_ray.reproduction.sizes import OBJECTIVES, Part, StudyPlan, environment_of, layout
from lever_ray.tasks.objective import Objective

EPISODES = 10_000
"""Of a training of size 1."""
VERSION = 1
"""Of what cells give; raise it where the same configuration gives something else."""


@dataclass(frozen=True)
class Cell:
    """A piece of the study.

    Attributes:
        family: of the layout.
        seed: of the layout; -1 for what concerns no layout.
        objective: the composite objective.
    """

    kind: ClassVar[str] = ""
    family: str
    seed: int
    objective: str

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that decides the result."""
        told = {"kind": self.kind, "version": VERSION, **asdict(self)}
        if self.seed >= 0:
            told["layout"] = layout(self.family, self.seed).digest
        return told

    @cached_property
    def address(self) -> str:
        """Hash of the configuration."""
        content = json.dumps(self.config, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    @property
    def like(self) -> tuple[str, ...]:
        """What cells that take about as long have in common, the most important first."""
        return (self.kind, self.family, self.objective)

    @property
    def size(self) -> float:
        """How much of that a cell is; its time grows with it."""
        return 1.0

    @property
    def bench(self) -> tuple[Any, ...]:
        """What cells that share preparations have in common."""
        return (self.family, self.seed)

    @property
    def told(self) -> str:
        """In words, for messages."""
        return f"{self.kind} {self.family}-{self.seed} {self.objective}"


@dataclass(frozen=True)
class ParseCell(Cell):
    """How long reading the objective from text takes; of no layout."""

    kind = "parse"


@dataclass(frozen=True)
class WorldCell(Cell):
    """The optimum of a layout, and what chance gives.

    Attributes:
        rollouts: episodes of the uniformly random policy.
    """

    kind = "world"
    rollouts: int


@dataclass(frozen=True)
class ScratchCell(Cell):
    """One training from scratch on the composite objective.

    Attributes:
        episodes: of it.
        gamma: discount.
        run: training seed.
    """

    kind = "scratch"
    episodes: int
    gamma: float
    run: int

    @property
    def like(self) -> tuple[str, ...]:
        """See :class:`Cell`."""
        return (self.kind, self.family, gamma_told(self.gamma), self.objective, str(self.episodes))

    @property
    def size(self) -> float:
        """See :class:`Cell`."""
        return self.episodes / EPISODES


@dataclass(frozen=True)
class Trained:
    """The policies that a library holds of a layout.

    Attributes:
        budget: of their training.
        seeds: training runs per objective and discount.
        objectives: what they were trained for.
    """

    budget: str
    seeds: int
    objectives: tuple[str, ...] = OBJECTIVES

    @property
    def episodes(self) -> int:
        """Of each training."""
        return training_budget(self.budget).episodes


@dataclass(frozen=True)
class Union:
    """Recorded transitions: those of all policies for some objectives at some discounts."""

    objectives: tuple[str, ...]
    gammas: tuple[float, ...]


@dataclass(frozen=True)
class ModelCell(Cell):
    """The optimum on recorded transitions.

    Attributes:
        trained: what was recorded.
        union: which of it.
    """

    kind = "model"
    trained: Trained
    union: Union


@dataclass(frozen=True)
class InsideCell(ModelCell):
    """One training inside the recorded transitions.

    Attributes:
        gamma: discount.
        run: training seed.
    """

    kind = "inside"
    gamma: float
    run: int

    @property
    def like(self) -> tuple[str, ...]:
        """See :class:`Cell`."""
        return (self.kind, self.family, gamma_told(self.gamma), self.objective, self.trained.budget)

    @property
    def size(self) -> float:
        """See :class:`Cell`."""
        return self.trained.episodes / EPISODES


@dataclass(frozen=True)
class AnswerCell(Cell):
    """One way of answering a setup at a discount of the members.

    Attributes:
        trained: what the library holds of the layout.
        gammas: discounts that the experiment's members may have.
        gamma: that of the members; :data:`~lever_ray.experiment.plan.ALL_GAMMAS` where they mix.
        setup: the composition problem.
        way: how it is answered.
        repeats: times that a fast query is asked.
        lessons: layouts that a regressor learns from; none where nothing is learnt.
    """

    kind = "answer"
    trained: Trained
    gammas: tuple[float, ...]
    gamma: float
    setup: Setup
    way: Recipe
    repeats: int
    lessons: tuple[str, ...]

    @cached_property
    def config(self) -> dict[str, Any]:
        """See :class:`Cell`."""
        mixed = self.gamma == ALL_GAMMAS
        return {
            "kind": self.kind,
            "version": VERSION,
            "family": self.family,
            "seed": self.seed,
            "layout": layout(self.family, self.seed).digest,
            "trained": [self.trained.budget, self.trained.seeds, self.trained.objectives],
            "gammas": self.gammas if mixed else [self.gamma],
            "setup": [self.setup.mode, self.setup.objective, self.setup.groups, self.setup.pool],
            "way": self.way.id,
            "repeats": self.repeats,
            "lessons": self.lessons,
        }

    @property
    def like(self) -> tuple[str, ...]:
        """See :class:`Cell`."""
        groups, ranker = str(len(self.setup.groups)), str(self.way.ranker)
        mixed = "all" if self.gamma == ALL_GAMMAS else "one"
        strategy = self.way.make_strategy().id
        return (self.kind, self.family, str(self.way.operator), mixed, strategy, groups, ranker)

    @property
    def bench(self) -> tuple[Any, ...]:
        """See :class:`Cell`."""
        return (self.family, self.seed, self.trained.budget, self.gamma, self.setup)

    @property
    def told(self) -> str:
        """See :class:`Cell`."""
        place = f"{self.family}-{self.seed}/{self.trained.budget}/g{gamma_told(self.gamma)}"
        return f"{place}/{self.setup.mode}/{self.setup.objective}: {self.way.label}"


def union_of(plan: StudyPlan, setup: Setup, gamma: float) -> Union:
    """The recorded transitions that a setup's optimum J*_D is found on."""
    whole = plan.unions == "mode"
    gammas = plan.gammas if whole or gamma == ALL_GAMMAS else (gamma,)
    if whole or gamma == ALL_GAMMAS:
        wanted = Objective.of(setup.objective)
        pool = [name for name in setup.pool if name in OBJECTIVES and not Objective.of(name).is_alike(wanted)]
        return Union(tuple(pool), gammas)
    return Union(setup.groups, gammas)


def trained(plan: StudyPlan, part: Part) -> Trained:
    """What a part's library holds of every layout."""
    return Trained(part.budget, plan.training_seeds)


def world_cell(plan: StudyPlan, part: Part, seed: int, objective: str) -> WorldCell:
    """The cell of a layout's optimum."""
    return WorldCell(part.family, seed, objective, plan.random_rollouts)


def scratch_cells(
    plan: StudyPlan, part: Part, seed: int, objective: str, gamma: float, times: int
) -> list[ScratchCell]:
    """The trainings from scratch at a discount, with so many times the episodes of the budget."""
    episodes = times * training_budget(part.budget).episodes
    return [ScratchCell(part.family, seed, objective, episodes, gamma, run) for run in range(plan.training_seeds)]


def model_cell(plan: StudyPlan, part: Part, seed: int, setup: Setup, gamma: float) -> ModelCell:
    """The cell of a case's optimum on recorded transitions."""
    union = union_of(plan, setup, gamma)
    return ModelCell(part.family, seed, setup.objective, trained(plan, part), union)


def inside_cells(plan: StudyPlan, model: ModelCell) -> dict[float, list[InsideCell]]:
    """The trainings inside a case's recorded transitions, by discount."""
    base = (model.family, model.seed, model.objective, model.trained, model.union)
    return {gamma: [InsideCell(*base, gamma, run) for run in range(plan.training_seeds)] for gamma in plan.gammas}


def answer_cells(plan: StudyPlan, part: Part, seed: int, setup: Setup, gamma: float) -> Iterator[AnswerCell]:
    """Every way of answering a setup at a discount."""
    lessons = plan.lessons_of(part)
    for way in plan.ways_at(setup, gamma):
        yield AnswerCell(
            part.family,
            seed,
            setup.objective,
            trained(plan, part),
            plan.gammas,
            gamma,
            setup,
            way,
            plan.repeats,
            lessons if way.ranker == "regressor" else (),
        )


def cells_of(plan: StudyPlan, family: str) -> list[Cell]:
    """All cells of a family, each once, layout by layout."""
    found: dict[Cell, None] = {}
    for _, objective in plan.setups:
        found[ParseCell(family, -1, objective)] = None
    for part in plan.parts_of(family):
        for seed in plan.seeds(part):
            found |= dict.fromkeys(_cells_of_layout(plan, part, seed))
    return list(found)


def _cells_of_layout(plan: StudyPlan, part: Part, seed: int) -> Iterable[Cell]:
    setups = plan.setups_of(part.family)
    for setup in setups:
        yield world_cell(plan, part, seed, setup.objective)
        for times in (1, len(setup.groups)):
            for gamma in plan.gammas:
                yield from scratch_cells(plan, part, seed, setup.objective, gamma=gamma, times=times)
    for setup in setups:
        for gamma in plan.member_gammas:
            model = model_cell(plan, part, seed, setup, gamma)
            yield model
            for runs in inside_cells(plan, model).values():
                yield from runs
            yield from answer_cells(plan, part, seed, setup, gamma)


def lacking(cells: Iterable[Cell], known: Iterable[str]) -> list[Cell]:
    """Those of some cells whose addresses are not among the known ones."""
    held = set(known)
    return [cell for cell in cells if cell.address not in held]


def environment(cell: Cell) -> str:
    """Name of a cell's layout in the library."""
    return environment_of(cell.family, cell.seed)
