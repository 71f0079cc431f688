"""What jobs and console commands do: build a library, run an experiment, report it; each logs what it found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lever_ray.app.finished import flat_settings, forget, is_logged, note
from lever_ray.app.question import DECIDING, Question, environments_of, noted_experiment, question_of
from lever_ray.app.session import Session
from lever_ray.app.settings import read_pairs
from lever_ray.behaviour.psi import embed as embed_library
from lever_ray.building.build import BuildReport, build_library
from lever_ray.config import Settings, home, library_path, unwritable
from lever_ray.console import say
from lever_ray.errors import SettingsError, check_known, keeping
from lever_ray.executor import in_order
from lever_ray.experiment.headline import headline_report
from lever_ray.experiment.plan import check_all_answer
from lever_ray.experiment.report import markdown_report
from lever_ray.experiment.run import (
    ExperimentRows,
    drop_finished,
    finished_told,
    held_alone,
    read_rows,
    run_experiment,
    was_begun,
    write_rows,
)
from lever_ray.experiment.statistics import Row, summarise
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.reader import LibraryReader
from lever_ray.order import natural_key
from lever_ray.progress import progress, telling_kept, working
from lever_ray.tasks import registry

if TYPE_CHECKING:
    from lever_ray.tracking import TrackedRun

_EMBEDDED_HERE = 50_000
"""Policies up to which one process computes Psi faster than actors start."""


def build(parts: Session) -> None:
    """Train what the library of the settings lacks; nothing where they name environments that it holds.

    Raises:
        UnknownName: it holds none of such a name.
    """
    path = library_path(parts.settings.library)
    if parts.settings.library.environments:
        environments_of(PolicyLibrary.open(path), parts.settings)
    else:
        train(parts, path)
    embed(parts, path)


def train(parts: Session, path: Path) -> BuildReport:
    """Train what a library lacks of the environments that the settings sample."""
    settings = parts.settings.library
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        keeping(path, lambda: f"environments added so far are kept in {path}"),
        progress(parts.console, f"Training library {settings.name}", settings.layouts) as advance,
    ):
        report = build_library(
            path,
            settings,
            executor=parts.executor,
            watch=advance,
            kept_before=telling_kept(parts.console, advance, settings.layouts),
        )
    rate = report.environment_steps / report.training_seconds / 1e6 if report.training_seconds else 0.0
    say(
        parts.console,
        f"Library {path}: {report.policies} new policies from {report.trained} training runs, "
        f"{report.environment_steps / 1e6:.1f} M environment steps at {rate:.1f} M/s per core, {report.seconds:.1f} s"
        if report.trained
        else f"Library {path} is complete; nothing to train",
    )
    return report


def embed(parts: Session, path: Path) -> int:
    """Compute and store what a library lacks of Psi and text vectors; for how many policies Psi was computed.

    Large libraries are embedded in the actors that hold their shards, where the executor is Ray.
    """
    local = PolicyLibrary.open(path)
    lacking = sum(shard.rows for shard in local.manifest.shards if shard.file("embeddings") is None)
    in_actors = lacking > _EMBEDDED_HERE and parts.executor.name == "ray"
    with working(parts.console, "Opening the library", at_once=False):
        library: LibraryReader = parts.open_shards(path) if in_actors else local
    try:
        with progress(parts.console, "Embedding policies", lacking) as advance:
            return embed_library(library, lambda rows: advance("", rows))
    finally:
        library.close()


@dataclass(frozen=True)
class ExperimentReport:
    """What an experiment gave and where it is kept."""

    rows: ExperimentRows
    summary: list[Row]
    folder: Path


def finished_experiment(parts: Session) -> ExperimentReport | None:
    """What an experiment gave that is finished and logged, told as such; None where it is not."""
    found = noted_experiment(parts.settings)
    if found is None or not is_logged(parts, found[1]):
        return None
    asked, known = found
    if parts.tracker is not None:
        parts.tracker.point("experiment", asked.title)
    say(
        parts.console,
        f"Experiment {parts.settings.experiment.name} is finished already; nothing to do. Results and times are of the "
        f"run that ended {known.ended}. `lever-ray report` with the same settings tells more, experiment.resume=false "
        "computes it again",
    )
    rows = read_rows(asked.folder / "rows.parquet")
    return ExperimentReport(ExperimentRows(rows, [], 0), read_rows(asked.folder / "summary.parquet"), asked.folder)


def experiment(parts: Session) -> ExperimentReport:
    """Run the experiment of the settings, write its rows and summary, and log it; nothing where that is done already.

    Rows of finished environments are kept until all is logged. A start that finds such rows goes on in the run of the
    one that they are from, and logs what that lacks.

    Raises:
        StorageError: a disk is full, or the store stays locked; the message says what is kept.
        SettingsError: another process runs the same experiment.
    """
    settings = parts.settings
    with working(parts.console, "Opening the library", at_once=False):
        if (report := finished_experiment(parts)) is not None:
            return report
        library = parts.open_library()
        asked = question_of(settings, library)
    folder = asked.folder
    for name in asked.names:
        check_all_answer(asked.plan.operators, library.environment(name).task)
    busy = f"experiment {folder.name} is being run by another process; wait for it"
    with (
        keeping(folder, lambda: finished_told(folder)),
        held_alone(folder.with_name(f"{folder.name}.driver"), busy),
    ):
        forget(folder)
        report, run = _experiment(parts, asked, library)
        if not report.rows.failures:
            if report.summary:
                note(folder, flat_settings(settings, DECIDING), run=run)
            drop_finished(folder)
    return report


def _experiment(parts: Session, asked: Question, library: LibraryReader) -> tuple[ExperimentReport, str]:
    """What it gave, and the id of its run."""
    settings, tags = parts.settings, tags_of(parts.settings) | {"config": asked.digest}
    again = "config" if was_begun(asked.folder) else ""
    resume = settings.experiment.resume
    with tracked_run(parts, asked.title, tags, DECIDING, again=again, resume=resume) as run:
        with progress(parts.console, f"Experiment {settings.experiment.name}", len(asked.names)) as advance:
            rows = run_experiment(
                asked.plan,
                library,
                asked.names,
                executor=parts.executor,
                folder=asked.folder,
                resume=resume,
                watch=advance,
                kept_before=telling_kept(parts.console, advance, len(asked.names)),
                keep_finished=True,
            )
        _tell_what_was_odd(parts, rows)
        with working(parts.console, "Summing up", at_once=False):
            summary = summarise(rows.rows, bootstrap=settings.experiment.bootstrap) if rows.rows else []
        report = ExperimentReport(rows, summary, asked.folder)
        if summary:
            write_rows(asked.folder / "summary.parquet", summary)
            if run is not None:
                run.write(metrics=[("failed_environments", len(rows.failures), 0)])
                with working(parts.console, "Logging to MLflow"):
                    _log_experiment(parts, run, report, asked.title, tags)
    return report, "" if run is None else run.id


class Report(NamedTuple):
    """A report as Markdown.

    Attributes:
        text: all of it.
        headline: what matters of it.
        files: that were written: the text, and the page where one was asked for.
    """

    text: str
    headline: str
    files: list[Path]


def report(settings: Settings, *, page: str | None = None) -> Report:
    """Write ``report.md`` beside the rows of the experiment that the settings describe.

    Args:
        settings: of the experiment.
        page: where the report with its figures is written as a page, too; empty for ``report.html`` beside the other.

    Raises:
        LibraryError: the library is missing.
        SettingsError: the experiment has not been run, or a file cannot be written.
    """
    folder = question_of(settings).folder
    if not (folder / "rows.parquet").exists():
        raise SettingsError(f"no rows in {folder}; run `lever-ray experiment` with the same settings first")
    files = [folder / "report.md", *([] if page is None else [Path(page or folder / "report.html")])]
    for file in files:
        if why := unwritable(file):
            raise SettingsError(why)
    rows, bootstrap = read_rows(folder / "rows.parquet"), settings.experiment.bootstrap
    contrasts = settings.experiment.contrasts
    text = markdown_report(rows, contrasts=contrasts, bootstrap=bootstrap)
    _write(files[0], text)
    if page is not None:
        from lever_ray.experiment.figures import all_figures
        from lever_ray.experiment.page import html_page

        title = f"Experiment {settings.experiment.name}"
        _write(files[1], html_page(title, text, all_figures(summarise(rows, bootstrap=bootstrap))))
    return Report(text, headline_report(rows, contrasts=contrasts, bootstrap=bootstrap), files)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{file} cannot be written ({error.strerror}); choose another place") from error


def settings_of_study(name: str, overrides: Sequence[str]) -> Any:
    """The settings of a study by name.

    Raises:
        UnknownName: there is no such study or setting.
        InvalidValue: a setting has the wrong type or lies outside its domain.
    """
    from lever_ray.studies.studies import STUDIES, study_settings

    check_known("study", name, STUDIES)
    return study_settings(name, read_pairs(overrides))


def study_folder(name: str, settings: Any) -> Path:
    """Where the rows and the report of a study with such settings are kept."""
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
    return home() / "studies" / f"{name}-{digest}"


def study(parts: Session, name: str, settings: Any) -> Path:
    """Run a study that trains what it needs; the folder with ``rows.parquet`` and ``report.md``.

    Args:
        parts: of the command.
        name: of the study.
        settings: see :func:`settings_of_study`.
    """
    from lever_ray.studies.studies import run_study, study_files, study_report

    folder = study_folder(name, settings)
    with working(parts.console, f"Running study {name}") as watch:
        rows = run_study(name, settings, executor=parts.executor, watch=watch)
    folder.mkdir(parents=True, exist_ok=True)
    with working(parts.console, "Summing up", at_once=False):
        told = study_report(name, rows)
    (folder / "report.md").write_text(f"{_settings_list(name, settings)}\n\n{told}", encoding="utf-8")
    for file, text in study_files(name, rows).items():
        (folder / file).write_text(text, encoding="utf-8")
    write_rows(folder / "rows.parquet", rows)
    return folder


def _settings_list(name: str, settings: Any) -> str:
    """A study's settings as a Markdown list."""
    lines = (f"- {key}: {_in_words(value)}" for key, value in asdict(settings).items())
    return "\n".join([f"# Study {name}", "", *lines])


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(
            f"({_in_words(each)})" if isinstance(each, list | tuple) else _in_words(each) for each in value
        )
    return str(value)


def _tell_what_was_odd(parts: Session, rows: ExperimentRows) -> None:
    for failure in sorted(rows.failures, key=lambda failure: natural_key(failure.environment)):
        say(parts.console, f"failed {failure.environment}: {failure.error}", style="red")


@contextmanager
def tracked_run(
    parts: Session, name: str, tags: dict[str, str], groups: Sequence[str], *, again: str = "", resume: bool = True
) -> Iterator[TrackedRun | None]:
    """A parent run with the settings of some groups as parameters; None where nothing is tracked.

    Args:
        parts: of the command.
        name: of the run.
        tags: of the run.
        groups: of settings.
        again: see :meth:`lever_ray.tracking.Tracker.run`.
        resume: likewise.
    """
    if parts.tracker is None:
        yield None
        return
    parameters = flat_settings(parts.settings, groups)
    with parts.tracker.run(name, tags=tags, parameters=parameters, again=again, resume=resume) as run:
        yield run


def tags_of(settings: Settings) -> dict[str, str]:
    """Tags that every run carries."""
    return {
        "experiment": settings.experiment.name,
        "family": settings.library.family,
        "budget": settings.library.budget,
    }


def check_source(settings: Settings, operators: Iterable[str]) -> None:
    """Refuse operators that the environments of the settings cannot answer, before any of them is trained on.

    Raises:
        InvalidValue: see :func:`~lever_ray.experiment.plan.check_all_answer`.
    """
    if not settings.library.environments:
        source = registry.source(settings.library.family)
        check_all_answer(operators, source.sample(settings.library.first_layout))


def _log_experiment(
    parts: Session, run: TrackedRun, report: ExperimentReport, title: str, tags: dict[str, str]
) -> None:
    from lever_ray.experiment.figures import FIGURES, drawn
    from lever_ray.tracking import headline_rows, layout_rows, log_cells

    operators = dict.fromkeys(line["operator"] for line in report.summary)
    wanted = [(name, operator) for operator in operators for name in FIGURES]
    with ThreadPoolExecutor(1) as aside:  # drawn while runs are logged
        drawing = aside.submit(lambda: in_order(parts.executor.map(drawn, wanted, shared=(report.summary,))))
        views = log_cells(run, title, report.rows.rows, report.summary, tags=tags)
        pictures = drawing.result()
    run.table("summary", headline_rows(report.summary))
    run.table("layouts", layout_rows(report.rows.rows))
    run.file(report.folder / "rows.parquet")
    run.file(report.folder / "summary.parquet")
    for (name, operator), png in zip(wanted, pictures, strict=True):
        run.picture(f"{name}_{operator}", png)
    if parts.tracker is not None:
        parts.tracker.publish("experiment", *views)
