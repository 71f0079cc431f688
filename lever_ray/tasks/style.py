"""Colours and legends that every picture and figure of the project shares."""

from __future__ import annotations

from typing import Any

INK, MUTED, RULE, PAPER = "#1f2933", "#66727f", "#d5dae0", "#ffffff"
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY = PALETTE = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"
"""Colours that colour-blind people tell apart (Okabe and Ito)."""
LEGEND: dict[str, Any] = {"fontsize": 8, "frameon": False, "labelcolor": INK}
"""How legends look."""
TITLE: dict[str, Any] = {"loc": "left", "fontsize": 9.5, "fontweight": "bold", "color": INK}
"""How titles of axes look."""
