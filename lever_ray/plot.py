"""Pictures of layouts and routes, and the style that every figure of the project shares.

Figures are plain :class:`matplotlib.figure.Figure` objects: nothing is shown, and no global state is touched. A
notebook displays them, :func:`save` writes them.

    figure = lever_ray.plot.path(layout, result)
    lever_ray.plot.save(figure, "route.png")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerBase
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Polygon, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, Transform

from lever_ray.errors import InvalidValue
from lever_ray.gridworld.layout import Cell, Layout
from lever_ray.gridworld.objective import Objective
from lever_ray.gridworld.rollout import rollout

DPI = 200
"""Dots per inch of every figure: a full-width one is 1,800 pixels wide, twice what a README shows."""
WIDTH = 9.0
"""Full width in inches."""
INK, MUTED, RULE, PAPER = "#1f2933", "#66727f", "#d5dae0", "#ffffff"
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
YELLOW, SKY = "#e69f00", "#56b4e9"
PALETTE: tuple[str, ...] = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY)
"""Colours that colour-blind people tell apart (Okabe and Ito)."""

_GROUND, _WALL, _COIN, _COIN_EDGE = "#f4f6f8", "#56616d", "#f2b632", "#a8740c"
_TIME = LinearSegmentedColormap.from_list("time", ["#8fbfe0", "#2f7fbf", "#0b2f66"])
_ARROWS = 14
"""About how many arrowheads a route gets."""
_MOST_LANES = 4
"""Most lines drawn along one edge."""
_KINDS = {
    "start": "start",
    "exit": "exit",
    "gold": "gold",
    "taken": "gold, taken",
    "lever": "lever",
    "hazard": "hazard",
    "block": "block",
    "route": "route, from light to dark",
}
"""What the legend calls each symbol, in its order."""


@dataclass(frozen=True)
class _Route:
    """What is drawn of a route.

    Attributes:
        cells: visited, the start first.
        total: undiscounted return.
        end: ``exit``, ``hazard`` or ``truncated``.
        objective: its name; empty where it is not known.
    """

    cells: tuple[Cell, ...]
    total: float
    end: str
    objective: str

    @property
    def steps(self) -> int:
        """Moves made."""
        return len(self.cells) - 1


def layout(layout: Layout) -> Figure:
    """Draw a grid: start, exit, golds, blocks, hazards and lever, with a legend.

    Args:
        layout: the grid.

    Returns:
        A figure with one axes; x is the column, y the row, the first row on top.
    """
    figure = canvas(4.6, 5.2)
    axes = figure.subplots()
    _draw_grid(axes, layout)
    headline(axes, layout.name or f"{layout.size} x {layout.size} grid")
    _legend(figure, _kinds_of(layout))
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
    figure = canvas(4.6, 5.5)
    axes = figure.subplots()
    _draw_grid(axes, layout, taken=frozenset(route.cells))
    _draw_route(axes, route)
    headline(axes, route.objective or layout.name or "route", _outcome(layout, route))
    _legend(figure, _kinds_of(layout, [route]))
    return figure


def routes(
    layout: Layout, panels: Iterable[tuple[str, Any]], *, objective: Objective | str | None = None, columns: int = 3
) -> Figure:
    """Draw several routes over the same grid, side by side.

    Args:
        layout: the grid.
        panels: pairs of a title and a result, see :func:`path`, e.g. ``[("composed", result), ("optimum", best)]``.
        objective: see :func:`path`.
        columns: most panels in a row.

    Raises:
        InvalidValue: as :func:`path`; also where there is no panel or ``columns`` is below 1.
        UnknownName: an objective term does not exist.
    """
    named = [(title, _route_of(layout, result, objective)) for title, result in panels]
    if not named or columns < 1:
        raise InvalidValue(f"{len(named)} routes in {columns} columns; at least 1 of both is needed")
    across = min(columns, len(named))
    down = math.ceil(len(named) / across)
    figure = canvas(max(4.6, WIDTH / 3 * across), 0.45 + down * (WIDTH / 3 + 0.55))
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(named) :]:
        axes.set_axis_off()
    for axes, (title, route) in zip(grid.flat, named, strict=False):
        _draw_grid(axes, layout, taken=frozenset(route.cells))
        _draw_route(axes, route)
        headline(axes, title, _outcome(layout, route, separator="\n"))
    _legend(figure, _kinds_of(layout, [route for _, route in named]))
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
    """An empty figure whose parts are laid out without overlap.

    Args:
        width: in inches.
        height: in inches.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr]
    return figure


def plain_axes(axes: Axes, *, grid: str = "y") -> None:
    """Quiet axes: no box, light rules, small ticks.

    Args:
        axes: what to style.
        grid: ``x``, ``y`` or ``both``: which rules are drawn.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(which="both", colors=MUTED, labelsize=8, length=2.5, color=RULE)
    axes.grid(axis=grid, color=RULE, linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def headline(axes: Axes, title: str, subtitle: str = "") -> None:
    """A bold title flush left and smaller lines below it.

    Args:
        axes: above which they stand.
        title: one line.
        subtitle: further lines.
    """
    lines = subtitle.count("\n") + 1 if subtitle else 0
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=5 + 11.5 * lines)
    if subtitle:
        place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 5), "textcoords": "offset points"}
        axes.annotate(subtitle, **place, fontsize=8, color=MUTED, va="bottom", annotation_clip=False)  # type: ignore[arg-type]


# Routes.


def _route_of(layout: Layout, result: Any, objective: Objective | str | None) -> _Route:
    """Read a route from whatever holds one; see :func:`path` for the errors."""
    wanted = objective if objective is not None else getattr(result, "objective", None)
    name = "" if wanted is None else Objective.of(wanted).id
    if not (hasattr(result, "path") and hasattr(result, "total")):
        result = _played(layout, result, wanted)
    cells = tuple((int(row), int(column)) for row, column in result.path)
    if not cells or cells[0] != layout.start or any(not 0 <= part < layout.size for cell in cells for part in cell):
        begin = cells[0] if cells else None
        raise InvalidValue(f"the route begins at {begin}, the layout at {layout.start}; give the layout that the route was made on")
    end = "exit" if cells[-1] == layout.exit else "hazard" if cells[-1] in layout.hazards else "truncated"
    return _Route(cells, float(result.total), end, name)


def _played(layout: Layout, result: Any, objective: Objective | str | None) -> Any:
    q = result if isinstance(result, np.ndarray) else getattr(result, "q", None)
    actions = getattr(result, "actions", None)
    if q is None and actions is None:
        raise InvalidValue(
            f"a {type(result).__name__} holds no route; give a composition result, a rollout, an optimum, a training run or a Q-table"
        )
    if objective is None:
        raise InvalidValue("a Q-table does not say what is rewarded; give objective=, e.g. objective='path-gold'")
    return rollout(layout, objective=objective, q=q) if q is not None else rollout(layout, objective=objective, actions=actions)


def _outcome(layout: Layout, route: _Route, *, separator: str = " · ") -> str:
    """What came of a route: return and end, then what was picked up on the way."""
    steps = f"{route.steps} step" + "s" * (route.steps != 1)
    ends = {"exit": f"exit after {steps}", "hazard": f"hazard after {steps}", "truncated": f"no end within {steps}"}
    picked = []
    if layout.golds:
        picked.append(f"{len(set(route.cells) & set(layout.golds))} of {len(layout.golds)} golds")
    if layout.lever is not None:
        picked.append("lever pulled" if layout.lever in route.cells else "lever not pulled")
    first = f"return {route.total:.1f} · {ends[route.end]}"
    return first + (separator + " · ".join(picked) if picked else "")


def _draw_route(axes: Axes, route: _Route) -> None:
    """A line that darkens with time, with arrowheads."""
    lines = _route_lines(route.cells)
    if not lines:
        return
    segments = np.concatenate([np.stack([line[:-1], line[1:]], axis=1) for line in lines])
    times = np.repeat(np.linspace(0, 1, len(lines)), [len(line) - 1 for line in lines])
    width = 0.085 * _points_per_cell(axes)
    halo = LineCollection(segments, colors=PAPER, linewidths=1.9 * width, capstyle="round", zorder=3)
    line = LineCollection(segments, colors=_TIME(times), linewidths=width, capstyle="round", zorder=4, gid="route")
    axes.add_collection(halo, autolim=False)
    axes.add_collection(line, autolim=False)
    _draw_arrowheads(axes, lines)
    if route.end == "truncated":
        row, column = route.cells[-1]
        axes.add_patch(Circle((column, row), 0.15, facecolor=_TIME(1.0), edgecolor=PAPER, zorder=6, gid="end"))


def _route_lines(cells: Sequence[Cell]) -> list[np.ndarray]:
    """One line per move, in order: points float64[2 or 3, 2] as (x, y); rounding the last two gives the move's cells.

    Lanes meet in square corners. Bumps into walls are no moves.
    """
    moves = [pair for pair in zip(cells, cells[1:], strict=False) if pair[0] != pair[1]]
    lanes = _lanes(moves)
    lines = []
    for time, lane in enumerate(lanes):
        if lane is None:
            continue
        before = lanes[time - 1] if time else None
        after = lanes[time + 1] if time + 1 < len(lanes) else None
        begin, end = (np.array(cell[::-1], dtype=float) for cell in moves[time])
        along = np.abs(end - begin)
        points = [begin + lane + along * (0 if before is None else before), end + lane + along * (0 if after is None else after)]
        if before is not None and _parallel(moves[time - 1], moves[time]):
            points.insert(0, begin + before)
        lines.append(np.array(points))
    return lines


def _lanes(moves: Sequence[tuple[Cell, Cell]]) -> list[np.ndarray | None]:
    """How far each move is drawn beside the centres, float64[2]; None from an edge's fifth walk on, which repeats a loop.

    An edge that is walked once runs through the centres; otherwise moves keep to the right.
    """
    walks: dict[tuple[Cell, Cell], list[tuple[bool, int]]] = {}
    for time, (begin, end) in enumerate(moves):
        kept = walks.setdefault((min(begin, end), max(begin, end)), [])
        if len(kept) < _MOST_LANES:
            kept.append((begin < end, time))
    lanes: list[np.ndarray | None] = [None] * len(moves)
    for (first, second), kept in walks.items():
        across = np.array([0.0, 1.0]) if first[0] == second[0] else np.array([-1.0, 0.0])
        for lane, (_, time) in enumerate(sorted(kept)):
            lanes[time] = across * 0.2 * (lane - (len(kept) - 1) / 2)
    return lanes


def _parallel(one: tuple[Cell, Cell], other: tuple[Cell, Cell]) -> bool:
    return (one[0][0] == one[1][0]) == (other[0][0] == other[1][0])


def _draw_arrowheads(axes: Axes, lines: Sequence[np.ndarray]) -> None:
    """Triangles in the middle of some moves."""
    stride = max(1, round(len(lines) / _ARROWS))
    heads = []
    for begin, end in (line[-2:] for line in lines[stride // 2 :: stride]):
        forward = (end - begin) / np.linalg.norm(end - begin)
        side, middle = np.array([-forward[1], forward[0]]), (begin + end) / 2
        heads.append([middle + 0.17 * forward, middle - 0.1 * forward + 0.15 * side, middle - 0.1 * forward - 0.15 * side])
    colours = _TIME(np.linspace(0, 1, len(lines))[stride // 2 :: stride])
    drawn = PolyCollection(heads, facecolors=colours, edgecolors=PAPER, linewidths=0.6, zorder=5, gid="arrows")
    axes.add_collection(drawn, autolim=False)


# The grid.


def _draw_grid(axes: Axes, layout: Layout, *, taken: frozenset[Cell] = frozenset()) -> None:
    size = layout.size
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
    axes.set_facecolor(_GROUND)
    axes.spines[:].set_visible(False)
    lines = np.arange(size + 1) - 0.5
    axes.hlines(lines, -0.5, size - 0.5, color=PAPER, linewidth=1.2 if size <= 16 else 0.6, zorder=1)
    axes.vlines(lines, -0.5, size - 0.5, color=PAPER, linewidth=1.2 if size <= 16 else 0.6, zorder=1)
    ticks = range(0, size, 1 if size <= 10 else 5)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.tick_params(length=0, labelsize=6.5, labelcolor=MUTED, pad=2)
    for kind, cell in _things(layout, taken):
        for patch in _symbol(kind, cell[1], cell[0], up=-1):
            patch.set_zorder(6 if kind in ("start", "exit", "lever") else 2)
            axes.add_patch(patch)


def _things(layout: Layout, taken: frozenset[Cell]) -> Iterator[tuple[str, Cell]]:
    yield from (("block", cell) for cell in layout.blocks)
    yield from (("hazard", cell) for cell in layout.hazards)
    yield from (("taken" if cell in taken else "gold", cell) for cell in layout.golds)
    yield "start", layout.start
    yield "exit", layout.exit
    if layout.lever is not None:
        yield "lever", layout.lever


def _kinds_of(layout: Layout, drawn: Sequence[_Route] = ()) -> list[str]:
    """The symbols that a picture holds, in the legend's order."""
    kinds = {kind for route in drawn for kind, _ in _things(layout, frozenset(route.cells))}
    kinds = kinds or {kind for kind, _ in _things(layout, frozenset())}
    return [kind for kind in _KINDS if kind in kinds or (kind == "route" and drawn)]


def _points_per_cell(axes: Axes) -> float:
    """About how many points a cell is wide."""
    figure = axes.get_figure()
    columns = axes.get_subplotspec().get_gridspec().ncols  # type: ignore[union-attr]
    low, high = axes.get_xlim()
    return 72 * 0.88 * figure.get_figwidth() / columns / (high - low)  # type: ignore[union-attr]


# Symbols: drawn from patches one cell wide, so that they scale with the grid and stand in the legend as they are.


def _symbol(kind: str, x: float, y: float, *, up: int, scale: float = 1.0) -> list[Patch]:
    """Patches of a symbol around (x, y).

    Args:
        kind: key of ``_KINDS``, but not ``route``.
        x: centre.
        y: centre.
        up: -1 where y grows downwards, else 1.
        scale: width of a cell.
    """
    patches = _SYMBOLS[kind]()
    place = Affine2D().scale(scale, scale * up).translate(x, y)
    return [_placed(patch, place) for patch in patches]


def _placed(patch: Patch, place: Transform) -> Patch:
    shape = patch.get_transform().transform_path(patch.get_path())
    moved = PathPatch(place.transform_path(shape))
    moved.update({name: getattr(patch, f"get_{name}")() for name in ("facecolor", "edgecolor", "linewidth", "linestyle")})
    return moved


def _tile(letter: str, colour: str) -> list[Patch]:
    box = FancyBboxPatch((-0.29, -0.29), 0.58, 0.58, boxstyle="round,pad=0.09,rounding_size=0.16", facecolor=colour, edgecolor=PAPER)
    return [box, _glyph(letter, 0.5)]


def _glyph(letter: str, height: float) -> Patch:
    shape = TextPath((0, 0), letter, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = shape.get_extents()
    centred = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2).scale(height / box.height)
    return PathPatch(centred.transform_path(shape), facecolor=PAPER, edgecolor="none")


def _block() -> list[Patch]:
    return [Rectangle((-0.48, -0.48), 0.96, 0.96, facecolor=_WALL, edgecolor="none")]


def _hazard() -> list[Patch]:
    corners = [(0.0, 0.4), (0.43, -0.34), (-0.43, -0.34)]
    bar = Polygon([(-0.065, 0.18), (0.065, 0.18), (0.035, -0.08), (-0.035, -0.08)], facecolor=PAPER, edgecolor="none")
    dot = Circle((0, -0.2), 0.06, facecolor=PAPER, edgecolor="none")
    return [Polygon(corners, facecolor=ORANGE, edgecolor=PAPER, linewidth=0.5), bar, dot]


def _gold() -> list[Patch]:
    return [Circle((0, 0), 0.29, facecolor=_COIN, edgecolor=_COIN_EDGE), Circle((0, 0), 0.18, facecolor="none", edgecolor=_COIN_EDGE, linewidth=0.6)]


def _taken() -> list[Patch]:
    return [Circle((0, 0), 0.29, facecolor=PAPER, edgecolor=_COIN_EDGE, linestyle=(0, (2.2, 1.4)))]


_SYMBOLS: dict[str, Callable[[], list[Patch]]] = {
    "start": lambda: _tile("S", BLUE),
    "exit": lambda: _tile("E", GREEN),
    "lever": lambda: _tile("L", "#9c4a7c"),
    "gold": _gold,
    "taken": _taken,
    "hazard": _hazard,
    "block": _block,
}


class _SymbolHandler(HandlerBase):
    """Draws a grid symbol in a legend."""

    def create_artists(  # type: ignore[override]
        self,
        legend: Legend,
        orig_handle: Artist,
        xdescent: float,
        ydescent: float,
        width: float,
        height: float,
        fontsize: float,
        trans: Transform,
    ) -> list[Artist]:
        """See :class:`matplotlib.legend_handler.HandlerBase`."""
        kind = str(orig_handle.get_label())
        middle = (width / 2 - xdescent, height / 2 - ydescent)
        patches = _route_sample(middle, width) if kind == "route" else _symbol(kind, *middle, up=1, scale=(1.1 if kind == "block" else 1.7) * fontsize)
        for patch in patches:
            patch.set_transform(trans)
        return list(patches)


def _route_sample(middle: tuple[float, float], width: float, *, parts: int = 24) -> list[Patch]:
    left, step = middle[0] - width / 2, width / parts
    return [
        Rectangle((left + part * step, middle[1] - 1.2), step * 1.1, 2.4, facecolor=_TIME(part / (parts - 1)), edgecolor="none")
        for part in range(parts)
    ]


def _legend(figure: Figure, kinds: Sequence[str]) -> None:
    handles = [Patch(label=kind) for kind in kinds]
    columns = len(kinds) if figure.get_figwidth() > 6 else math.ceil(len(kinds) / 2)
    figure.legend(
        handles,
        [_KINDS[kind] for kind in kinds],
        handler_map={Patch: _SymbolHandler()},
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        handlelength=2.0,
        handleheight=1.9,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.35,
    )
