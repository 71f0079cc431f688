"""What the rows of the main study say, each figure in one sentence; numbers come from the rows, negative ones too."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from lever_ray.experiment.statistics import Row
from lever_ray.reproduction.report.data import TABLES, Sample, Way, grouped, ways
from lever_ray.reproduction.report.words import ABOVE, BELOW, duration, listed, plain, signed, verdict
from lever_ray.statistics.intervals import Interval

Points = Mapping[Way, tuple[Interval, Interval]]
"""Speed-up and quality of every way."""
OVER = "quality/over_controls"


def points_of(sample: Sample) -> dict[Way, tuple[Interval, Interval]]:
    """Speed-up over scratch (a ratio of sums) and normalised quality of every way."""
    return {
        way: (sample.ratio(rows, "seconds/scratch", "seconds/query"), sample.mean(rows, "quality/normalised"))
        for way, rows in ways(sample.rows).items()
    }


def front_of(points: Points) -> list[Way]:
    """Ways that none beats in one of speed-up and quality without being worse in the other."""
    values = {way: (speedup.value, quality.value) for way, (speedup, quality) in points.items()}

    def beaten(mine: tuple[float, float]) -> bool:
        return any(x >= mine[0] and y >= mine[1] and (x, y) != mine for x, y in values.values())

    return [way for way, mine in values.items() if not (beaten(mine) or any(map(math.isnan, mine)))]


def front(samples: Sequence[Sample]) -> str:
    """Which operators no other way beats in both quality and speed-up, and how many ways are slower than training."""
    fronts: dict[str, list[str]] = {}
    ways_asked, slow = 0, 0
    for sample in samples:
        points = points_of(sample)
        fronts.setdefault(listed(dict.fromkeys(way.operator for way in front_of(points))), []).append(sample.family)
        slow += sum(speedup.value < 1 for speedup, _ in points.values())
        ways_asked += len(points)
    told = [f"{names} on {listed(families)}" for names, families in fronts.items()]
    slower = f"{slow} of {ways_asked} ways take longer than training from scratch" if slow else "all ways are faster"
    return _sentence(f"the front of quality and speed-up is made of {'; '.join(told)}; {slower}")


def over_controls(samples: Sequence[Sample]) -> str:
    """Whether compositions are above the best control: those of tables, then of each operator that looks ahead."""
    by_family = {sample.family: _over(sample) for sample in samples}
    held = list(dict.fromkeys(way.operator for over in by_family.values() for way in over))
    tables = _told_of("operators over tables", [name for name in held if name in TABLES], by_family)
    others = [_told_of(name, [name], by_family) for name in held if name not in TABLES]
    return _sentence("; ".join(each for each in (tables, *others) if each))


def _over(sample: Sample) -> dict[Way, Interval]:
    return {way: sample.mean(rows, OVER) for way, rows in ways(sample.rows).items()}


def _told_of(name: str, operators: Sequence[str], by_family: Mapping[str, Mapping[Way, Interval]]) -> str:
    """A clause about some operators: on which families they are above the best control, and the best of them."""
    known = [
        (family, way, over)
        for family, every in by_family.items()
        for way, over in every.items()
        if way.operator in operators and not math.isnan(over.value)
    ]
    if not known:
        return ""
    family, way, best = max(known, key=lambda each: each[2].value)
    where = f"{way} on {family} at {signed(best)}"
    above = dict.fromkeys(family for family, _, over in known if verdict(over) == ABOVE)
    if not above:
        subject = "no operator over tables" if len(operators) > 1 or operators[0] in TABLES else f"{name} nowhere"
        verb = "is above the best control anywhere" if subject.startswith("no ") else "is above the best control"
        return f"{subject} {verb}; the best is {where}".replace("nowhere is above", "is nowhere above")
    return f"{name} {'are' if name.endswith('s') else 'is'} above the best control on {listed(above)} ({where})"


def width_of(way: Way) -> float | None:
    """K of ``hybrid-k``, infinity for ``exhaustive``; None for other strategies and for operators without tables."""
    if way.operator not in TABLES:
        return None
    if way.strategy == "exhaustive":
        return math.inf
    found = re.fullmatch(r"hybrid-(\d+)", way.strategy)
    return float(found[1]) if found else None


def sweep_of(sample: Sample) -> dict[Way, dict[float, list[Row]]]:
    """Rows by k, for each operator over tables and discount."""
    lines: dict[Way, dict[float, list[Row]]] = {}
    for way, rows in ways(sample.rows).items():
        width = width_of(way)
        if width is not None:
            lines.setdefault(way._replace(strategy="hybrid"), {})[width] = rows
    return lines


def sweep(samples: Sequence[Sample]) -> str:
    """What the widest hybrid gains over k = 1 with ``sum``, and the exhaustive search over it, and what they cost."""
    steps: dict[tuple[float, float], dict[str, list[str]]] = {}
    for sample in samples:
        lines = [line for way, line in sweep_of(sample).items() if way.operator == "sum"]
        widths = sorted({width for line in lines for width in line})
        finite = [width for width in widths if math.isfinite(width)]
        for narrow, wide in {(finite[0], finite[-1]), (finite[-1], widths[-1])} if finite else ():
            if narrow < wide:
                verb, said = _step(sample, lines, narrow, wide)
                steps.setdefault((narrow, wide), {}).setdefault(verb, []).append(said)
    told = [
        f"{_from(*step)} " + "; ".join(f"{verb} {listed(said)}" for verb, said in verbs.items())
        for step, verbs in sorted(steps.items())
    ]
    return _sentence(f"With sum, {'; '.join(told)}") if told else "Sum was not asked with several k."


def _from(narrow: float, wide: float) -> str:
    return f"going from k = {narrow:g} to {'exhaustive search' if math.isinf(wide) else f'{wide:g}'}"


def _step(sample: Sample, lines: Iterable[Mapping[float, list[Row]]], narrow: float, wide: float) -> tuple[str, str]:
    few, many = ([row for line in lines for row in line.get(width, [])] for width in (narrow, wide))
    gain = sample.difference(many, few, "quality/normalised")
    times = sample.mean(many, "seconds/query").value / sample.mean(few, "seconds/query").value
    verb = {ABOVE: "gains", BELOW: "loses"}.get(verdict(gain), "changes nothing that is told apart from 0:")
    return verb, f"{signed(gain)} on {sample.family} in {times:.1f} times the time"


def predictions(samples: Sequence[Sample]) -> str:
    """How far the predicted return of an answer is from what it earned, by ranker."""
    told = []
    for (ranker,) in grouped((row for sample in samples for row in sample.rows), "ranker"):
        errors = [(sample, [row for row in sample.rows if row["ranker"] == ranker]) for sample in samples]
        said = [f"{_error(*each)} on {each[0].family}" for each in errors if each[1]]
        told.append(f"{ranker} is off by {listed(said)}")
    return _sentence(f"In shares of what a world offers, {'; '.join(told)}")


def _error(sample: Sample, rows: Sequence[Row]) -> str:
    bias = sample.mean(rows, "prediction/bias")
    biased = {ABOVE: f", too high by {plain(bias)}", BELOW: f", too low by {plain(_negative(bias))}"}
    return f"{plain(sample.mean(rows, 'prediction/error'))}{biased.get(verdict(bias), '')}"


def _negative(found: Interval) -> Interval:
    return Interval(-found.value, -found.high, -found.low)


def break_even(by_family: Mapping[str, tuple[float, float, float]]) -> str:
    """After how many queries a library is paid back.

    Args:
        by_family: queries until break-even at a step cost of 0 and at the highest one, and that cost in seconds.
    """
    free = [f"{_queries(first)} on {family}" for family, (first, _, _) in by_family.items()]
    dear = [_queries(last) for _, last, _ in by_family.values()]
    cost = next(iter(by_family.values()))[2]
    told = f"a library is paid back after {listed(free)} where environment steps cost nothing"
    return _sentence(f"{told}, and after {listed(dear)} where one takes {duration(cost)}")


def _queries(number: float) -> str:
    return "no number of queries" if math.isinf(number) else f"{math.ceil(number):,} queries"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
