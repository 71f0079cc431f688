"""From rows to a summary: the unit is the layout; layouts are resampled jointly across the cells of a family."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lever_ray.statistics.intervals import (
    UNBOUNDED,
    Bounds,
    Interval,
    interquartile_interval,
    interval,
    ratio_interval,
    resamples,
)

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
    "return/scratch_best_gamma_best_snapshot",
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
_BOUNDS: dict[str, Bounds] = {
    "quality/normalised": (-math.inf, 1.0),
    "coverage/value": (-math.inf, 1.0),
    "rank_correlation": (-1.0, 1.0),
    **dict.fromkeys(("coverage/library", "coverage/on_policy", "ends/", "undefined"), (0.0, 1.0)),
    **dict.fromkeys(("regret", "gap/", "share/", "candidates/", "segments/", "break_even_queries"), (0.0, math.inf)),
    **dict.fromkeys(("seconds/", "milliseconds/", "environment_steps/"), (0.0, math.inf)),
}
"""What values of a column can be at all, by the beginning of its name."""
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


def bounds_of(metric: str) -> Bounds:
    """What values of a column can be at all, so that no interval goes beyond."""
    return next((bounds for start, bounds in _BOUNDS.items() if metric.startswith(start)), UNBOUNDED)


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


def layout_means(rows: Iterable[Row], metric: str, layouts: Sequence[str | int]) -> np.ndarray:
    """float64[L]: mean of a metric over each layout's rows, NaN values left out; NaN where a layout has none."""
    values: dict[str | int, list[float]] = {layout: [] for layout in layouts}
    for row in rows:
        if not math.isnan(row[metric]):
            values[layout_of(row)].append(float(row[metric]))
    return np.array([np.mean(values[layout]) if values[layout] else math.nan for layout in layouts])


def summarise(rows: Iterable[Row], *, bootstrap: int, seed: int = 0) -> list[Row]:
    """One line per gamma, mode, setup, operator, strategy and ranker: means, intervals, ratios of sums over layouts.

    Columns are those of the rows, with ``/ci_low`` and ``/ci_high`` beside each metric (NaN where there are too few
    layouts, see :mod:`lever_ray.statistics.intervals`), ``layouts`` (how many), ``layouts/trivial`` (how many of them
    are so easy that they are reported apart), ``rank_correlation/undefined`` (share) and ``quality/normalised/iqm``
    with its interval.
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
        _put(summary, name, interval(column(name), draws, bounds=bounds_of(name)))
    for name, (numerator, denominator) in RATIOS.items():
        _put(summary, name, ratio_interval(column(numerator), column(denominator), draws))
    _put(summary, "quality/normalised/iqm", interquartile_interval(column("quality/normalised"), draws))
    summary["rank_correlation/undefined"] = float(np.isnan(column("rank_correlation")).mean())
    return summary


def _put(summary: Row, name: str, estimate: Interval) -> None:
    summary[name] = estimate.value
    summary[f"{name}/ci_low"], summary[f"{name}/ci_high"] = estimate.low, estimate.high


def order_rows(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of their cells, so that completion order never shows."""
    return sorted(rows, key=lambda row: (_place(row), *(row[name] for name in CELL_COLUMNS)))
