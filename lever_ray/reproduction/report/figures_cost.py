"""The break-even surface: cost of an environment step, number of queries, seconds saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lever_ray import plot
from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.statistics import Row
from lever_ray.reproduction.cost import QUERIES, STEP_COSTS, Costs
from lever_ray.reproduction.report import findings, style
from lever_ray.reproduction.report.data import ReportSettings, Sample, of_reference_ways

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COSTS = np.linspace(STEP_COSTS[0], STEP_COSTS[-1], 41)
_ASKED = np.logspace(np.log10(QUERIES[0]), np.log10(QUERIES[-1]), 49)
"""Where the surface is drawn: costs of a step in seconds, and numbers of queries."""
_LEVELS = (-1e5, -1e4, -1e3, -100.0, -10.0, 0.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7)


def break_even(samples: Sequence[Sample], settings: ReportSettings) -> Drawn:
    """Seconds that reuse saves over training for every query; a panel a family, with the line of break-even."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm

    rows = {sample.family: costed(sample, settings) for sample in samples}
    costs = {sample.family: Costs.of(rows[sample.family]) for sample in samples}
    figure, axes_of = style.panels([each.family for each in samples], height=1.55, extra=1.0)
    norm = BoundaryNorm(_LEVELS, 256)
    for family, axes in axes_of.items():
        _draw_surface(axes, costs[family], norm)
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=list(axes_of.values()), location="bottom", aspect=40)
    bar.set_ticks(_LEVELS[1:-1:2], labels=[_seconds(level) for level in _LEVELS[1:-1:2]])
    bar.ax.tick_params(labelsize=style.SMALL, length=2)
    bar.set_label("seconds saved", fontsize=8)
    figure.supxlabel("cost of an environment step, ms", fontsize=8)
    figure.supylabel("queries of one world", fontsize=8)
    style.legend(figure, [style.key("break-even", linestyle="-", color=plot.INK, linewidth=2)])
    dear = STEP_COSTS[-1]
    told = {family: (cost.break_even(0.0), cost.break_even(dear), dear) for family, cost in costs.items()}
    way = f"{rows[samples[0].family][0]['operator']}, {rows[samples[0].family][0]['strategy']}"
    reading = f"Queries answered by {way}; below the line the library is not paid back."
    return Drawn("break_even", "When a library pays", f"{findings.break_even(told)} {reading}", figure)


def costed(sample: Sample, settings: ReportSettings) -> list[Row]:
    """Rows whose costs are shown: those of ``sum``, or of the first operator where it was not asked."""
    rows = of_reference_ways(sample.rows, settings)
    return [row for row in rows if row["operator"] == "sum"] or [
        r for r in rows if r["operator"] == rows[0]["operator"]
    ]


def _draw_surface(axes: Axes, costs: Costs, norm: object) -> None:
    milliseconds = 1e3 * _COSTS
    saved = np.array([[costs.saved(cost, queries) for cost in _COSTS] for queries in _ASKED])
    shown = saved.clip(_LEVELS[0] + 1, _LEVELS[-1] - 1)
    axes.contourf(milliseconds, _ASKED, shown, levels=_LEVELS, cmap="viridis", norm=norm)
    paid = np.array([costs.break_even(cost) for cost in _COSTS])
    axes.plot(milliseconds, paid, color=plot.PAPER, linewidth=3.4)
    axes.plot(milliseconds, paid, color=plot.INK, linewidth=1.8)
    axes.set(yscale="log", ylim=(QUERIES[0], QUERIES[-1]), xlim=(0, milliseconds[-1]), xticks=(0, 5, 10))
    axes.yaxis.set_major_formatter(style.thousands)
    axes.minorticks_off()
    axes.grid(visible=False)


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if abs(value) < 1e4 else f"{value:.0e}".replace("e+0", "e")
