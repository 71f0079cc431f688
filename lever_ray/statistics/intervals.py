"""An estimate over layouts and its 95% bootstrap interval; layouts are resampled jointly across cells.

What concerns one sample alone is scipy's; it is imported where it is called, so that importing stays quick.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


def resamples(layouts: int, *, count: int, seed: int = 0) -> np.ndarray:
    """float64[count, layouts]: how often each layout is drawn; shared by every cell so that cells stay paired."""
    drawn = np.random.default_rng(seed).integers(0, layouts, size=(count, layouts))
    flat = drawn + layouts * np.arange(count)[:, None]
    return np.bincount(flat.ravel(), minlength=count * layouts).reshape(count, layouts).astype(np.float64)


def interval(values: np.ndarray, draws: np.ndarray) -> Interval:
    """Mean over layouts and its percentile bootstrap interval; NaN values are left out.

    Args:
        values: float64[L], one per layout.
        draws: float64[B, L], see :func:`resamples`.
    """
    known = ~np.isnan(values)
    weight = draws @ known
    means = np.divide(draws @ np.where(known, values, 0), weight, out=np.full(len(draws), np.nan), where=weight > 0)
    return _percentiles(_mean(values), means if known.sum() > 1 else np.full(1, np.nan))


def ratio_interval(numerator: np.ndarray, denominator: np.ndarray, draws: np.ndarray) -> Interval:
    """Ratio of sums over layouts and its percentile bootstrap interval; NaN where a denominator is not positive."""
    below = draws @ denominator
    ratios = np.divide(draws @ numerator, below, out=np.full(len(below), np.nan), where=below > 0)
    total = float(denominator.sum())
    return _percentiles(float(numerator.sum()) / total if total > 0 else math.nan, ratios)


def mean_interval(values: np.ndarray, *, count: int, seed: int = 0) -> Interval:
    """Mean of one sample and its percentile bootstrap interval; see :func:`iqm_interval`."""
    return _sample_interval(values, np.mean, count=count, seed=seed)


def iqm_interval(values: np.ndarray, *, count: int, seed: int = 0) -> Interval:
    """Interquartile mean of one sample and its percentile bootstrap interval; NaN bounds for less than two values.

    Equal seeds draw equal places from samples of equal length, so that samples which share a seed stay paired.

    Args:
        values: float64[n]; NaN values are left out.
        count: of resamples.
        seed: of the resamples.
    """
    from scipy.stats import trim_mean

    return _sample_interval(values, partial(trim_mean, proportiontocut=0.25), count=count, seed=seed)


def _sample_interval(values: np.ndarray, statistic: Callable[..., Any], *, count: int, seed: int) -> Interval:
    from scipy.stats import bootstrap

    known = values[~np.isnan(values)]
    value = float(statistic(known)) if len(known) else math.nan
    if len(known) < 2:
        return Interval(value, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    found = bootstrap((known,), statistic, vectorized=True, n_resamples=count, method="percentile", rng=rng)
    return Interval(value, float(found.confidence_interval.low), float(found.confidence_interval.high))


def interquartile_mean(values: np.ndarray) -> float:
    """Mean of the middle half of the values; NaN values are left out."""
    from scipy.stats import trim_mean

    known = values[~np.isnan(values)]
    return float(trim_mean(known, 0.25)) if len(known) else math.nan


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _percentiles(value: float, draws: np.ndarray) -> Interval:
    known = draws[~np.isnan(draws)]
    if math.isnan(value) or not len(known):
        return Interval(value, math.nan, math.nan)
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(value, float(low), float(high))
