"""Pictures of layouts and routes on matplotlib axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.legend_handler import HandlerBase
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Rectangle
from matplotlib.path import Path as Shape
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from lever_ray.tasks.gridworld.layout import Cell, Layout
from lever_ray.tasks.style import BLUE, GREEN, LEGEND, MUTED, ORANGE, PAPER, TITLE

_GROUND, _COIN, _COIN_EDGE = "#f4f6f8", "#f2b632", "#a8740c"
_TIME = LinearSegmentedColormap.from_list("time", ["#8fbfe0", "#2f7fbf", "#0b2f66"])
_ARROWS = 14
"""About how many arrowheads a route gets."""
_LANE = 0.1
"""Cells that a move is drawn to the right of the centres, where a route comes back the way it went."""
_LEGEND = ("start", "exit", "gold", "taken", "lever", "hazard", "block", "route")
_NAMES = {"taken": "gold, taken", "route": "route, light to dark"}
_END, _LEGEND_ID = "end", "grid"


def draw_layout(axes: Axes, layout: Layout, path: Iterable[Any] = (), *, label: str = "") -> None:
    """Draw a grid and what comes of a route; a legend below the figure tells what all its axes hold.

    Args:
        axes: where to; x is the column and y the row, the first row on top.
        layout: the grid.
        path: the cells of a route, the start first; golds that it takes are drawn hollow, and its last cell is marked
            where it is no end.
        label: what to write above, nothing by default.
    """
    cells: tuple[Cell, ...] = tuple(path)
    _draw_grid(axes, layout, taken=cells)
    moves = [pair for pair in pairwise(cells) if pair[0] != pair[1]]
    if moves:
        _draw_moves(axes, moves, width=24 / layout.size)
    if cells and cells[-1] not in (layout.exit, *layout.hazards):
        for radius, filled in ((0.17, True), (0.42, False)):
            axes.add_patch(Circle(cells[-1][::-1], radius, fill=filled, color=_TIME(1.0), zorder=5.5, gid=_END))
    if label:
        axes.set_title(label, **TITLE)
    _draw_legend(axes.figure)


# Routes.


def _draw_moves(axes: Axes, moves: Sequence[tuple[Cell, Cell]], *, width: float) -> None:
    """A line that darkens with every move that is made for the first time, with arrowheads on some of those."""
    first = {move: order for order, move in enumerate(dict.fromkeys(moves))}
    progress = np.maximum.accumulate([first[move] for move in moves]) / max(1, len(first) - 1)
    lines = _route_lines(moves)
    segments = [line[part : part + 2] for line in lines for part in range(len(line) - 1)]
    colours = _TIME(np.repeat(progress, [len(line) - 1 for line in lines]))
    stride = max(1, round(len(first) / _ARROWS))
    pointed = [moves.index(move) for move in list(first)[stride // 2 :: stride]]
    heads = [_arrowhead(*lines[move][-2:]) for move in pointed]
    halo = LineCollection(segments, colors=PAPER, linewidths=1.9 * width, capstyle="round", zorder=3)
    line = LineCollection(segments, colors=colours, linewidths=width, capstyle="round", zorder=4, gid="route")
    arrows = PolyCollection(heads, facecolors=_TIME(progress[pointed]), edgecolors=PAPER, linewidths=0.6, zorder=5)
    for drawn in (halo, line, arrows):
        axes.add_collection(drawn, autolim=False)


def _route_lines(moves: Sequence[tuple[Cell, Cell]]) -> list[np.ndarray]:
    """One line per move: points float64[2 or 3, 2] as (x, y); rounding the last two gives the cells of the move.

    Lines run through the centres, or to the right of them where the route comes back the way it went; they meet in
    square corners.
    """
    ways = np.array([np.subtract(end, begin)[::-1] for begin, end in moves])
    back = any((end, begin) in set(moves) for begin, end in moves)
    beside = _LANE * back * ways[:, ::-1] * [-1, 1]
    turns = np.abs(ways[1:]) != np.abs(ways[:-1])
    lines = []
    for time, (begin, end) in enumerate(moves):
        points = [beside[time] + begin[::-1], beside[time] + end[::-1]]
        if time and turns[time - 1].any():
            points[0] += beside[time - 1]
        elif time:
            points.insert(0, beside[time - 1] + begin[::-1])
        if time < len(turns) and turns[time].any():
            points[-1] += beside[time + 1]
        lines.append(np.array(points))
    return lines


def _arrowhead(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    forward = (end - begin) / np.linalg.norm(end - begin)
    tail, side = (begin + end) / 2 - 0.1 * forward, 0.15 * forward[::-1] * [-1, 1]
    return np.array([tail + 0.27 * forward, tail + side, tail - side])


# The grid and its symbols: shapes around (0, 0) in cells, so that they scale and stand in the legend as they are.


def _draw_grid(axes: Axes, layout: Layout, *, taken: Iterable[Cell] = ()) -> None:
    size = layout.size
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", facecolor=_GROUND)
    axes.spines[:].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(range(0, size, 1 if size <= 10 else 5))
        axis.set_ticks(np.arange(size + 1) - 0.5, minor=True)
    axes.tick_params(which="both", length=0, labelsize=6.5, labelcolor=MUTED, pad=2)
    axes.grid(which="minor", color=PAPER, linewidth=1.2 if size <= 16 else 0.6)
    axes.set_axisbelow(True)
    for kind, cell in _things(layout, taken):
        order = 6 if kind in ("start", "exit", "lever") else 2
        for patch in _symbol(kind, Affine2D().scale(1, -1).translate(*cell[::-1])):
            axes.add_patch(patch).set(zorder=order, gid=kind)


def _things(layout: Layout, taken: Iterable[Cell] = ()) -> Iterator[tuple[str, Cell]]:
    """Kind and cell of everything on the grid."""
    gone = frozenset(taken)
    yield from (("block", cell) for cell in layout.blocks)
    yield from (("hazard", cell) for cell in layout.hazards)
    yield from (("taken" if cell in gone else "gold", cell) for cell in layout.golds)
    yield from (("start", layout.start), ("exit", layout.exit))
    if layout.lever is not None:
        yield "lever", layout.lever


def _symbol(kind: str, place: Affine2D) -> list[PathPatch]:
    return [PathPatch(place.transform_path(shape), **style) for shape, style in _SYMBOLS[kind]]


def _glyph(letter: str, *, height: float, middle: float = 0.0) -> tuple[Shape, dict[str, Any]]:
    shape = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = shape.get_extents()
    centred = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2).scale(height / box.height)
    return centred.translate(0, middle).transform_path(shape), {"facecolor": PAPER, "edgecolor": "none"}


def _tile(letter: str, colour: str) -> list[tuple[Shape, dict[str, Any]]]:
    box = FancyBboxPatch((-0.29, -0.29), 0.58, 0.58, boxstyle="round,pad=0.09,rounding_size=0.16")
    return [(box.get_path(), {"facecolor": colour, "edgecolor": PAPER}), _glyph(letter, height=0.5)]


def _polygon(colour: str, *corners: tuple[float, float]) -> tuple[Shape, dict[str, Any]]:
    return Shape([*corners, corners[0]], closed=True), {"facecolor": colour, "edgecolor": "none"}


def _ring(radius: float, **style: Any) -> tuple[Shape, dict[str, Any]]:
    return Shape.circle((0, 0), radius), {"edgecolor": _COIN_EDGE} | style


_SYMBOLS: dict[str, list[tuple[Shape, dict[str, Any]]]] = {
    "start": _tile("S", BLUE),
    "exit": _tile("E", GREEN),
    "lever": _tile("L", "#9c4a7c"),
    "gold": [_ring(0.29, facecolor=_COIN), _ring(0.18, facecolor="none", linewidth=0.6)],
    "taken": [_ring(0.29, facecolor=PAPER, linestyle=(0, (2.2, 1.4)))],
    "hazard": [_polygon(ORANGE, (0, 0.4), (0.43, -0.34), (-0.43, -0.34)), _glyph("!", height=0.44, middle=-0.06)],
    "block": [_polygon("#56616d", (-0.48, -0.48), (-0.48, 0.48), (0.48, 0.48), (0.48, -0.48))],
}


class _SymbolHandler(HandlerBase):
    """Draws a symbol of the grid in a legend."""

    def create_artists(self, *given: Any) -> list[Any]:
        """See :class:`matplotlib.legend_handler.HandlerBase`."""
        _, handle, left, bottom, width, height, size, transform = given
        kind, middle = handle.get_label(), (width / 2 - left, height / 2 - bottom)
        place = Affine2D().scale((1.1 if kind == "block" else 1.7) * size).translate(*middle)
        patches = _shaded_line(middle, width) if kind == "route" else _symbol(kind, place)
        for patch in patches:
            patch.set_transform(transform)
        return list(patches)


def _shaded_line(middle: tuple[float, float], width: float, *, parts: int = 24) -> list[Rectangle]:
    shares = np.linspace(0, 1, parts, endpoint=False)
    left, bottom, step = middle[0] - width / 2, middle[1] - 1.2, 1.1 * width / parts
    return [Rectangle((left + share * width, bottom), step, 2.4, facecolor=_TIME(share)) for share in shares]


def _draw_legend(figure: Figure | SubFigure) -> None:
    """The legend of all grids in a figure, in place of the one that was drawn for fewer."""
    for earlier in [legend for legend in figure.legends if legend.get_gid() == _LEGEND_ID]:
        earlier.remove()
    shown, width = _kinds(figure), figure.bbox.width / figure.dpi
    rows = 1 if width > 6 else 2 if width > 4 else 3
    legend = figure.legend(
        [Patch(label=kind) for kind in shown],
        [_NAMES.get(kind, kind) for kind in shown],
        handler_map={Patch: _SymbolHandler()},
        loc="outside lower center",
        ncols=math.ceil(len(shown) / rows),
        **LEGEND,
        handlelength=2.0,
        handleheight=1.9,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.35,
    )
    legend.set_gid(_LEGEND_ID)


def _kinds(figure: Figure | SubFigure) -> list[str]:
    """What the axes of a figure hold, in the order of the legend."""
    held = {part.get_gid() for axes in figure.axes for part in (*axes.patches, *axes.collections)}
    return [kind for kind in _LEGEND if kind in held or (kind == "route" and _END in held)]
