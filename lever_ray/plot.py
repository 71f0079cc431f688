"""Pictures of layouts and routes, and the style that every figure of the project shares.

Figures are plain :class:`matplotlib.figure.Figure` objects: nothing is shown, and no global state is touched. A
notebook displays them; :func:`save` writes them.

    lever_ray.plot.save(lever_ray.plot.path(layout, result), "route.png")
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend_handler import HandlerBase
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Rectangle
from matplotlib.path import Path as Shape
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from lever_ray.errors import InvalidValue
from lever_ray.tasks.gridworld.layout import Cell, Layout
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout

DPI = 200
"""Dots per inch of every figure: a full-width one is 1,800 pixels wide, twice what a README shows."""
WIDTH = 9.0
"""Full width in inches."""
INK, MUTED, RULE, PAPER = "#1f2933", "#66727f", "#d5dae0", "#ffffff"
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY = PALETTE = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
"""Colours that colour-blind people tell apart (Okabe and Ito)."""
LEGEND: dict[str, Any] = {"fontsize": 8, "frameon": False, "labelcolor": INK}
"""How legends look."""

_GROUND, _COIN, _COIN_EDGE = "#f4f6f8", "#f2b632", "#a8740c"
_TIME = LinearSegmentedColormap.from_list("time", ["#8fbfe0", "#2f7fbf", "#0b2f66"])
_ARROWS = 14
"""About how many arrowheads a route gets."""
_LANE = 0.1
"""Cells that a move is drawn to the right of the centres, where a route comes back the way it went."""
_LEGEND = ("start", "exit", "gold", "taken", "lever", "hazard", "block", "route")
_NAMES = {"taken": "gold, taken", "route": "route, light to dark"}


@dataclass(frozen=True)
class _Route:
    """Cells visited, the start first; return; ``exit``, ``hazard`` or ``truncated``; the objective or nothing."""

    cells: tuple[Cell, ...]
    total: float
    end: str
    objective: str


def layout(layout: Layout) -> Figure:
    """Draw a grid: start, exit, golds, blocks, hazards and lever, with a legend.

    Args:
        layout: the grid.

    Returns:
        A figure with one axes; x is the column and y the row, the first row on top.
    """
    figure = canvas(4.6, 5.4)
    axes = figure.subplots()
    _draw_grid(axes, layout)
    headline(axes, _name(layout))
    _draw_legend(figure, {kind for kind, _ in _things(layout)})
    return figure


def path(layout: Layout, result: Any, *, objective: Objective | str | None = None) -> Figure:
    """Draw a route over its grid; golds that it takes are drawn hollow.

    Args:
        layout: the grid.
        result: a :class:`~lever_ray.query.result.CompositionResult`, a training run, a rollout, an optimum, or a
            Q-table float[S, A] whose greedy policy is followed.
        objective: what is rewarded; needed for a Q-table, otherwise the result's own.

    Returns:
        A figure with one axes; its title says objective, return and end.

    Raises:
        InvalidValue: the object holds no route, a Q-table comes without an objective, or the route is not of this
            layout.
        UnknownName: an objective term does not exist.
    """
    route = _route_of(layout, result, objective)
    figure = canvas(4.6, 5.6)
    _draw_panel(figure.subplots(), layout, route, route.objective or _name(layout), separator=" · ")
    _draw_legend(figure, _kinds(layout, [route]))
    return figure


def routes(layout: Layout, panels: Iterable[tuple[str, Any]], *, objective: Objective | str | None = None) -> Figure:
    """Draw several routes over the same grid, up to three side by side.

    Args:
        layout: the grid.
        panels: pairs of a title and a result, see :func:`path`, e.g. ``[("composed", result), ("optimum", best)]``.
        objective: see :func:`path`; needed where a panel is a Q-table.

    Returns:
        A figure with one axes per route; each title says return and end.

    Raises:
        InvalidValue: there is no panel; or as :func:`path`.
        UnknownName: an objective term does not exist.
    """
    named = [(title, _route_of(layout, result, objective)) for title, result in panels]
    if not named:
        raise InvalidValue("no routes to draw; give at least one pair of a title and a result")
    across = min(3, len(named))
    down = math.ceil(len(named) / across)
    width = max(4.6, WIDTH / 3 * across)
    figure = canvas(width, 0.5 + down * (0.5 + width / across))
    grid = figure.subplots(down, across, squeeze=False).flat
    for axes, (title, route) in zip(grid, named, strict=False):
        _draw_panel(axes, layout, route, title, separator="\n")
    for axes in grid[len(named) :]:
        axes.set_axis_off()
    _draw_legend(figure, _kinds(layout, [route for _, route in named]))
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG; folders are made as needed, and equal figures give equal bytes.

    Args:
        figure: what to write.
        path: where to; must end in ``.png``.

    Raises:
        InvalidValue: the path ends in something else.
        OSError: the file cannot be written.
    """
    place = Path(path)
    if place.suffix.lower() != ".png":
        raise InvalidValue(f"figure path is {str(path)!r}; it must end in .png")
    place.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(place, dpi=DPI, format="png", metadata={"Software": None})
    return place


# The style shared with the figures of experiments.


def canvas(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, whose parts are laid out without overlap."""
    engine = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06, compress=True)
    return Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout=engine)


def plain_axes(axes: Axes, *, rules: str = "y") -> None:
    """Make axes quiet: no box, small ticks, light rules along ``x``, ``y`` or ``both``."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(which="both", labelcolor=MUTED, labelsize=8, length=2.5, color=RULE)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(fontsize=8.5, color=INK)
    axes.grid(axis=rules, color=RULE, linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def headline(axes: Axes, title: str, subtitle: str = "") -> None:
    """Put a bold title flush left above axes, and the smaller lines of a subtitle between them."""
    lines = subtitle.count("\n") + 1 if subtitle else 0
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=5 + 11.5 * lines)
    place: dict[str, Any] = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 5), "textcoords": "offset points"}
    axes.annotate(subtitle, **place, fontsize=8, color=MUTED, va="bottom")


def counted(number: int, name: str) -> str:
    """A number with its noun, e.g. ``1 layout`` or ``20 layouts``."""
    return f"{number:,} {name}{'s' * (number != 1)}"


# Routes.


def _route_of(layout: Layout, result: Any, objective: Objective | str | None) -> _Route:
    """Read a route from whatever holds one; see :func:`path` for the errors."""
    rewarded = objective if objective is not None else getattr(result, "objective", None)
    if not (hasattr(result, "path") and hasattr(result, "total")):
        result = _played(layout, result, rewarded)
    cells = tuple((int(row), int(column)) for row, column in result.path)
    if cells[:1] != (layout.start,) or any(not 0 <= part < layout.size for cell in cells for part in cell):
        raise InvalidValue(f"route {cells[:3]}... is of another layout; this one starts at {layout.start}")
    end = "exit" if cells[-1] == layout.exit else "hazard" if cells[-1] in layout.hazards else "truncated"
    return _Route(cells, float(result.total), end, "" if rewarded is None else Objective.of(rewarded).id)


def _played(layout: Layout, result: Any, objective: Objective | str | None) -> Any:
    q = result if isinstance(result, np.ndarray) else getattr(result, "q", None)
    actions = getattr(result, "actions", None)
    if q is None and actions is None:
        accepted = "a composition result, rollout, optimum, training run or Q-table"
        raise InvalidValue(f"a {type(result).__name__} holds no route; give {accepted}")
    if objective is None:
        raise InvalidValue("a Q-table does not say what is rewarded; give objective=, e.g. objective='path-gold'")
    return rollout(layout, objective=objective, q=q, actions=None if q is not None else actions)


def _outcome(layout: Layout, route: _Route, *, separator: str) -> str:
    """What came of a route: return and end, then what was picked up on the way."""
    steps = counted(len(route.cells) - 1, "step")
    ends = {"exit": "exit after", "hazard": "hazard after", "truncated": "no end within"}
    parts = [f"return {route.total:.1f} · {ends[route.end]} {steps}"]
    if layout.golds:
        parts.append(f"{len(set(layout.golds) & set(route.cells))} of {len(layout.golds)} golds")
    if layout.lever is not None:
        parts.append("lever pulled" if layout.lever in route.cells else "lever not pulled")
    return separator.join([parts[0], " · ".join(parts[1:])]) if parts[1:] else parts[0]


def _draw_panel(axes: Axes, layout: Layout, route: _Route, title: str, *, separator: str) -> None:
    _draw_grid(axes, layout, taken=route.cells)
    moves = [pair for pair in zip(route.cells, route.cells[1:], strict=False) if pair[0] != pair[1]]
    if moves:
        _draw_moves(axes, moves, width=24 / layout.size)
    if route.end == "truncated":
        for radius, filled in ((0.17, True), (0.42, False)):
            axes.add_patch(Circle(route.cells[-1][::-1], radius, fill=filled, color=_TIME(1.0), zorder=5.5, gid="end"))
    headline(axes, title, _outcome(layout, route, separator=separator))


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


def _name(layout: Layout) -> str:
    return layout.name or f"{layout.size} x {layout.size} grid"


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


def _kinds(layout: Layout, drawn: Sequence[_Route]) -> set[str]:
    return {"route"} | {kind for route in drawn for kind, _ in _things(layout, route.cells)}


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


def _draw_legend(figure: Figure, kinds: set[str]) -> None:
    shown = [kind for kind in _LEGEND if kind in kinds]
    figure.legend(
        [Patch(label=kind) for kind in shown],
        [_NAMES.get(kind, kind) for kind in shown],
        handler_map={Patch: _SymbolHandler()},
        loc="outside lower center",
        ncols=len(shown) if figure.get_figwidth() > 6 else math.ceil(len(shown) / 2),
        **LEGEND,
        handlelength=2.0,
        handleheight=1.9,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.35,
    )
