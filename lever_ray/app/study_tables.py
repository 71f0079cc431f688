"""Tables of an experiment and of a tuning study; narrower ones where the terminal is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lever_ray.console import FirstFit, add_numbers, add_words, plain_table
from lever_ray.experiment.overview import in_reading_order, way_of
from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.statistics import significant

Row = dict[str, Any]


def summary_table(summary: Sequence[Row]) -> FirstFit:
    """Quality, controls and speed-up per gamma, setup, operator and strategy; as wide as there is room for."""
    return FirstFit(_wide_summary(summary), Group(_controls(summary), _composed(summary)))


def _title(summary: Sequence[Row]) -> str:
    layouts = max(line["layouts"] for line in summary)
    return f"Mean return over {layouts} layout{'s' if layouts != 1 else ''}"


def _wide_summary(summary: Sequence[Row]) -> Table:
    """One line per strategy; rankers side by side."""
    rankers = list(dict.fromkeys(line["ranker"] for line in summary))
    table = plain_table(_title(summary), _CAPTION)
    add_words(table, "gamma", "mode", "objective", "strategy", whole=True)
    add_numbers(table, *(_stacked("composed", ranker) for ranker in rankers), style="bold")
    add_numbers(table, *_CONTROLS[:3], "random Q\nsearched", _CONTROLS[3])
    add_numbers(table, *(_stacked("speed-up", ranker) for ranker in rankers), "evaluated")
    previous = None
    for lines in _by_strategy(summary):
        first = next(iter(lines.values()))
        place = (first["gamma"], first["mode"], first["setup"])
        if previous not in (None, place):
            table.add_section()
        shown = ("", "", "") if place == previous else (gamma_told(first["gamma"]), first["mode"], first["setup"])
        table.add_row(*shown, way_of(first), *_numbers(lines, rankers))
        previous = place
    return table


def _controls(summary: Sequence[Row]) -> Table:
    """What compositions are held against, a line per gamma, mode and setup."""
    table = plain_table(f"{_title(summary)}: what compositions are held against")
    add_words(table, "gamma", "mode", whole=True)
    add_words(table, "objective")
    add_numbers(table, *(name.replace(" ", "\n") for name in _CONTROLS))
    shown = set()
    for lines in _by_strategy(summary):
        first = next(iter(lines.values()))
        place = (gamma_told(first["gamma"]), first["mode"], first["setup"])
        if place not in shown:
            table.add_row(*place, *(_one_decimal(first[f"return/{name}"]) for name in _CONTROLLED))
        shown.add(place)
    return table


def _composed(summary: Sequence[Row]) -> Table:
    """What was composed, a line per strategy and ranker."""
    table = plain_table(f"{_title(summary)}: compositions", _CAPTION.replace("\n", " ").replace(" (better ranker)", ""))
    add_words(table, "strategy, ranker")
    add_numbers(table, "composed", "random\nQ", "speed-up", "evaluated")
    previous = None
    for lines in _by_strategy(summary):
        for line in lines.values():
            place = f"gamma {gamma_told(line['gamma'])}, {line['mode']}, {line['setup']}"
            if place != previous:
                table.add_section()
                table.add_row(Text(place, style="bold"))
            previous = place
            table.add_row(Text(f"{way_of(line)}, {line['ranker']}"), *_composed_cells(line))
    return table


def _composed_cells(line: Row) -> list[str]:
    return [
        _one_decimal(line["return/composed"]),
        _one_decimal(line["return/random_q"]),
        f"{significant(line['speedup/seconds'], 2)}x",
        _searched(line),
    ]


_CONTROLS = ("scratch\nsame gamma", "scratch\nbest gamma", "best single\npolicy", "optimum")
_CONTROLLED = ("scratch", "scratch_best_gamma", "best_single_oracle", "optimum")


def _searched(line: Row) -> str:
    """Candidates evaluated, or segments simulated where there are no candidates."""
    segments = line.get("segments/simulated")
    if segments is None or math.isnan(segments):
        return f"{line['candidates/evaluated']:.0f}"
    return f"{segments:,.0f} segments"


def _one_decimal(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def _stacked(first: str, second: str) -> str:
    """A column's title on narrow lines."""
    return f"{first}\n" + second.replace("-", "-\n")


_CAPTION = (
    "Scratch is trained on the composite objective, best gamma chosen for each layout; best single policy by oracle;\n"
    "random Q: the same search over random tables (better ranker). Speed-up over scratch at the same gamma; below 1x\n"
    "the search takes longer than training. Composition itself makes no environment step."
)


def _by_strategy(summary: Sequence[Row]) -> list[dict[str, Row]]:
    """Lines in reading order, those that differ in the ranker alone together."""
    grouped: dict[tuple[Any, ...], dict[str, Row]] = {}
    for line in in_reading_order(summary):
        key = tuple(line[name] for name in ("gamma", "mode", "setup", "operator", "strategy"))
        grouped.setdefault(key, {})[line["ranker"]] = line
    return list(grouped.values())


def _numbers(lines: dict[str, Row], rankers: Sequence[str]) -> list[str]:
    first = next(iter(lines.values()))
    composed = [f"{lines[ranker]['return/composed']:.1f}" if ranker in lines else "" for ranker in rankers]
    controls = [first[f"return/{name}"] for name in _CONTROLLED]
    controls.insert(3, max(line["return/random_q"] for line in lines.values()))
    speed = [f"{significant(lines[ranker]['speedup/seconds'], 2)}x" if ranker in lines else "" for ranker in rankers]
    return [*composed, *map(_one_decimal, controls), *speed, _searched(first)]


def front_table(front: Sequence[Row], *, recommended: int | None = None) -> FirstFit:
    """The Pareto front of a tuning study, cheapest first: as tuned, and on environments that tuning never saw."""
    return FirstFit(_wide_front(front, recommended), _narrow_front(front, recommended))


def _wide_front(front: Sequence[Row], recommended: int | None) -> Table:
    table = _front(front)
    add_words(table, "strategy, operator, ranker", "tier", whole=True)
    add_numbers(table, *_FRONT_NUMBERS, "95% interval", "gain over\nthe one above")
    add_words(table, "held out\nsays", whole=True)
    add_numbers(table, "trial")
    for row in front:
        chosen = row["number"] == recommended
        cells = [*_front_numbers(row), _interval(row), _gain(row), row["verdict"], _trial(row, chosen)]
        table.add_row(Text(row["label"]), row["tier"], *cells, style="bold" if chosen else None)
    return table


def _narrow_front(front: Sequence[Row], recommended: int | None) -> Table:
    """Two lines per point: interval and verdict stand below what they belong to."""
    table = _front(front)
    add_words(table, "strategy, operator,\nranker")
    add_numbers(table, *_FRONT_NUMBERS, "gain over\none above", "trial")
    for row in front:
        chosen = row["number"] == recommended
        *numbers, held_out = _front_numbers(row)
        cells = [*numbers, f"{held_out}\n{_interval(row)}", f"{_gain(row)}\n{row['verdict']}".lstrip()]
        table.add_row(Text(row["label"]), *cells, _trial(row, chosen), style="bold" if chosen else None)
    return table


def _front(front: Sequence[Row]) -> Table:
    cost = front[0]["minimised"] if front else "candidates"
    here = max((row["environments"] for row in front), default=0)
    there = max((row["held_out/environments"] for row in front), default=0)
    return plain_table(
        f"Pareto front: normalised quality against {cost} per query", _FRONT_CAPTION.format(here=here, there=there)
    )


_FRONT_NUMBERS = ("cand-\nidates", "ms per\nquery", "quality\ntuned", "quality\nheld out")
_FRONT_CAPTION = (
    "* recommended. Tuned on {here} environments, measured again on {there} that tuning never saw (interquartile mean, "
    "95% bootstrap interval). The gain is the mean of the differences within each held-out environment, so it is not "
    "the difference of the interquartile means shown. Open or refuted: the gain may be, or is, luck."
)


def _front_numbers(row: Row) -> list[str]:
    return [
        significant(row["candidates"], 4),
        significant(row["held_out/seconds"] * 1e3, 3),
        f"{row['quality']:.3f}",
        f"{row['held_out/quality']:.3f}",
    ]


def _interval(row: Row) -> str:
    low, high = row["held_out/quality/ci_low"], row["held_out/quality/ci_high"]
    return "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _gain(row: Row) -> str:
    return "" if math.isnan(row["held_out/gain"]) else f"{row['held_out/gain']:+.3f}"


def _trial(row: Row, chosen: bool) -> str:
    return f"* {row['number']}" if chosen else str(row["number"])
