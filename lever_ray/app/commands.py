"""What jobs and console commands do: build a library, run an experiment, tune a budget; each logs what it found."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    with progress(parts.console, f"Experiment {settings.experiment.name}", len(names)) as advance:
        rows = run_experiment(
            plan, library, names, executor=parts.executor, folder=folder, resume=settings.experiment.resume, watch=advance
        )
    if rows.resumed:
        parts.console.print(f"{rows.resumed} environments were finished by an earlier, interrupted run and were kept")
    for failure in rows.failures:
        parts.console.print(f"[red]failed[/red] {failure.environment}: {failure.error}")
    summary = summarise(rows.rows, bootstrap=settings.experiment.bootstrap) if rows.rows else []
    if summary:
        write_rows(folder / "summary.parquet", summary)
    report = ExperimentReport(rows, summary, folder)
    if parts.tracker is not None and summary:
        with parts.console.status("Logging to MLflow"):
            _track_experiment(parts, report, digest)
    return report


def _environments_of(library: LibraryReader, settings: Settings) -> list[str]:
    names = environment_names(settings.library)
    for name in names:
        library.environment(name)
    return names


def _library_digest(settings: Settings) -> str:
    manifest = PolicyLibrary.open(library_path(settings.library)).manifest
    return hashlib.sha256("".join(sorted(file.sha256 for file in manifest.files)).encode()).hexdigest()


def _track_experiment(parts: Session, report: ExperimentReport, digest: str) -> None:
    from lever_ray.experiment import figures
    from lever_ray.tracking import log_cells

    settings = parts.settings
    tags = {"experiment": settings.experiment.name, "family": settings.library.family, "budget": settings.library.budget, "config": digest}
    parameters = _flat({"experiment": asdict(settings.experiment), "library": asdict(settings.library)})
    with parts.tracker.run(settings.experiment.name, tags=tags, parameters=parameters) as run:
        log_cells(run, report.rows.rows, report.summary, tags=tags)
        run.table("summary", report.summary)
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
    names = _environments_of(library, parts.settings)
    setup = Setup.of(settings.setup.mode, settings.setup.objective)
    episodes = training_budget(parts.settings.library.budget).episodes
    problem = Problem(setup, settings.gamma, episodes, tuple(names))
    study = open_study(settings, home() / "studies" / f"{settings.study}.journal")
    before = len(finished_trials(study))
    if before:
        parts.console.print(f"Study {settings.study} goes on after {before} finished trials")
    with progress(parts.console, f"Tuning {settings.study}", max(0, settings.trials - before)) as advance:
        trials = tune(
            study, settings, library=library, problem=problem, executor=parts.executor, watch=lambda trial: advance(trial.label)
        )
    if parts.tracker is not None:
        with parts.console.status("Logging to MLflow"):
            _track_study(parts, trials)
    return trials


def _track_study(parts: Session, trials: list[TunedTrial]) -> None:
    from lever_ray.experiment import figures

    settings, rows = parts.settings.tuning, as_rows(trials)
    tags = {"study": settings.study, "family": parts.settings.library.family, "setup": settings.setup.objective, "mode": settings.setup.mode}
    metrics = [(name, row[name], row["number"]) for row in rows for name in ("quality", "candidates", "seconds")]
    with parts.tracker.run(f"tune {settings.study}", tags=tags, parameters=_flat({"tuning": asdict(settings)})) as run:
        run.write(metrics=metrics)
        run.table("trials", rows)
        run.figure("front", figures.front(rows))
