"""The study, from nothing to a report: settings, libraries, cells, rows, tracking."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from lever_ray.app.keys import key_of
from lever_ray.app.session import Session
from lever_ray.app.settings import load_settings, read_pairs
from lever_ray.config import Settings, home
from lever_ray.console import say
from lever_ray.errors import check_known, keeping
from lever_ray.executor import in_order
from lever_ray.experiment.report import markdown_report
from lever_ray.experiment.run import held_alone, write_rows
from lever_ray.experiment.statistics import Row
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.reader import LibraryReader
from lever_ray.progress import progress, working
from lever_ray.reproduction.cost import break_even
from lever_ray.reproduction.estimate import Estimate, estimate
from lever_ray.reproduction.merge import sound
from lever_ray.reproduction.run import Reproduced, Seconds, Todo, run_study, todo_of
from lever_ray.reproduction.settings import NAMES, study_plan, study_settings
from lever_ray.reproduction.sizes import CONTRASTS, STUDY, StudyPlan
from lever_ray.reproduction.store import CellStore

if TYPE_CHECKING:
    from lever_ray.tracking import TrackedRun

_GROUPS = ("cluster", "tracking")
"""Groups of ``conf/`` that the study heeds."""


def asked(overrides: Sequence[str]) -> tuple[StudyPlan, Settings]:
    """The study and the other settings that a command line asks for.

    Raises:
        UnknownName, InvalidValue, SettingsError: see :func:`~lever_ray.reproduction.settings.study_settings`,
            :func:`~lever_ray.reproduction.settings.study_plan` and :func:`~lever_ray.app.settings.load_settings`.
    """
    own: list[str] = []
    others: list[str] = []
    for override in overrides:
        (others if key_of(override).partition(".")[0] in _GROUPS else own).append(override)
    given = read_pairs(own)
    for name in given:
        check_known("setting", name, (*NAMES, *_GROUPS))
    return study_plan(study_settings(given)), load_settings(others, about=())


@dataclass(frozen=True)
class Places:
    """Where the study keeps what it has.

    Attributes:
        folder: of its results.
        store: folder of finished cells, of every size.
        libraries: folder of policy libraries.
    """

    folder: Path
    store: Path
    libraries: Path

    @classmethod
    def of(cls, plan: StudyPlan) -> Places:
        """Those of a study; equal plans have equal places."""
        digest = hashlib.sha256(repr(plan).encode()).hexdigest()[:8]
        root = home() / STUDY
        return cls(root / f"{plan.size}-{digest}", root / "cells", home() / "libraries")


def expected(plan: StudyPlan, settings: Settings) -> Estimate:
    """How long the study will take; measures for a few seconds how fast this machine is."""
    places = Places.of(plan)
    store = CellStore(places.store)
    workers = 1 if settings.cluster.executor == "serial" else os.cpu_count() or 1
    return estimate(plan, store, todo_of(plan, store), places.libraries, workers=workers)


class _Clock:
    """Adds up the seconds of some blocks."""

    def __init__(self) -> None:
        self.spent = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        begun = perf_counter()
        try:
            yield
        finally:
            self.spent += perf_counter() - begun


def reproduce(parts: Session, plan: StudyPlan) -> tuple[Reproduced, Path]:
    """Run the study, write its results and log them; what it gave and the folder.

    Raises:
        SettingsError: another process runs it in the same home.
        StorageError: a disk is full, or the tracking store stays locked; finished cells are kept.
    """
    places, begun, tracking = Places.of(plan), perf_counter(), _Clock()
    busy = f"the study is being run by another process in {home()}; wait for it"
    kept = f"finished cells are kept in {places.store}; the same command goes on from there"
    with keeping(places.store, lambda: kept), held_alone(places.store.with_name(f"{STUDY}.driver"), busy):
        with working(parts.console, "Reading what is finished", at_once=False):
            store = CellStore(places.store)
            todo = todo_of(plan, store)
        with _tracked(parts, plan, places.folder.name, tracking) as run:
            found = _run(parts, plan, places, store, todo)
            with working(parts.console, "Writing", at_once=False), found.timed("writing"):
                _write(parts, plan, found, places.folder)
            if sound(found.rows):
                with found.timed("page"):
                    _write_page(parts, plan, found.rows, places)
            if run is not None:
                with tracking.running(), working(parts.console, "Logging to MLflow", at_once=False):
                    _log(run, found, places.folder)
        found.seconds["tracking"] = Seconds("tracking", tracking.spent)
        found.seconds["all"] = Seconds("all", perf_counter() - begun)
        write_rows(places.folder / "seconds.parquet", [asdict(each) for each in found.seconds.values()])
    return found, places.folder


@contextmanager
def _tracked(parts: Session, plan: StudyPlan, name: str, clock: _Clock) -> Iterator[TrackedRun | None]:
    """The study's run; one that did not finish is gone on with. None where nothing is tracked."""
    if parts.tracker is None:
        yield None
        return
    tags = {"experiment": STUDY, "size": plan.size, "config": name}
    parameters = {key: str(value) for key, value in asdict(plan).items()}
    with ExitStack() as stack:
        with clock.running():
            run = stack.enter_context(parts.tracker.run(name, tags=tags, parameters=parameters, again="config"))
        yield run
        with clock.running():
            stack.close()


def _run(parts: Session, plan: StudyPlan, places: Places, store: CellStore, todo: Sequence[Todo]) -> Reproduced:
    cells, missing = sum(each.cells for each in todo), sum(len(each.missing) for each in todo)
    if cells > missing:
        say(parts.console, f"{cells - missing:,} of {cells:,} cells are finished already")
    with progress(parts.console, f"Study {plan.size}", cells, done=cells - missing) as advance:
        return run_study(
            plan,
            store,
            todo,
            places.libraries,
            executor=parts.executor,
            open_library=lambda path: _opened(parts, path),
            telling=advance,
        )


def _opened(parts: Session, path: Path) -> LibraryReader:
    return PolicyLibrary.open(path) if parts.executor.name == "serial" else parts.open_shards(path)


def _write(parts: Session, plan: StudyPlan, found: Reproduced, folder: Path) -> None:
    """Rows, summary, the break-even surface and the report."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"rows": found.rows, "summary": found.summary, "break_even": break_even(sound(found.rows))}
    for name, rows in tables.items():
        if rows:
            write_rows(folder / f"{name}.parquet", rows)
    by_part: dict[str, list[Row]] = {}
    for row in sound(found.rows):
        by_part.setdefault(f"{row['family']} {row['budget']}", []).append(row)
    told = in_order(parts.executor.map(_told, list(by_part.values()), shared=(plan.bootstrap,)))
    sections = [f"## {name}\n\n{text}" for name, text in zip(by_part, told, strict=True)]
    (folder / "report.md").write_text("\n".join([f"# Study {plan.size}\n", *sections]), encoding="utf-8")


def _write_page(parts: Session, plan: StudyPlan, rows: Sequence[Row], places: Places) -> None:
    """The page of all evidence, with its figures beside it; what there is no evidence for says so."""
    from lever_ray.app.reproduce_evidence import evidence
    from lever_ray.reproduction.report.page import write_report

    found = evidence(parts, plan, rows, places.libraries)
    with working(parts.console, "Drawing", at_once=False):
        write_report(found, places.folder)


def _told(rows: list[Row], bootstrap: int) -> str:
    return markdown_report(rows, contrasts=CONTRASTS, bootstrap=bootstrap)


def _log(run: TrackedRun, found: Reproduced, folder: Path) -> None:
    """Metrics of the whole, and the files as artifacts: no child runs, there would be thousands."""
    counts = {"cells/kept": found.kept, "cells/failed": len(found.failures), "rows": len(found.rows)}
    seconds = {f"seconds/{each.stage}": each.wall for each in found.seconds.values()}
    run.write(metrics=[(name, value, 0) for name, value in (counts | seconds).items()])
    for file in sorted(folder.glob("*.*")):
        run.file(file)
