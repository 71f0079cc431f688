"""Tuning, as jobs and console commands do it: a study, its front on held-out environments, a strategy by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lever_ray.app.commands import check_source, tags_of, tracked_run
from lever_ray.app.finished import Note, flat_settings, forget, is_logged, note, noted
from lever_ray.app.question import environments_of, library_digest, names_asked
from lever_ray.app.session import Session
from lever_ray.app.settings import tuning_setup
from lever_ray.config import Settings, home, library_path
from lever_ray.console import say
from lever_ray.errors import SettingsError, keeping
from lever_ray.experiment.run import read_rows, write_rows
from lever_ray.learning.budgets import training_budget
from lever_ray.library.format.manifest import MANIFEST
from lever_ray.optuna_adapter import check_question, importances, open_study, told_trials, tune
from lever_ray.progress import Count, progress, working
from lever_ray.tuning.front import TunedTrial, check_feasible, front_of, held_out_rows, trial_rows
from lever_ray.tuning.recommendation import PREFIX, Wish, origin, recommend, strategy_file, write_strategy
from lever_ray.tuning.settings import search_space
from lever_ray.tuning.study_file import only_driver
from lever_ray.tuning.trial import (
    Bench,
    TuningProblem,
    check_operators,
    check_retrievable,
    split_environments,
)

if TYPE_CHECKING:
    from lever_ray.tracking import StudyLog, TrackedRun

Row = dict[str, Any]
FEW = 8
"""Held-out environments below which intervals say little."""
FRONT, TRIAL_ROWS = "front.parquet", "trials.parquet"
"""Files in a study's folder."""
_GROUPS = ("tuning", "library")
"""Groups of settings that decide what a study gives."""
MEASURED_ON = "measured_on"
"""Column of ``front.parquet`` that says where its figures were measured."""
TRIALS = "trials"
"""Column of ``front.parquet`` that says after how many trials."""


@dataclass(frozen=True)
class TuningReport:
    """What a study gave and where it is kept.

    Attributes:
        trials: a row each.
        front: a row per point, with what held-out environments say of it.
        importances: by target and parameter; empty where there were too few trials.
        recommended: the row of the front that is recommended.
        strategy: its file.
        folder: of the tables and figures.
    """

    trials: list[Row]
    front: list[Row]
    importances: dict[str, dict[str, float]]
    recommended: Row
    strategy: Path
    folder: Path

    @property
    def strategy_name(self) -> str:
        """As every command takes it: ``strategy=<name>``."""
        return self.strategy.stem


def study_folder(settings: Settings) -> Path:
    """Where a study's tables and figures are kept; its journal stands beside it."""
    return home() / "tuning" / settings.tuning.study


def study_journal(settings: Settings) -> Path:
    """Where a study's trials are kept, unless the settings name a database."""
    folder = study_folder(settings)
    return folder.with_name(f"{folder.name}.journal")


def strategy_folder() -> Path:
    """Where recommended strategies are written; on Hydra's search path."""
    return home() / "strategy"


def tuning_problem(settings: Settings, environments: Sequence[str], *, library: str = "") -> TuningProblem:
    """What the settings tune on.

    Raises:
        InvalidValue: there are too few environments to split.
    """
    tuning, held_out = split_environments(environments, settings.tuning.held_out)
    setup = tuning_setup(settings)
    episodes = training_budget(settings.library.budget).episodes
    return TuningProblem(setup, episodes, tuning, held_out, library, settings.tuning.repeats)


def check_study(settings: Settings) -> None:
    """Refuse early what tuning would refuse after a library was trained: all but the library's content is compared.

    Raises:
        InvalidValue: too few environments, or an operator that they cannot answer.
        SettingsError: the study was begun with another question, or another process drives it.
    """
    check_source(settings, settings.tuning.space.operators)
    journal = study_journal(settings)
    if not settings.tuning.storage and not journal.exists():
        return
    problem = tuning_problem(settings, names_asked(settings))
    with only_driver(journal):
        check_question(settings.tuning, journal, problem=problem)


def run_name(study: str) -> str:
    """Of a study's parent runs, and of its view, in MLflow."""
    return f"tune {study}"


def noted_study(settings: Settings) -> Note | None:
    """The note of a study that is finished, by the same code and settings, on the same library; None of others.

    A study in a database is never taken for finished: others may add trials.

    Raises:
        LibraryError: the library is damaged.
    """
    here = (library_path(settings.library) / MANIFEST, study_journal(settings), study_folder(settings) / FRONT)
    if settings.tuning.storage or not all(file.exists() for file in here):
        return None
    return noted(study_folder(settings), _deciding(settings))


def _deciding(settings: Settings) -> dict[str, str]:
    """What decides a study's results."""
    return flat_settings(settings, _GROUPS) | {"library content": library_digest(settings)}


def finished_study(parts: Session) -> TuningReport | None:
    """What a study gave that is finished and logged, told as such; None where it is not."""
    settings, folder = parts.settings, study_folder(parts.settings)
    known = noted_study(settings)
    if known is None or not is_logged(parts, known):
        return None
    if parts.tracker is not None:
        parts.tracker.point("tuning", run_name(settings.tuning.study))
    trials, front = (read_rows(folder / name) for name in (TRIAL_ROWS, FRONT))
    say(
        parts.console,
        f"Study {settings.tuning.study} has {len(trials)} trials of {settings.tuning.trials} already: nothing is left "
        f"to tune. Its front and times are of the run that ended {known.ended}; raise tuning.trials for more",
    )
    wish, file = Wish(share=settings.tuning.share), strategy_folder() / f"{PREFIX}{settings.tuning.study}.yaml"
    row = dict(recommend(front, wish)) if file.exists() else _recommended(front, wish, settings.tuning.study)[0]
    return TuningReport(trials, front, known.told["importances"], row, file, folder)


def tune_budget(parts: Session) -> TuningReport:
    """Run or go on with the tuning study of the settings, measure its front on held-out environments, and log both.

    Nothing where that is done already, see :func:`finished_study`.

    Raises:
        InvalidValue: too few environments, or no trial keeps the limits (after everything was kept and logged).
        SettingsError: see :func:`lever_ray.optuna_adapter.open_study`; also where another process drives the study.
        StorageError: a disk is full, or a store stays locked; the message says what is kept.
    """
    place = parts.settings.tuning.storage or study_journal(parts.settings)
    with keeping(place, lambda: f"trials told so far are kept in {place}"):
        return finished_study(parts) or _tune_budget(parts)


def _tune_budget(parts: Session) -> TuningReport:
    settings = parts.settings
    with working(parts.console, "Opening the library and preparing the study"):
        library = parts.open_library()
        names = environments_of(library, settings)
        problem = tuning_problem(settings, names, library=library_digest(settings))
        space = search_space(settings.tuning, settings.library.gammas)
        check_operators(library, problem, space.settings.operators)
        check_retrievable(library, problem, space.gammas, space.strictest)
        bench, folder = Bench(library, problem, parts.executor), study_folder(settings)
    journal = study_journal(settings)
    tags = tags_of(settings) | {
        "study": settings.tuning.study,
        "setup": problem.setup.objective,
        "mode": problem.setup.mode,
    }
    if len(problem.held_out) < FEW:
        say(
            parts.console,
            f"{len(problem.held_out)} held-out environments are few: bootstrap intervals over less than {FEW} are too "
            "narrow; raise library.layouts or tuning.held_out before you rely on a verdict",
        )
    with only_driver(journal):
        study = open_study(settings.tuning, journal, problem=problem)
        before = told_trials(study, space, settings.tuning)
        _tell_before(parts, len(before))
        forget(folder)
        name = run_name(settings.tuning.study)
        run_before = _logged_before(parts, name)
        nothing_new = len(before) >= settings.tuning.trials and _measured_after(folder) == len(before)
        nothing_new = nothing_new and (parts.tracker is None or run_before != "")
        logged = nullcontext() if nothing_new else tracked_run(parts, name, tags, _GROUPS)
        with logged as run:
            log = None if run is None else _study_log(parts, run, name, before)
            total = max(len(before), settings.tuning.trials)
            with progress(parts.console, f"Tuning {settings.tuning.study}", total, done=len(before)) as advance:

                def watch(trial: TunedTrial) -> Mapping[str, str]:
                    advance(trial.choice.label)
                    return {} if log is None else log.add(trial)

                evaluate = partial(bench, watch=advance.within)
                trials = tune(study, settings.tuning, space=space, problem=problem, evaluate=evaluate, watch=watch)
            rows = trial_rows(trials)
            folder.mkdir(parents=True, exist_ok=True)
            write_rows(folder / TRIAL_ROWS, rows)
            if run is not None:
                run.table("trials", rows)
            check_feasible(trials, settings.tuning.limits)
            with working(parts.console, "Measuring the held-out front") as count:
                front = _measured_front(trials, bench, problem, settings, count)
            with working(parts.console, "Weighing parameters, drawing and logging the front", at_once=False):
                report = _keep(rows, front, importances(study), settings, folder)
                if run is not None and log is not None:
                    _log(log, run, report, settings)
        run_now = run_before if run is None else run.id
        note(folder, _deciding(settings), run=run_now, importances=report.importances)
    return report


def _logged_before(parts: Session, name: str) -> str:
    """Id of the study's latest run, where that is finished; the link of studies opens on what it logged."""
    if parts.tracker is None:
        return ""
    parts.tracker.end_killed(name)
    if found := parts.tracker.last_finished(name):
        parts.tracker.point("tuning", name)
    return found


def _study_log(parts: Session, run: TrackedRun, name: str, before: Sequence[TunedTrial]) -> StudyLog | None:
    from lever_ray.tracking import StudyLog

    tuning = parts.settings.tuning
    if parts.tracker is None:
        return None
    return StudyLog(parts.tracker, run, name, study=tuning.study, cost=tuning.cost, before=before)


def _tell_before(parts: Session, done: int) -> None:
    tuning = parts.settings.tuning
    if done >= tuning.trials:
        say(
            parts.console,
            f"Study {tuning.study} has {done} trials of {tuning.trials} already: nothing is left to tune, its front is "
            "measured again; raise tuning.trials for more",
        )
    elif done:
        say(parts.console, f"Study {tuning.study} goes on after {done} finished trials")


def _measured_after(folder: Path) -> int:
    """Trials after which the front in a study's folder was measured; 0 where there is none."""
    file = folder / FRONT
    rows = read_rows(file) if file.exists() else []
    return int(rows[0].get(TRIALS, 0)) if rows else 0


def _measured_front(
    trials: Sequence[TunedTrial], bench: Bench, problem: TuningProblem, settings: Settings, watch: Count
) -> list[Row]:
    front = front_of(trials)
    held_out = bench([trial.choice for trial in front], problem.held_out, watch=watch)
    rows = held_out_rows(front, held_out, cost=settings.tuning.cost, bootstrap=settings.tuning.bootstrap)
    told = (
        f"study {settings.tuning.study!r} on library {settings.library.name!r} ({problem.library[:12]}), "
        f"{problem.setup.mode}/{problem.setup.objective}, budget {settings.library.budget}"
    )
    return [row | {MEASURED_ON: told, "minimised": settings.tuning.cost, TRIALS: len(trials)} for row in rows]


def _keep(
    rows: list[Row], front: list[Row], found: dict[str, dict[str, float]], settings: Settings, folder: Path
) -> TuningReport:
    """Write the tables, the figures, and the strategy that keeps the settings' share of the best quality."""
    from lever_ray import plot
    from lever_ray.tuning import figures

    write_rows(folder / FRONT, front)
    plot.save(figures.front(rows, cost=settings.tuning.cost, held_out=front), folder / "front.png")
    if found:
        plot.save(figures.importances(found), folder / "importances.png")
    row, file = _recommended(front, Wish(share=settings.tuning.share), settings.tuning.study)
    return TuningReport(rows, front, found, row, file, folder)


def _recommended(front: Sequence[Row], wish: Wish, name: str) -> tuple[Row, Path]:
    row = dict(recommend(front, wish))
    text = strategy_file(row, name=name, wish=wish, measured_on=str(row[MEASURED_ON]))
    return row, write_strategy(strategy_folder(), name, text)


def recommend_strategy(settings: Settings, wish: Wish, *, name: str = "") -> tuple[Row, Path, str]:
    """Write ``tuned-<name>.yaml``, the strategy on a finished study's front that a wish asks for.

    Returns row, file, and where a strategy of that name came from that was replaced, if there was one.

    Args:
        settings: name the study.
        wish: what is asked.
        name: of the strategy, with or without the prefix; the study's, if empty.

    Raises:
        SettingsError: the study has not been run.
        InvalidValue: nothing on the front keeps the wish, or the name is no plain file name.
    """
    file = study_folder(settings) / FRONT
    if not file.exists():
        raise SettingsError(
            f"study {settings.tuning.study!r} has no front in {file.parent}; run `lever-ray tune` with the same "
            "tuning.study first"
        )
    given = name.removeprefix(PREFIX) or settings.tuning.study
    before = origin(strategy_folder() / f"{PREFIX}{given}.yaml")
    return *_recommended(read_rows(file), wish, given), before


def _log(log: StudyLog, run: TrackedRun, report: TuningReport, settings: Settings) -> None:
    from lever_ray.tuning import figures

    log.finish(report.front, report.recommended, report.strategy_name)
    run.table("front", report.front)
    run.figure("front", figures.front(report.trials, cost=settings.tuning.cost, held_out=report.front))
    if report.importances:
        run.figure("importances", figures.importances(report.importances))
    for file in (report.folder / TRIAL_ROWS, report.folder / FRONT, report.strategy):
        run.file(file)
