"""A summary at a glance: its lines in reading order, the quality of every way beside its controls, a short table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lever_ray.composition.operators import OPERATORS
from lever_ray.experiment.plan import gamma_told, modes_of
from lever_ray.experiment.statistics import Row, scale_of, significant
from lever_ray.query.result import UNION

CONTROLS: dict[str, str] = {
    "scratch_best_gamma": "scratch",
    "best_single_oracle": "best single",
    "random_q": "random Q",
}
"""What compositions stand beside: ending of a column of returns, and what it is called.

Scratch is at each layout's best discount, an oracle chose the single policy, the same strategy searched random Q.
"""
_ORDER = {name: place for place, name in enumerate(("targeted", "hybrid", "budgeted", "exhaustive"))}
_NARROWED_BY = ("setup", "mode", "gamma", "ranker")


def way_of(line: Row) -> str:
    """A line's strategy, with the operator where that is not ``sum``."""
    if line["operator"] == "sum":
        return str(line["strategy"])
    return f"{line['operator']} {line['strategy']}" if line["strategy"] != UNION else str(line["operator"])


def in_reading_order(summary: Sequence[Row]) -> list[Row]:
    """Lines by gamma, mode, objective, operator and strategy, as every table lists them; rankers come last."""
    known = modes_of(str(summary[0].get("family"))) if summary else ()
    modes, operators = {name: place for place, name in enumerate(known)}, list(OPERATORS)

    def place(line: Row) -> tuple[Any, ...]:
        operator = line["operator"]
        return (
            line["gamma"],
            modes.get(line["mode"], len(modes)),
            len(line["setup"]),
            operators.index(operator) if operator in operators else len(operators),
            _ORDER.get(line["strategy"].split("-")[0], len(_ORDER)),
            line["setup"],
            line["strategy"],
            line["ranker"],
        )

    return sorted(summary, key=place)


def narrowed(lines: Sequence[Row], most: int) -> tuple[dict[str, str], list[Row]]:
    """As many lines as a page holds, all that agree in some columns; the columns' values as text, and the lines.

    Column by column the value is kept that leaves most lines on the page; of equal ones the first. Returns are not
    looked at.

    Args:
        lines: see :func:`in_reading_order`.
        most: of lines; more stay where all columns agree.
    """
    kept, values = list(lines), dict[str, str]()
    for column in _NARROWED_BY:
        if len(kept) <= most:
            break
        counts = Counter(line[column] for line in kept)
        chosen = max(counts, key=lambda value: (counts[value] <= most, counts[value] * (counts[value] <= most)))
        kept, values = [line for line in kept if line[column] == chosen], values | {column: str(chosen)}
    return values, kept


def control_qualities(rows: Iterable[Row]) -> dict[str, float]:
    """Mean normalised quality of every control, as it is called, over the rows of a line; NaN where none is known."""
    kept = list(rows)
    return {words: _mean(_normalised(row, f"return/{name}") for row in kept) for name, words in CONTROLS.items()}


def _normalised(row: Row, column: str) -> float:
    """A return between that of the random policy (0) and the optimum (1)."""
    return (float(row[column]) - float(row["return/random"])) / scale_of(row)


def quality_bars(lines: Sequence[Row], controls: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """For every discount, ``g0.99`` or ``all``, the mean quality of the controls and of every way.

    Random Q is the best of the searches over random tables.

    Args:
        lines: of the summary.
        controls: see :func:`control_qualities`, one for each line.
    """
    bars: dict[str, dict[str, float]] = {}
    for gamma in dict.fromkeys(line["gamma"] for line in lines):
        here = [(line, control) for line, control in zip(lines, controls, strict=True) if line["gamma"] == gamma]
        means = {name: _mean(control[name] for _, control in here) for name in CONTROLS.values()}
        ways = _grouped(here, lambda pair: way_of(pair[0]))
        random = [_mean(control["random Q"] for _, control in pairs) for pairs in ways.values()]
        means["random Q"] = max((value for value in random if value == value), default=math.nan)
        means |= {way: _mean(line["quality/normalised"] for line, _ in pairs) for way, pairs in ways.items()}
        told = gamma_told(gamma)
        bars[told if told == "all" else f"g{told}"] = {name: value for name, value in means.items() if value == value}
    return bars


def _grouped(values: Iterable[Any], key: Callable[[Any], str]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _mean(values: Iterable[float]) -> float:
    known = np.array([value for value in values if not math.isnan(value)])
    return float(known.mean()) if len(known) else math.nan


_HEADINGS = ("gamma", "mode", "objective", "strategy", "ranker", "quality", "speed-up", "composed", *CONTROLS.values())


def headline_markdown(lines: Sequence[Row], *, of: int) -> str:
    """The lines that matter first, as a Markdown table: quality with its interval, speed-up, returns beside controls.

    Args:
        lines: in reading order.
        of: how many lines the summary has.
    """
    layouts = max(line["layouts"] for line in lines)
    told = f"{len(lines)} of {of} lines" if len(lines) < of else f"{of} lines"
    table = [
        "| " + " | ".join((*_HEADINGS, "optimum")) + " |",
        "|" + "---|" * (len(_HEADINGS) + 1),
        *("| " + " | ".join(_cells(line)) + " |" for line in lines),
    ]
    below = (
        f"Means over {layouts} layouts, {told}. Quality: 0 = random policy, 1 = optimum, with its 95% interval. "
        "Scratch at each layout's best gamma, best single policy by oracle, random Q under the same search."
    )
    return "\n".join([*table, "", below])


def _cells(line: Row) -> list[str]:
    quality = "{:.3f} ({:.3f} to {:.3f})".format(*(line[f"quality/normalised{end}"] for end in ("", *_ENDS)))
    returns = [_one_decimal(line[f"return/{name}"]) for name in ("composed", *CONTROLS, "optimum")]
    words = [gamma_told(line["gamma"]), *(str(line[name]) for name in ("mode", "setup")), way_of(line), line["ranker"]]
    return [*words, quality.replace(" (nan to nan)", ""), f"{significant(line['speedup/seconds'], 2)}x", *returns]


_ENDS = ("/ci_low", "/ci_high")


def _one_decimal(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"
