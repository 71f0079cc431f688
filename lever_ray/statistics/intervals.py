"""An estimate over layouts and its 95% interval; layouts are resampled jointly, so that all cells stay paired.

Means have studentised bootstrap intervals ("bootstrap-t"; Efron and Tibshirani 1993, chapter 12): how far a resample's
mean lies from the sample's is measured in standard errors of that very resample, so that skew widens an interval on the
side where it matters. Of 20 values of a normal, exponential, bimodal or lognormal distribution they cover the mean in
.954, .949, .983 and .914 of samples; percentiles of resampled means in .929, .905, .932 and .838, BCa's in .925, .914,
.956 and .867. ``python -m benchmarks intervals`` simulates it. Ratios of sums are studentised by their linearised
standard error, between logarithms where all parts are positive. Interquartile means keep the percentiles, which cover
.931 to .948 there; studentised, they cover .899 where values cluster at two ends, as qualities do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

FEWEST = 6
"""Values from which on means and ratios have an interval. Of 6, normal, exponential, bimodal and lognormal ones are
covered in .94, .93, .91 and .89 of samples, about as often as percentiles cover 20; of 5, bimodal ones in .88."""
FEWEST_OF_MIDDLE = 8
"""Values from which on interquartile means have one: of 8 it covers .91 to .93 of samples, of 6 bimodal ones .85."""
FURTHEST = 3.0
"""Bounds stand at most so many times as far from the mean as Student's; resamples without spread give no limit."""
Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval, 95% where nothing else is said; NaN bounds where there are too few values."""

    value: float
    low: float
    high: float

    @classmethod
    def unknown(cls, value: float = math.nan) -> Interval:
        """An estimate about which the values say nothing more."""
        return cls(value, math.nan, math.nan)


def resamples(layouts: int, *, count: int, seed: int = 0) -> np.ndarray:
    """float64[count, layouts]: how often each layout is drawn; shared by every cell so that cells stay paired."""
    drawn = np.random.default_rng(seed).integers(0, layouts, size=(count, layouts))
    flat = drawn + layouts * np.arange(count)[:, None]
    return np.bincount(flat.ravel(), minlength=count * layouts).reshape(count, layouts).astype(np.float64)


def interval(values: np.ndarray, draws: np.ndarray, *, level: float = 0.95, bounds: Bounds = UNBOUNDED) -> Interval:
    """Mean over layouts and its studentised bootstrap interval; NaN values are left out.

    Fewer than :data:`FEWEST` values have no interval, nor have values that are not all finite. Where all values are
    equal the interval is that value; where both ends of what values can be are known, it reaches as far as other
    values, of a share that the sample may have missed, would move the mean.

    Args:
        values: float64[L], one per layout.
        draws: float64[B, L], see :func:`resamples`.
        level: how often the interval is meant to cover the mean.
        bounds: what values can be at all, e.g. (0, 1) for shares; intervals keep within them.
    """
    kept = values[~np.isnan(values)]
    value = float(kept.mean()) if len(kept) else math.nan
    if len(kept) < FEWEST or not np.isfinite(kept).all():
        return Interval.unknown(value)
    if np.ptp(kept) == 0:
        return _of_equals(value, len(kept), level, bounds)
    low, high = Studentised.mean(values, draws).interval(level)
    return Interval(value, min(value, max(low, bounds[0])), max(value, min(high, bounds[1])))


def _of_equals(value: float, size: int, level: float, bounds: Bounds) -> Interval:
    if not all(map(math.isfinite, bounds)):
        return Interval(value, value, value)
    missed = missed_share(size, (1 - level) / 2)
    low, high = (value + missed * (end - value) for end in bounds)
    return Interval(value, min(low, value), max(high, value))


def missed_share(size: int, tail: float) -> float:
    """Share of a population that a sample may have missed altogether, e.g. .168 for 20 values and a tail of .025.

    The upper bound of Clopper and Pearson (1934) where none of ``size`` was seen; about 3 / ``size`` at a tail of .05.
    """
    return float(1 - tail ** (1 / size))


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray, draws: np.ndarray) -> Interval:
    """Ratio of sums over layouts and its studentised bootstrap interval; NaN where the denominator is not positive.

    Where all numerators and denominators are positive, logarithms are compared, so that bounds are positive.

    Args:
        numerator: float64[L]; layouts are left out where it or the denominator is NaN, or both are 0.
        denominator: float64[L].
        draws: float64[B, L], see :func:`resamples`.
    """
    paired = ~(np.isnan(numerator) | np.isnan(denominator)) & ((numerator != 0) | (denominator != 0))
    above, below = np.where(paired, numerator, 0), np.where(paired, denominator, 0)
    ratio = float(above.sum() / below.sum()) if below.sum() > 0 else math.nan
    if paired.sum() < FEWEST or not math.isfinite(ratio):
        return Interval.unknown(ratio)
    found = Studentised.ratio(above, below, draws)
    if found.error <= 1e-12 * abs(ratio):
        return Interval(ratio, ratio, ratio)
    positive = (above[paired] > 0).all() and (below[paired] > 0).all()
    low, high = np.exp(found.logarithm().interval()) if positive else found.interval()
    return Interval(ratio, min(ratio, float(low)), max(ratio, float(high)))


@dataclass(frozen=True, eq=False)
class Studentised:
    """A ratio of sums (a mean, where every denominator is 1), and the same of its resamples, with standard errors.

    Attributes:
        value: of the sample.
        error: its standard error, linearised (Cochran 1977, section 6.4; for a mean it is the usual one).
        shifts: float64[B], value of a resample less that of the sample; NaN where a resample has none.
        errors: float64[B], standard errors of the resamples.
        size: values in the sample.
    """

    value: float
    error: float
    shifts: np.ndarray
    errors: np.ndarray
    size: int

    @classmethod
    def ratio(cls, above: np.ndarray, below: np.ndarray, draws: np.ndarray) -> Studentised:
        """Of float64[L] numerators and denominators, 0 both where a layout is left out; see :func:`resamples`."""
        counted = (above != 0) | (below != 0)
        value = float(above.sum() / below.sum())
        off = above - value * below
        parts = np.stack([off, below, counted, off**2, off * below, below**2], axis=1)
        _, error = _shifts_and_errors(parts.sum(axis=0)[None])
        return cls(value, float(error[0]), *_shifts_and_errors(draws @ parts), int(counted.sum()))

    @classmethod
    def mean(cls, values: np.ndarray, draws: np.ndarray) -> Studentised:
        """Of float64[L] values; those that are NaN are left out."""
        known = ~np.isnan(values)
        return cls.ratio(np.where(known, values, 0), known.astype(np.float64), draws)

    def logarithm(self) -> Studentised:
        """The same of the ratio's logarithm, where the ratio and those of all resamples are positive."""
        ratios = self.value + self.shifts
        shifts, value = np.log(ratios / self.value), math.log(self.value)
        return Studentised(value, self.error / self.value, shifts, self.errors / ratios, self.size)

    @cached_property
    def distances(self) -> np.ndarray:
        """float64[B]: shifts in standard errors of their own resample; very large where that has no spread."""
        distances = self.shifts / np.maximum(self.errors, 1e-9 * self.error)
        return distances[~np.isnan(distances)]

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Bounds between which the true value is meant to lie at that level."""
        tail = (1 - level) / 2
        limit = FURTHEST * student_quantile(1 - tail, self.size - 1)
        low, high = np.clip(np.percentile(self.distances, [100 * tail, 100 * (1 - tail)]), -limit, limit)
        return self.value - float(high) * self.error, self.value - float(low) * self.error


def _shifts_and_errors(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64[B] each, from sums of residuals, denominators, values, and the squares and products of the former."""
    off, below, size, squares, products, denominators = sums.T
    base = np.where(below > 0, below, np.nan)
    shift = off / base
    spread = np.maximum(squares - 2 * shift * products + shift**2 * denominators, 0)
    return shift, np.sqrt(spread * size / np.maximum(size - 1, 1)) / base


def student_quantile(share: float, freedom: float) -> float:
    """Student's quantile, e.g. 2.093 for a share of .975 and 19 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def student_share(distance: float, freedom: float) -> float:
    """Share of Student's distribution below a distance, e.g. .975 below 2.093 at 19 degrees of freedom."""
    from scipy.special import stdtr

    return float(stdtr(freedom, distance))


def mean_interval(values: np.ndarray, *, count: int, seed: int = 0) -> Interval:
    """Mean of one sample and its interval, see :func:`interval`; equal seeds keep samples paired.

    Args:
        values: float64[n]; NaN values are left out.
        count: of resamples.
        seed: of the resamples: equal ones draw equal places from samples of equal length.
    """
    known = values[~np.isnan(values)]
    return interval(known, resamples(len(known), count=count, seed=seed))


def iqm_interval(values: np.ndarray, *, count: int, seed: int = 0) -> Interval:
    """Interquartile mean of one sample and its interval, as :func:`mean_interval`."""
    known = values[~np.isnan(values)]
    return interquartile_interval(known, resamples(len(known), count=count, seed=seed))


def interquartile_interval(values: np.ndarray, draws: np.ndarray) -> Interval:
    """Interquartile mean over layouts and its percentile bootstrap interval; NaN values are left out.

    Args:
        values: float64[L], one per layout; less than :data:`FEWEST_OF_MIDDLE` have no interval.
        draws: float64[B, L], see :func:`resamples`.
    """
    known = ~np.isnan(values)
    value = interquartile_mean(values)
    if known.sum() < FEWEST_OF_MIDDLE or not np.isfinite(values[known]).all():
        return Interval.unknown(value)
    order = np.argsort(values[known])
    means = _middle_means(values[known][order], draws[:, known][:, order])
    low, high = np.percentile(means[~np.isnan(means)], [2.5, 97.5])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def _middle_means(ascending: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """float64[B]: interquartile means of resamples of float64[n] ascending values; NaN where a resample is empty."""
    reached = draws.cumsum(axis=1)
    size = reached[:, -1:]
    outside = size // 4
    middle = np.diff(np.clip(reached, outside, size - outside), axis=1, prepend=outside)
    return middle @ ascending / np.where(size > 0, size - 2 * outside, np.nan)[:, 0]


def interquartile_mean(values: np.ndarray) -> float:
    """Mean of the middle half of the values; NaN values are left out."""
    from scipy.stats import trim_mean

    known = values[~np.isnan(values)]
    return float(trim_mean(known, 0.25)) if len(known) else math.nan
