"""The look of a report's figures: one column wide, told apart by colour and by marker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lever_ray import plot
from lever_ray.experiment.plan import gamma_told
from lever_ray.statistics.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLUMN = 3.3
"""Width of every figure in inches: one column of a two-column page."""
SMALL = 7.0
"""Least size of text in points."""
_OPERATORS = {
    "sum": (plot.BLUE, "o"),
    "max": (plot.SKY, "s"),
    "normalized-sum": (plot.GREEN, "^"),
    "gpi": (plot.YELLOW, "D"),
    "switch": (plot.MUTED, "v"),
    "options": (plot.ORANGE, "P"),
    "plan": (plot.PINK, "X"),
}
_DASHES = {0.0: "-", 0.99: "--", math.inf: "-."}


def operator_style(name: str) -> tuple[str, str]:
    """Colour and marker of an operator."""
    return _OPERATORS.get(name, (plot.INK, "*"))


def dashes(gamma: float) -> Any:
    """Dashes of a line by its discount."""
    return _DASHES.get(gamma, ":")


def marks(operator: str, gamma: float) -> dict[str, Any]:
    """Colour, marker and filling of a point: full at low discounts, hollow near 1, half full where they are mixed."""
    colour, marker = operator_style(operator)
    return {"color": colour, "marker": marker} | filling(gamma)


def filling(gamma: float) -> dict[str, Any]:
    """How a marker is filled by its discount."""
    style = "left" if math.isinf(gamma) else "none" if gamma > 0.5 else "full"
    return {"fillstyle": style, "markerfacecoloralt": plot.PAPER}


def panels(names: Sequence[str], *, height: float, extra: float = 0.6, wide: bool = False, **shared: Any) -> Any:
    """A figure with axes for each name, two a row, or one where they are wide.

    Args:
        names: titles of the axes.
        height: of a row in inches.
        extra: room for what stands around the axes, in inches.
        wide: whether axes take the whole width.
        shared: passed to ``subplots``.

    Returns:
        The figure, and its axes by name.
    """
    across = 1 if wide or len(names) == 1 else 2
    down = math.ceil(len(names) / across)
    figure = plot.canvas(COLUMN, extra + down * height)
    grid = figure.subplots(down, across, squeeze=False, **({"sharex": True, "sharey": True} | shared))
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    found = dict(zip(names, grid.flat, strict=False))
    for name, axes in found.items():
        quiet(axes, name)
    return figure, found


def quiet(axes: Axes, title: str = "", *, rules: str = "both") -> None:
    """Plain axes with text of the least size, and a title flush left."""
    plot.plain_axes(axes, rules=rules)
    axes.tick_params(which="both", labelsize=SMALL)
    if title:
        axes.set_title(title, loc="left", fontsize=8, fontweight="bold", color=plot.INK, pad=4)


def error_bar(
    axes: Axes, x: float, estimate: Interval, colour: str, *, across: bool = False, alpha: float = 1.0
) -> None:
    """A thin interval around an estimate; nothing where it is not known."""
    if math.isnan(estimate.low):
        return
    span, place = [estimate.low, estimate.high], [x, x]
    axes.plot(*((span, place) if across else (place, span)), color=colour, linewidth=0.8, zorder=2.5, alpha=alpha)


def curve(axes: Axes, xs: Sequence[float], estimates: Sequence[Interval], **style: Any) -> None:
    """A line through estimates, with thin intervals at its points."""
    axes.plot(xs, [each.value for each in estimates], **({"markersize": 3.5, "linewidth": 1.1} | style))
    for x, each in zip(xs, estimates, strict=True):
        error_bar(axes, x, each, style["color"])


def thousands(value: float, _: float = 0.0) -> str:
    """A tick of a log axis, e.g. ``10k``."""
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def key(label: str, **style: Any) -> Line2D:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    looks: dict[str, Any] = {"linestyle": "none", "markersize": 4.5, "linewidth": 1.2, "color": plot.MUTED}
    return Line2D([], [], label=label, **(looks | style))


def operator_keys(names: Iterable[str], **style: Any) -> list[Line2D]:
    """An entry of a legend for each operator."""
    return [key(name, color=operator_style(name)[0], marker=operator_style(name)[1], **style) for name in names]


def gamma_keys(gammas: Iterable[float], *, lines: bool = False) -> list[Line2D]:
    """An entry of a legend for each discount: dashes, or how markers are filled."""
    if lines:
        return [key(f"γ {gamma_told(gamma)}", linestyle=dashes(gamma)) for gamma in gammas]
    return [key(f"γ {gamma_told(gamma)}", marker="o", **filling(gamma)) for gamma in gammas]


def legend(figure: Figure, keys: Sequence[Line2D], *, columns: int = 3) -> None:
    """What marks mean, above the figure."""
    look = plot.LEGEND | {"fontsize": SMALL, "columnspacing": 1.0, "handletextpad": 0.3, "handlelength": 1.8}
    figure.legend(handles=list(keys), loc="outside upper center", ncols=columns, **look)
