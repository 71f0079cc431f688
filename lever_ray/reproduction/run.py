"""Running the study: libraries, then cells in batches over an executor; what is finished stays finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Protocol

from lever_ray.building.build import build_library
from lever_ray.errors import storage_error
from lever_ray.executor import Executor, in_order
from lever_ray.experiment.case import Row
from lever_ray.experiment.plan import ALL_GAMMAS
from lever_ray.experiment.statistics import summarise
from lever_ray.library.reader import LibraryReader
from lever_ray.query.ranking import open_for_ranking
from lever_ray.reproduction.cells import AnswerCell, Cell, ModelCell, cells_of, environment, lacking
from lever_ray.reproduction.merge import ERROR, Results, merged_rows, sound
from lever_ray.reproduction.pace import Pace, batches
from lever_ray.reproduction.sizes import Part, StudyPlan
from lever_ray.reproduction.store import CellStore, Finished
from lever_ray.reproduction.work import Asked, run_batch


class Telling(Protocol):
    """Is told how far the study is."""

    def __call__(self, item: str, count: int = 1) -> None:
        """So many more cells are done, of a layout."""
        ...

    def within(self, done: int, total: int, stage: str = "") -> None:
        """So much of a stage before the next cells is done."""
        ...


@dataclass
class Seconds:
    """What a stage took.

    Attributes:
        stage: name of it.
        wall: seconds on the clock.
        cpu: CPU seconds of its cells, added up over workers; of other stages the clock's.
        cells: how many there were.
    """

    stage: str
    wall: float = 0.0
    cpu: float = 0.0
    cells: int = 0


@dataclass
class Reproduced:
    """What the study gave.

    Attributes:
        rows: see :func:`~lever_ray.reproduction.merge.merged_rows`.
        summary: of the rows without errors, by family and budget.
        seconds: by stage.
        failures: error by what failed, in words.
        kept: cells that earlier runs had finished.
    """

    rows: list[Row] = field(default_factory=list)
    summary: list[Row] = field(default_factory=list)
    seconds: dict[str, Seconds] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    kept: int = 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[Seconds]:
        """Add a block's seconds to those of a stage."""
        spent = self.seconds.setdefault(stage, Seconds(stage))
        begun = perf_counter()
        try:
            yield spent
        finally:
            spent.wall += perf_counter() - begun


@dataclass(frozen=True)
class Todo:
    """What a family lacks.

    Attributes:
        family: it.
        cells: how many it has.
        missing: those that are not finished.
    """

    family: str
    cells: int
    missing: Sequence[Cell]


def todo_of(plan: StudyPlan, store: CellStore) -> list[Todo]:
    """What every family of the study lacks."""
    found = []
    for family in plan.families:
        cells = cells_of(plan, family)
        found.append(Todo(family, len(cells), lacking(cells, store)))
    return found


def run_study(
    plan: StudyPlan,
    store: CellStore,
    todo: Sequence[Todo],
    libraries: Path,
    *,
    executor: Executor,
    open_library: Callable[[Path], LibraryReader],
    telling: Telling | None = None,
) -> Reproduced:
    """Run what is not finished yet, and merge all.

    A layout whose training fails, or a cell that does, leaves rows with errors; all others are run.

    Args:
        plan: the study.
        store: of finished cells.
        todo: see :func:`todo_of`.
        libraries: folder of policy libraries.
        executor: where batches run.
        open_library: opens one so that it may be sent to the executor's workers.
        telling: told of cells as they are finished.

    Raises:
        StorageError: a disk is full.
    """
    run = _Run(plan, store, libraries, executor, open_library, telling)
    try:
        for each in todo:
            run.family(each)
    finally:
        store.flush()
    found = run.found
    with found.timed("merging"):
        found.rows = merged_rows(plan, Results(store, run.errors))
    with found.timed("summing up"):
        found.summary = summaries(plan, found.rows, executor)
    return found


@dataclass
class _Run:
    """See :func:`run_study`; ``errors`` are by address."""

    plan: StudyPlan
    store: CellStore
    libraries: Path
    executor: Executor
    open_library: Callable[[Path], LibraryReader]
    telling: Telling | None
    found: Reproduced = field(default_factory=Reproduced)
    errors: dict[str, str] = field(default_factory=dict)

    def family(self, todo: Todo) -> None:
        """Run what a family lacks."""
        missing = todo.missing
        self.found.kept += todo.cells - len(missing)
        if not missing:
            return
        parts = self.plan.parts_of(todo.family)
        for part in parts:
            self._train(part)
        library = self.open_library(self.libraries / self.plan.library(parts[0]).name)
        try:
            with self.found.timed("opening"):
                _prepare(self.plan, parts, missing, library)
            with self.found.timed("cells"):
                self._cells(parts, missing, library)
        finally:
            library.close()

    def _train(self, part: Part) -> None:
        """Train what a part's library lacks; a layout that fails is told, and has no policies."""
        settings, done = self.plan.library(part), count(1)

        def watch(_: str) -> None:
            if self.telling is not None:
                self.telling.within(next(done), part.layouts, f"policies of {part.family} {part.budget}")

        with self.found.timed("policies") as spent:
            try:
                report = build_library(self.libraries / settings.name, settings, executor=self.executor, watch=watch)
            except Exception as error:
                if full := storage_error(error, self.libraries):
                    raise full from error
                told = f"policies of {part.family} at {part.budget}"
                self.found.failures[told] = f"{type(error).__name__}: {error}"
            else:
                spent.cpu += report.training_seconds
                spent.cells += report.trained

    def _cells(self, parts: Sequence[Part], missing: Sequence[Cell], library: LibraryReader) -> None:
        work = list(batches(missing, Pace.of(self.store.results())))
        asked = {part.budget: Asked(self.plan.experiment(part), self.plan.lessons_of(part)) for part in parts}
        for outcome in self.executor.map(run_batch, work, shared=(library, asked)):
            batch = work[outcome.index]
            finished = _finished(batch, outcome.value, outcome.error)
            self.store.add(finished)
            self._count(batch, finished)
            if self.telling is not None:
                self.telling(environment(batch[-1]), len(batch))

    def _count(self, batch: Sequence[Cell], finished: Sequence[Finished]) -> None:
        for cell, each in zip(batch, finished, strict=True):
            spent = self.found.seconds.setdefault(each.kind, Seconds(each.kind))
            spent.wall, spent.cpu, spent.cells = spent.wall + each.seconds, spent.cpu + each.cpu, spent.cells + 1
            if each.error:
                self.errors[each.address] = self.found.failures[cell.told] = each.error


def _prepare(plan: StudyPlan, parts: Sequence[Part], missing: Sequence[Cell], library: LibraryReader) -> None:
    """Have what all batches need travel with the library: what regressors learn from, and groups of members."""
    held = set(library.environments)
    reading = {environment(cell) for cell in missing if isinstance(cell, AnswerCell | ModelCell)} & held
    learning = {cell.trained.budget for cell in missing if isinstance(cell, AnswerCell) and cell.lessons}
    for part in parts:
        experiment = plan.experiment(part)
        gammas = [gamma for gamma in plan.member_gammas if gamma != ALL_GAMMAS]
        recipes = [recipe for gamma in gammas for recipe in experiment.recipes_at(gamma)]
        if part.budget in learning and reading:
            objectives = [setup.objective for setup in experiment.setups]
            open_for_ranking(library, recipes, objectives, min(reading))
    library.publish(sorted(reading))


def _finished(batch: Sequence[Cell], value: list[Finished] | None, error: Exception | None) -> list[Finished]:
    """The results of a batch; where its worker was lost, every cell failed of that.

    Raises:
        StorageError: a disk is full.
    """
    if value is not None:
        return value
    if error is not None and (full := storage_error(error, "what a worker writes")):
        raise full from error
    told = f"{type(error).__name__}: {error}"
    return [Finished(cell.address, cell.kind, cell.like, 0.0, 0.0, None, told) for cell in batch]


def summaries(plan: StudyPlan, rows: Sequence[Row], executor: Executor) -> list[Row]:
    """The summary of every family and budget, of rows without errors."""
    tables: dict[tuple[str, str], list[Row]] = {(part.family, part.budget): [] for part in plan.parts}
    for row in sound(rows):
        tables[row["family"], row["budget"]].append({name: value for name, value in row.items() if name != ERROR})
    outcomes = executor.map(_summary, [table for table in tables.values() if table], shared=(plan.bootstrap,))
    return [line for lines in in_order(outcomes) for line in lines]


def _summary(rows: list[Row], bootstrap: int) -> list[Row]:
    return summarise(rows, bootstrap=bootstrap)
