"""The studies of options: what their rows hold, and trials that never lose what they begin with."""

import math

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
from lever_ray.studies.peak_memory import peak_growth
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
    told = []
    rows = run_study("options", settings, executor=SerialExecutor(), watch=lambda *each: told.append(each))
    assert [each for each in told if each[0] == each[1]] == [(3, 3, "layouts to learn from"), (2, 2, "layouts")]
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


BOUNDARY = {"layouts": 2, "training_seeds": 1, "coverages": [0.5]}
TERRACES = BOUNDARY | {"family": "terraces", "observations": 400, "gammas": [0.9, 0.99], "drops": ["independent"]}


def test_the_boundary_is_measured_by_records_and_by_coverage():
    given, told = BOUNDARY | {"family": "grid8", "lessons": 3, "episodes": [100, 1]}, []
    watch = lambda *each: told.append(each)  # noqa: E731
    rows = run_study("boundary", study_settings("boundary", given), executor=SerialExecutor(), watch=watch)
    assert [each for each in told if each[0] == each[1]] == [(3, 3, "layouts to learn from"), (2, 2, "layouts")]
    assert [(row["episodes"], row["coverage"]) for row in rows[:3]] == [(1, 1.0), (100, 1.0), (100, 0.5)]
    assert [row["drop"] for row in rows[:4]] == ["nothing", "nothing", "independent", "shared"]
    assert rows[0]["pairs"] < rows[1]["pairs"]
    for row in rows:
        assert all(value <= 1 + 1e-9 for name, value in row.items() if name.startswith("quality/"))
        assert row["milliseconds/plan_I3"] > 0
        # four constant actions or eight members, by two bytes in each of 64 cells
        assert row["megabytes/options_I3"] - row["megabytes/moves_I3"] == pytest.approx((8 - 4) * 64 * 2 / 1e6)
        assert row["megabytes/moves_I3"] - row["megabytes/plan_I3"] == pytest.approx((4 * 64 * 2 - 64) / 1e6)


def test_the_boundary_of_a_markov_task_is_measured_by_event_terms():
    settings = study_settings("boundary", TERRACES | {"layouts": 1, "episodes": [1, 1_000]})
    rows = run_study("boundary", settings, executor=SerialExecutor())
    few, many, cut = rows
    assert (few["observations"], few["members"]) == (400, 14)
    assert many["quality/plan_I3"] == pytest.approx(1.0)
    assert few["quality/plan_I3"] < many["quality/plan_I3"] + 1e-9
    assert many["quality/options_I3"] > many["quality/single"] > few["quality/options_I3"]
    assert many["segments"] > many["members"]  # events are met: one segment of each member is not all
    assert cut["quality/options_I3"] < many["quality/options_I3"]
    for row in rows:
        assert math.isnan(row["quality/options_I1"]) and math.isnan(row["peak/moves_I1"])
        events, tables, bits = 400 * 4 * 8, 14 * 400 * 2, 400
        assert row["megabytes/options_I3"] - row["megabytes/plan_I3"] == pytest.approx((events + tables - bits) / 1e6)
    told = study_report("boundary", rows, bootstrap=20)
    assert "| terraces | 1000 | 0.5 | independent |" in told


def test_rows_of_the_boundary_are_the_same_again_but_for_what_is_measured():
    given = TERRACES | {"layouts": 1, "observations": 200, "episodes": [30], "drops": ["shared"]}
    settings = study_settings("boundary", given)
    first, again = (run_study("boundary", settings, executor=SerialExecutor()) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert list(one) == list(other)
        fixed = [name for name in one if not name.startswith(("milliseconds/", "peak/"))]
        assert repr([one[name] for name in fixed]) == repr([other[name] for name in fixed])


def test_peaks_are_those_of_the_work_alone():
    peak_growth(lambda: np.ones(100))
    held = np.ones(4_000_000)
    grown = peak_growth(lambda: np.ones(8_000_000).sum())
    if not math.isnan(grown):
        assert grown == pytest.approx(64e6, rel=0.1)
        assert peak_growth(held.sum) < 8e6


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
    names = [variant.name for variant in factors()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"coverages": [1.5]}, r"coverage is 1.5; it must lie in \(0, 1\]"),
        ({"episodes": [0]}, "episodes is 0; a whole number"),
        ({"episodes": []}, "must not be empty"),
        ({"layouts": 0}, "layouts is 0; a whole number"),
        ({"first_layout": -1}, "first_layout is -1; a whole number"),
        ({"gammas": [0.0, 1.5]}, r"gammas hold 1.5; a discount must lie in \[0, 1\]"),
        ({"drops": ["share"]}, "Did you mean 'shared'"),
        ({"family": "terrace"}, "Did you mean 'terraces'"),
        ({"family": "terraces", "observations": 100}, "observations is 100; a whole number .* at least 192"),
        ({"observations": 400}, "observations is 400, and grid16 has its own; leave it out"),
    ],
)
def test_a_boundary_that_cannot_be_measured_is_refused(given, said):
    with pytest.raises((InvalidValue, UnknownName), match=said):
        study_settings("boundary", given)


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
