"""Summary statistics: intervals, ratios of sums, and that every unit is a layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lever_ray.experiment.statistics import (
    CARRIED_COLUMNS,
    METRICS,
    bounds_of,
    ends_of,
    layout_means,
    layouts_of,
    metrics_of,
    offered,
    order_rows,
    summarise,
)
from lever_ray.statistics.contrasts import rank_correlation
from lever_ray.statistics.intervals import (
    FEWEST,
    FEWEST_OF_MIDDLE,
    Interval,
    interquartile_interval,
    interquartile_mean,
    interval,
    iqm_interval,
    mean_interval,
    ratio_interval,
    resamples,
)


def _row(seed: int, **values: Any) -> dict[str, Any]:
    identity = {"gamma": 0.0, "mode": "double", "setup": "path-gold", "strategy": "targeted", "ranker": "regressor"}
    identity |= {"operator": "sum"}
    carried = dict.fromkeys(CARRIED_COLUMNS, "x")
    place = {"environment": f"grid8-{seed}", "layout_seed": seed, "trivial_layout": seed == 0}
    return identity | carried | place | dict.fromkeys(METRICS, 0.0) | values


def test_interval_holds_the_mean_and_covers_it_about_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(0), 0
    draws = resamples(40, count=500)
    for _ in range(200):
        found = interval(rng.normal(3.0, 1.0, 40), draws)
        assert found.low <= found.value <= found.high
        hits += found.low <= 3.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_skewed_values_of_20_layouts_are_covered_where_percentiles_fail() -> None:
    rng, draws, hits, missed = np.random.default_rng(3), resamples(20, count=500), 0, 0
    for _ in range(1_000):
        values = rng.exponential(1.0, 20)
        found, low_high = interval(values, draws), np.percentile(draws @ values / 20, [2.5, 97.5])
        hits += found.low <= 1.0 <= found.high
        missed += not low_high[0] <= 1.0 <= low_high[1]
    assert 0.93 <= hits / 1_000 <= 0.97
    assert missed / 1_000 > 0.08, "percentiles of resampled means cover it in .90"


def test_an_interval_of_shares_reaches_to_what_20_layouts_may_have_missed() -> None:
    rng, draws = np.random.default_rng(4), resamples(20, count=500)
    hits = 0
    for _ in range(500):
        found = interval((rng.random(20) < 0.1).astype(float), draws, bounds=(0.0, 1.0))
        assert 0 <= found.low <= found.value <= found.high <= 1
        hits += found.low <= 0.1 <= found.high
    assert hits / 500 > 0.94, "12% of samples hold no event, of which an interval without bounds says [0, 0]"
    none, every = (interval(np.full(20, value), draws, bounds=(0.0, 1.0)) for value in (0.0, 1.0))
    assert (none.low, none.high) == (0.0, pytest.approx(0.16843, abs=1e-5))  # Clopper and Pearson's for 0 of 20
    assert (every.low, every.high) == (pytest.approx(1 - 0.16843, abs=1e-5), 1.0)
    for bounds in ((-math.inf, math.inf), (0.0, math.inf)):
        assert interval(np.full(20, 0.25), draws, bounds=bounds) == Interval(0.25, 0.25, 0.25)
    assert bounds_of("ends/truncated") == (0.0, 1.0)
    assert bounds_of("return/composed") == (-math.inf, math.inf)


def test_few_layouts_have_a_value_and_no_interval() -> None:
    for size, shown in ((FEWEST - 1, False), (FEWEST, True)):
        values, draws = np.arange(1.0, size + 1), resamples(size, count=200)
        for found in (interval(values, draws), ratio_interval(values, values**2, draws)):
            assert found.value > 0
            assert math.isfinite(found.low) is math.isfinite(found.high) is shown
    for size, shown in ((FEWEST_OF_MIDDLE - 1, False), (FEWEST_OF_MIDDLE, True)):
        found = interquartile_interval(np.arange(float(size)), resamples(size, count=200))
        assert (found.value, math.isfinite(found.low)) == ((size - 1) / 2, shown)
    infinite = interval(np.array([*range(9), math.inf]), resamples(10, count=200))
    assert (infinite.value, math.isnan(infinite.low)) == (math.inf, True)


def test_resamples_without_spread_do_not_make_an_interval_endless() -> None:
    found = interval(np.eye(20)[0], resamples(20, count=2_000))
    assert found.low < 0.05 < found.high < 0.5
    assert interval(np.eye(20)[0], resamples(20, count=2_000), bounds=(0.0, 1.0)).low == 0


def test_intervals_leave_undefined_values_out() -> None:
    values = np.random.default_rng(0).normal(size=9)
    some, all_known = np.append(values, math.nan), interval(values, resamples(9, count=50_000))
    found = interval(some, resamples(10, count=50_000))
    assert found.value == all_known.value
    assert (found.low, found.high) == pytest.approx((all_known.low, all_known.high), abs=0.1)
    nothing = interval(np.full(4, math.nan), resamples(4, count=200))
    assert all(math.isnan(value) for value in (nothing.value, nothing.low, nothing.high))


def test_ratios_are_ratios_of_sums_not_means_of_ratios() -> None:
    found = ratio_interval(np.array([1.0, 100.0]), np.array([10.0, 100.0]), resamples(2, count=200))
    assert found.value == pytest.approx(101 / 110)
    assert math.isnan(ratio_interval(np.array([1.0]), np.array([-5.0]), resamples(1, count=10)).value)
    above, below = np.array([1.0, 2.0, 4.0, math.nan, 3.0, 9.0, 5.0, 2.0]), np.arange(3.0, 11.0)
    draws, known = resamples(8, count=200), ~np.isnan(above)
    found = ratio_interval(above, below, draws)
    assert found.value == pytest.approx(above[known].sum() / below[known].sum())
    assert 0 < found.low < found.value < found.high
    turned = ratio_interval(below, above, draws)
    assert (1 / turned.high, 1 / turned.low) == pytest.approx((found.low, found.high))
    assert ratio_interval(below, 4 * below, draws) == Interval(0.25, 0.25, 0.25)


def test_ratios_of_20_layouts_are_covered_about_as_often_as_they_say() -> None:
    rng, draws, hits = np.random.default_rng(5), resamples(20, count=500), 0
    for _ in range(500):
        found = ratio_interval(rng.lognormal(0.0, 0.5, 20), rng.lognormal(0.0, 0.5, 20), draws)
        hits += found.low <= 1.0 <= found.high
    assert 0.92 <= hits / 500 <= 0.98


def test_a_ratio_of_returns_that_are_not_all_positive_has_an_interval() -> None:
    rng = np.random.default_rng(6)
    scratch = rng.normal(60.0, 30.0, 30)
    composed = 0.9 * scratch + rng.normal(0.0, 20.0, 30)
    assert (composed < 0).any()
    found = ratio_interval(composed, scratch, resamples(30, count=500))
    assert found.low < found.value < found.high


def test_interquartile_mean_ignores_the_outer_halves() -> None:
    assert interquartile_mean(np.array([-1e9, 1.0, 3.0, 1e9])) == 2.0


@pytest.mark.parametrize("measure", [mean_interval, iqm_interval])
def test_intervals_of_one_sample_leave_undefined_values_out(measure: Callable[..., Interval]) -> None:
    sample = np.array([0.1, 0.5, 0.6, 0.65, 0.9, 0.2, 0.7, 0.75])
    assert measure(np.append(sample, math.nan), count=100) == measure(sample, count=100)
    assert measure(sample, count=100, seed=1) != measure(sample, count=100, seed=2)
    single, none = measure(np.array([0.5]), count=100), measure(np.array([math.nan]), count=100)
    assert single.value == 0.5
    assert all(math.isnan(each) for each in (single.low, single.high, none.value, none.low, none.high))


def test_a_mean_alone_has_the_interval_of_the_mean_among_cells() -> None:
    values = np.random.default_rng(2).normal(3.0, 1.0, 25)
    joint, alone = interval(values, resamples(25, count=20_000)), mean_interval(values, count=20_000)
    assert (joint.value, alone.value) == pytest.approx((values.mean(), values.mean()), rel=1e-12)
    width = joint.high - joint.low
    assert (alone.low, alone.high) == pytest.approx((joint.low, joint.high), rel=0, abs=0.035 * width)


def test_a_rank_correlation_is_undefined_where_either_ties_throughout() -> None:
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])) == pytest.approx(1 / 3)
    assert rank_correlation(np.array([1.0, 1.0, 3.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / math.sqrt(6))
    for predicted, real in (([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [5.0, 5.0]), ([1.0], [2.0]), ([], [])):
        assert math.isnan(rank_correlation(np.array(predicted), np.array(real)))
    assert math.isnan(rank_correlation(np.full(3, -math.inf), np.arange(3.0)))


def test_resamples_are_shared_by_cells_and_equal_for_equal_seeds() -> None:
    assert np.array_equal(resamples(5, count=7, seed=1), resamples(5, count=7, seed=1))
    assert not np.array_equal(resamples(5, count=7, seed=1), resamples(5, count=7, seed=2))


def test_summary_has_a_line_per_cell_with_intervals_and_counts() -> None:
    rows = [_row(seed, **{"return/composed": 10.0 * seed, "return/scratch": 20.0}) for seed in range(9)]
    rows += [row | {"strategy": "exhaustive", "rank_correlation": math.nan} for row in rows]
    targeted, exhaustive = summarise(rows, bootstrap=100)
    assert targeted["return/composed"] == 40.0
    assert targeted["return/composed/ci_low"] < 40.0 < targeted["return/composed/ci_high"]
    assert targeted["quality/ratio"] == pytest.approx(2)
    assert (targeted["layouts"], targeted["layouts/trivial"]) == (9, 1)
    assert targeted["quality/normalised/iqm/ci_low"] == 0.0
    assert (targeted["rank_correlation/undefined"], exhaustive["rank_correlation/undefined"]) == (0.0, 1.0)


def test_summary_does_not_depend_on_the_order_of_rows() -> None:
    rows = [_row(seed, **{"return/composed": float(seed**2)}) for seed in range(6)]
    assert repr(summarise(rows, bootstrap=50)) == repr(summarise(rows[::-1], bootstrap=50))
    assert order_rows(rows[::-1]) == rows


def test_ends_are_summarised_as_the_rows_name_them() -> None:
    rows = [_row(seed, **{"ends/found": 0.25, "ends/truncated": 0.75}) for seed in range(6)]
    (line,) = summarise(rows, bootstrap=20)
    assert ends_of(rows) == ends_of([line]) == ("ends/found", "ends/truncated")
    assert line["ends/found"] == 0.25
    assert 0.75 < line["ends/truncated/ci_high"] < 1
    names = metrics_of(rows)
    assert names.index("gap/selection") + 1 == names.index("ends/found") < names.index("candidates/evaluated")


def test_environments_without_a_seed_stand_last_and_count_one_by_one() -> None:
    named = [_row(7) | {"environment": name, "layout_seed": None} for name in ("maze", "cave")]
    rows = [_row(10), _row(2), *named]
    assert [row["environment"] for row in order_rows(rows)] == ["grid8-2", "grid8-10", "cave", "maze"]
    assert layouts_of(rows) == ["grid8-2", "grid8-10", "cave", "maze"]
    valued = [row | {"x": float(place)} for place, row in enumerate(rows)]
    assert layout_means(valued, "x", layouts_of(rows)).tolist() == [1.0, 0.0, 3.0, 2.0]
    assert layouts_of([{"layout_seed": 3}, {"layout_seed": 1}]) == [1, 3]


def test_where_nothing_is_offered_over_chance_nothing_is_normalised() -> None:
    assert offered(3.0, 1.0) == 2.0
    assert math.isnan(offered(1.0, 1.0))
    assert math.isnan(offered(-math.inf, 1.0))
