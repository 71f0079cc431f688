"""Tests of differences, their correction, effect sizes and equivalence, beside closed forms and published values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lever_ray.errors import InvalidValue
from lever_ray.statistics.contrasts import (
    effect_size,
    equivalence,
    hedges,
    holm,
    probability_of_improvement,
    sign_flip,
)
from lever_ray.statistics.intervals import FEWEST, resamples

SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
"""Hours of sleep gained with one drug over another, ten patients (Student 1908): t = 4.0621, two-sided p = .00283."""
PI = math.pi
CORRECTIONS = {2: 1 / PI**0.5, 3: (PI / 6) ** 0.5, 4: (2 / PI) ** 0.5, 5: 3 / 4 * (PI / 2.5) ** 0.5}
"""The exact correction of Hedges (1981) by degrees of freedom, worked out by hand from its gamma functions."""


def test_a_sign_flip_test_sees_what_all_layouts_agree_on() -> None:
    assert sign_flip(np.full(12, 0.1)) < 0.002
    assert sign_flip(np.array([1.0, -1.0] * 6)) == 1.0
    assert sign_flip(np.array([0.0, 0.0])) == 1.0
    assert math.isnan(sign_flip(np.array([math.nan])))


def test_holm_corrects_in_the_order_of_the_p_values() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_correction_of_effect_sizes_is_the_published_one() -> None:
    for freedom, exact in CORRECTIONS.items():
        assert hedges(freedom) == pytest.approx(exact, rel=1e-12)
    for freedom in (10, 19, 99):  # and his approximation
        assert hedges(freedom) == pytest.approx(1 - 3 / (4 * freedom - 1), abs=4e-4)
    assert math.isnan(hedges(1))


def test_the_effect_of_students_sleep_is_the_known_one() -> None:
    found = effect_size(np.append(SLEEP, math.nan))
    assert found.value == pytest.approx(4.0621 / math.sqrt(10) * hedges(9), abs=5e-5)
    assert found.value / hedges(9) == pytest.approx(1.285, abs=5e-4)
    assert 0 < found.low < found.value < found.high


def test_the_error_of_an_effect_size_is_that_of_its_formula() -> None:
    """Of values at two points alike, skewness is 0 and kurtosis 1, so the standard error is 1 / sqrt(n)."""
    found = effect_size(np.array([3.0, 1.0] * 8))
    scale = hedges(15)
    assert found.value == pytest.approx(scale * 2 / math.sqrt(16 / 15))
    assert found.high - found.low == pytest.approx(scale * 2 * 2.13145 / 4, rel=1e-5)  # Student's .975 at 15


def test_effect_sizes_of_skewed_differences_are_covered() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(500):
        found = effect_size(rng.exponential(1.0, 20) - 0.5)
        hits += found.low <= 0.5 <= found.high
    assert 0.93 <= hits / 500 <= 0.995


def test_effect_sizes_are_unknown_without_spread_or_layouts() -> None:
    for differences in (np.full(9, 0.25), np.array([1.0]), np.array([])):
        assert math.isnan(effect_size(differences).value)
    few = effect_size(np.arange(1.0, FEWEST))
    assert few.value == pytest.approx(3 / math.sqrt(2.5) * 0.7979, abs=2e-4)
    assert math.isnan(few.low)


def test_the_probability_of_improvement_counts_ties_half() -> None:
    differences = np.array([0.5] * 12 + [-0.1] * 4 + [0.0, 1e-16, -1e-15, 0.0, math.nan])
    found = probability_of_improvement(differences, resamples(21, count=500))
    assert found.value == (12 + 4 / 2) / 20
    assert 0.4 < found.low < found.value < found.high <= 1
    always = probability_of_improvement(np.full(20, 0.1), resamples(20, count=500))
    assert (always.value, always.low, always.high) == (1.0, pytest.approx(0.8316, abs=1e-4), 1.0)


def test_equivalence_takes_more_layouts_than_may_hide_a_difference() -> None:
    """Of n layouts without a difference, a share of .05 of others is missed with probability .95**n: .0485 at 59."""
    found = {n: equivalence(np.zeros(n), resamples(n, count=50)) for n in (58, 59, 300)}
    assert [each.shown for each in found.values()] == [False, True, True]
    for n, each in found.items():
        assert each.p_value == pytest.approx(0.95**n)
        assert each.difference.high == -each.difference.low == pytest.approx(1 - 0.05 ** (1 / n))
    assert not equivalence(np.full(300, 0.0499), resamples(300, count=50)).shown


def test_equivalence_is_never_easier_than_students_test() -> None:
    """Sleep within 2.5 hours: (2.5 - 1.58) / .38896 = 2.3653 standard errors, p = .0211 at 9 degrees of freedom."""
    found = equivalence(SLEEP, resamples(10, count=5_000), margin=2.5)
    assert found.p_value >= 0.0211
    assert found.difference.low <= 1.58 - 1.83311 * 0.38896 + 1e-4
    assert found.difference.high >= 1.58 + 1.83311 * 0.38896 - 1e-4
    assert found.shown == (found.difference.low > -2.5 and found.difference.high < 2.5)
    normal = np.random.default_rng(1).normal(0.0, 0.4, 300)
    error = normal.std(ddof=1) / math.sqrt(300)
    tail = math.erfc((0.05 - abs(normal.mean())) / error / math.sqrt(2)) / 2  # Student's at 299 is all but normal
    assert equivalence(normal, resamples(300, count=20_000)).p_value == pytest.approx(tail, rel=0.15)


def test_a_difference_at_the_margin_is_rarely_called_none_and_no_difference_often() -> None:
    rng, draws = np.random.default_rng(2), resamples(100, count=300)
    at_margin = {
        "skewed": lambda: 0.15 - 0.1 * rng.exponential(1.0, 100),
        "rare": lambda: (rng.random(100) < 0.05).astype(float),
    }
    for draw in at_margin.values():
        assert np.mean([equivalence(draw(), draws).shown for _ in range(400)]) <= 0.08
    assert np.mean([equivalence(rng.normal(0.0, 0.1, 100), draws).shown for _ in range(100)]) > 0.8


def test_equivalence_needs_a_margin_and_layouts() -> None:
    with pytest.raises(InvalidValue, match="margin of an equivalence test is 0; it must be above 0"):
        equivalence(np.zeros(20), resamples(20, count=10), margin=0.0)
    few = equivalence(np.zeros(5), resamples(5, count=10))
    assert (few.difference.value, few.shown) == (0.0, False)
    assert math.isnan(few.p_value)
