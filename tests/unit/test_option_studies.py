"""The studies of options: what their rows hold, and trials that never lose what they begin with."""

import numpy as np
import pytest

from lever_ray.cli import main
from lever_ray.composition.option_agent import OptionPlayer
from lever_ray.composition.option_operator import Options
from lever_ray.composition.routes import member_actions
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.experiment.plan import Setup
from lever_ray.studies.option_study import OptionStudy, World
from lever_ray.studies.option_trials import improved, polished, replanned, walked
from lever_ray.studies.option_variants import Variant, factors
from lever_ray.studies.studies import STUDIES, run_study, study_report, study_settings
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.registry import source
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import taken_actions

FOUR = "path-gold-hazard-lever"
SMALL = {"layouts": 2, "lessons": 3, "training_seeds": 1}


@pytest.mark.parametrize("vary", ["setups", "pools", "estimates", "trials"])
def test_every_row_carries_its_controls(vary):
    settings = study_settings("options", SMALL | {"vary": vary, "setups": [["trivial", FOUR]]})
    rows = run_study("options", settings, executor=SerialExecutor())
    assert {row["tier"] for row in rows} == {"I1", "I3"}
    for row in rows:
        assert row["quality/normalised"] <= 1 + 1e-9
        assert row["quality/over_control"] <= row["quality/normalised"] - row["quality/best_single"] + 1e-9
        assert row["quality/best_single_by_score"] <= row["quality/best_single"]
        assert row["quality/moves"] <= 1 + 1e-9
    exact = {
        row["variant"]: row["quality/normalised"]
        for row in rows
        if row["tier"] == "I3" and row["layout_seed"] == 20_000
    }
    if vary == "trials":
        for base in ("events", "24 members"):
            for trial in ("interrupted", "improved", "polished"):
                assert exact[f"{base}, {trial}"] >= exact[base] - 1e-9
        for base in ("events", "cut 8", "24 members"):
            assert exact[f"{base}, levels of segments, width 30"] == exact[base]
            assert exact[f"{base}, pruned"] == exact[base]
    told = study_report("options", rows, bootstrap=20)
    if vary == "estimates":
        assert {row["variant"] for row in rows if row["tier"] == "I1"} == {
            row["variant"] for row in rows if row["variant"].endswith("none")
        }
    recommended = {"pools": "72 members", "estimates": "events, width 30, none"}.get(vary, "events")
    assert f"| grid8 | trivial | path-gold-hazard-lever | {recommended} | I1 |" in told


def test_the_boundary_is_measured_by_records_and_by_coverage():
    given = {
        "family": "grid8",
        "layouts": 2,
        "lessons": 3,
        "training_seeds": 1,
        "episodes": [1, 100],
        "coverages": [0.5],
    }
    rows = run_study("boundary", study_settings("boundary", given), executor=SerialExecutor())
    assert [(row["episodes"], row["coverage"]) for row in rows[:3]] == [(1, 1.0), (100, 1.0), (100, 0.5)]
    assert rows[0]["pairs"] < rows[1]["pairs"]
    assert all(row["quality/plan_I3"] <= 1 + 1e-9 and row["milliseconds/plan_I3"] > 0 for row in rows)


def test_wrong_settings_are_named():
    with pytest.raises(UnknownName, match="Did you mean 'factors'"):
        OptionStudy(vary="factor")
    with pytest.raises(InvalidValue, match="lessons 20100 to 20119 are among the layouts"):
        OptionStudy(first_lesson=20_100)
    with pytest.raises(InvalidValue, match="layouts is 0"):
        OptionStudy(layouts=0)
    for study in ("boundary", "options", "shaping"):
        with pytest.raises(UnknownName, match="Did you mean 'grid8'"):
            study_settings(study, {"family": "grid9"})
    with pytest.raises(InvalidValue, match=r"coverage is 1.5; it must lie in \(0, 1\]"):
        study_settings("boundary", {"coverages": [1.5]})
    with pytest.raises(InvalidValue, match="must be at least 1"):
        study_settings("boundary", {"episodes": [0]})
    names = [variant.name for variant in factors()]
    assert len(set(names)) == len(names)


def test_trials_keep_to_the_records_and_pay_what_they_promise():
    layout = Layout.sample("grid8", seed=20_003)
    pool, _ = World(layout, OptionStudy(training_seeds=1)).pool(
        Variant("", labels=("worst",)), Setup.of("trivial", FOUR, source("grid8")).pool
    )
    task, actions = layout.compile(FOUR), member_actions(pool)
    player = OptionPlayer(task, actions, Options().rules)
    route, taken = player.search(task.start), taken_actions(np.bitwise_or.reduce(pool.support), 4)
    found = [replanned(player, route)[0], improved(player, route, taken)[0], polished(task, route.actions, taken)]
    for made in (route.actions, *found):
        played = rollout(layout, objective=FOUR, actions=made)
        assert played.total == pytest.approx(walked(task, made)[-1].total, abs=1e-9)
        assert played.total >= route.total - 1e-9
        assert taken[played.observations[:-1], played.actions].all()


@pytest.mark.parametrize("given", [["--help"], ["study", "--help"]])
def test_help_names_every_study(given, capsys):
    with pytest.raises(SystemExit):
        main(given)
    told = capsys.readouterr().out
    assert all(name in told for name in STUDIES)
