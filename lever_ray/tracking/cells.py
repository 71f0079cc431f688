"""An experiment as runs: the parent with tables and bars, below it one run per line of the summary, and their view."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

from lever_ray.experiment.overview import (
    CONTROLS,
    control_qualities,
    headline_markdown,
    in_reading_order,
    narrowed,
    quality_bars,
    way_of,
)
from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.statistics import CARRIED_COLUMNS, CELL_COLUMNS, RATIOS, metrics_of
from lever_ray.tasks.style import INK
from lever_ray.tracking.run import PART_TAG, TrackedRun
from lever_ray.tracking.store import COLOUR_TAG, NOTE_TAG
from lever_ray.tracking.views import COLOURS, PAGE, VIEW_TAG, View, bars, scatter, view_key

Row = dict[str, Any]

HEADLINES: tuple[str, ...] = (
    *CELL_COLUMNS,
    "return/composed",
    "return/composed/ci_low",
    "return/composed/ci_high",
    "return/scratch",
    "return/scratch_best_gamma",
    "return/best_single",
    "return/best_single_oracle",
    "return/random_q",
    "return/random",
    "return/optimum",
    "quality/normalised",
    "quality/ratio",
    "regret",
    "rank_correlation",
    "coverage/on_policy",
    "candidates/evaluated",
    "segments/simulated",
    "seconds/query",
    "seconds/scratch",
    "speedup/seconds",
    "layouts",
    "tier",
)
"""Columns of the summary table in the UI; the Parquet file has all."""
LAYOUT_COLUMNS: tuple[str, ...] = (
    "environment",
    *CELL_COLUMNS,
    "quality/normalised",
    "speedup/seconds",
    "return/composed",
    "return/scratch",
    "return/best_single_oracle",
    "return/random_q",
    "return/optimum",
    "regret",
    "candidates/evaluated",
)
"""Columns of the table of layouts in the UI; the Parquet file of rows has all."""
INTERVALS = ("return/composed", "quality/normalised", "quality/over_controls", "speedup/seconds")
"""Metrics whose 95% bootstrap interval is logged; the Parquet summary has all."""
SHORT: dict[str, str] = {"quality/normalised": "quality", "speedup/seconds": "speedup", "return/composed": "return"}
"""Columns that charts are drawn of, as axes name them."""
WAY_TAG = "way"
"""Tag of a run: strategy and operator in one word."""
_BY_STRATEGY = " by strategy"
"""End of the name of an experiment's second view."""
_NOTE_LINES = 40
"""Lines of the table in the parent's description."""
_LONGEST_NOTE = 8_000
"""Characters that MLflow takes in a tag of a run."""


def headline_rows(summary: Sequence[Row]) -> list[Row]:
    """The summary's most telling columns, rounded to what a table can show."""
    return [_shown(line, HEADLINES) for line in summary]


def layout_rows(rows: Sequence[Row]) -> list[Row]:
    """What every way gave in every layout, rounded to what a table can show."""
    return [_shown(row, LAYOUT_COLUMNS) for row in rows]


def _shown(line: Row, columns: Iterable[str]) -> Row:
    return {name: _rounded(line[name]) for name in columns} | {"gamma": gamma_told(line["gamma"])}


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def log_cells(
    run: TrackedRun, name: str, rows: Sequence[Row], summary: Sequence[Row], *, tags: Mapping[str, str]
) -> list[View]:
    """Log a run per line of the summary below the parent, and to the parent the bars and its description.

    The metrics of a run are means over layouts and their intervals, and the quality of its controls; what each layout
    gave is in the table of layouts. Returns two views: a point per run with, for every discount, bars of the quality
    beside the controls; and the same with a point per strategy.

    Args:
        run: the parent.
        name: of the view.
        rows: a row per layout and cell.
        summary: see :func:`lever_ray.experiment.statistics.summarise`.
        tags: that all runs get.
    """
    lines, shown_by = in_reading_order(summary), f"{view_key(name)}-{run.id[:6]}"
    cells = _by_cell(rows)
    controls = [control_qualities(cells[_cell(line)]) for line in lines]
    metrics = _log_lines(run, lines, controls, tags={**tags, VIEW_TAG: shown_by})
    chosen, shown = narrowed(lines, PAGE - 1)
    kept = {_cell(line) for line in shown}
    drawn = quality_bars(shown, [found for line, found in zip(lines, controls, strict=True) if _cell(line) in kept])
    filters = {VIEW_TAG: shown_by, **chosen}
    note = _note(narrowed(shown, _NOTE_LINES)[1], of=len(lines))
    named = _log_bars(run, drawn, tags=filters | {NOTE_TAG: note, COLOUR_TAG: INK})
    tradeoff, beside = scatter("speedup", "quality"), ("quality", *CONTROLS.values())
    ways = tuple(dict.fromkeys(map(way_of, shown)))
    every = View(name, [tradeoff, *map(bars, named)], filters, metrics.union(*named))
    grouped = View(f"{name}{_BY_STRATEGY}", [tradeoff, bars(beside)], filters, metrics, group=WAY_TAG, values=ways)
    return [replace(view, listed=(*beside, "speedup", "return")) for view in (every, grouped)]


def experiments_among(names: Sequence[str]) -> list[str]:
    """Of the names of views those of experiments, which have a second view."""
    return [name for name in names if f"{name}{_BY_STRATEGY}" in names]


def _note(lines: Sequence[Row], *, of: int) -> str:
    """The headline table with as many lines as a tag has room for."""
    told = headline_markdown(lines, of=of)
    return told if len(told) <= _LONGEST_NOTE else _note(lines[:-1], of=of)


def _log_bars(
    run: TrackedRun, drawn: Mapping[str, Mapping[str, float]], *, tags: Mapping[str, str]
) -> list[tuple[str, ...]]:
    """Log bars of several charts to the parent; the metrics of each."""
    named = [{_metric(f"{chart}/{bar}"): value for bar, value in found.items()} for chart, found in drawn.items()]
    run.write(tags=tags, metrics=[(metric, value, 0) for found in named for metric, value in found.items()])
    return [tuple(found) for found in named]


def _log_lines(
    run: TrackedRun, lines: Sequence[Row], controls: Sequence[Mapping[str, float]], *, tags: Mapping[str, str]
) -> set[str]:
    """Log a run per line; all metrics. The last line comes first: pages list what was made last on top."""
    ways = dict.fromkeys(way_of(line) for line in lines)
    colours = dict(zip(ways, cycle(COLOURS), strict=False))
    metrics, digits = set[str](), len(str(len(lines)))
    for place, (line, qualities) in reversed([*enumerate(zip(lines, controls, strict=True), start=1)]):
        labels = {column: str(line[column]) for column in (*CELL_COLUMNS, *CARRIED_COLUMNS) if column in line}
        values = _summarised(line) | dict(qualities)
        way = way_of(line)
        run.child(
            f"{place:0{digits}d} {_told(line)}",
            tags={**tags, **labels, PART_TAG: _part(line), WAY_TAG: way, COLOUR_TAG: colours[way]},
            parameters=labels | {"layouts": line["layouts"]},
            metrics=[(metric, value, 0) for metric, value in values.items()],
        )
        metrics |= set(values)
    return metrics


def _told(line: Row) -> str:
    """What tells a line from others, the most telling first: the page cuts names off."""
    return f"{way_of(line)}, {line['ranker']}, gamma {gamma_told(line['gamma'])}, {line['mode']}, {line['setup']}"


def _cell(line: Row) -> tuple[Any, ...]:
    return tuple(line[column] for column in CELL_COLUMNS)


def _part(line: Row) -> str:
    return "/".join(map(str, _cell(line)))


def _by_cell(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[Row]]:
    cells: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        cells.setdefault(_cell(row), []).append(row)
    return cells


def _summarised(line: Row) -> dict[str, float]:
    """Means and bounds of a line by the metric that they are logged as."""
    means = {SHORT.get(name, name): line[name] for name in (*metrics_of([line]), *RATIOS)}
    bounds = {
        f"{SHORT.get(name, name)}/{bound}": line[f"{name}/{bound}"]
        for name in INTERVALS
        for bound in ("ci_low", "ci_high")
    }
    return means | bounds


def _metric(name: str) -> str:
    """A name of characters that MLflow takes in names of metrics."""
    return re.sub(r"[^\w./ -]", "-", name)
