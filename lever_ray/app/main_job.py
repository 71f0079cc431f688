"""The main job: a library, then an experiment, a tuning study, or both, and where to look at them."""

from __future__ import annotations

from collections.abc import Sequence

from lever_ray.app import commands, settings, tuning_commands
from lever_ray.app.finished import is_logged
from lever_ray.app.question import noted_experiment
from lever_ray.app.session import Session, session
from lever_ray.app.study_tables import front_table, summary_table
from lever_ray.app.tuning_commands import noted_study
from lever_ray.config import Settings
from lever_ray.console import importance_table, say


def main_job(overrides: Sequence[str], *, experiment: bool, tuning: bool) -> bool:
    """Train the library where it is missing, then do what is asked; whether every environment was answered.

    Args:
        overrides: settings, see :func:`~lever_ray.app.settings.load_settings`.
        experiment: whether the experiment of the settings is run.
        tuning: whether their tuning study is begun, or gone on with.

    Raises:
        UnknownName, SettingsError, InvalidValue: see :func:`~lever_ray.app.settings.load_settings`,
            :func:`~lever_ray.app.commands.check_source` and :func:`~lever_ray.app.tuning_commands.check_study`.
    """
    given = _checked(overrides, experiment=experiment, tuning=tuning)
    if _shown_finished(given, experiment=experiment, tuning=tuning):
        return True
    with session(given) as parts:
        commands.build(parts)
        return _done(parts, experiment=experiment, tuning=tuning)


def _shown_finished(given: Settings, *, experiment: bool, tuning: bool) -> bool:
    """Show what is asked where all of it is finished and logged; neither Ray nor kernels are waited for then."""
    noted = noted_experiment(given) if experiment else None
    notes = [*([noted and noted[1]] if experiment else []), *([noted_study(given)] if tuning else [])]
    if None in notes:
        return False
    with session(given, computing=False) as parts:
        logged = all(each is not None and is_logged(parts, each) for each in notes)
        return logged and _done(parts, experiment=experiment, tuning=tuning)


def _done(parts: Session, *, experiment: bool, tuning: bool) -> bool:
    sound = _experiment(parts) if experiment else True
    if tuning:
        _tune(parts)
    for line in parts.where_to_look():
        say(parts.console, line)
    return sound


def _checked(overrides: Sequence[str], *, experiment: bool, tuning: bool) -> Settings:
    """The settings; what any part would refuse later is refused before the first one starts."""
    about = [group for group, asked in ((settings.EXPERIMENT, experiment), (settings.TUNING, tuning)) if asked]
    given = settings.load_settings(overrides, about=about)
    if experiment:
        commands.check_source(given, settings.experiment_plan(given).operators)
    if tuning:
        tuning_commands.check_study(given)
    return given


def _experiment(parts: Session) -> bool:
    report = commands.experiment(parts)
    if report.summary:
        parts.console.print(summary_table(report.summary))
    say(parts.console, f"Rows and summary: {report.folder}")
    return not report.rows.failures


def _tune(parts: Session) -> None:
    found = tuning_commands.tune_budget(parts)
    parts.console.print(front_table(found.front, recommended=found.recommended["number"]))
    if found.importances:
        parts.console.print(importance_table(found.importances))
    say(parts.console, f"Trials, front and figures: {found.folder}")
    say(parts.console, f"Recommended: strategy={found.strategy_name}, in {found.strategy}")
