"""Tuning studies: asked and told, resumed after a kill, refused where the question changed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from lever_ray.composition.recipe import Recipe
from lever_ray.config import LimitSettings, SetupSettings, SpaceSettings, TuningSettings
from lever_ray.errors import InvalidValue, LeverError, SettingsError, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.experiment.plan import Setup
from lever_ray.library.library import PolicyLibrary
from lever_ray.optuna_adapter import importances, open_study, told_trials, tune
from lever_ray.tasks.registry import source
from lever_ray.tuning.front import TunedTrial, check_feasible, front_of, trial_rows
from lever_ray.tuning.pareto import Point
from lever_ray.tuning.recommendation import strategy_settings
from lever_ray.tuning.settings import check_tuning, search_space
from lever_ray.tuning.study_file import mend_journal, only_driver
from lever_ray.tuning.trial import Bench, Measured, TuningProblem

GAMMAS, SOURCE = [0.0, 0.99], source("grid8")
SPACE = SpaceSettings(strategies=["targeted", "hybrid", "exhaustive"], k=[2, 8], operators=["sum", "max"])
SETTINGS = TuningSettings(
    study="small", trials=12, setup=SetupSettings("double", "path-gold-hazard-lever"), space=SPACE, halving=False
)
PROBLEM = TuningProblem(Setup.of("double", "path-gold-hazard-lever", SOURCE), 10_000, tuple("abcdefgh"), ("x", "y"))


def made_up(choices: Sequence[Recipe], environments: Sequence[str]) -> list[list[Measured]]:
    """Quality grows with k and is better for ``max``; cost is k squared."""
    measured = []
    for choice in choices:
        k = {"targeted": 1, "hybrid": choice.k, "exhaustive": 9}[choice.strategy]
        quality = 0.4 + 0.02 * k + 0.2 * (choice.operator == "max") - 0.1 * (choice.support == "ignore")
        measured.append([Measured(quality + 1e-3 * ord(name[-1]), k**2, 1e-4 * k, 0.9) for name in environments])
    return measured


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written survives the process without waiting for the disk; that wait is most of a study's time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


class Killed(BaseException):
    """Ends a driver at once, as kill -9 does: nothing is told any more."""


def run(settings: TuningSettings, journal: Path, *, batches: int | None = None) -> list[TunedTrial]:
    """A study on made-up figures; its driver is killed in the batch after so many."""
    left = [batches]

    def evaluate(choices: Sequence[Recipe], environments: Sequence[str]) -> list[list[Measured]]:
        if left[0] is not None:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
        return made_up(choices, environments)

    study = open_study(settings, journal, problem=PROBLEM)
    space = search_space(settings, GAMMAS)
    return tune(study, settings, space=space, problem=PROBLEM, evaluate=evaluate)


def choices(trials: Sequence[TunedTrial]) -> list[str]:
    return [trial.choice.label for trial in trials]


def test_a_study_runs_its_trials_and_no_trial_beats_its_front(tmp_path: Path) -> None:
    trials = run(SETTINGS, tmp_path / "small.journal")
    assert [trial.number for trial in trials] == list(range(12))
    front = front_of(trials)
    assert [point.point.cost for point in front] == sorted(point.point.cost for point in front)
    for trial in trials:
        assert not any(
            trial.point.quality > point.point.quality and trial.point.cost <= point.point.cost for point in front
        )


def test_a_study_of_the_same_name_goes_on(tmp_path: Path) -> None:
    first = run(SETTINGS, tmp_path / "journal")
    more = run(replace(SETTINGS, trials=14), tmp_path / "journal")
    assert choices(more[:12]) == choices(first)
    assert len(more) == 14
    assert run(SETTINGS, tmp_path / "journal") == more


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_killed_study_goes_on_as_if_it_had_not_been_killed(sampler: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, sampler=sampler, trials=32, halving=True, batch=5)
    whole = run(settings, tmp_path / "whole")
    for batches in (4, 7):
        with pytest.raises(Killed):
            run(settings, tmp_path / "cut", batches=batches)
    assert choices(run(settings, tmp_path / "cut")) == choices(whole)


def test_a_killed_study_keeps_what_was_told_with_every_sampler(tmp_path: Path) -> None:
    settings = replace(SETTINGS, sampler="nsga2", trials=30)
    with pytest.raises(Killed):
        run(settings, tmp_path / "journal", batches=5)
    before = told_trials(
        open_study(settings, tmp_path / "journal", problem=PROBLEM), search_space(settings, GAMMAS), settings
    )
    assert len(before) == 20
    assert run(settings, tmp_path / "journal")[:20] == before


def test_trials_left_running_are_failed_and_queued_again(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(SETTINGS, tmp_path / "journal", batches=0)
    again = open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM)
    states = [trial.state for trial in again.trials]
    assert states == [TrialState.FAIL] * 4 + [TrialState.WAITING] * 4
    assert [trial.user_attrs for trial in again.trials[4:]] == [{"again": number} for number in range(4)]
    assert len(run(SETTINGS, tmp_path / "journal")) == 12


def test_a_trial_that_raises_is_told_as_failed_and_the_study_goes_on_later(tmp_path: Path) -> None:
    study, space = open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM), search_space(SETTINGS, GAMMAS)

    def evaluate(choices: Sequence[Recipe], environments: Sequence[str]) -> list[list[Measured]]:
        raise InvalidValue("broken")

    with pytest.raises(InvalidValue, match="broken"):
        tune(study, SETTINGS, space=space, problem=PROBLEM, evaluate=evaluate)
    assert {trial.state for trial in study.trials} == {TrialState.FAIL}
    assert len(run(SETTINGS, tmp_path / "journal")) == 12


def test_hopeless_trials_are_told_as_pruned_and_never_reach_the_front(tmp_path: Path) -> None:
    settings = replace(SETTINGS, halving=True, trials=40)
    trials = run(settings, tmp_path / "journal")
    stopped = [trial for trial in trials if trial.state == "pruned"]
    assert stopped
    assert {len(trial.measured) for trial in stopped} <= {2, 4}
    assert not {trial.number for trial in stopped} & {trial.number for trial in front_of(trials)}
    told = open_study(settings, tmp_path / "journal", problem=PROBLEM).trials
    assert sum(trial.state == TrialState.PRUNED for trial in told) == len(stopped)
    every = front_of(run(replace(settings, halving=False), tmp_path / "every"))
    assert every[-1].point.quality - front_of(trials)[-1].point.quality < 0.05


def test_a_choice_that_was_tried_before_is_not_tried_again(tmp_path: Path) -> None:
    tried: list[Recipe] = []

    def evaluate(choices: Sequence[Recipe], environments: Sequence[str]) -> list[list[Measured]]:
        tried.extend(choices)
        return made_up(choices, environments)

    settings = replace(SETTINGS, trials=30, space=replace(SPACE, k=[2, 2], rankers=["offline-return"]))
    study, space = open_study(settings, tmp_path / "journal", problem=PROBLEM), search_space(settings, GAMMAS)
    trials = tune(study, settings, space=space, problem=PROBLEM, evaluate=evaluate)
    assert len(trials) == 30
    assert len(tried) == len(set(tried)) == len({trial.choice for trial in trials}) < 30


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "operators": ({"space": replace(SPACE, operators=["sum"])}, "space.operators"),
    "range": ({"space": replace(SPACE, k=[2, 5])}, "space.k"),
    "cost": ({"cost": "seconds"}, "cost"),
    "limits": ({"limits": LimitSettings(seconds=1.0)}, "limits.seconds"),
    "sampler": ({"sampler": "random"}, "sampler"),
}


@pytest.mark.parametrize(("changes", "named"), REFUSED.values(), ids=REFUSED)
def test_another_question_under_the_same_name_is_refused(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM)
    with pytest.raises(SettingsError, match=rf"another question \(changed: .*{named}"):
        open_study(replace(SETTINGS, **changes), tmp_path / "journal", problem=PROBLEM)


def test_another_problem_under_the_same_name_is_refused(tmp_path: Path) -> None:
    open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM)
    others: dict[str, dict[str, Any]] = {
        "setup": {"setup": Setup.of("double", "path-gold-hazard", SOURCE)},
        "library": {"library": "other"},
        "environments": {"held_out": ("x", "a")},
    }
    for named, change in others.items():
        with pytest.raises(SettingsError, match=rf"another question \(changed: {named}\)"):
            open_study(SETTINGS, tmp_path / "journal", problem=replace(PROBLEM, **change))


def test_other_directions_and_studies_of_other_programs_are_refused(tmp_path: Path) -> None:
    def begun(name: str, directions: list[str]) -> optuna.Study:
        backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / name))
        storage = optuna.storages.JournalStorage(backend)
        return optuna.create_study(study_name="small", storage=storage, directions=directions)

    begun("one", ["minimize", "minimize"])
    with pytest.raises(SettingsError, match="directions"):
        open_study(SETTINGS, tmp_path / "one", problem=PROBLEM)
    begun("two", ["maximize", "minimize"]).ask()
    with pytest.raises(SettingsError, match="begun by another program"):
        open_study(SETTINGS, tmp_path / "two", problem=PROBLEM)


def test_a_journal_of_another_study_or_of_none_is_refused(tmp_path: Path) -> None:
    open_study(SETTINGS, tmp_path / "journal", problem=PROBLEM)
    with pytest.raises(SettingsError, match="holds study 'small' and not 'new'"):
        open_study(replace(SETTINGS, study="new"), tmp_path / "journal", problem=PROBLEM)
    for number, text in enumerate(["no journal\nat all\n", '{"a": 1}\n', "[1]\n"]):
        file = tmp_path / f"odd-{number}"
        file.write_text(text)
        with pytest.raises(SettingsError, match="is no journal of a study"):
            open_study(SETTINGS, file, problem=PROBLEM)


def test_a_torn_last_line_and_a_lock_left_behind_do_not_stop_a_study(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    first = run(replace(SETTINGS, trials=4), journal)
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines()[-1][:9])
    lock = tmp_path / "journal.lock"
    lock.symlink_to(journal)
    mend_journal(journal)
    assert lock.is_symlink(), "a lock that was taken just now may be in use"
    os.utime(lock, (0, 0), follow_symlinks=False)
    assert choices(run(SETTINGS, journal)[:4]) == choices(first)
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_study_has_one_driver_at_a_time(tmp_path: Path) -> None:
    with only_driver(tmp_path / "small.journal"):  # noqa: SIM117 - the second one is what is refused
        with pytest.raises(SettingsError, match="'small' is being tuned by another process"):
            with only_driver(tmp_path / "small.journal"):
                pass
    with only_driver(tmp_path / "small.journal"):
        pass


def test_a_study_may_be_kept_in_a_database(tmp_path: Path) -> None:
    settings = replace(SETTINGS, storage=f"sqlite:///{tmp_path}/study.db", trials=5)
    assert choices(run(settings, tmp_path / "unused")) == choices(
        run(replace(SETTINGS, trials=5), tmp_path / "journal")
    )
    assert not (tmp_path / "unused").exists()
    with pytest.raises(SettingsError, match="cannot be used"):
        open_study(replace(settings, storage="nosuchdb://here"), tmp_path / "x", problem=PROBLEM)


def test_importances_explain_high_quality_and_low_cost(tmp_path: Path) -> None:
    settings = replace(SETTINGS, trials=60, sampler="random")
    trials = run(settings, tmp_path / "journal")
    study = open_study(settings, tmp_path / "journal", problem=PROBLEM)
    assert told_trials(study, search_space(settings, GAMMAS), settings) == trials
    found = importances(study)
    assert set(found) == {"quality", "cost", "front"}
    for shares in found.values():
        assert sum(shares.values()) == pytest.approx(1.0)
    assert found["quality"]["operator"] > max(found["quality"]["ranker"], found["quality"]["gamma"])
    assert found["cost"]["strategy"] == max(found["cost"].values())
    few = replace(settings, study="few", trials=4)
    run(few, tmp_path / "few")
    assert importances(open_study(few, tmp_path / "few", problem=PROBLEM)) == {}


def test_limits_that_no_trial_keeps_are_named_with_the_closest_trial(tmp_path: Path) -> None:
    settings = replace(SETTINGS, limits=LimitSettings(quality=0.75, coverage=0.95))
    trials = run(settings, tmp_path / "journal")
    assert front_of(trials) == []
    best = max(trials, key=lambda trial: trial.point.quality)
    with pytest.raises(InvalidValue, match=r"coverage=0.95 is broken by 12 of 12.*Closest is trial") as told:
        check_feasible(trials, settings.limits)
    assert f"trial {best.number} ({best.choice.label})" in str(told.value)
    constrained = open_study(settings, tmp_path / "journal", problem=PROBLEM).trials[0].constraints
    assert constrained["coverage"] == pytest.approx(0.05)
    check_feasible(run(replace(SETTINGS, study="other"), tmp_path / "other"), LimitSettings())


def test_trials_that_keep_a_limit_make_the_front(tmp_path: Path) -> None:
    settings = replace(SETTINGS, limits=LimitSettings(seconds=5e-4), trials=30)
    front = front_of(run(settings, tmp_path / "journal"))
    assert front
    assert all(point.measured[0].seconds <= 5e-4 for point in front)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"trials": 0}, InvalidValue, "tuning.trials is 0"),
        ({"batch": 0}, InvalidValue, "tuning.batch is 0"),
        ({"seed": -1}, InvalidValue, "tuning.seed is -1"),
        ({"held_out": 1.0}, InvalidValue, "tuning.held_out is 1"),
        ({"share": 0.0}, InvalidValue, "tuning.share is 0"),
        ({"sampler": "tpee"}, UnknownName, "Did you mean 'tpe'"),
        ({"cost": "euros"}, UnknownName, "unknown cost 'euros'"),
        ({"limits": LimitSettings(quality=1.1)}, InvalidValue, "1 is the optimum"),
        ({"limits": LimitSettings(seconds=0.0)}, InvalidValue, "no query takes that little"),
        ({"limits": LimitSettings(coverage=2.0)}, InvalidValue, "it is a share"),
        ({"storage": "study.db"}, SettingsError, "no URL of a database"),
        ({"storage": "sqlite:///study.db"}, SettingsError, "relative path"),
        ({"space": replace(SPACE, gammas=[0.5])}, InvalidValue, "tuning.space.gammas has 0.5"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], error: type[LeverError], said: str) -> None:
    with pytest.raises(error, match=said):
        check_tuning(replace(SETTINGS, **changes), GAMMAS)


def test_quality_and_cost_are_those_of_the_choice(small_library: Path) -> None:
    library = PolicyLibrary.open(small_library)
    problem = replace(PROBLEM, tuning=("grid8-0", "grid8-2"), held_out=("grid8-1",), repeats=2)
    bench = Bench(library, problem, SerialExecutor())
    tried = [
        Recipe(strategy="hybrid", k=2, ranker="offline-return", gamma=0.99),
        Recipe(strategy="targeted", operator="plan", gamma=0.99, width=20),
        Recipe(strategy="targeted", operator="max", gamma=0.0, support="ignore"),
    ]
    watched: list[tuple[int, int, str]] = []
    measured = bench(tried, problem.tuning, watch=lambda *each: watched.append(each))
    assert watched == [(done, 2, stage) for stage in ("optima", "environments") for done in range(3)]
    assert [each.candidates for each in measured[0]] == [4, 4]
    assert all(each.quality <= 1.0 + 1e-9 and each.seconds > 0 for results in measured for each in results)
    assert measured[1][0].quality > measured[0][0].quality
    assert all(0 < each.coverage <= 1 for results in measured for each in results)
    again = bench(tried[:1], problem.tuning[1:])
    assert again[0][0]._replace(seconds=0) == measured[0][1]._replace(seconds=0)
    assert bench([], problem.tuning) == []


@pytest.mark.parametrize("content", [b"junk\n", b"\xff\xfe\x00\n", b"[1]\n", b"3\nmore\n"])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    journal = tmp_path / "small.journal"
    journal.write_bytes(content)
    with pytest.raises(SettingsError, match="is no journal of a study; move it away"):
        open_study(SETTINGS, journal, problem=PROBLEM)
    assert journal.read_bytes() == content


def test_options_of_all_discounts_are_tried_and_recommended(small_library: Path) -> None:
    library = PolicyLibrary.open(small_library)
    problem = replace(PROBLEM, tuning=("grid8-0", "grid8-2"), held_out=("grid8-1",), library="small")
    tried = [
        Recipe(strategy="exhaustive", operator="options", width=10),
        Recipe(strategy="hybrid", k=2, operator="options", ranker="offline-return", cut=8),
    ]
    measured = Bench(library, problem, SerialExecutor())(tried, problem.tuning)
    assert all(each.quality <= 1.0 + 1e-9 and each.coverage == 1.0 for results in measured for each in results)
    told = TunedTrial(0, tried[1], tuple(measured[1]), "complete", Point(0.5, 1.0, 0.0))
    (row,) = trial_rows([told])
    settings = strategy_settings(row)
    assert (settings.operator, settings.cut, settings.gamma, settings.ranker) == ("options", 8, None, "offline-return")
