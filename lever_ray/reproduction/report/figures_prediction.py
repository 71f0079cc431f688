"""Predicted against true returns of the answers, by ranker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lever_ray import plot
from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.statistics import Row, scale_of
from lever_ray.reproduction.report import findings, style
from lever_ray.reproduction.report.data import Sample, grouped


def predicted_against_true(samples: Sequence[Sample]) -> Drawn | None:
    """How many answers earn what was predicted; a panel a ranker. None where nothing was predicted."""
    from matplotlib.colors import LogNorm

    every = grouped((row for sample in samples for row in sample.rows), "ranker")
    points = {name: found for (name,), rows in sorted(every.items()) if len(found := _points(rows))}
    if not points:
        return None
    low, high = np.percentile(np.concatenate(list(points.values())), [0.5, 99.5])
    figure, axes_of = style.panels(list(points), height=1.45, extra=0.4)
    for name, axes in axes_of.items():
        x, y = points[name].clip(low, high).T
        look = {"gridsize": 24, "extent": (low, high, low, high), "cmap": "viridis", "linewidths": 0.1, "mincnt": 1}
        drawn = axes.hexbin(x, y, norm=LogNorm(1, max(10, len(x))), **look)
        axes.plot([low, high], [low, high], color=plot.INK, linewidth=0.8, linestyle="--")
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    bar = figure.colorbar(drawn, ax=list(axes_of.values()), location="right", aspect=30)
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.ax.yaxis.set_major_formatter(style.thousands)
    bar.ax.minorticks_off()
    bar.set_label("answers", fontsize=8)
    figure.supxlabel("predicted, 0 = random, 1 = optimum", fontsize=8)
    figure.supylabel("earned", fontsize=8)
    told = "On the dashed line an answer earns what was predicted; the outermost 1% is drawn at the edge."
    return Drawn("predictions", "Predicted against true returns", f"{findings.predictions(samples)} {told}", figure)


def _points(rows: Sequence[Row]) -> np.ndarray:
    """float64[n, 2]: predicted and true return, normalised."""
    values = np.array([_normalised(row) for row in rows]).reshape(-1, 2)
    return values[np.isfinite(values).all(axis=1)]


def _normalised(row: Row) -> tuple[float, float]:
    scale, chance = scale_of(row), row["return/random"]
    return (row["return/predicted"] - chance) / scale, (row["return/composed"] - chance) / scale
