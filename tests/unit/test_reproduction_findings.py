"""Findings of a reproduction's figures follow from the rows: rows that say the contrary turn the sentence."""

import math

import pytest

from lever_ray.reproduction.cost import Costs
from lever_ray.reproduction.report import (
    figures_chain,
    figures_coverage,
    figures_learning,
    findings,
    protocol,
    published,
)
from lever_ray.reproduction.report.data import ReportSettings, Sample, Way, of_reference_ways, samples, succeeded, ways
from lever_ray.reproduction.report.words import cell, listed, verdict
from lever_ray.statistics.intervals import Interval
from tests.unit.reproduction_rows import (
    ANSWERED,
    LAYOUTS,
    chain_rows,
    coverage_rows,
    curve_rows,
    main_rows,
    predictors,
    thresholds,
)

SETTINGS = ReportSettings(bootstrap=200)


def sampled(rows) -> list[Sample]:
    return samples(succeeded(rows), bootstrap=200)


def test_a_verdict_needs_an_interval_that_leaves_out_zero():
    assert verdict(Interval(0.1, 0.05, 0.2)) == "above"
    assert verdict(Interval(-0.1, -0.2, -0.05)) == "below"
    assert verdict(Interval(0.1, -0.05, 0.2)) == verdict(Interval(0.1, math.nan, math.nan)) == "not told apart from"


def test_numbers_and_lists_read_as_people_write_them():
    assert (cell(Interval(0.12345, 0.1, 0.2)), cell(Interval(math.nan, math.nan, math.nan))) == (
        "0.123 [0.1, 0.2]",
        "-",
    )
    assert (cell(Interval(2.0, math.nan, math.nan)), cell(Interval(1.0, 1.0, 1.0))) == ("2", "1")
    assert (listed(["a", "b", "c"]), listed(["a"]), listed([])) == ("a, b and c", "a", "")


def test_operators_over_tables_are_said_to_fail_where_they_do():
    told = findings.over_controls(sampled(main_rows()))
    assert told.startswith("No operator over tables is above the best control anywhere; the best is sum, exhaustive")
    assert "at -0.070 [" in told
    assert "options are above the best control on grid8 and grid16 (options, exhaustive, all gammas" in told
    assert "plan is above the best control on grid8 and grid16 (plan" in told


def test_operators_over_tables_are_said_to_succeed_where_they_do():
    told = findings.over_controls(sampled(main_rows(ANSWERED | {"sum": 90.0, "plan": 40.0})))
    assert told.startswith("Operators over tables are above the best control on grid8 and grid16 (sum, exhaustive")
    assert "plan is nowhere above the best control; the best is plan" in told


def test_the_front_holds_what_nothing_beats_and_counts_what_is_slow():
    slow_plan = [row | {"seconds/query": 0.1} if row["operator"] == "plan" else row for row in main_rows()]
    told = findings.front(sampled(slow_plan))
    assert told.startswith("The front of quality and speed-up is made of sum, options and plan on grid8 and grid16; ")
    assert told.endswith("4 of 38 ways take longer than training from scratch.")
    better_max = main_rows(ANSWERED | {"max": 65.0, "options": 10.0, "plan": 5.0})
    assert findings.front(sampled(better_max)).endswith("made of max on grid8 and grid16; all ways are faster.")


def test_a_front_has_no_way_that_is_no_better_in_either():
    points = {Way("sum", name, 0.0): (Interval(x, x, x), Interval(y, y, y)) for name, x, y in _CORNERS}
    assert [way.strategy for way in findings.front_of(points)] == ["fast", "good", "both"]


_CORNERS = (
    ("fast", 9.0, 0.1),
    ("good", 1.0, 0.9),
    ("both", 5.0, 0.5),
    ("beaten", 4.0, 0.4),
    ("unknown", math.nan, 1.0),
)


@pytest.mark.parametrize(
    ("gain", "said"), [(0.5, "gains +0.020 ["), (-0.5, "loses -0.020 ["), (0.0, "told apart from 0: +0.000 [")]
)
def test_the_sweep_says_whether_more_combinations_gain(gain, said):
    told = findings.sweep(sampled(main_rows(gain=gain, families=["grid8"])))
    assert told.startswith("With sum, going from k = 1 to 5 ")
    assert said in told.partition(";")[0]
    assert "in 1.4 times the time; going from k = 5 to exhaustive search " in told


def test_predictions_are_said_to_be_too_high_or_too_low():
    assert "is off by 0.100 [0.100, 0.100], too high by 0.100" in findings.predictions(sampled(main_rows(bias=10.0)))
    assert "is off by 0.100 [0.100, 0.100], too low by 0.100" in findings.predictions(sampled(main_rows(bias=-10.0)))
    assert "too" not in findings.predictions(sampled(main_rows()))


def test_a_library_is_paid_back_where_costs_and_gains_meet():
    (sample,) = sampled(main_rows(families=["grid8"]))
    costs = Costs.of([row for row in sample.rows if row["operator"] == "plan"])
    assert costs.library_seconds == pytest.approx(0.1)
    free = costs.break_even(0.0)
    assert free == pytest.approx(0.1 / (0.01 - 0.0011))
    assert costs.saved(0.0, free) == pytest.approx(0.0, abs=1e-9)
    assert costs.saved(0.01, 11.0) == pytest.approx(11 * (0.0089 + 1_000) - 0.1 - 10_000)
    slow = Costs(1e6, 0.1, 1e5, 0.01, 0.02)
    assert slow.break_even(0.0) == math.inf
    told = findings.break_even({"grid8": (free, costs.break_even(0.01), 0.01), "grid16": (math.inf, 3.0, 0.01)})
    assert "after 12 queries on grid8 and no number of queries on grid16 where environment steps cost nothing" in told
    assert told.endswith("and after 11 queries and 3 queries where one takes 10 ms.")


def test_scratch_catches_up_where_its_curve_crosses():
    (curve,) = sampled(curve_rows())
    levels = figures_learning.levels_of(curve, sampled(main_rows()), SETTINGS)
    assert {way.operator: round(level, 3) for way, level in levels.items()} == {
        "sum": 0.6,
        "options": 0.9,
        "plan": 0.99,
    }
    told = figures_learning.finding([curve], {"grid8": levels})
    assert told.startswith("On grid8 scratch reaches the 0.600 of sum, hybrid-3, gamma 0 after 1,000 episodes, ")
    assert "plan, gamma 0 not within 1,000" in told
    (fast,) = sampled(curve_rows(last=1.4))
    assert "gamma 0 after 500 episodes, the 0.900" in figures_learning.finding([fast], {"grid8": levels})


def test_thresholds_name_who_needs_most_and_who_has_none():
    (sample,) = sampled(coverage_rows({"sum": 0.25, "plan": 0.75}))
    fits = thresholds({"sum": 0.25, "plan": 0.75})
    told = figures_coverage.finding(sample, 0.0, sample.rows, fits)
    assert "policy: plan at 75% [70%, 80%] first, sum at 25% [20%, 30%] last; region: plan" in told
    turned = figures_coverage.finding(sample, 0.0, sample.rows, thresholds({"sum": 0.9, "plan": math.nan}))
    assert "policy: sum at 90% [85%, 95%], plan nowhere; region" in turned


def test_without_thresholds_it_is_said_what_falls_below_scratch():
    (sample,) = sampled(coverage_rows({"sum": 0.25, "plan": 0.75}))
    told = figures_coverage.finding(sample, 0.0, sample.rows, [])
    assert "below scratch with so much kept or less (policy: sum from 0% on and plan from 50% on" in told
    (never,) = sampled(coverage_rows({"sum": 0.25}, scratch=-0.5))
    assert "(policy: none; region: none)" in figures_coverage.finding(never, 0.0, never.rows, [])


def test_the_best_predictor_is_named_and_chance_is_said():
    told = figures_coverage.predictors_finding("grid8", predictors({"library": 0.6, "value": 0.9}))
    assert told == "On grid8 success is best predicted by value coverage for every operator (AUC 0.90)."
    turned = figures_coverage.predictors_finding("grid8", predictors({"library": 0.6, "value": 0.3}, half=0.2))
    assert "by library coverage for every operator (AUC 0.60); for sum at gamma 0" in turned
    assert turned.endswith("it is not told apart from chance.")


AS_PREDICTED = {0: 0.1, 1: -0.1, 2: -0.2, 4: -0.3}
FAR_BELOW = {0: -0.1, 1: -0.1, 2: -0.2, 4: -0.3}
LATE = {0: 0.1, 1: 0.1, 2: 0.05, 4: -0.3}


def test_the_chain_study_says_where_the_prediction_holds():
    (sample,) = sampled(chain_rows({"sum": AS_PREDICTED, "plan": LATE}))
    told = figures_chain.finding(sample, 0.99, sample.rows)
    assert "holds for sum in 4 of 4 and plan in 0 of 4 arms; sum is below scratch at L = 1, 2 and 4 (recorded" in told
    (sample,) = sampled(chain_rows({"sum": FAR_BELOW, "plan": LATE}))
    turned = figures_chain.finding(sample, 0.99, sample.rows)
    assert "holds for no operator in any of 4 arms; sum is below scratch at every L (recorded" in turned


def test_the_chain_table_pairs_what_a_chain_changes_by_layout():
    (sample,) = sampled(chain_rows({"sum": AS_PREDICTED}))
    line = figures_chain.propagation(sample)[0]
    assert line[:5] == ["grid8", "sum", "0.99", "recorded", "shaping on"]
    assert line[-1] == "-0.300 [-0.300, -0.300]"  # mean of -.1, -.2, -.3 less .1; layouts cancel


# What stands for an operator, and what failed.


def test_one_strategy_stands_for_an_operator_whatever_its_returns():
    (sample,) = sampled(main_rows(families=["grid8"]))
    chosen = {way.operator: way.strategy for way in ways(of_reference_ways(sample.rows, SETTINGS))}
    assert chosen == {"sum": "hybrid-3", "max": "hybrid-3", "options": "exhaustive", "plan": "union"}
    other = ways(of_reference_ways(sample.rows, ReportSettings(strategy="hybrid-9")))
    assert {way.strategy for way in other if way.operator == "sum"} == {"exhaustive"}


def test_failed_cells_are_left_out_and_counted():
    lost = [{"family": "grid8", "layout_seed": 99, "error": "OSError: disk | full"}] * 2
    rows = [*main_rows(), *lost]
    assert len(succeeded(rows)) == len(main_rows())
    told = protocol.introduction(rows, ReportSettings(size="smoke"), ["coverage"])
    assert told.startswith(
        f"{len(main_rows())} answers on {2 * LAYOUTS} layouts of grid8 and grid16 (size smoke). 2 cells"
    )
    assert told.endswith("Left out, since there are no rows: coverage.")
    assert r"| OSError: disk \| full | 2 |" in protocol.failures(rows)


def test_published_figures_stand_beside_the_same_setups_of_ours():
    place = {"setup": "path-gold-hazard", "mode": "double", "ranker": "regressor"}
    parts = sampled(main_rows(**place))
    lines = published.published_table(parts).splitlines()
    (line,) = (each for each in lines if "grid16 | X1 | path-gold-hazard (double) | hybrid-3" in each)
    assert line.endswith("| 1.01 | 1.2 [1.18, 1.22] | 2.07x | 7.69x |")  # 191.4 / 189.7; 60 / 50; 11.2 / 5.4; 10 / 1.3
    assert all(each.endswith("| - |") for each in lines if "X10" in each)
    told = published.finding(parts)
    assert told.startswith("Published compositions return 56% to 130% of scratch, ours on the 2 of these that were run")
    assert published.finding([]).endswith("none of the published setups is among our rows.")
    assert "| grid8 | 0 | targeted | 1.08 | - |" in published.code_table(parts)
