"""Reports, contrasts, and the controls that come from recorded transitions."""

import math

import numpy as np
import pytest

from lever_ray.config import ContrastSettings
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.experiment.headline import headline_report
from lever_ray.experiment.recorded import recorded_model, walk_plan_return
from lever_ray.experiment.report import TABLES, markdown_report
from lever_ray.experiment.statistics import layout_means
from lever_ray.learning.sarsa import train
from lever_ray.studies.shaping_study import ShapingStudy, run_shaping_study
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import full_support

LAYOUT = Layout.sample("grid8", seed=1)


def rows_of(*, composed=60.0, layouts=6):
    """Made-up rows of one way to compose, every metric the same but the composed return."""
    metrics = {metric for spec in TABLES for metric in spec.metrics if not metric.startswith(("share/", "milli"))}
    plain = dict.fromkeys(metrics - {"undefined"}, 0.5)
    plain |= {f"gap/{term}": 10.0 for term in ("coverage", "memory", "operator", "selection")}
    plain |= {"seconds/query": 0.001, "seconds/scratch": 0.01, "rank_correlation": math.nan}
    plain |= {"return/optimum": 100.0, "return/random": 0.0, "return/best_single_oracle": 50.0}
    way = {"gamma": 0.0, "operator": "sum", "strategy": "targeted", "ranker": "offline-return", "tier": "I3"}
    way |= {"mode": "trivial", "setup": "path-gold", "family": "grid8", "trivial_layout": False}
    return [plain | way | {"layout_seed": seed, "return/composed": composed + seed} for seed in range(layouts)]


def test_a_report_has_every_table_and_says_what_it_is_made_of():
    text = markdown_report(rows_of(), bootstrap=50)
    assert text.startswith("6 layouts of grid8; 0 of them")
    assert all(f"### {spec.title}" in text for spec in TABLES)
    assert "62.5 [" in text  # mean of 60..65
    assert "Contrasts" not in text


def test_a_headline_counts_the_ways_that_succeed_and_lists_the_best_first():
    rows = [
        row | {"strategy": f"hybrid-{k}", "quality/over_controls": (k - 2) / 10 + row["layout_seed"] / 1000}
        for k in range(5)
        for row in rows_of()
    ]
    controls = {"return/scratch_best_gamma": 40.0, "return/random_q": math.nan}
    text = headline_report([row | controls for row in rows], bootstrap=50, most=4)
    assert text.startswith("6 layouts. 3 of 5 ways of answering do better than the best control")
    assert "Controls on the same scale: scratch 0.40, best single 0.50." in text
    assert "The best 4 of 5 ways." in text
    listed = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| 0 |")]
    assert listed == ["hybrid-4", "hybrid-3", "hybrid-2", "hybrid-1"]
    assert "| +0.20 [+0.20,+0.20] | 0.50 | 1 |" in text
    unknown = [row | controls | {"quality/over_controls": math.nan} for row in rows_of()]
    assert headline_report(unknown, bootstrap=50).startswith("6 layouts. 0 of 1")


def test_a_report_calls_discounts_by_their_names():
    rows = [row | {"gamma": gamma} for row in rows_of() for gamma in (0.0, 0.99, math.inf)]
    text = markdown_report(rows, bootstrap=50)
    assert all(f"| {gamma} | sum |" in text for gamma in ("0", "0.99", "all"))
    assert "inf" not in text


def test_a_report_tells_every_end_that_the_rows_name():
    rows = [row | {"ends/found": 0.25, "ends/truncated": 0.75} for row in rows_of()]
    table = markdown_report(rows, bootstrap=50).partition("### How episodes end")[2]
    assert "| circles until cut | found |" in table.partition("###")[0]


def test_contrasts_are_tested_on_the_rows_that_they_select():
    right = ContrastSettings("composed against single", {"operator": "sum", "gamma": "0"})
    other = ContrastSettings("nothing selected", {"operator": "max"})
    text = markdown_report(rows_of(), contrasts=[right, other], bootstrap=50)
    line = next(line for line in text.splitlines() if line.startswith("| composed against single"))
    assert "| differs | 0.125 [" in line  # (62.5 - 50) / 100
    assert line.count("[") == 3
    assert "| 5.62 [" in line  # .125 / .0187 by Hedges
    assert "| 1 [" in line
    assert "| nothing selected | differs | - | - | - | - |" in text
    with pytest.raises(UnknownName, match="return/composd"):
        markdown_report(rows_of(), contrasts=[ContrastSettings("typo", {}, column="return/composd")])


def test_a_contrast_may_claim_that_two_match():
    rows = rows_of(composed=50.0, layouts=100)
    near = [row | {"return/composed": 50 + (row["layout_seed"] % 5 - 2) / 2} for row in rows]
    claim = ContrastSettings("composed like single", {}, claim="matches", margin=0.04)
    for given, p_value in ((near, "0.017"), (rows, "1")):
        table = markdown_report(given, contrasts=[claim], bootstrap=200).partition("### Contrasts")[2]
        line = next(line for line in table.splitlines() if line.startswith("| composed like single"))
        assert line.split(" | ")[1] == "matches within 0.04"
        assert line.split(" | ")[3] == p_value
    assert "0 [-0.0295, 0.0295]" in markdown_report(near, contrasts=[claim], bootstrap=200)


def test_few_layouts_are_shown_without_an_interval():
    text = markdown_report(rows_of(layouts=5), bootstrap=50)
    assert "| 62 |" in text
    assert "62 [" not in text
    assert "nan" not in text


def test_layout_means_average_over_a_layouts_rows_and_leave_out_what_is_undefined():
    rows = [{"layout_seed": seed, "x": x} for seed, x in ((0, 1.0), (0, 3.0), (1, math.nan), (2, 5.0))]
    assert np.array_equal(layout_means(rows, "x", [0, 1, 2]), [2.0, math.nan, 5.0], equal_nan=True)


# Recorded transitions.


def test_training_inside_the_recorded_model_makes_no_environment_step():
    everything = full_support(LAYOUT.observations, LAYOUT.actions)
    inside = train(LAYOUT, objective="path", episodes=500, gamma=0.99, support=everything)
    outside = train(LAYOUT, objective="path", episodes=500, gamma=0.99)
    assert np.array_equal(inside.q, outside.q)
    assert (inside.environment_steps, outside.environment_steps > 0) == (0, True)
    with pytest.raises(InvalidValue, match="support has shape"):
        train(LAYOUT, objective="path", support=np.zeros((3, 1), np.uint8))


def test_an_action_outside_the_recorded_model_leads_nowhere():
    nowhere = np.zeros((LAYOUT.observations, 1), np.uint8)
    run = train(LAYOUT, objective="path", episodes=3, support=nowhere)
    assert run.total == pytest.approx(-0.1 * LAYOUT.states)


def test_the_recorded_model_bounds_what_can_be_had_from_its_transitions():
    everything = full_support(LAYOUT.observations, LAYOUT.actions)
    model = recorded_model(LAYOUT, "path-gold", everything, episodes=1_000, gammas=(0.0, 0.99), training_seeds=1)
    assert model.optimum >= model.memoryless - 1e-9
    assert model.optimum >= model.scratch - 1e-9
    walked = walk_plan_return(LAYOUT, Objective.of("path-gold"), 100_000)
    assert walked <= model.optimum + 1e-9
    few = walk_plan_return(LAYOUT, Objective.of("path-gold"), 3)
    assert few <= walked
    assert rollout(LAYOUT, objective="path-gold", actions=np.zeros(1, np.int8)).total <= model.optimum


# Without shaping.


def test_the_shaping_study_has_a_row_for_every_combination():
    study = ShapingStudy(layouts=2, gammas=(0.0,), setups=(("trivial", "path-gold"),), training_seeds=1)
    rows = run_shaping_study(study, executor=SerialExecutor())
    assert [(row["layout_seed"], row["shaping"], row["operator"]) for row in rows] == [
        (seed, shaping, operator) for seed in (0, 1) for shaping in (1.0, 0.0) for operator in ("sum", "max")
    ]
    for row in rows:
        assert row["quality/mean_candidate"] <= row["quality/best_candidate"] <= 1 + 1e-9
        assert row["quality/plan"] >= row["quality/best_candidate"] - 1e-9
