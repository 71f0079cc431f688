"""What the chain study shows in plain words: the prediction, fixed beforehand, its tests, and every operator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lever_ray.experiment.report import TableSpec, markdown_table
from lever_ray.experiment.statistics import Row, layout_means, layouts_of
from lever_ray.statistics.contrasts import holm, sign_flip
from lever_ray.statistics.intervals import Interval, interval, resamples

CONTRASTED = "sum"
"""The operator that the prediction is about: the published one."""
CONDITION = ("gamma", "shaping", "chain")
NEED = 0.05
"""A chain is needed where the optimum of the environment falls at least so far without it, normalised."""
NO_CHAIN = "nothing is out"
AGAINST: dict[str, str] = {"over/scratch": "best gamma", "over/scratch_same_gamma": "same gamma"}
"""What quality less that of scratch is called, by the gamma of scratch: the layout's best one, or the members'."""
PREDICTION = (
    f"Prediction, fixed before the run: operator {CONTRASTED} is below scratch exactly where value must propagate over "
    "a chain that no policy took, at every L > 0, and not at L = 0. Below and above: the whole interval is. It holds "
    "where both are seen, is refuted where the interval at L = 0 is below or one at L > 0 above, and is open "
    "elsewhere. Change: over scratch at L > 0, lengths and positions counting alike, less that at L = 0; sign-flip "
    "tests over layouts, Holm-corrected over the conditions. The test is against scratch at the layout's best gamma; "
    "the same against scratch at the members' gamma stands below it."
)


TABLES: tuple[TableSpec, ...] = (
    TableSpec(
        "Chains of L transitions that no policy took",
        ("gamma", "shaping", "chain", "operator", "length"),
        {
            "quality/normalised": "normalised quality",
            "over/scratch": "over scratch, best gamma",
            "over/scratch_same_gamma": "over scratch, same gamma",
            "quality/mean_candidate": "mean candidate",
            "quality/random_tables": "random tables",
            "chain/taken": "share of the chain taken",
        },
        "Union: the chain's transitions are recorded, in no policy's values; absent: nobody recorded them. Scratch may "
        "take them. Options follow policies alone, which nobody's records change: their arms are equal.",
    ),
    TableSpec(
        "What they are compared with",
        ("gamma", "shaping", "chain", "length"),
        {
            "quality/scratch": "scratch, best gamma",
            "quality/scratch_same_gamma": "scratch, same gamma",
            "quality/best_single": "best single policy (oracle)",
            "quality/optimum_recorded": "optimum on the records",
            "quality/optimum_without": "optimum without the chain",
        },
    ),
    TableSpec(
        "By whether the chain is needed, all lengths together",
        ("needed", "gamma", "shaping", "chain", "operator"),
        {
            "quality/normalised": "normalised quality",
            "over/scratch": "over scratch, best gamma",
            "quality/optimum_recorded": "optimum on the records",
        },
        "Needed: the environment's optimum falls by 0.05 or more without it.",
    ),
)


def is_needed(optimum_without: float, length: int) -> str:
    """Whether a chain is needed, in a word, by the normalised optimum of the environment without it."""
    return NO_CHAIN if not length else "yes" if optimum_without <= 1.0 - NEED else "no"


@dataclass(frozen=True)
class Condition:
    """What one condition shows of the prediction.

    Attributes:
        of: the condition, by :data:`CONDITION`.
        over: quality of the operator less scratch, by length.
        change: that at L > 0 less that at L = 0.
        p: of a sign-flip test that the change is 0, Holm-corrected over all conditions.
    """

    of: dict[str, Any]
    over: dict[int, Interval]
    change: Interval
    p: float

    @property
    def verdict(self) -> str:
        """``holds``, ``refuted`` or ``open``: whether the whole intervals lie where the prediction has them."""
        without, others = self.over[0], [each for length, each in self.over.items() if length]
        if _side(without) == "below" or any(_side(each) == "above" for each in others):
            return "refuted"
        return "holds" if all(_side(each) == "below" for each in others) else "open"


def conditions(rows: Sequence[Row], *, against: str = "over/scratch", bootstrap: int = 2_000) -> list[Condition]:
    """What every condition shows; none where the rows lack the operator, chains, or layouts without one.

    Args:
        rows: of the study.
        against: a key of :data:`AGAINST`.
        bootstrap: resamples of the layouts.
    """
    told = [row for row in rows if row["operator"] == CONTRASTED]
    lengths = {row["length"] for row in told}
    if 0 not in lengths or len(lengths) < 2:
        return []
    layouts = layouts_of(told)
    draws = resamples(len(layouts), count=bootstrap)
    parts = {
        key: {
            length: layout_means(each, against, layouts) for (length,), each in sorted(_by(("length",), part).items())
        }
        for key, part in _by(CONDITION, told).items()
    }
    changes = [np.array([part[length] for length in part if length]).mean(axis=0) - part[0] for part in parts.values()]
    corrected = holm([sign_flip(change) for change in changes])
    return [
        Condition(
            dict(zip(CONDITION, key, strict=True)),
            {length: interval(values, draws) for length, values in part.items()},
            interval(change, draws),
            p,
        )
        for (key, part), change, p in zip(parts.items(), changes, corrected, strict=True)
    ]


def chain_report(rows: Sequence[Row], *, bootstrap: int = 2_000) -> str:
    """What the study shows, and its tables, as Markdown; arguments as of :func:`chain_notes`."""
    return "\n\n".join(
        [chain_notes(rows, bootstrap=bootstrap), *(markdown_table(spec, rows, bootstrap=bootstrap) for spec in TABLES)]
    )


def chain_notes(rows: Sequence[Row], *, bootstrap: int = 2_000) -> str:
    """The prediction, its tests and plain sentences as Markdown, computed from the rows.

    Args:
        rows: of the study.
        bootstrap: resamples of the layouts.
    """
    parts = ["### What it shows"]
    told = {name: conditions(rows, against=name, bootstrap=bootstrap) for name in AGAINST}
    if any(told.values()):
        parts += [PREDICTION, _table(told), _listed(_counted(found, AGAINST[name]) for name, found in told.items())]
    parts += [_falls(rows, bootstrap), _listed([*_of_operators(rows, bootstrap), *_of_need(rows)])]
    return "\n\n".join(part for part in parts if part)


def _table(told: dict[str, list[Condition]]) -> str:
    """A line for every condition and gamma of scratch."""
    lengths = list(next(iter(told.values()))[0].over)
    header = [*CONDITION, "scratch at", *(f"L = {length}" for length in lengths), "change", "p", "prediction"]
    lines = [header, ["---"] * 4 + ["---:"] * (len(lengths) + 2) + ["---"]]
    for name, found in told.items():
        for each in found:
            shown = [_told(each.over[length]) for length in lengths]
            about = [f"{value:g}" if isinstance(value, float) else str(value) for value in each.of.values()]
            lines.append([*about, AGAINST[name], *shown, _told(each.change), f"{each.p:.2g}", each.verdict])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _counted(found: Sequence[Condition], scratch: str) -> str:
    verdicts = [each.verdict for each in found]
    holds, refuted, open_ = (verdicts.count(verdict) for verdict in ("holds", "refuted", "open"))
    fell = sum(each.change.high < 0 for each in found)
    begun = [_side(each.over[0]) for each in found]
    return (
        f"Scratch at the {scratch}: of {len(found)} conditions the prediction holds in {holds}, is refuted in "
        f"{refuted} and stays open in {open_}. Without a chain {CONTRASTED} is below scratch in "
        f"{begun.count('below')}, above in {begun.count('above')}; chains lower it in {fell}."
    )


def falls_from(over: Mapping[int, Interval]) -> int | None:
    """The shortest chain from which on an operator is below scratch at every length; None where there is none.

    Args:
        over: quality less that of scratch by length.
    """
    below = [length for length, each in over.items() if _side(each) == "below"]
    reached = [length for length in below if all(other in below for other in over if other > length)]
    return min(reached, default=None)


def _falls(rows: Sequence[Row], bootstrap: int) -> str:
    """From which length on each operator is below scratch at the layout's best gamma, by condition."""
    operators = list(dict.fromkeys(row["operator"] for row in rows))
    layouts = layouts_of(rows)
    draws, lines = resamples(len(layouts), count=bootstrap), []
    for key, part in _by(CONDITION, rows).items():
        found = _by(("operator",), part)
        over = [_over(found.get((operator,), []), layouts, draws) for operator in operators]
        shown = ["-" if (length := falls_from(each)) is None else f"L = {length}" for each in over]
        lines.append([*(f"{value:g}" if isinstance(value, float) else str(value) for value in key), *shown])
    header = [[*CONDITION, *operators], ["---"] * (len(CONDITION) + len(operators))]
    table = "\n".join("| " + " | ".join(line) + " |" for line in [*header, *lines])
    return f"From which length on each operator is below scratch at the layout's best gamma:\n\n{table}"


def _over(part: Sequence[Row], layouts: Sequence[str | int], draws: np.ndarray) -> dict[int, Interval]:
    """Quality less that of scratch at the layout's best gamma, by length."""
    lengths = sorted(_by(("length",), part).items())
    return {length: interval(layout_means(each, "over/scratch", layouts), draws) for (length,), each in lengths}


def _listed(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _side(estimate: Interval) -> str:
    if estimate.high < 0:
        return "below"
    return "above" if estimate.low > 0 else "neither above nor below"


def _of_operators(rows: Sequence[Row], bootstrap: int) -> list[str]:
    """What each operator loses by the longest chain, and what records of it are worth; over gammas and shapings."""
    longest, layouts = max(row["length"] for row in rows), layouts_of(rows)
    if not longest:
        return []
    draws = resamples(len(layouts), count=bootstrap)
    parts = _by(("operator", "chain", "length"), rows)
    told = []
    for operator in dict.fromkeys(row["operator"] for row in rows):
        arms = {
            arm: layout_means(parts[operator, arm, longest], "quality/normalised", layouts)
            for arm in ("absent", "union")
            if (operator, arm, longest) in parts
        }
        if len(arms) < 2:
            continue
        before = parts.get((operator, "absent", 0), [])
        begun = f"{_told(interval(layout_means(before, 'quality/normalised', layouts), draws))} without a chain, "
        absent, union, worth = (
            interval(each, draws) for each in (arms["absent"], arms["union"], arms["union"] - arms["absent"])
        )
        told.append(
            f"{operator}: quality {begun if before else ''}{_told(absent)} with {longest} transitions in no record, "
            f"{_told(union)} with them recorded; the records are worth {_told(worth)}. Mean over gammas and shapings."
        )
    return told


def _of_need(rows: Sequence[Row]) -> list[str]:
    """How much the environment offers without the chain."""
    told = []
    for (length,), part in sorted(_by(("length",), rows).items()):
        if length:
            left = float(np.mean([row["quality/optimum_without"] for row in part]))
            needed = float(np.mean([row["needed"] == "yes" for row in part]))
            told.append(f"L = {length}: {left:.3f} of the optimum is left, {needed:.0%} of the chains are needed")
    return [f"Without the chain: {'; '.join(told)} (the optimum falls by {NEED} or more)."] if told else []


def _by(columns: Sequence[str], rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of some columns."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in columns), []).append(row)
    return found


def _told(estimate: Interval) -> str:
    """With its interval, where there are enough layouts for one."""
    value = f"{estimate.value:.3f}"
    return value if math.isnan(estimate.low) else f"{value} [{estimate.low:.3f}, {estimate.high:.3f}]"
