"""Studies by name: their settings, and their tables."""

import pytest

from lever_ray.app.settings import read_pairs
from lever_ray.errors import InvalidValue, SettingsError, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.studies.shaping_study import ShapingStudy
from lever_ray.studies.studies import run_study, study_report, study_settings


def test_settings_take_the_types_of_their_defaults():
    pairs = read_pairs(["layouts=3", "gammas=[0,0.5]", "setups=[[trivial,path-gold]]", "operators=max"])
    assert study_settings("shaping", pairs) == ShapingStudy(
        layouts=3, gammas=(0.0, 0.5), setups=(("trivial", "path-gold"),), operators=("max",)
    )
    assert study_settings("search", {"budgets": [10]}).budgets == (10,)


@pytest.mark.parametrize(
    ("name", "given", "error", "said"),
    [
        ("shapin", {}, UnknownName, "Did you mean 'shaping'"),
        ("shaping", {"layout": 3}, UnknownName, "layouts"),
        ("shaping", {"layouts": "many"}, InvalidValue, "layouts holds 'many'; a value such as 100"),
        ("rankers", {"coverages": [0.0]}, InvalidValue, "coverages"),
    ],
)
def test_wrong_settings_are_named(name, given, error, said):
    with pytest.raises(error, match=said):
        study_settings(name, given)


def test_what_is_no_setting_is_named():
    with pytest.raises(SettingsError, match="'layouts' is no setting; write key=value"):
        read_pairs(["layouts"])


def test_a_study_runs_and_reports():
    settings = study_settings("shaping", {"layouts": 2, "gammas": [0], "setups": [["trivial", "path-gold"]]})
    told = []
    rows = run_study("shaping", settings, executor=SerialExecutor(), watch=lambda *each: told.append(each))
    assert told == [(done, 2, "layouts") for done in range(3)]
    assert "| grid8 | path-gold | trivial | 0 | 1 | sum |" in study_report("shaping", rows, bootstrap=20)
