"""What composing reaches: quality against speed-up, beside its controls, by the number of combinations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lever_ray import plot
from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.statistics import Row
from lever_ray.reproduction.report import findings, style
from lever_ray.reproduction.report.data import (
    CONTROLS,
    TABLES,
    ReportSettings,
    Sample,
    in_operator_order,
    of_reference_ways,
    ways,
)
from lever_ray.reproduction.report.words import listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUALITY = "quality: 0 = random, 1 = optimum"
_SHOWN = {"best_single_oracle": plot.INK, "scratch_best_gamma": plot.MUTED, "random_q": "#c3cad2"}
"""Controls that stand beside compositions, with their greys."""
_SHORT = {"normalized-sum": "norm.-sum"}


def pareto(samples: Sequence[Sample]) -> Drawn:
    """Quality against speed-up, a point a way; a panel a family."""
    figure, axes_of = style.panels([each.family for each in samples], height=1.75, extra=1.0)
    for sample in samples:
        _draw_front(axes_of[sample.family], sample)
    held = [way for sample in samples for way in ways(sample.rows)]
    figure.supxlabel("speed-up over training from scratch", fontsize=8)
    figure.supylabel(QUALITY, fontsize=8)
    keys = style.operator_keys(in_operator_order(way.operator for way in held))
    keys += style.gamma_keys(sorted({way.gamma for way in held}))
    keys += [style.key("front", linestyle="-")]
    keys += [style.key(CONTROLS[name], linestyle=dash, color=plot.INK) for name, dash in _LEVELS.items()]
    style.legend(figure, keys, columns=2)
    told = "Up is better, right is faster; left of the line at 1 a query takes longer than training. A point is a way."
    return Drawn("pareto", "Quality against speed-up", f"{findings.front(samples)} {told}", figure)


_LEVELS = {"best_single_oracle": ":", "scratch_best_gamma": "--"}


def _draw_front(axes: Axes, sample: Sample) -> None:
    points = findings.points_of(sample)
    for way, (speedup, quality) in points.items():
        colour = style.operator_style(way.operator)[0]
        axes.plot(speedup.value, quality.value, zorder=3, markersize=3.5, markeredgewidth=0.8, **style.marks(*way[::2]))
        style.error_bar(axes, speedup.value, quality, colour, alpha=0.4)
    best = sorted((points[way][0].value, points[way][1].value) for way in findings.front_of(points))
    axes.plot(*zip(*best, strict=True), color=plot.MUTED, linewidth=1.4, zorder=1.5) if best else None
    for name, dash in _LEVELS.items():
        level = sample.mean(sample.rows, f"normalised/{name}").value
        axes.axhline(level, linestyle=dash, color=plot.INK, linewidth=0.9, zorder=2)
    axes.axvline(1.0, color=plot.INK, linewidth=0.7, zorder=1.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.minorticks_off()


def controls(samples: Sequence[Sample], settings: ReportSettings) -> Drawn:
    """Quality of one way for each operator beside what it has to beat, with intervals."""
    chosen = {sample.family: of_reference_ways(sample.rows, settings) for sample in samples}
    labels = list(dict.fromkeys((way.operator, way.gamma) for rows in chosen.values() for way in ways(rows)))
    height = 0.3 + 0.135 * (len(labels) + len(_SHOWN) + 1)
    figure, axes_of = style.panels([each.family for each in samples], height=height, extra=0.35)
    for sample in samples:
        axes, of_way = axes_of[sample.family], ways(chosen[sample.family])
        for way, rows in of_way.items():
            place = labels.index((way.operator, way.gamma))
            _draw_bar(axes, sample, rows, "quality/normalised", place, style.operator_style(way.operator)[0])
        tables = [row for row in chosen[sample.family] if row["operator"] in TABLES] or chosen[sample.family]
        for place, (name, colour) in enumerate(_SHOWN.items(), len(labels) + 1):
            _draw_bar(axes, sample, tables, f"normalised/{name}", place, colour)
        axes.axvline(1.0, color=plot.INK, linewidth=1.2)
        axes.axvline(0.0, color=plot.INK, linewidth=0.6)
        axes.grid(visible=False, axis="y")
    names = [f"{_SHORT.get(operator, operator)} γ {gamma_told(gamma)}" for operator, gamma in labels]
    places = [*range(len(labels)), *range(len(labels) + 1, len(labels) + 1 + len(_SHOWN))]
    for axes in axes_of.values():
        axes.set_yticks(places, [*names, "best single", "scratch", "random tables"])
        axes.set_ylim(max(places) + 0.6, -0.6)
        axes.tick_params(axis="y", length=0)
    figure.supxlabel(QUALITY, fontsize=8)
    told = f"{_asked(chosen.values())} The line at 1 is the optimum. Best single by an oracle, scratch at its best γ."
    return Drawn("controls", "Composed beside its controls", f"{findings.over_controls(samples)} {told}", figure)


def _asked(parts: Iterable[Sequence[Row]]) -> str:
    """Which strategies and rankers stand for the operators."""
    rows = [row for part in parts for row in part]
    tables = listed(sorted({row["strategy"] for row in rows if row["operator"] in TABLES}), last="or")
    rankers = listed(sorted({f"{row['ranker']} ({row['tier']})" for row in rows}))
    return f"{f'Tables by {tables}, ranked' if tables else 'Ranked'} by {rankers}."


def _draw_bar(axes: Axes, sample: Sample, rows: Sequence[Row], metric: str, place: int, colour: str) -> None:
    estimate = sample.mean(rows, metric)
    axes.barh(place, estimate.value, 0.72, color=colour, gid=metric)
    style.error_bar(axes, place, estimate, "#000000", across=True)


def k_sweep(samples: Sequence[Sample]) -> Drawn | None:
    """Quality and milliseconds by how many policies of each group are combined; None where no hybrid was asked."""
    shown = [sample for sample in samples if any(findings.width_of(way) for way in ways(sample.rows))]
    if not shown:
        return None
    figure = plot.canvas(style.COLUMN, 0.9 + 1.35 * len(shown))
    grid = figure.subplots(len(shown), 2, squeeze=False, sharex=True, sharey="col")
    for (left, right), sample in zip(grid, shown, strict=True):
        style.quiet(left, sample.family)
        style.quiet(right)
        _draw_sweep(left, right, sample)
    held = {way for sample in shown for way in findings.sweep_of(sample)}
    widths = sorted({width for sample in shown for line in findings.sweep_of(sample).values() for width in line})
    for axes in grid[-1]:
        axes.set_xticks(range(len(widths)), ["all" if math.isinf(width) else f"{width:g}" for width in widths])
    figure.supxlabel("policies of each group, k", fontsize=8)
    for axes, label in zip(grid[0], ("quality", "ms a query"), strict=True):
        axes.set_title(label, loc="right", fontsize=8, color=plot.MUTED, pad=4)
    keys = style.operator_keys(in_operator_order(way.operator for way in held))
    style.legend(figure, keys + style.gamma_keys(sorted({way.gamma for way in held}), lines=True))
    told = "k = all is exhaustive."
    return Drawn("k_sweep", "What more combinations buy", f"{findings.sweep(shown)} {told}", figure)


def _draw_sweep(left: Axes, right: Axes, sample: Sample) -> None:
    from matplotlib.ticker import LogLocator

    every = findings.sweep_of(sample)
    widths = sorted({width for line in every.values() for width in line})
    for way, line in every.items():
        ordered = [width for width in widths if width in line]
        look = {**style.marks(way.operator, way.gamma), "linestyle": style.dashes(way.gamma)}
        places = [widths.index(width) for width in ordered]
        style.curve(left, places, [sample.mean(line[width], "quality/normalised") for width in ordered], **look)
        milliseconds = [1e3 * sample.mean(line[width], "seconds/query").value for width in ordered]
        right.plot(places, milliseconds, markersize=3.5, linewidth=1.1, **look)
    right.set_yscale("log")
    right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.minorticks_off()
