"""Our statistics of a sample beside other makers': rliable, books, and all assignments of signs counted one by one.

rliable 1.2 cannot be imported beside pandas 3, which mlflow brings, so it is not among the packages for development;
what it gave is kept here. To ask it again, install rliable, pandas<3, scipy and pytest in an environment of their own,
and run there ``PYTHONPATH=. pytest --noconftest tests/unit/test_statistics_reference.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lever_ray.experiment.statistics import CARRIED_COLUMNS, METRICS, summarise
from lever_ray.statistics.contrasts import sign_flip
from lever_ray.statistics.intervals import Interval, interval, iqm_interval, mean_interval, resamples

RESAMPLES = 50_000
SAMPLES = {
    "even": [0.31, 0.42, 0.44, 0.48, 0.5, 0.53, 0.55, 0.58, 0.61, 0.63, 0.66, 0.67, 0.71, 0.74, 0.78, 0.83],
    "skewed": [-1.9, -0.4, 0.02, 0.05, 0.11, 0.13, 0.18, 0.24, 0.31, 0.35, 0.38, 0.52, 0.57, 0.9, 0.97, 0.98, 0.99],
    "few": [0.12, 0.47, 0.55, 0.81, 0.9, 0.96],
}
RLIABLE = {
    ("even", "iqm"): Interval(0.59125, 0.51125, 0.67125),
    ("even", "mean"): Interval(0.59, 0.5225, 0.65625),
    ("skewed", "iqm"): Interval(0.31, 0.12555555555555553, 0.5955555555555555),
    ("skewed", "mean"): Interval(0.25882352941176473, -0.09, 0.5341176470588236),
    ("few", "iqm"): Interval(0.6825, 0.335, 0.9075),
    ("few", "mean"): Interval(0.635, 0.39, 0.8516666666666666),
}
"""What ``get_interval_estimates`` of rliable 1.2.0 gave: one task, a run per value, 50,000 resamples.

Its intervals are percentiles of resampled statistics, as ours of interquartile means are; ours of means are not.
"""
CASES = list(RLIABLE)
MICE = [52.0, 104.0, 146.0, 10.0, 51.0, 30.0, 40.0, 27.0, 46.0]
"""Survival of nine untreated mice in days (Efron and Tibshirani 1993, table 2.1)."""


def agree(found: Interval, reference: Interval) -> None:
    """Points to rounding; bounds to Monte-Carlo error.

    A bound is the quantile at p = 0.025 of B resampled values; its error has the standard deviation
    sqrt(p (1 - p) / B) / density, where the density of a normal of width s is 0.0584 / s there and an interval is
    3.92 s wide: 0.0031 of the width at B = 50,000, 0.0043 between two independent bounds. Five times that are allowed.
    """
    assert found.value == pytest.approx(reference.value, rel=0, abs=1e-12)
    allowed = 5 * 0.0043 * (reference.high - reference.low)
    assert found.low == pytest.approx(reference.low, rel=0, abs=allowed)
    assert found.high == pytest.approx(reference.high, rel=0, abs=allowed)


@pytest.mark.parametrize("name", ["even", "skewed"])
def test_interquartile_intervals_of_one_sample_are_those_of_rliable(name: str) -> None:
    agree(iqm_interval(np.array(SAMPLES[name]), count=RESAMPLES), RLIABLE[name, "iqm"])


@pytest.mark.parametrize("name", SAMPLES)
def test_means_are_those_of_rliable(name: str) -> None:
    for ours, statistic in ((mean_interval, "mean"), (iqm_interval, "iqm")):
        assert ours(np.array(SAMPLES[name]), count=10).value == pytest.approx(RLIABLE[name, statistic].value, rel=1e-12)


def test_the_studentised_interval_is_that_of_the_book() -> None:
    """Efron and Tibshirani, section 12.5: 90% interval [35.82, 116.74] from 1,000 resamples.

    A quantile of a tail of .05 among 1,000 has a standard deviation of about .07 at the steep and .3 at the flat side
    in standard errors of 13.3 days, so the book's bounds may lie that far from ours.
    """
    found = interval(np.array(MICE), resamples(9, count=RESAMPLES), level=0.9)
    assert found.value == pytest.approx(56.22, abs=0.005)
    assert found.low == pytest.approx(35.82, abs=2)
    assert found.high == pytest.approx(116.74, abs=8)


@pytest.mark.parametrize("name", SAMPLES)
def test_studentised_intervals_are_those_of_a_plain_loop(name: str) -> None:
    values, draws = np.array(SAMPLES[name]), resamples(len(SAMPLES[name]), count=500)
    mean, error = values.mean(), values.std(ddof=1) / math.sqrt(len(values))
    distances = []
    for draw in draws:
        again = np.repeat(values, draw.astype(int))
        distances.append((again.mean() - mean) / (again.std(ddof=1) / math.sqrt(len(again))))
    low, high = np.percentile(distances, [2.5, 97.5])
    found = interval(values, draws)
    assert (found.low, found.high) == pytest.approx((mean - high * error, mean - low * error), rel=1e-9)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_summary_of_one_cell_is_that_of_rliable(name: str) -> None:
    (line,) = summarise([row(seed, value) for seed, value in enumerate(SAMPLES[name])], bootstrap=RESAMPLES)
    assert line["quality/normalised"] == pytest.approx(RLIABLE[name, "mean"].value, rel=0, abs=1e-12)
    middle, low, high = (line[f"quality/normalised/iqm{end}"] for end in ("", "/ci_low", "/ci_high"))
    if name == "few":
        assert middle == pytest.approx(RLIABLE[name, "iqm"].value, rel=0, abs=1e-12)
        assert math.isnan(low)
    else:
        agree(Interval(middle, low, high), RLIABLE[name, "iqm"])


@pytest.mark.parametrize(("name", "statistic"), CASES)
def test_rliable_still_gives_what_is_kept_of_it(name: str, statistic: str) -> None:
    agree(asked(rliable(), name, statistic), RLIABLE[name, statistic])


def rliable() -> ModuleType:
    """rliable's module of intervals, where it is installed with packages that it works with."""
    pytest.importorskip("rliable", reason="rliable is not installed")
    try:
        from rliable import library
    except TypeError:
        pytest.skip("rliable cannot be imported beside pandas 3")
    return library


def asked(library: ModuleType, name: str, statistic: str) -> Interval:
    """An interval by rliable, whose seed is numpy's global one."""
    from rliable import metrics

    measure = {"iqm": metrics.aggregate_iqm, "mean": metrics.aggregate_mean}[statistic]
    np.random.seed(0)  # noqa: NPY002
    runs = {name: np.array(SAMPLES[name])[:, None]}
    points, bounds = library.get_interval_estimates(runs, lambda scores: np.array([measure(scores)]), reps=RESAMPLES)
    return Interval(float(points[name][0]), *map(float, bounds[name][:, 0]))


def row(seed: int, quality: float) -> dict[str, Any]:
    """A row of one cell, 0 in all metrics but its normalised quality."""
    cell = {"gamma": 0.0, "mode": "double", "setup": "path-gold", "strategy": "targeted", "ranker": "regressor"}
    place = {"operator": "sum", "environment": f"grid8-{seed}", "layout_seed": seed, "trivial_layout": False}
    return (
        cell
        | place
        | dict.fromkeys(CARRIED_COLUMNS, "x")
        | dict.fromkeys(METRICS, 0.0)
        | {"quality/normalised": quality}
    )


# Sign flips.


def enumerated(differences: Sequence[str]) -> Fraction:
    """Share of all assignments of signs whose |sum| is at least the observed one, in exact arithmetic."""
    exact = [Fraction(each) for each in differences]
    sums = [
        abs(sum(map(Fraction.__mul__, exact, signs))) for signs in product(map(Fraction, (1, -1)), repeat=len(exact))
    ]
    return Fraction(sum(each >= abs(sum(exact)) for each in sums), len(sums))


FLIPPED = {
    "one": ["0.3"],
    "agreed": ["0.1"] * 6,
    "mixed": ["0.31", "-0.12", "0.47", "0.05", "0.22", "-0.4", "0.19", "0.6", "0.11"],
    "negative": ["-0.31", "-0.12", "-0.47", "0.05", "-0.22"],
    "ties at nothing": ["0.1", "0.1", "0.1", "-0.1", "-0.1", "-0.1"],
    "ties": ["0.1", "0.2", "0.3", "-0.3", "0.1", "0.2", "0.3"],
    "nothing": ["0", "0", "0"],
}


@pytest.mark.parametrize("name", FLIPPED)
def test_a_sign_flip_test_of_few_layouts_counts_every_assignment(name: str) -> None:
    differences = FLIPPED[name]
    expected = float(enumerated(differences))
    assert sign_flip(np.array(differences, dtype=float)) == pytest.approx(expected, rel=0, abs=1e-12)
    assert sign_flip(np.array([*differences, math.nan], dtype=float)) == pytest.approx(expected, rel=0, abs=1e-12)


def test_drawn_assignments_are_close_to_all_of_them() -> None:
    differences, flips = FLIPPED["mixed"], 400
    expected = float(enumerated(differences))
    drawn = [sign_flip(np.array(differences, dtype=float), flips=flips, seed=seed) for seed in range(50)]
    assert len(set(drawn)) > 1, "2**9 assignments are more than 400, so they are drawn"
    error = math.sqrt(expected * (1 - expected) / (flips * len(drawn)))
    assert np.mean(drawn) == pytest.approx(expected, rel=0, abs=5 * error + 1 / flips)
