"""How long the study will take, before it is begun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lever_ray.learning.budgets import training_budget
from lever_ray.library.format.manifest import MANIFEST
from lever_ray.library.library import PolicyLibrary
from lever_ray.reproduction.cells import AnswerCell, Cell, ModelCell
from lever_ray.reproduction.pace import AFTER, POLICIES, Pace, batches, measured_speed
from lever_ray.reproduction.run import Todo
from lever_ray.reproduction.sizes import Part, StudyPlan, environment_of
from lever_ray.reproduction.store import CellStore

START = 12.0
"""Seconds that starting Ray, MLflow and loading what is compiled takes, about."""


@dataclass(frozen=True)
class Expected:
    """What a family has to do still.

    Attributes:
        family: it.
        cells: all of its cells.
        missing: those that are not finished.
        batches: that these are run in.
        seconds: core-seconds, training of policies and summing up included.
    """

    family: str
    cells: int
    missing: int
    batches: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """How long the study takes.

    Attributes:
        families: what each has to do.
        workers: cells that run at a time.
    """

    families: tuple[Expected, ...]
    workers: int

    @property
    def seconds(self) -> float:
        """On the clock."""
        work = sum(family.seconds for family in self.families)
        return START + work / self.workers if work else START


def estimate(
    plan: StudyPlan,
    store: CellStore,
    todo: Sequence[Todo],
    libraries: Path,
    *,
    workers: int,
    speed: float | None = None,
) -> Estimate:
    """From the CPU seconds of cells like those that are missing, here or where the study was run before.

    Args:
        plan: the study.
        store: of finished cells.
        todo: see :func:`~lever_ray.reproduction.run.todo_of`.
        libraries: folder of policy libraries.
        workers: cells that run at a time.
        speed: seconds on the clock by CPU second of the past; measured, if None.
    """
    factor = measured_speed() if speed is None else speed
    pace = Pace.of(store.results())
    return Estimate(tuple(_expected(plan, each, libraries, pace, factor) for each in todo), workers)


def _expected(plan: StudyPlan, todo: Todo, libraries: Path, pace: Pace, speed: float) -> Expected:
    missing = todo.missing
    cells = sum(map(pace.cell, missing))
    policies = sum(_policies(plan, part, missing, libraries, pace) for part in plan.parts_of(todo.family))
    lines = sum(_lines(plan, part) for part in plan.parts_of(todo.family))
    after = lines * pace.seconds((AFTER,))
    works = len(list(batches(missing, pace)))
    return Expected(todo.family, todo.cells, len(missing), works, speed * (cells + policies + after))


def _lines(plan: StudyPlan, part: Part) -> int:
    """Lines of a part's summary."""
    setups = plan.setups_of(part.family)
    return sum(len(plan.ways_at(setup, gamma)) for setup in setups for gamma in plan.member_gammas)


def _policies(plan: StudyPlan, part: Part, missing: Sequence[Cell], libraries: Path, pace: Pace) -> float:
    """CPU seconds of training what a part's library lacks."""
    reading = (cell for cell in missing if isinstance(cell, AnswerCell | ModelCell))
    lacking = {cell.seed for cell in reading if cell.trained.budget == part.budget} - _held(plan, part, libraries)
    return len(lacking) * pace.seconds((POLICIES, part.family, part.budget)) * plan.training_seeds / 3


def _held(plan: StudyPlan, part: Part, libraries: Path) -> set[int]:
    """Layouts that a part's library has policies of."""
    path = libraries / plan.library(part).name
    if not (path / MANIFEST).exists():
        return set()
    held, episodes = PolicyLibrary.open(path).keys(), training_budget(part.budget).episodes
    names = {key.environment for key in held if key.episodes == episodes}
    return {seed for seed in plan.seeds(part) if environment_of(part.family, seed) in names}
