"""From rows to a summary: the unit is the layout; layouts are resampled jointly across the cells of a family.

What concerns one sample alone is scipy's; it is imported where it is called, so that importing stays quick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

Row = dict[str, Any]

CELL_COLUMNS: tuple[str, ...] = ("gamma", "mode", "setup", "operator", "strategy", "ranker")
"""What identifies a line of the summary."""
CARRIED_COLUMNS: tuple[str, ...] = ("family", "budget", "groups", "support", "regime", "tier", "recipe")
"""Columns that are equal within a line and carried over; rows of the first version have no recipe."""
METRICS: tuple[str, ...] = (
    "return/composed",
    "return/predicted",
    "return/best_candidate",
    "return/scratch",
    "return/scratch_best_snapshot",
    "return/scratch_best_gamma",
    "return/scratch_longer",
    "return/scratch_longer_best_snapshot",
    "return/scratch_recorded_model",
    "return/best_single",
    "return/best_single_oracle",
    "return/random_q",
    "return/random",
    "return/walk_planner",
    "return/recorded_optimum",
    "return/memoryless",
    "return/optimum",
    "quality/normalised",
    "quality/over_controls",
    "regret",
    "rank_correlation",
    "coverage/library",
    "coverage/on_policy",
    "coverage/value",
    "gap/coverage",
    "gap/memory",
    "gap/operator",
    "gap/selection",
    "candidates/evaluated",
    "candidates/members_scored",
    "segments/simulated",
    "seconds/retrieve",
    "seconds/rank",
    "seconds/compose",
    "seconds/query",
    "seconds/fit",
    "seconds/scratch",
    "environment_steps/saved",
    "environment_steps/library",
    "break_even_queries",
)
"""Columns whose mean over layouts is summarised, beside :func:`ends_of`."""
_ENDS_AT = METRICS.index("candidates/evaluated")
"""Where the ends stand among them."""
RATIOS: dict[str, tuple[str, str]] = {
    "quality/ratio": ("return/composed", "return/scratch"),
    "speedup/seconds": ("seconds/scratch", "seconds/query"),
}
"""Ratios of sums over layouts: numerator and denominator."""


def ends_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """Columns that say how episodes end, e.g. ``ends/truncated``: every family names its own."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith("ends/"))
    return tuple(name for name in names if name.count("/") == 1)


def metrics_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """Columns whose mean over layouts is summarised, of some rows or lines of a summary."""
    return (*METRICS[:_ENDS_AT], *ends_of(rows), *METRICS[_ENDS_AT:])


def layout_of(row: Row) -> str | int:
    """What tells a row's layout from others: its environment's name, in rows without one its seed."""
    name = row.get("environment")
    return row["layout_seed"] if name is None else name


def layouts_of(rows: Iterable[Row]) -> list[str | int]:
    """The layouts of some rows by seed, then those without one by name."""
    places = {layout_of(row): _place(row) for row in rows}
    return sorted(places, key=places.__getitem__)


def _place(row: Row) -> tuple[bool, int, str]:
    seed = row["layout_seed"]
    return seed is None, seed or 0, row.get("environment") or ""


def scale_of(row: Row) -> float:
    """J* - J_rand, what an environment offers over chance; NaN where that is nothing."""
    return offered(row["return/optimum"], row["return/random"])


def offered(best: float, chance: float) -> float:
    """What returns are normalised by, ``best - chance``; NaN where that is nothing."""
    return best - chance if best > chance else math.nan


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits and never an exponent, e.g. ``1,170`` or ``0.0123``."""
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) >= 10**digits:
        return f"{rounded:,.0f}"
    return f"{rounded:.{digits}g}" if abs(rounded) >= 1e-4 else f"{rounded:.9f}".rstrip("0").rstrip(".")


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


def layout_means(rows: Iterable[Row], metric: str, layouts: Sequence[str | int]) -> np.ndarray:
    """float64[L]: mean of a metric over each layout's rows, NaN values left out; NaN where a layout has none."""
    values: dict[str | int, list[float]] = {layout: [] for layout in layouts}
    for row in rows:
        if not math.isnan(row[metric]):
            values[layout_of(row)].append(float(row[metric]))
    return np.array([np.mean(values[layout]) if values[layout] else math.nan for layout in layouts])


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
    return np.abs(np.mean(values, axis=axis)).round(12)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p-values; NaN ones stay, and do not count."""
    known = [place for place, p_value in enumerate(p_values) if not math.isnan(p_value)]
    corrected, highest = [math.nan] * len(p_values), 0.0
    for rank, place in enumerate(sorted(known, key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(known) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def rank_correlation(predicted: np.ndarray, real: np.ndarray) -> float:
    """Kendall tau-b of values that belong together; NaN where either ties throughout."""
    from scipy.stats import kendalltau

    return float(kendalltau(predicted, real).statistic) if len(real) > 1 else math.nan


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


def summarise(rows: Iterable[Row], *, bootstrap: int, seed: int = 0) -> list[Row]:
    """One line per gamma, mode, setup, operator, strategy and ranker: means, intervals, ratios of sums over layouts.

    Columns are those of the rows, with ``/ci_low`` and ``/ci_high`` beside each metric, ``layouts`` (how many),
    ``layouts/trivial`` (how many of them are so easy that they are reported apart), ``rank_correlation/undefined``
    (share) and ``quality/normalised/iqm``.
    """
    lines: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        lines.setdefault(tuple(row[name] for name in CELL_COLUMNS), []).append(row)
    environments = sorted({row["environment"] for line in lines.values() for row in line})
    draws = resamples(len(environments), count=bootstrap, seed=seed)
    return [_summary_line(line, environments, draws) for _, line in lines.items()]


def _summary_line(line: Sequence[Row], environments: Sequence[str], draws: np.ndarray) -> Row:
    first, by_environment = line[0], {row["environment"]: row for row in line}

    def column(name: str) -> np.ndarray:
        return np.array(
            [
                float(by_environment[name_of].get(name, math.nan)) if name_of in by_environment else math.nan
                for name_of in environments
            ]
        )

    summary: Row = {name: first[name] for name in CELL_COLUMNS}
    summary |= {name: first[name] for name in CARRIED_COLUMNS if name in first}
    summary["layouts"] = len(line)
    summary["layouts/trivial"] = sum(bool(row["trivial_layout"]) for row in line)
    for name in metrics_of(line):
        _put(summary, name, interval(column(name), draws))
    for name, (numerator, denominator) in RATIOS.items():
        above, below = column(numerator), column(denominator)
        paired = ~(np.isnan(above) | np.isnan(below))
        _put(summary, name, ratio_interval(np.where(paired, above, 0), np.where(paired, below, 0), draws))
    summary["quality/normalised/iqm"] = interquartile_mean(column("quality/normalised"))
    summary["rank_correlation/undefined"] = float(np.isnan(column("rank_correlation")).mean())
    return summary


def _put(summary: Row, name: str, estimate: Interval) -> None:
    summary[name] = estimate.value
    summary[f"{name}/ci_low"], summary[f"{name}/ci_high"] = estimate.low, estimate.high


def order_rows(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of their cells, so that completion order never shows."""
    return sorted(rows, key=lambda row: (_place(row), *(row[name] for name in CELL_COLUMNS)))
