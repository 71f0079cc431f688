"""Layouts and routes as text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from lever_ray.errors import InvalidTask
from lever_ray.tasks.gridworld.layout import MAX_GOLDS, Cell, Layout

SYMBOLS = {
    "start": "S",
    "exit": "E",
    "gold": "$",
    "block": "#",
    "hazard": "x",
    "lever": "L",
    "route": "*",
    "agent": "@",
}
LEGEND = "S start  E exit  $ gold  # block  x hazard  L lever  * route  @ agent"


def as_text(layout: Layout, *, path: Iterable[Cell] = (), agent: Cell | None = None, taken: Iterable[Cell] = ()) -> str:
    """Draw the grid, one character a cell: ``S E $ # x L`` and ``.``; ``*`` on empty cells of ``path``; ``@`` agent.

    Args:
        layout: the grid.
        path: cells to mark as a route.
        agent: where the agent stands.
        taken: golds that are no longer there.
    """
    canvas = {(row, col): "." for row in range(layout.size) for col in range(layout.size)}
    canvas |= dict.fromkeys(path, SYMBOLS["route"])
    canvas |= dict.fromkeys(layout.golds, SYMBOLS["gold"])
    canvas |= dict.fromkeys(taken, ".")
    canvas |= dict.fromkeys(layout.blocks, SYMBOLS["block"]) | dict.fromkeys(layout.hazards, SYMBOLS["hazard"])
    canvas |= {layout.start: SYMBOLS["start"], layout.exit: SYMBOLS["exit"]}
    if layout.lever is not None:
        canvas[layout.lever] = SYMBOLS["lever"]
    if agent is not None:
        canvas[agent] = SYMBOLS["agent"]
    rows = (" ".join(canvas[row, col] for col in range(layout.size)) for row in range(layout.size))
    return "\n".join(rows)


def text_of(layout: Layout, path: Iterable[Any] = ()) -> str:
    """The grid with a route marked and the golds that it takes left out, and a legend below."""
    cells = tuple(path)
    return f"{as_text(layout, path=cells, taken=[gold for gold in layout.golds if gold in cells])}\n{LEGEND}"


def caption_of(layout: Layout, path: Iterable[Hashable] = ()) -> tuple[str, ...]:
    """What a grid is called, then what a route over it picks up: ``("room", "1 of 2 golds", "lever not pulled")``."""
    cells, told = frozenset(path), [layout.name or f"{layout.size} x {layout.size} grid"]
    if layout.golds:
        told.append(f"{len(cells.intersection(layout.golds))} of {len(layout.golds)} golds")
    if layout.lever is not None:
        told.append("lever pulled" if layout.lever in cells else "lever not pulled")
    return tuple(told)


ALLOWED = "allowed are S start, E exit, $ gold, # block, x hazard, L lever, and . * @ for empty cells"
_EMPTY = (".", SYMBOLS["route"], SYMBOLS["agent"])
_KINDS = {symbol: kind for kind, symbol in SYMBOLS.items() if symbol not in _EMPTY}
_MOST = {"start": 1, "exit": 1, "lever": 1, "gold": MAX_GOLDS}
Place = tuple[int, int]
"""Line and column of a character in a text, counted from 1."""


def layout_of(text: str, *, name: str = "") -> Layout:
    """The grid that a text draws, in the characters of :func:`as_text`; the inverse of ``str(layout)``.

    Golds, blocks and hazards are listed in reading order.

    Args:
        text: a line for each row. Blanks between cells, blank lines and the legend do not matter.
        name: what people call it.

    Raises:
        InvalidTask: the text draws no square grid with one start and one exit; the message names line, column and
            character.
    """
    rows = _rows(text)
    _check_square(rows)
    found: dict[str, list[tuple[Cell, Place]]] = {}
    for row, (line, cells) in enumerate(rows):
        for col, (column, symbol) in enumerate(cells):
            if symbol in _EMPTY:
                continue
            kind = _KINDS[symbol]
            _place(found.setdefault(kind, []), kind, (row, col), (line, column))
    for kind in ("start", "exit"):
        if kind not in found:
            raise InvalidTask(f"the map has no {kind} {SYMBOLS[kind]!r}; put one on an empty cell")
    cells_of = {kind: tuple(cell for cell, _ in places) for kind, places in found.items()}
    return Layout(
        size=len(rows),
        start=cells_of["start"][0],
        exit=cells_of["exit"][0],
        golds=cells_of.get("gold", ()),
        blocks=cells_of.get("block", ()),
        hazards=cells_of.get("hazard", ()),
        lever=cells_of.get("lever", (None,))[0],
        name=name,
    )


def _rows(text: str) -> list[tuple[int, list[tuple[int, str]]]]:
    """Lines that hold cells: their number, and each cell's column and character.

    Raises:
        InvalidTask: there are none, or a character is no cell.
    """
    rows = []
    for line, given in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        cells = [(column, symbol) for column, symbol in enumerate(given, start=1) if not symbol.isspace()]
        if not cells or _of_legend(given.split()):
            continue
        for column, symbol in cells:
            if symbol not in _KINDS and symbol not in _EMPTY:
                raise InvalidTask(f"line {line}, column {column}: {symbol!r} is no cell; {ALLOWED}")
        rows.append((line, cells))
    if not rows:
        raise InvalidTask("the map is empty; draw a line for each row of the grid, e.g. 'S . $' above '# . E'")
    return rows


def _of_legend(words: list[str]) -> bool:
    """Whether a line is the legend, or a part of it where a terminal has broken it."""
    whole = LEGEND.split()
    parts = (whole[begin : begin + len(words)] for begin in range(len(whole)))
    return any(len(word) > 1 for word in words) and any(words == part for part in parts)


def _check_square(rows: list[tuple[int, list[tuple[int, str]]]]) -> None:
    (first, cells), columns = rows[0], len(rows[0][1])
    for line, others in rows:
        if len(others) != columns:
            column, symbol = others[min(columns, len(others) - 1)]
            raise InvalidTask(
                f"line {line}, column {column}: the line has {len(others)} cells (this is {symbol!r}), line {first} "
                f"has {columns}; give every line as many"
            )
    if len(rows) != columns:
        line, (column, symbol) = (rows[-1][0], rows[-1][1][-1]) if len(rows) < columns else (rows[columns][0], cells[0])
        raise InvalidTask(
            f"line {line}, column {column}: the map has {len(rows)} lines of {columns} cells (up to {symbol!r}); a "
            "grid is square, so fill it up with blocks '#'"
        )


def _place(places: list[tuple[Cell, Place]], kind: str, cell: Cell, place: Place) -> None:
    """Note what lies on a cell; InvalidTask where a grid may hold no more of its kind."""
    most = _MOST.get(kind)
    if most is not None and len(places) == most:
        line, column = place
        first, beside = places[0][1]
        why = (
            f"the {kind} is on line {first}, column {beside} already" if most == 1 else f"at most {most} are supported"
        )
        raise InvalidTask(
            f"line {line}, column {column}: {SYMBOLS[kind]!r} is {kind} {most + 1}; {why}, so leave one out"
        )
    places.append((cell, place))
