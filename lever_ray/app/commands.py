"""What jobs and console commands do: build a library, run an experiment, tune a budget; each logs what it found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lever_ray.app.session import Session
from lever_ray.app.settings import experiment_plan
from lever_ray.config import Settings, home, library_path
from lever_ray.console import progress
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.run import ExperimentRows, plan_digest, run_experiment, write_rows
from lever_ray.experiment.statistics import Row, summarise
from lever_ray.experiment.trial import Problem
from lever_ray.learning.sarsa import training_budget
from lever_ray.library.build import BuildReport, build_library, environment_names
from lever_ray.library.reader import LibraryReader
from lever_ray.library.store import PolicyLibrary
from lever_ray.query.vocabulary import describe
from lever_ray.query.warm import warm_up
from lever_ray.tuning import TunedTrial, as_rows, finished_trials, open_study, tune

if TYPE_CHECKING:
    from lever_ray.tracking import TrackedRun


def build(parts: Session) -> BuildReport:
    """Train what the library of the settings lacks."""
    settings, path = parts.settings.library, library_path(parts.settings.library)
    with parts.console.status("Compiling kernels (first time only)"):
        warm_up()
    path.parent.mkdir(parents=True, exist_ok=True)
    with progress(parts.console, f"Training library {settings.name}", settings.layouts) as advance:
        report = build_library(path, settings, executor=parts.executor, describe=describe, watch=advance)
    rate = report.environment_steps / report.training_seconds / 1e6 if report.training_seconds else 0.0
    parts.console.print(
        f"Library {path}: {report.policies} new policies from {report.trained} training runs, "
        f"{report.environment_steps / 1e6:.1f} M environment steps at {rate:.1f} M/s per core, {report.seconds:.1f} s"
        if report.trained
        else f"Library {path} is complete; nothing to train"
    )
    return report


@dataclass(frozen=True)
class ExperimentReport:
    """What an experiment gave and where it is kept."""

    rows: ExperimentRows
    summary: list[Row]
    folder: Path


def experiment(parts: Session) -> ExperimentReport:
    """Run the experiment of the settings, write its rows and summary, and log it."""
    settings, plan = parts.settings, experiment_plan(parts.settings)
    library = parts.open_library()
    names = _environments_of(library, settings)
    digest = plan_digest(plan, names, _library_digest(settings))
    folder = home() / "experiments" / f"{settings.experiment.name}-{digest}"
    with _tracked_run(
        parts, settings.experiment.name, _tags(settings) | {"config": digest}, ("experiment", "library")
    ) as run:
        with progress(parts.console, f"Experiment {settings.experiment.name}", len(names)) as advance:
            resume = settings.experiment.resume
            rows = run_experiment(
                plan, library, names, executor=parts.executor, folder=folder, resume=resume, watch=advance
            )
        _tell_what_was_odd(parts, rows)
        summary = summarise(rows.rows, bootstrap=settings.experiment.bootstrap) if rows.rows else []
        report = ExperimentReport(rows, summary, folder)
        if summary:
            write_rows(folder / "summary.parquet", summary)
            if run is not None:
                run.write(metrics=[("failed_environments", len(rows.failures), 0)])
                with parts.console.status("Logging to MLflow"):
                    _log_experiment(run, report, _tags(settings) | {"config": digest})
    return report


def _tell_what_was_odd(parts: Session, rows: ExperimentRows) -> None:
    if rows.resumed:
        parts.console.print(f"{rows.resumed} environments were finished by an earlier, interrupted run and were kept")
    for failure in rows.failures:
        parts.console.print(f"[red]failed[/red] {failure.environment}: {failure.error}", soft_wrap=True)


@contextmanager
def _tracked_run(parts: Session, name: str, tags: dict[str, str], groups: Sequence[str]) -> Iterator[TrackedRun | None]:
    """A parent run with the settings of some groups as parameters; None where nothing is tracked."""
    if parts.tracker is None:
        yield None
        return
    everything = asdict(parts.settings)
    parameters = _flat({group: everything[group] for group in groups})
    with parts.tracker.run(name, tags=tags, parameters=parameters) as run:
        yield run


def _tags(settings: Settings) -> dict[str, str]:
    return {
        "experiment": settings.experiment.name,
        "family": settings.library.family,
        "budget": settings.library.budget,
    }


def _environments_of(library: LibraryReader, settings: Settings) -> list[str]:
    names = environment_names(settings.library)
    for name in names:
        library.environment(name)
    return names


def _library_digest(settings: Settings) -> str:
    manifest = PolicyLibrary.open(library_path(settings.library)).manifest
    return hashlib.sha256("".join(sorted(file.sha256 for file in manifest.files)).encode()).hexdigest()


def _log_experiment(run: TrackedRun, report: ExperimentReport, tags: dict[str, str]) -> None:
    from lever_ray.experiment import figures
    from lever_ray.tracking import headline_rows, log_cells

    log_cells(run, report.rows.rows, report.summary, tags=tags)
    run.table("summary", headline_rows(report.summary))
    run.file(report.folder / "rows.parquet")
    run.file(report.folder / "summary.parquet")
    run.figure("quality_versus_speedup", figures.quality_versus_speedup(report.summary))
    run.figure("controls", figures.controls(report.summary))
    run.figure("time_by_stage", figures.time_by_stage(report.summary))


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def tune_budget(parts: Session) -> list[TunedTrial]:
    """Run or go on with the tuning study of the settings and log it; every finished trial."""
    settings = parts.settings.tuning
    library = parts.open_library()
    problem = _tuning_problem(parts.settings, _environments_of(library, parts.settings))
    journal = home() / "studies" / f"{settings.study}.journal"
    study = open_study(settings, journal, problem=problem, library=_library_digest(parts.settings))
    before = len(finished_trials(study))
    if before:
        parts.console.print(f"Study {settings.study} goes on after {before} finished trials")
    tags = _tags(parts.settings) | {
        "study": settings.study,
        "setup": settings.setup.objective,
        "mode": settings.setup.mode,
    }
    with _tracked_run(parts, f"tune {settings.study}", tags, ("tuning", "library")) as run:
        with progress(parts.console, f"Tuning {settings.study}", max(0, settings.trials - before)) as advance:
            trials = tune(
                study,
                settings,
                library=library,
                problem=problem,
                executor=parts.executor,
                watch=lambda trial: advance(trial.label),
            )
        if run is not None:
            _log_study(run, trials)
    return trials


def _tuning_problem(settings: Settings, environments: Sequence[str]) -> Problem:
    setup = Setup.of(settings.tuning.setup.mode, settings.tuning.setup.objective)
    episodes = training_budget(settings.library.budget).episodes
    return Problem(setup, settings.tuning.gamma, episodes, tuple(environments))


def _log_study(run: TrackedRun, trials: Sequence[TunedTrial]) -> None:
    from lever_ray.experiment import figures

    rows = as_rows(trials)
    run.write(
        metrics=[(name, row[name], row["number"]) for row in rows for name in ("quality", "candidates", "seconds")]
    )
    run.table("trials", rows)
    run.figure("front", figures.front(rows))
