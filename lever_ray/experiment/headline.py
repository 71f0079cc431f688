"""What matters of an experiment's report, about a screen of it: which ways succeed, how good they are, beside what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lever_ray.config import ContrastSettings
from lever_ray.experiment.overview import control_qualities, way_of
from lever_ray.experiment.report import TABLES, contrast_table, extended_row, joined, named, with_words
from lever_ray.experiment.statistics import Row, layout_means, layouts_of, significant
from lever_ray.statistics.intervals import Interval, interval, resamples

MOST = 24
"""Ways that are listed."""
_HEAD = ("gamma", "strategy", "ranker", "over best control", "quality", "ms")


@dataclass(frozen=True)
class Way:
    """One way of answering, over all setups.

    Attributes:
        names: its gamma, its strategy with the operator, its ranker.
        gain: normalised quality over the best control, with its interval over layouts.
        quality: normalised.
        milliseconds: of a query.
    """

    names: tuple[str, str, str]
    gain: Interval
    quality: float
    milliseconds: float

    @property
    def succeeds(self) -> bool:
        """Whether the interval of its gain lies above 0."""
        return self.gain.low > 0


def headline_report(
    rows: Sequence[Row], *, contrasts: Sequence[ContrastSettings] = (), bootstrap: int = 2_000, most: int = MOST
) -> str:
    """The headline as Markdown, laid out like :func:`~lever_ray.experiment.report.markdown_report`.

    Args:
        rows: of an experiment.
        contrasts: named in the configuration before the run.
        bootstrap: resamples of the layouts.
        most: ways that are listed, the best.

    Raises:
        UnknownName: a contrast names a column that the rows lack.
    """
    extended, layouts = [extended_row(row) for row in rows], layouts_of(rows)
    draws, told = resamples(len(layouts), count=bootstrap), set[str]()
    ways = _ways(extended, layouts, draws)
    parts = [_verdict(ways, rows, len(layouts))]
    if contrasts:
        parts.append(with_words(contrast_table(extended, contrasts, layouts, draws), told))
    listed = f"The best {most} of {len(ways)} ways." if len(ways) > most else "Every way, the best first."
    table = [joined(_HEAD), joined(["---"] * 3 + ["---:"] * 3), *(joined(_cells(way)) for way in ways[:most])]
    note = f"{listed} {TABLES[0].note} ms: milliseconds that a query takes."
    parts.append(with_words("\n\n".join([f"### {TABLES[0].title}", note, "\n".join(table)]), told))
    return "\n\n".join(parts) + "\n"


def _ways(rows: Sequence[Row], layouts: Sequence[str | int], draws: np.ndarray) -> list[Way]:
    """Those with the largest gain first."""
    lines: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((named("gamma", row["gamma"]), way_of(row), str(row["ranker"])), []).append(row)
    found = [_way(names, line, layouts, draws) for names, line in lines.items()]
    return sorted(found, key=lambda way: -math.inf if math.isnan(way.gain.value) else way.gain.value, reverse=True)


def _way(names: tuple[str, str, str], line: Sequence[Row], layouts: Sequence[str | int], draws: np.ndarray) -> Way:
    gain = interval(layout_means(line, "quality/over_controls", layouts), draws)
    quality, milliseconds = (
        interval(layout_means(line, metric, layouts), draws).value
        for metric in ("quality/normalised", "milliseconds/query")
    )
    return Way(names, gain, quality, milliseconds)


def _verdict(ways: Sequence[Way], rows: Sequence[Row], layouts: int) -> str:
    """How many ways succeed, and what they are held against, in a few lines."""
    sound = sum(way.succeeds for way in ways)
    controls = ", ".join(f"{name} {value:.2f}" for name, value in control_qualities(rows).items() if value == value)
    beside = f" Controls on the same scale: {controls}." if controls else ""
    return (
        f"{layouts} layouts. {sound} of {len(ways)} ways of answering do better than the best control: the 95% "
        f"interval over layouts lies above 0. Quality: 0 is the return of random actions, 1 the optimum.{beside}"
    )


def _cells(way: Way) -> list[str]:
    gain = way.gain
    told = "-" if math.isnan(gain.value) else f"{gain.value:+.2f}"
    told += "" if math.isnan(gain.low) else f" [{gain.low:+.2f},{gain.high:+.2f}]"
    return [*way.names, told, _number(way.quality, ".2f"), significant(way.milliseconds, 2)]


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
