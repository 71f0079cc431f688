"""How numbers and verdicts read in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lever_ray.experiment.statistics import significant
from lever_ray.statistics.intervals import Interval

ABOVE, BELOW, UNDECIDED = "above", "below", "not told apart from"


def verdict(difference: Interval) -> str:
    """Where a difference's interval lies: ``above`` or ``below`` 0, else :data:`UNDECIDED`."""
    if difference.low > 0:
        return ABOVE
    return BELOW if difference.high < 0 else UNDECIDED


def signed(estimate: Interval) -> str:
    """A difference with its interval, e.g. ``-0.069 [-0.086, -0.053]``."""
    return _with_interval(estimate, "+.3f")


def plain(estimate: Interval) -> str:
    """A quality with its interval, e.g. ``0.515 [0.486, 0.541]``."""
    return _with_interval(estimate, ".3f")


def cell(estimate: Interval) -> str:
    """A table's cell: ``-`` where nothing is known, three significant digits."""
    if math.isnan(estimate.value):
        return "-"
    value, low, high = (significant(round(each, 9) + 0.0) for each in (estimate.value, estimate.low, estimate.high))
    return value if math.isnan(estimate.low) or low == high else f"{value} [{low}, {high}]"


def _with_interval(estimate: Interval, form: str) -> str:
    value, low, high = (format(round(each, 3) + 0.0, form) for each in (estimate.value, estimate.low, estimate.high))
    return value if math.isnan(estimate.low) else f"{value} [{low}, {high}]"


def listed(words: Iterable[object], *, last: str = "and") -> str:
    """Words as a list in a sentence, e.g. ``a, b and c``."""
    named = [str(word) for word in words]
    return f" {last} ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else "".join(named)


def duration(seconds: float) -> str:
    """Seconds in the unit that fits, e.g. ``1.3 ms``."""
    unit, factor = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 0.999e-3 else ("µs", 1e6)
    return f"{significant(seconds * factor, 2)} {unit}"


def markdown(header: Iterable[str], lines: Iterable[Iterable[object]], *, words: int = 1) -> str:
    """A table as Markdown; the first columns are words, the others numbers.

    Args:
        header: names of the columns.
        lines: their cells.
        words: how many columns are words.
    """
    named = list(header)
    rule = ["---"] * words + ["---:"] * (len(named) - words)
    cells = [[str(each).replace("|", "\\|") for each in line] for line in (named, rule, *lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
