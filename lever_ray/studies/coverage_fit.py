"""What rows of the coverage study say: how much may be cut before reuse fails, and which measure of coverage tells.

A threshold is where a sigmoid, low + (high - low) / (1 + exp(-steepness (kept - middle))), that is fitted to the means
over layouts by least squares, has fallen half-way between its ends at everything and nothing kept. Middle and steepness
are sought on a grid, low and high are solved for exactly (variable projection, Golub and Pereyra 1973), so that a fit
always is the best of the grid, and every resample of the layouts is fitted likewise.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lever_ray.experiment.statistics import Row, layout_of, layouts_of
from lever_ray.statistics.intervals import resamples

LEAST_FALL = 0.05
"""Margin of equivalence of normalised quality: a curve whose fall from everything to nothing may be smaller is flat."""
LEAST_FIT = 0.8
"""Share of the variance of the means over levels that a sigmoid has to explain."""
WHOLE_CUTS = ("policy", "common", "region")
"""Cuts that leave nothing where they keep nothing."""
MEASURES: dict[str, str] = {
    "": "quality/normalised",
    "success/scratch/": "success/scratch",
    "success/own/": "success/own",
}
"""What is fitted, by what stands before ``threshold`` in its columns."""
METRICS: tuple[str, ...] = ("coverage/library", "coverage/on_policy", "coverage/path", "coverage/value")
"""Measures of coverage; the first, the plainest, is what others are held against."""
_SUCCESSES = {"auc": ("success", "success/scratch"), "auc/own": ("success/own", "success/own")}
"""By what stands before the columns: how the share of successes is called, and the rows' column."""
BOOTSTRAP = 2_000
_BLOCK = 250
_FOUND = ("threshold", "flat", "no sigmoid")


class Sigmoids(NamedTuple):
    """Curves that can be fitted: they rise with what is kept, from 0 at nothing to 1 at everything.

    Attributes:
        curves: float64[G, K], at every level.
        shapes: float64[G, K], the same without their means and of length 1.
        halves: float64[G], kept where a curve is half-way between nothing and everything kept.
        slopes: float64[G], rise per unit kept there.
    """

    curves: np.ndarray
    shapes: np.ndarray
    halves: np.ndarray
    slopes: np.ndarray


@cache
def sigmoids(levels: tuple[float, ...]) -> Sigmoids:
    """The grid: middles from -0.25 to 1.25 by 0.01, steepness from 1 (nearly a line) to 100 (a step) in 16 ratios."""
    middle, steep = (axis.ravel() for axis in np.meshgrid(np.linspace(-0.25, 1.25, 151), np.geomspace(1, 100, 16)))

    def logistic(kept: np.ndarray | float) -> np.ndarray:
        return np.asarray(1.0 / (1.0 + np.exp(-steep[:, None] * (np.atleast_1d(kept) - middle[:, None]))))

    ends = logistic(np.array([0.0, 1.0]))
    low, span = ends[:, :1], np.diff(ends, axis=1)
    sound = span[:, 0] > 1e-6
    half = ends.mean(axis=1)
    curves = ((logistic(np.array(levels)) - low) / span)[sound]
    centred = curves - curves.mean(axis=1, keepdims=True)
    return Sigmoids(
        curves,
        centred / np.linalg.norm(centred, axis=1, keepdims=True),
        (middle + np.log(half / (1.0 - half)) / steep)[sound],
        (steep * half * (1.0 - half) / span[:, 0])[sound],
    )


class Fits(NamedTuple):
    """Fitted sigmoids of B curves.

    Attributes:
        threshold: float64[B], kept where the sigmoid is half-way between its ends; NaN where a curve never falls.
        full: float64[B], fitted at everything kept.
        none: float64[B], fitted at nothing kept.
        slope: float64[B], rise per unit kept at the threshold.
        fit: float64[B], R^2 over the levels; 0 where a curve never falls.
    """

    threshold: np.ndarray
    full: np.ndarray
    none: np.ndarray
    slope: np.ndarray
    fit: np.ndarray

    @property
    def fall(self) -> np.ndarray:
        """From everything to nothing kept."""
        return self.full - self.none


def fit_sigmoids(levels: tuple[float, ...], means: np.ndarray) -> Fits:
    """The best sigmoid of each curve in least squares.

    Args:
        levels: K shares kept, ascending.
        means: float64[B, K], the curves.
    """
    found = [_fit_block(levels, means[first : first + _BLOCK]) for first in range(0, len(means), _BLOCK)]
    return Fits(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _fit_block(levels: tuple[float, ...], means: np.ndarray) -> Fits:
    grid = sigmoids(levels)
    middle = means.mean(axis=1)
    centred = means - middle[:, None]
    along = centred @ grid.shapes.T
    best = along.argmax(axis=1)
    size, spread = along[np.arange(len(best)), best], (centred**2).sum(axis=1)
    falls = (size > 0) & (spread > 1e-12)
    curves = grid.curves[best]
    rise = np.where(falls, size / np.linalg.norm(curves - curves.mean(axis=1, keepdims=True), axis=1), 0.0)
    none = middle - rise * curves.mean(axis=1)
    fit = np.divide(size**2, spread, out=np.zeros(len(means)), where=falls)
    half, slope = np.where(falls, grid.halves[best], np.nan), np.where(falls, rise * grid.slopes[best], 0.0)
    return Fits(half, none + rise, none, slope, fit)


def thresholds(rows: Sequence[Row], *, bootstrap: int = BOOTSTRAP, seed: int = 0) -> list[Row]:
    """One line per family, discount, operator and cut: where the fitted curve falls half-way, and how well it fits.

    Returns:
        ``family, gamma, operator, cut, layouts``; of quality, and as ``success/scratch/...`` and ``success/own/...`` of
        the shares of successes: ``threshold`` (share kept) with ``/ci_low`` and ``/ci_high`` (percentiles over layouts
        resampled jointly), ``slope`` (per unit kept, at the threshold), ``fit`` (R^2 over the layouts' means), ``full``
        and ``none`` (fitted at everything and nothing kept), ``fall`` between them with its interval, and ``found``:
        ``threshold``; ``flat`` where the fall may be below :data:`LEAST_FALL`; ``no sigmoid`` where it explains less
        than :data:`LEAST_FIT` of the means. Only the first has a threshold, the others NaN.
    """
    layouts = layouts_of(rows)
    draws = resamples(len(layouts), count=bootstrap, seed=seed) / len(layouts)
    return [
        {"family": family, "gamma": gamma, "operator": operator, "cut": cut, "layouts": len(layouts)}
        | {
            name: value
            for prefix, measure in MEASURES.items()
            for name, value in _threshold(prefix, *curves(same, measure, layouts), draws).items()
        }
        for (family, gamma, operator, cut), same in _grouped(rows, ("family", "gamma", "operator", "cut"))
    ]


def curves(rows: Iterable[Row], measure: str, layouts: Sequence[str | int]) -> tuple[tuple[float, ...], np.ndarray]:
    """The levels, ascending, and a measure at each of them: float64[L, K], means over draws by layout."""
    held = list(rows)
    levels = tuple(sorted({row["kept"] for row in held}))
    place = {layout: at for at, layout in enumerate(layouts)}
    sums, counts = np.zeros((len(layouts), len(levels))), np.zeros((len(layouts), len(levels)))
    for row in held:
        where = place[layout_of(row)], levels.index(row["kept"])
        sums[where] += row[measure]
        counts[where] += 1
    return levels, sums / counts


def _threshold(prefix: str, levels: tuple[float, ...], values: np.ndarray, draws: np.ndarray) -> Row:
    told = fit_sigmoids(levels, values.mean(axis=0)[None])
    again = fit_sigmoids(levels, draws @ values)
    threshold, full, none, slope, fit = (float(part[0]) for part in told)
    low, high = _between(again.threshold)
    fall_low, fall_high = _between(again.fall)
    found = _FOUND[1] if not fall_low >= LEAST_FALL else _FOUND[2] if fit < LEAST_FIT else _FOUND[0]
    if found != _FOUND[0]:
        threshold = low = high = math.nan
    return {
        f"{prefix}threshold": threshold,
        f"{prefix}threshold/ci_low": low,
        f"{prefix}threshold/ci_high": high,
        f"{prefix}slope": slope,
        f"{prefix}fit": fit,
        f"{prefix}full": full,
        f"{prefix}none": none,
        f"{prefix}fall": full - none,
        f"{prefix}fall/ci_low": fall_low,
        f"{prefix}fall/ci_high": fall_high,
        f"{prefix}found": found,
    }


def _between(drawn: np.ndarray) -> tuple[float, float]:
    """95% percentile interval of what is known in resamples; NaN where that is less than two."""
    known = drawn[~np.isnan(drawn)]
    if len(known) < 2:
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def predictors(rows: Sequence[Row], *, bootstrap: int = BOOTSTRAP, seed: int = 0) -> list[Row]:
    """How well each measure of coverage tells success from failure, pooled over cuts, levels and draws.

    Records that nothing was taken from, and those of which nothing is left, count once and not for every cut.

    Returns:
        One line per family, discount, operator and metric: ``auc``, the share of pairs of a success and a failure in
        which the success has more coverage, ties counting half (Mann and Whitney 1947), where success is quality of at
        least that of scratch; ``auc/within``, over pairs in one layout alone; ``auc/own`` and ``auc/own/within``, where
        success is at least nine tenths of the quality with everything kept; ``auc/over_library`` and
        ``auc/own/over_library``, how much larger it is than that of library coverage; each with ``/ci_low`` and
        ``/ci_high``, by layouts resampled jointly. NaN where all succeed or all fail. ``success`` and ``success/own``:
        shares of rows.
    """
    layouts = layouts_of(rows)
    draws = resamples(len(layouts), count=bootstrap, seed=seed)
    lines = []
    for (family, gamma, operator), same in _grouped(rows, ("family", "gamma", "operator")):
        kept = _each_once(same)
        place = np.array([layouts.index(layout_of(row)) for row in kept])
        shares = {name: float(np.mean([row[of] for row in kept])) for name, of in _SUCCESSES.values()}
        found = [
            {"family": family, "gamma": gamma, "operator": operator, "metric": metric, "layouts": len(layouts)} | shares
            for metric in METRICS
        ]
        for prefix, (_, of) in _SUCCESSES.items():
            succeeded = np.array([row[of] > 0 for row in kept])
            ranks = [
                Ranks.of(np.array([row[metric] for row in kept]), succeeded, place, len(layouts)) for metric in METRICS
            ]
            for line, each in zip(found, ranks, strict=True):
                line |= _auc_columns(prefix, each, ranks[0], draws)
        lines += found
    return lines


def _each_once(rows: Iterable[Row]) -> list[Row]:
    """Rows of one operator without those of records that another row has already, whatever its cut and draw."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        drawn = (row["cut"], row["kept"], row["draw"])
        if row["kept"] == 1.0 or (row["kept"] == 0.0 and row["cut"] in WHOLE_CUTS):
            drawn = ("", row["kept"], 0)
        found.setdefault((layout_of(row), *drawn), row)
    return list(found.values())


@dataclass(frozen=True, eq=False)
class Ranks:
    """Pairs of a success and a failure, counted by the layouts that they are of.

    Attributes:
        higher: float64[L, L], pairs of a success of one layout and a failure of another in which the success has more
            coverage; ties count half.
        pairs: float64[L, L], all of them.
    """

    higher: np.ndarray
    pairs: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, succeeded: np.ndarray, place: np.ndarray, layouts: int) -> Ranks:
        """Count them; rows whose value is NaN are left out.

        Args:
            values: float64[n], coverage.
            succeeded: bool[n].
            place: int[n], the rows' layouts.
            layouts: L.
        """
        known = ~np.isnan(values)
        above, failed = known & succeeded, known & ~succeeded
        higher = np.empty((layouts, layouts))
        for other in range(layouts):
            below = np.sort(values[failed & (place == other)])
            lower, upper = (np.searchsorted(below, values[above], side=side) for side in ("left", "right"))
            higher[:, other] = np.bincount(place[above], (lower + upper) / 2.0, minlength=layouts)
        counts = (np.bincount(place[rows], minlength=layouts) for rows in (above, failed))
        return cls(higher, np.outer(*counts).astype(np.float64))

    def auc(self, draws: np.ndarray) -> np.ndarray:
        """float64[B]: area under the curve with layouts drawn so often, float64[B, L]; NaN without a pair."""
        return _ratio(*(((draws @ each) * draws).sum(axis=1) for each in (self.higher, self.pairs)))

    def auc_within(self, draws: np.ndarray) -> np.ndarray:
        """The same over pairs in one layout."""
        return _ratio(draws @ np.diag(self.higher), draws @ np.diag(self.pairs))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def _auc_columns(prefix: str, ranks: Ranks, library: Ranks, draws: np.ndarray) -> Row:
    drawn = np.concatenate([np.ones((1, draws.shape[1])), draws])
    whole, within = ranks.auc(drawn), ranks.auc_within(drawn)
    line: Row = {}
    parts = {"": whole, "/within": within, "/over_library": whole - library.auc(drawn)}
    for name, values in parts.items():
        low, high = _between(values[1:])
        line |= {prefix + name: float(values[0])}
        line |= {f"{prefix}{name}/ci_low": low, f"{prefix}{name}/ci_high": high}
    return line


def _grouped(rows: Iterable[Row], names: tuple[str, ...]) -> list[tuple[tuple[Any, ...], list[Row]]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return list(found.items())


def as_csv(made: Callable[[Sequence[Row]], list[Row]]) -> Callable[[Sequence[Row]], str]:
    """A function of rows that gives lines, as one that gives them as comma-separated text."""

    def written(rows: Sequence[Row]) -> str:
        lines, text = made(rows), io.StringIO()
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return text.getvalue()

    return written
