"""Layouts and routes as text."""

from __future__ import annotations

from collections.abc import Iterable

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
