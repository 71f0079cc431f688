"""``lever-ray benchmark``: a table of what makes a benchmark and scores on it."""

from __future__ import annotations

from lever_ray.cli.table import Entry, Table

EXAMPLE = """example: lever-ray benchmark export --to bench --answers kept
         lever-ray benchmark score bench --predictions mine.parquet"""
COMMANDS: dict[str, Entry] = {
    "export": Entry(
        "lever_ray.cli.benchmark.export",
        "Train frozen libraries, measure every candidate, and write files that others can score on.",
    ),
    "score": Entry(
        "lever_ray.cli.benchmark.score",
        "Score a file of predictions, or our own methods with --ours.",
    ),
}
TABLE = Table(
    name="lever-ray benchmark",
    about="A benchmark of rankers and operators that others can score on.",
    commands=COMMANDS,
    example=EXAMPLE,
)
