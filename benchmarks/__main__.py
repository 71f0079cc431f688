"""``make bench`` or ``python -m benchmarks [suite ...]``: figures as tables and in benchmarks/results/latest.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    composition,
    intervals,
    kernels,
    library,
    options,
    planning,
    retrieval,
    scaling,
    search,
    serving,
    start,
    startup,
    text_queries,
    training,
    tuning,
)

SUITES: dict[str, Callable[[], dict[str, float]]] = {
    "start": start.figures,
    "startup": startup.figures,
    "kernels": kernels.figures,
    "training": training.figures,
    "composition": composition.figures,
    "planning": planning.figures,
    "search": search.figures,
    "options": options.figures,
    "text": text_queries.figures,
    "library": library.figures,
    "serving": serving.figures,
    "scaling": scaling.figures,
    "retrieval": retrieval.figures,
    "tuning": tuning.figures,
    "intervals": intervals.figures,
}
RESULTS = Path(__file__).parent / "results" / "latest.json"


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        sys.stderr.write(f"unknown suite {unknown[0]!r}; known: {', '.join(SUITES)}\n")
        return 2
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    measured: dict[str, float] = {}
    for name in names or SUITES:
        with console.status(f"Measuring {name}"):
            figures = SUITES[name]()
        console.print(_table(name, figures))
        measured |= figures
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    console.print(f"Written to {RESULTS}")
    return 0


def _table(name: str, figures: dict[str, float]) -> Table:
    table = Table(title=name, header_style="bold")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for figure, value in figures.items():
        table.add_row(figure, f"{value:,.0f}" if value >= 1000 else f"{value:.4g}")
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
