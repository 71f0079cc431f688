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
    Interval,
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


def test_intervals_leave_undefined_values_out() -> None:
    draws = resamples(4, count=200)
    assert interval(np.array([1.0, 1.0, math.nan, 1.0]), draws).value == 1.0
    nothing = interval(np.full(4, math.nan), draws)
    assert all(math.isnan(value) for value in (nothing.value, nothing.low, nothing.high))


def test_ratios_are_ratios_of_sums_not_means_of_ratios() -> None:
    found = ratio_interval(np.array([1.0, 100.0]), np.array([10.0, 100.0]), resamples(2, count=200))
    assert found.value == pytest.approx(101 / 110)
    assert math.isnan(ratio_interval(np.array([1.0]), np.array([-5.0]), resamples(1, count=10)).value)


def test_interquartile_mean_ignores_the_outer_halves() -> None:
    assert interquartile_mean(np.array([-1e9, 1.0, 3.0, 1e9])) == 2.0


@pytest.mark.parametrize("measure", [mean_interval, iqm_interval])
def test_intervals_of_one_sample_leave_undefined_values_out(measure: Callable[..., Interval]) -> None:
    sample = np.array([0.1, 0.5, 0.6, 0.65, 0.9])
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
    rows = [_row(seed, **{"return/composed": 10.0 * seed, "return/scratch": 20.0}) for seed in range(4)]
    rows += [row | {"strategy": "exhaustive", "rank_correlation": math.nan} for row in rows]
    targeted, exhaustive = summarise(rows, bootstrap=100)
    assert targeted["return/composed"] == 15.0
    assert targeted["return/composed/ci_low"] < 15.0 < targeted["return/composed/ci_high"]
    assert targeted["quality/ratio"] == pytest.approx(60 / 80)
    assert (targeted["layouts"], targeted["layouts/trivial"]) == (4, 1)
    assert (targeted["rank_correlation/undefined"], exhaustive["rank_correlation/undefined"]) == (0.0, 1.0)


def test_summary_does_not_depend_on_the_order_of_rows() -> None:
    rows = [_row(seed, **{"return/composed": float(seed**2)}) for seed in range(6)]
    assert repr(summarise(rows, bootstrap=50)) == repr(summarise(rows[::-1], bootstrap=50))
    assert order_rows(rows[::-1]) == rows


def test_ends_are_summarised_as_the_rows_name_them() -> None:
    rows = [_row(seed, **{"ends/found": 0.25, "ends/truncated": 0.75}) for seed in range(3)]
    (line,) = summarise(rows, bootstrap=20)
    assert ends_of(rows) == ends_of([line]) == ("ends/found", "ends/truncated")
    assert (line["ends/found"], line["ends/truncated/ci_high"]) == (0.25, 0.75)
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
