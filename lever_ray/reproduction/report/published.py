"""Published figures beside ours, as ratios to scratch: environments differ, so that returns do not compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lever_ray.experiment.statistics import Row, significant
from lever_ray.reproduction.report.data import Sample
from lever_ray.reproduction.report.words import cell, markdown

SOURCE = "arXiv 2604.20174"
DIFFERENCES = (
    f"Published: result tables of {SOURCE} and the public history of its code; means over 5 seeds, operator sum, gamma "
    "0.99, on an earlier variant of the environment (50 golds and 30 hazards, moves right or down by one or two "
    "cells). Ours: the environment that its code has now, operator sum, gamma 0.99, ratios of sums over layouts with "
    "95% intervals, ranked by the regressor where it was asked. Returns therefore do not compare; ratios "
    "to scratch do, with care."
)
_P, _H, _L = "path-gold", "path-gold-hazard", "path-gold-hazard-lever"
STRATEGIES = ("targeted", "hybrid-3", "exhaustive")


class Published(NamedTuple):
    """A line of the published tables: returns and seconds of scratch and of the three strategies."""

    family: str
    budget: str
    setup: str
    mode: str
    returns: tuple[float, float, float, float]
    seconds: tuple[float, float, float, float]


PUBLISHED: tuple[Published, ...] = (
    Published("grid16", "X1", _P, "trivial", (98.2, 96.0, 97.0, 97.0), (10.0, 0.03, 7.0, 25)),
    Published("grid16", "X1", _H, "trivial", (189.7, 183.2, 185.0, 176.2), (11.2, 0.02, 17, 89)),
    Published("grid16", "X1", _L, "trivial", (220.2, 217.0, 212.2, 215.3), (11.0, 0.02, 46, 381)),
    Published("grid16", "X1", _H, "double", (189.7, 183.5, 191.4, 179.8), (11.2, 0.01, 5.4, 16)),
    Published("grid16", "X1", _L, "double", (220.2, 124.2, 218.3, 218.0), (11.0, 0.01, 4.7, 13)),
    Published("grid16", "X1", _L, "triple", (220.2, 219.3, 217.6, 216.9), (11.0, 0.01, 4.7, 12)),
    Published("grid16", "X10", _L, "trivial", (166.6, 217.0, 212.0, 215.3), (126, 0.02, 47, 384)),
    Published("grid32", "X1", _L, "trivial", (218.4, 204.9, 210.3, 220.2), (26, 0.02, 107, 668)),
    Published("grid32", "X10", _L, "trivial", (238.5, 206.3, 225.8, 215.3), (270, 0.02, 108, 670)),
)
"""Scratch, targeted, hybrid k = 3, exhaustive."""
PUBLISHED_CODE: tuple[tuple[str, float, int, tuple[float, float, float | None, float, float]], ...] = (
    ("grid8", 0.0, 30, (152.7, 165.2, 137.4, 203.2, 148.8)),
    ("grid8", 0.99, 30, (187.8, 103.9, 98.4, 200.9, 122.0)),
    ("grid16", 0.0, 12, (157.6, 99.8, None, 220.8, 93.8)),
    ("grid16", 0.99, 12, (199.0, 42.3, None, 188.0, 77.0)),
)
"""The published code, run by us: family, gamma, rows; scratch, targeted, exhaustive, best and random candidate."""


def published_table(samples: Sequence[Sample]) -> str:
    """Ratios of return and of time to scratch, published and ours, as Markdown."""
    of_family = {sample.family: sample for sample in samples}
    lines = []
    for each in PUBLISHED:
        sample = of_family.get(each.family)
        for place, strategy in enumerate(STRATEGIES, 1):
            theirs, seconds = each.returns[place] / each.returns[0], each.seconds[0] / each.seconds[place]
            ours = ("-", "-") if sample is None else _ours(sample, each, strategy)
            named = (each.family, each.budget, f"{each.setup} ({each.mode})", strategy)
            lines.append((*named, f"{theirs:.2f}", ours[0], f"{significant(seconds)}x", ours[1]))
    header = ("grid", "budget", "setup", "strategy", "published return / scratch", "ours", "published speed-up", "ours")
    return markdown(header, lines, words=4)


def _ours(sample: Sample, each: Published, strategy: str) -> tuple[str, str]:
    wanted = {"operator": "sum", "strategy": strategy, "gamma": 0.99}
    wanted |= {"budget": each.budget, "setup": each.setup, "mode": each.mode}
    rows = _chosen(sample.rows, wanted)
    if not rows:
        return "-", "-"
    speedup = cell(sample.ratio(rows, "seconds/scratch", "seconds/query"))
    return cell(sample.ratio(rows, "return/composed", "return/scratch")), _times(speedup)


def _times(told: str) -> str:
    value, bracket, rest = told.partition(" [")
    return f"{value}x{bracket}{rest}"


def code_table(samples: Sequence[Sample]) -> str:
    """Returns by the published code, run by us, beside ours on the same families, over scratch of each."""
    of_family, lines = {sample.family: sample for sample in samples}, []
    for family, gamma, count, (scratch, targeted, exhaustive, best, chance) in PUBLISHED_CODE:
        sample = of_family.get(family)
        for name, value in (("targeted", targeted), ("exhaustive", exhaustive)):
            if value is None:
                continue
            wanted = {"operator": "sum", "strategy": name, "gamma": gamma, "budget": "X1"}
            rows = [] if sample is None else _chosen(sample.rows, wanted)
            ours = cell(sample.ratio(rows, "return/composed", "return/scratch")) if rows and sample else "-"
            held = (family, f"{gamma:g}", name, f"{value / scratch:.2f}", ours, f"{best / scratch:.2f}")
            lines.append((*held, f"{chance / scratch:.2f}", count))
    header = ("grid", "gamma", "strategy", "published code", "ours", "its best candidate", "a random candidate", "rows")
    return markdown(header, lines, words=3)


def _chosen(rows: Sequence[Row], wanted: dict[str, object]) -> list[Row]:
    same = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    rankers = {row["ranker"] for row in same}
    ranker = "regressor" if "regressor" in rankers else min(rankers, default="")
    return [row for row in same if row["ranker"] == ranker]


def finding(samples: Sequence[Sample]) -> str:
    """How the range of ratios to scratch compares with the published one."""
    theirs = [each.returns[place] / each.returns[0] for each in PUBLISHED for place in range(1, 4)]
    ours = []
    for sample in samples:
        for each in PUBLISHED:
            if each.family == sample.family:
                ours += [value for name in STRATEGIES if (value := _ratio(sample, each, name)) is not None]
    told = f"Published compositions return {min(theirs):.0%} to {max(theirs):.0%} of scratch"
    if not ours:
        return f"{told}; none of the published setups is among our rows."
    return f"{told}, ours on the {len(ours)} of these that were run {min(ours):.0%} to {max(ours):.0%}."


def _ratio(sample: Sample, each: Published, strategy: str) -> float | None:
    told = _ours(sample, each, strategy)[0]
    return None if told == "-" else float(told.split(" ")[0].replace(",", ""))
