"""Layouts and routes as text."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from lever_ray.tasks.gridworld.layout import Cell, Layout

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
