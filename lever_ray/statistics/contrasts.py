"""What paired samples tell of each other: tests and their correction, effect sizes, equivalence, orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lever_ray.errors import InvalidValue
from lever_ray.statistics.intervals import (
    FEWEST,
    FURTHEST,
    Interval,
    Studentised,
    interval,
    missed_share,
    student_quantile,
    student_share,
)

TIE = 12
"""Decimals beyond which differences are rounding errors."""


def sign_flip(differences: np.ndarray, *, flips: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value of a paired sign-flip test that the mean difference over layouts is 0; NaN without data.

    Exact where all assignments of signs are at most ``flips``, i.e. for at most 14 layouts by default.

    Args:
        differences: float64[L], one per layout; NaN values are left out.
        flips: random assignments of signs, beside which the observed one counts.
        seed: of the assignments.
    """
    from scipy.stats import permutation_test

    known = differences[~np.isnan(differences)]
    if len(known) < 2:
        return 1.0 if len(known) else math.nan
    found = permutation_test(
        (known,),
        _size_of_mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=flips,
        alternative="greater",
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _size_of_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """|mean|, rounded so that assignments of signs which tie in exact arithmetic tie here."""
    return np.abs(np.mean(values, axis=axis)).round(TIE)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p-values; NaN ones stay, and do not count."""
    known = [place for place, p_value in enumerate(p_values) if not math.isnan(p_value)]
    corrected, highest = [math.nan] * len(p_values), 0.0
    for rank, place in enumerate(sorted(known, key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(known) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def effect_size(differences: np.ndarray) -> Interval:
    """Mean difference over layouts in standard deviations of the differences (d_z), and its 95% interval.

    Hedges (1981) corrects it for the size of the sample. The standard error is that of a ratio of mean and standard
    deviation for values of any distribution (Mertens 2002, of Sharpe ratios), with Student's quantile; it covers where
    the noncentral t, which takes differences to be normal, does not. Unknown where all differences are equal.

    Args:
        differences: float64[L], one per layout; NaN values are left out.
    """
    known = differences[~np.isnan(differences)]
    size = len(known)
    if size < 2 or np.ptp(known) == 0:
        return Interval.unknown()
    spread = float(known.std(ddof=1))
    ratio, scaled = float(known.mean()) / spread, (known - known.mean()) / known.std()
    corrected = hedges(size - 1)
    if size < FEWEST:
        return Interval.unknown(corrected * ratio)
    skew, tails = float((scaled**3).mean()), float((scaled**4).mean())
    error = math.sqrt(max(1 - skew * ratio + (tails - 1) * ratio**2 / 4, 0) / size)
    reach = student_quantile(0.975, size - 1) * error
    return Interval(*(corrected * each for each in (ratio, ratio - reach, ratio + reach)))


def hedges(freedom: int) -> float:
    """What takes the bias of a standardised mean away, e.g. .9599 at 19 degrees of freedom (Hedges 1981, exact)."""
    if freedom < 2:
        return math.nan
    return math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)


def probability_of_improvement(differences: np.ndarray, draws: np.ndarray) -> Interval:
    """Share of layouts on which the first is better than the second, ties counting half, and its 95% interval.

    Agarwal et al. (2021) compare every run with every run; here both ran on the same layouts, so pairs are compared.

    Args:
        differences: float64[L], first less second; NaN values are left out.
        draws: float64[B, L], see :func:`~lever_ray.statistics.intervals.resamples`.
    """
    better = (1 + np.sign(differences.round(TIE))) / 2
    return interval(better, draws, bounds=(0.0, 1.0))


@dataclass(frozen=True)
class Equivalence:
    """Whether a mean difference lies within a margin around 0.

    Attributes:
        margin: the largest difference that counts as none.
        difference: the mean, and the 90% interval that lies within the margin where both tests reject at .05.
        p_value: the larger one of both tests; NaN for less than :data:`~lever_ray.statistics.intervals.FEWEST` layouts.
    """

    margin: float
    difference: Interval
    p_value: float

    @property
    def shown(self) -> bool:
        """Whether equivalence is shown at .05."""
        return self.p_value <= 0.05


def equivalence(differences: np.ndarray, draws: np.ndarray, *, margin: float = 0.05, reach: float = 1.0) -> Equivalence:
    """Two one-sided tests that the mean difference over layouts lies above ``-margin`` and below ``margin``.

    Each test is as strict as the strictest of three: Student's (Schuirmann 1987); the studentised bootstrap's, which
    keeps its size where differences are skewed; and one for differences that are mostly equal: layouts of a kind that
    none of the sample is of may differ by as much as ``reach``. So less than 59 layouts never show equivalence within a
    margin of .05. ``python -m benchmarks intervals`` simulates how often it is shown of a difference at the margin.

    Args:
        differences: float64[L], one per layout; NaN values are left out.
        draws: float64[B, L], see :func:`~lever_ray.statistics.intervals.resamples`.
        margin: fixed before the data are seen, in the unit of the differences.
        reach: the largest difference that a layout may show; 1 of what an environment offers over chance.

    Raises:
        InvalidValue: the margin is not positive.
    """
    if not margin > 0:
        raise InvalidValue(f"the margin of an equivalence test is {margin:g}; it must be above 0")
    known = differences[~np.isnan(differences)]
    value, size = float(known.mean()) if len(known) else math.nan, len(known)
    if size < FEWEST or not np.isfinite(known).all():
        return Equivalence(margin, Interval.unknown(value), math.nan)
    missed = missed_share(size, 0.05) * reach
    low, high = value - missed, value + missed
    p_value = float(np.clip(1 - (margin - abs(value)) / reach, 0, 1)) ** size
    if np.ptp(known) > 0:
        found = Studentised.mean(differences, draws)
        student = student_quantile(0.95, size - 1) * found.error
        lowest, highest = found.interval(0.9)
        low, high = min(low, lowest, value - student), max(high, highest, value + student)
        above = _p_value(found, found.distances, margin + value)
        p_value = max(p_value, above, _p_value(found, -found.distances, margin - value))
    return Equivalence(margin, Interval(value, low, high), p_value)


def _p_value(found: Studentised, distances: np.ndarray, gap: float) -> float:
    """One-sided p-value that the mean lies on the near side of a bound ``gap`` away: Student's or the bootstrap's."""
    far = gap / found.error
    student, limit = (1 - student_share(each, found.size - 1) for each in (far, far / FURTHEST))
    drawn = (1 + int((distances >= far).sum())) / (1 + len(distances))
    return max(student, min(drawn, limit))


def rank_correlation(predicted: np.ndarray, real: np.ndarray) -> float:
    """Kendall tau-b of values that belong together; NaN where either ties throughout."""
    from scipy.stats import kendalltau

    return float(kendalltau(predicted, real).statistic) if len(real) > 1 else math.nan
