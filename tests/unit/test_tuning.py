"""Tuning: a small study end to end, resuming by name, and refusing another question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from lever_ray.composition.search import Strategy
from lever_ray.config import SetupSettings, TuningSettings
from lever_ray.errors import InvalidValue, SettingsError, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.trial import Choice, Problem, try_choice
from lever_ray.library.store import PolicyLibrary
from lever_ray.tuning import TunedTrial, check_tuning, front_of, open_study, tune

SETTINGS = TuningSettings(study="small", trials=6, setup=SetupSettings("double", "path-gold-hazard-lever"))
PROBLEM = Problem(Setup.of("double", "path-gold-hazard-lever"), 0.99, 10_000, ("grid8-0", "grid8-1"))


def _tune(settings: TuningSettings, small_library: Path, journal: Path) -> list[TunedTrial]:
    library = PolicyLibrary.open(small_library)
    study = open_study(settings, journal, problem=PROBLEM)
    return tune(study, settings, library=library, problem=PROBLEM, executor=SerialExecutor())


def test_a_study_runs_its_trials_and_marks_its_front(small_library: Path, tmp_path: Path) -> None:
    trials = _tune(SETTINGS, small_library, tmp_path / "journal")
    assert [trial.number for trial in trials] == list(range(6))
    front = [trial for trial in trials if trial.on_front]
    assert front
    for trial in trials:
        beaten = any(other.quality >= trial.quality and other.candidates < trial.candidates for other in trials)
        assert trial.on_front == (not beaten and not _strictly_better(trial, trials))


def _strictly_better(trial: TunedTrial, trials: list[TunedTrial]) -> bool:
    return any(other.quality > trial.quality and other.candidates <= trial.candidates for other in trials)


def test_a_study_of_the_same_name_goes_on(small_library: Path, tmp_path: Path) -> None:
    first = _tune(SETTINGS, small_library, tmp_path / "journal")
    more = _tune(replace(SETTINGS, trials=8), small_library, tmp_path / "journal")
    assert [trial.label for trial in more[:6]] == [trial.label for trial in first]
    assert len(more) == 8


def test_trials_left_running_by_a_killed_driver_are_queued_again(small_library: Path, tmp_path: Path) -> None:
    study = open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM)
    lost = study.ask()
    lost.suggest_categorical("strategy", SETTINGS.strategies)
    again = open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM)
    assert again.trials[0].state == TrialState.FAIL
    assert again.trials[1].state == TrialState.WAITING
    assert len(_tune(SETTINGS, small_library, tmp_path / "journal")) == 6


def test_another_search_space_under_the_same_name_is_refused(tmp_path: Path) -> None:
    open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM)
    with pytest.raises(SettingsError, match=r"another question \(changed: operators\)"):
        open_study(replace(SETTINGS, operators=["sum"]), tmp_path / "journal", problem=PROBLEM)


def test_another_problem_under_the_same_name_is_refused(tmp_path: Path) -> None:
    open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM)
    other = replace(PROBLEM, setup=Setup.of("double", "path-gold-hazard"))
    with pytest.raises(SettingsError, match=r"another question \(changed: setup\)"):
        open_study(SETTINGS, tmp_path / "journal", problem=other)
    with pytest.raises(SettingsError, match=r"another question \(changed: library\)"):
        open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM, library="other")


def test_equal_seeds_give_equal_studies(small_library: Path, tmp_path: Path) -> None:
    one = _tune(SETTINGS, small_library, tmp_path / "one")
    two = _tune(SETTINGS, small_library, tmp_path / "two")
    assert [(trial.label, trial.quality) for trial in one] == [(trial.label, trial.quality) for trial in two]


def test_quality_and_cost_are_those_of_the_choice(small_library: Path) -> None:
    library = PolicyLibrary.open(small_library)
    result = try_choice(Choice(Strategy("hybrid", k=2), "sum", "offline-return"), library, PROBLEM)
    assert result.candidates == 4
    assert result.quality <= 1.0
    assert result.seconds > 0


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"trials": 0}, InvalidValue),
        ({"k_max": 0}, InvalidValue),
        ({"operators": []}, InvalidValue),
        ({"sampler": "grid"}, UnknownName),
        ({"strategies": ["targetted"]}, UnknownName),
        ({"rankers": ["oracle"]}, UnknownName),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        check_tuning(replace(SETTINGS, **changes))


def test_the_front_names_each_choice_once_cheapest_first() -> None:
    trials = [
        TunedTrial(0, "exhaustive", 0.9, 81.0, 0.1, True),
        TunedTrial(1, "targeted", 0.5, 1.0, 0.1, True),
        TunedTrial(2, "targeted", 0.5, 1.0, 0.1, True),
        TunedTrial(3, "hybrid", 0.4, 9.0, 0.1, False),
    ]
    assert [trial.label for trial in front_of(trials)] == ["targeted", "exhaustive"]
