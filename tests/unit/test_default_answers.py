"""What answers a query where nobody says how, what it may know, and what is taken where something is missing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import yaml

import lever_ray as lever
from lever_ray.__main__ import main
from lever_ray.errors import InvalidValue, LibraryError, SettingsError, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.memory import MemoryLibrary
from lever_ray.query.members import recommended_gammas
from lever_ray.studies.defaults_study import recommended
from lever_ray.studies.studies import run_study, study_files, study_report, study_settings

ASKED = {"environment": "grid8-0", "objective": "path-gold-hazard-lever"}


@pytest.fixture(scope="module")
def library(small_library):
    return PolicyLibrary.open(small_library)


@pytest.fixture(scope="module")
def lonely(library):
    """The policies of one environment."""
    return MemoryLibrary(library.select(environment="grid8-0"))


def paid(library, result):
    layout = library.environment(result.environment).task
    return lever.rollout(layout, objective=result.objective, **result.played).total


def test_moves_and_rewards_at_hand_are_planned_with_over_every_discount(library):
    found = lever.compose(library, **ASKED)
    assert (found.operator, found.tier, found.recipe.id) == ("plan", "I3", "operator=plan")
    assert "moves and rewards are at hand" in found.why
    assert found.warnings == ()
    assert found.predicted_return == pytest.approx(paid(library, found), abs=1e-9)
    held = {record.id for record in library.select(environment="grid8-0")}
    assert set(found.policy_ids) == held
    assert json.loads(json.dumps(found.to_dict()))["why"] == found.why
    some = lever.compose(library, **ASKED, gamma=0.0)
    assert 0 < len(some.policy_ids) < len(held)
    assert some.operator == "plan"


def test_without_the_reward_options_answer(library):
    found = lever.compose(library, **ASKED, tier="I1")
    assert (found.operator, found.strategy, found.ranker, found.tier) == ("options", "exhaustive", "regressor", "I1")
    assert found.why.startswith("within I1 options do best")
    again = lever.compose(library, **ASKED, recipe=found.recipe)
    assert (again.predicted_return, again.why) == (found.predicted_return, "")


def test_what_is_said_is_not_chosen(library):
    found = lever.compose(library, **ASKED, strategy="targeted", gamma=0.0)
    assert (found.operator, found.why) == ("sum", "")
    assert lever.compose(library, **ASKED, recipe="default", gamma=0.0).operator == "sum"
    assert lever.compose(library, **ASKED, factors={"path-gold": 2}, gamma=0.0).operator == "sum"
    assert lever.compose(library, **ASKED, operator="plan", tier="I3").why == ""


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"tier": "I0"}, InvalidValue, "tier is 'I0', and the answer needs I1; allow I1, or choose what needs less"),
        ({"tier": "I1", "operator": "plan"}, InvalidValue, "tier is 'I1', and the answer needs I3"),
        ({"tier": "I2", "recipe": "ranker=offline-return"}, InvalidValue, "tier is 'I2', and the answer needs I3"),
        ({"tier": "i1"}, UnknownName, "Did you mean 'I1'"),
        ({"teir": "I1"}, UnknownName, "Did you mean 'tier'"),
    ],
)
def test_tiers_that_cannot_be_kept_are_refused(library, given, error, said):
    with pytest.raises(error, match=said):
        lever.compose(library, **ASKED, **given)


def test_one_of_several_discounts_is_taken_and_told(library):
    found = lever.compose(library, **ASKED, operator="sum")
    same = lever.compose(library, **ASKED, operator="sum", gamma=0.0)
    assert found.policy_ids == same.policy_ids
    assert "members of gamma 0 with 10,000 episodes were taken; the library also holds gamma 0.99" in found.warnings[-1]
    assert not any("were taken" in warning for warning in same.warnings)


def test_the_largest_budget_then_most_members_are_taken(library, monkeypatch):
    records = library.select(environment="grid8-0")
    more = [replace(record, episodes=20_000) for record in records if record.gamma == 0.99]
    budgets = MemoryLibrary([*records, *more])
    found = lever.compose(budgets, **ASKED, operator="max", ranker="offline-return")
    assert "members of gamma 0.99 with 20,000 episodes were taken" in found.warnings[-1]
    odd = [replace(record, gamma=0.5) for record in records if record.gamma == 0.99]
    fewer = [record for record in records if record.gamma == 0.0 and record.label == "best"]
    monkeypatch.setattr("lever_ray.query.members.recommended_gammas", lambda _: ())
    found = lever.compose(MemoryLibrary([*odd, *fewer]), **ASKED, operator="max", ranker="offline-return")
    assert "members of gamma 0.5 with" in found.warnings[-1]


def test_the_discount_that_does_best_with_the_operator_is_taken(library):
    found = lever.compose(library, **ASKED, operator="max", ranker="offline-return")
    assert "members of gamma 0.99 with" in found.warnings[-1]
    found = lever.compose(library, **ASKED, operator="gpi")
    assert "members of gamma 0 with" in found.warnings[-1]


@pytest.mark.parametrize("text", ["gammas: [0.9]", "gammas: {sum: 0.9}", "gammas: {sum: [a]}", "gammas: {sum: [0.9"])
def test_recommended_discounts_that_cannot_be_read_are_named(text, tmp_path, monkeypatch):
    (tmp_path / "recommended.yaml").write_text(text)
    monkeypatch.setattr("lever_ray.query.members.conf_folder", lambda: tmp_path)
    with pytest.raises(SettingsError, match=r"recommended\.yaml cannot be read; write discounts by operator"):
        recommended_gammas.__wrapped__("sum")


def test_recommended_discounts_are_written_by_a_study():
    settings = study_settings("defaults", {"layouts": 2, "operators": ["max"], "training_seeds": 1})
    rows = run_study("defaults", settings, executor=SerialExecutor())
    (made,) = study_files("defaults", rows).values()
    assert sorted(yaml.safe_load(made)["gammas"]["max"]) == [0, 0.9, 0.99]
    assert "| grid8 | path-gold | max | 0.9 |" in study_report("defaults", rows, bootstrap=20)
    rows = [{"operator": "sum", "gamma": gamma, "quality/normalised": gamma} for gamma in (0.0, 0.5)]
    assert yaml.safe_load(recommended(rows)) == {"gammas": {"sum": [0.5, 0]}}
    for given, said in (({"operators": ["plan"]}, "has no candidates"), ({"layouts": 1}, "layouts is 1")):
        with pytest.raises(InvalidValue, match=said):
            study_settings("defaults", given)


def test_a_library_of_one_environment_is_answered_without_a_regressor(lonely):
    found = lever.compose(lonely, **ASKED, operator="sum", gamma=0.0)
    assert (found.ranker, found.tier) == ("offline-return", "I3")
    assert "ranker 'regressor' needs policies of other environments" in found.why
    within = lever.compose(lonely, **ASKED, operator="sum", gamma=0.0, tier="I2")
    assert (within.ranker, within.tier) == ("recorded-return", "I2")
    within = lever.compose(lonely, **ASKED, tier="I2")
    assert (within.operator, within.ranker, within.tier) == ("options", "recorded-return", "I2")
    assert "no other environments to learn from" in within.why
    for given in ({"ranker": "regressor", "gamma": 0.0}, {"tier": "I1"}):
        with pytest.raises(LibraryError, match="learns from other environments"):
            lever.compose(lonely, **ASKED, **given)


def test_the_console_chooses_likewise(small_library, tmp_path, monkeypatch, capsys):
    shutil.copytree(small_library, tmp_path / "libraries" / "grid8")
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    asked = ["compose", "--objective", ASKED["objective"], "--environment", "grid8-0", "--json"]
    for more, operator in (([], "plan"), (["--tier", "I1"], "options"), (["--k", "2"], "sum")):
        assert main([*asked, *more]) == 0
        assert json.loads(capsys.readouterr().out)["operator"] == operator
    assert main([*asked, "--tier", "I9"]) == 2
    assert "unknown information tier 'I9'" in capsys.readouterr().err
