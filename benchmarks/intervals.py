"""How often intervals cover what they should, and equivalence is shown where there is none: simulated, nothing timed.

``chosen`` is what :mod:`lever_ray.statistics` does, or would do of fewer values than it shows an interval of; beside it
stands what it was chosen from. Of 2,000 samples (500 of 300 values) a coverage near .95 has a standard error of .005
(.01).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lever_ray.statistics.contrasts import effect_size, equivalence
from lever_ray.statistics.intervals import (
    FEWEST,
    UNBOUNDED,
    Bounds,
    Interval,
    Studentised,
    interquartile_interval,
    interval,
    ratio_interval,
    resamples,
    student_quantile,
)

SIZES = (5, 6, 8, 10, 20, 30, 50, 100, 300)
RESAMPLES = 1_000
Draw = Callable[[np.random.Generator, int], np.ndarray]


def _bimodal(rng: np.random.Generator, size: int) -> np.ndarray:
    """Qualities of layouts that mostly work and sometimes do not: in [0, 1], around .2 and .86."""
    return np.where(rng.random(size) < 0.3, rng.beta(2, 8, size), rng.beta(12, 2, size))


POPULATIONS: dict[str, tuple[Draw, float, Bounds]] = {
    "normal": (lambda rng, size: rng.normal(0.0, 1.0, size), 0.0, UNBOUNDED),
    "exponential": (lambda rng, size: rng.exponential(1.0, size), 1.0, (0.0, math.inf)),
    "rare": (lambda rng, size: (rng.random(size) < 0.1).astype(np.float64), 0.1, (0.0, 1.0)),
    "bimodal": (_bimodal, 0.3 * 0.2 + 0.7 * 12 / 14, (0.0, 1.0)),
    "lognormal": (lambda rng, size: rng.lognormal(0.0, 1.0, size), math.exp(0.5), (0.0, math.inf)),
}
"""What values are drawn from, their mean, and what is known of them beforehand."""
Pairs = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def _returns(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    scratch = rng.normal(60.0, 30.0, size)
    return 0.9 * scratch + rng.normal(0.0, 20.0, size), scratch


def _times(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.lognormal(0.0, 0.5, size), 0.01 * rng.lognormal(0.0, 0.5, size)


RATIOS: dict[str, tuple[Pairs, float]] = {"returns": (_returns, 0.9), "times": (_times, 100.0)}
"""Numerators and denominators, and the ratio of their means."""


def _clipped(mean: float, spread: float) -> Draw:
    return lambda rng, size: rng.normal(mean, spread, size)


def _rarely(share: float) -> Draw:
    return lambda rng, size: (rng.random(size) < share).astype(np.float64)


def _skewed(rng: np.random.Generator, size: int) -> np.ndarray:
    return 0.15 - 0.1 * rng.exponential(1.0, size)


def _mostly_ties(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.where(rng.random(size) < 0.8, 0.0, rng.uniform(-0.5, 1.0, size))


DIFFERENCES: dict[str, Draw] = {
    "normal": _clipped(0.05, 0.1),
    "skewed": _skewed,
    "mostly ties": _mostly_ties,
    "rare": _rarely(0.05),
}
"""Differences whose mean is at the margin of .05: equivalence is shown of at most .05 of their samples."""


def figures() -> dict[str, float]:
    """Coverage by statistic, size, population and method; then the share of samples that show equivalence."""
    result: dict[str, float] = {}
    for size in SIZES:
        rng, draws = np.random.default_rng(size), resamples(size, count=RESAMPLES)
        samples = 2_000 if size < 300 else 500
        result |= _covered(_means(rng, draws, samples), f"intervals.mean.n{size}")
        result |= _covered(_middles(rng, draws, samples), f"intervals.iqm.n{size}")
        result |= _covered(_ratios(rng, draws, samples), f"intervals.ratio.n{size}")
        if size >= FEWEST:
            result |= _covered(_effects(rng, draws, samples), f"intervals.effect.n{size}")
        if size >= 20:
            result |= _covered(_margins(rng, draws, samples), f"intervals.equivalence.n{size}")
    return result


Hits = Iterator[tuple[str, dict[str, bool]]]


def _covered(hits: Hits, name: str) -> dict[str, float]:
    """Share of hits by population and method."""
    found: dict[str, list[bool]] = {}
    for population, methods in hits:
        for method, hit in methods.items():
            found.setdefault(f"{name}.{population}.{method}", []).append(hit)
    return {key: float(np.mean(each)) for key, each in found.items()}


def _holds(bounds: Interval | tuple[Any, Any], value: float) -> bool:
    low, high = (bounds.low, bounds.high) if isinstance(bounds, Interval) else bounds
    return bool(low <= value <= high)


def _means(rng: np.random.Generator, draws: np.ndarray, samples: int) -> Hits:
    size = draws.shape[1]
    for name, (draw, mean, bounds) in POPULATIONS.items():
        for _ in range(samples if size >= FEWEST or name != "rare" else 0):
            values = draw(rng, size)
            ours = interval(values, draws, bounds=bounds)
            if np.ptp(values) == 0:
                missed = _holds((values[0], values[0]), mean)
                yield name, {"chosen": _holds(ours, mean)} | dict.fromkeys(("percentile", "bca", "student"), missed)
                continue
            found = Studentised.mean(values, draws)
            ours = ours if ours.low == ours.low else Interval(found.value, *found.interval())
            reach = student_quantile(0.975, size - 1) * found.error
            others = {
                "percentile": np.percentile(found.value + found.shifts, [2.5, 97.5]),
                "bca": _bca(values, found),
                "student": (found.value - reach, found.value + reach),
            }
            yield (
                name,
                {"chosen": _holds(ours, mean)} | {key: _holds(tuple(each), mean) for key, each in others.items()},
            )


def _bca(values: np.ndarray, found: Studentised) -> np.ndarray:
    """Bias-corrected and accelerated bounds (Efron 1987)."""
    from scipy.special import ndtr, ndtri

    off = values - found.value
    acceleration = float((off**3).sum() / (6 * (off**2).sum() ** 1.5))
    below = (found.shifts < 0).mean() + (found.shifts == 0).mean() / 2
    bias = ndtri(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    moved = bias + ndtri([0.025, 0.975])
    return np.percentile(found.value + found.shifts, 100 * ndtr(bias + moved / (1 - acceleration * moved)))


def _middles(rng: np.random.Generator, draws: np.ndarray, samples: int) -> Hits:
    size = draws.shape[1]
    for name, (draw, _, _) in POPULATIONS.items():
        large = np.sort(draw(np.random.default_rng(0), 2_000_000))
        middle = float(large[500_000:1_500_000].mean())
        for _ in range(samples):
            values = draw(rng, size)
            percentile, student = _middle_bounds(values, draws)
            ours = interquartile_interval(values, draws)
            chosen = ours if ours.low == ours.low else percentile
            yield name, {"chosen": _holds(chosen, middle), "studentised": _holds(student, middle)}


def _middle_bounds(values: np.ndarray, draws: np.ndarray) -> tuple[Any, Any]:
    """Percentile and studentised bounds of an interquartile mean, by the winsorised variance (Yuen 1974)."""
    ascending, size = np.sort(values), len(values)
    outside = size // 4
    value, error = (each[0] for each in _middle_and_error(ascending, np.ones((1, size)), outside))
    means, errors = _middle_and_error(ascending, draws, outside)
    limit = 3 * student_quantile(0.975, size - 2 * outside - 1)
    distances = (means - value) / np.maximum(errors, 1e-9 * max(error, 1e-9))
    low, high = np.clip(np.percentile(distances, [2.5, 97.5]), -limit, limit)
    return tuple(np.percentile(means, [2.5, 97.5])), (value - high * error, value - low * error)


def _middle_and_error(ascending: np.ndarray, draws: np.ndarray, outside: int) -> tuple[np.ndarray, np.ndarray]:
    size = len(ascending)
    reached, inside = draws.cumsum(axis=1), size - 2 * outside
    weights = np.diff(np.clip(reached, outside, size - outside), axis=1, prepend=outside)
    lowest = ascending[(reached > outside).argmax(axis=1)]
    highest = ascending[(reached >= size - outside).argmax(axis=1)]
    total = weights @ ascending + outside * (lowest + highest)
    squares = weights @ ascending**2 + outside * (lowest**2 + highest**2)
    variance = np.maximum(squares - total**2 / size, 0) / (size - 1)
    return weights @ ascending / inside, np.sqrt(variance * size) / inside


def _ratios(rng: np.random.Generator, draws: np.ndarray, samples: int) -> Hits:
    size = draws.shape[1]
    for name, (draw, ratio) in RATIOS.items():
        for _ in range(samples):
            above, below = draw(rng, size)
            found = Studentised.ratio(above, below, draws)
            ours = ratio_interval(above, below, draws)
            chosen = ours if ours.low == ours.low else found.interval()
            percentile = np.nanpercentile(found.value + found.shifts, [2.5, 97.5])
            yield name, {"chosen": _holds(chosen, ratio), "percentile": _holds(tuple(percentile), ratio)}


def _effects(rng: np.random.Generator, draws: np.ndarray, samples: int) -> Hits:
    for name in ("normal", "exponential", "bimodal"):
        draw, mean, _ = POPULATIONS[name]
        spread = float(draw(np.random.default_rng(0), 2_000_000).std())
        for _ in range(samples):
            found = effect_size(draw(rng, draws.shape[1]) - mean + 0.5 * spread)
            yield name, {"chosen": _holds(found, 0.5)}


def _margins(rng: np.random.Generator, draws: np.ndarray, samples: int) -> Hits:
    size = draws.shape[1]
    for name, draw in DIFFERENCES.items():
        for _ in range(samples):
            differences = draw(rng, size)
            error = differences.std() / math.sqrt(size - 1)
            reach = student_quantile(0.95, size - 1) * error
            ends = (differences.mean() - reach, differences.mean() + reach)
            student = ends[0] >= -0.05 and ends[1] <= 0.05
            yield name, {"chosen": equivalence(differences, draws).shown, "student": bool(student)}
    for _ in range(samples):
        yield "no difference", {"chosen": equivalence(rng.normal(0.0, 0.15, size), draws).shown}
