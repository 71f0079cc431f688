"""Tables of numbers behind the figures, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.statistics import Row, significant
from lever_ray.reproduction.cost import Costs
from lever_ray.reproduction.report import findings
from lever_ray.reproduction.report.data import ReportSettings, Sample, grouped, in_operator_order
from lever_ray.reproduction.report.figures_cost import costed
from lever_ray.reproduction.report.words import cell, duration, markdown
from lever_ray.statistics.intervals import Interval

Metric = str | Callable[[Sample, Sequence[Row]], str]
_WAY = ("family", "budget", "gamma", "operator", "strategy", "ranker")


def quality(main: Sequence[Sample]) -> str:
    """Every way's quality beside its controls."""
    metrics: dict[str, Metric] = {
        "over the best control": findings.OVER,
        "quality": "quality/normalised",
        "best single": "normalised/best_single_oracle",
        "scratch, best gamma": "normalised/scratch_best_gamma",
        "scratch, same gamma": "normalised/scratch",
        "random tables": "normalised/random_q",
        "plan on random walks": "normalised/walk_planner",
        "value coverage": "coverage/value",
    }
    return _table(main, _WAY, metrics)


def costs(main: Sequence[Sample]) -> str:
    """Every way's speed-up and what it evaluates."""
    metrics: dict[str, Metric] = {
        "quality": "quality/normalised",
        "speed-up": lambda sample, rows: cell(sample.ratio(rows, "seconds/scratch", "seconds/query")),
        "evaluated": "candidates/evaluated",
        "segments": "segments/simulated",
        "a query": lambda sample, rows: _duration(sample.mean(rows, "seconds/query")),
        "scratch": lambda sample, rows: _duration(sample.mean(rows, "seconds/scratch")),
        "steps saved": "environment_steps/saved",
    }
    return _table(main, _WAY, metrics)


def sweep(asked: Sequence[Sample]) -> str:
    """Quality and time by k."""
    lines = []
    for sample in asked:
        for way, line in findings.sweep_of(sample).items():
            for width in sorted(line):
                found = sample.mean(line[width], "quality/normalised"), sample.mean(line[width], "seconds/query")
                k = "all" if math.isinf(width) else f"{width:g}"
                named = (sample.family, way.operator, gamma_told(way.gamma), k)
                lines.append((*named, cell(found[0]), _duration(found[1])))
    return markdown(("family", "operator", "gamma", "k", "quality", "a query"), lines, words=4)


def break_even(asked: Sequence[Sample], settings: ReportSettings) -> str:
    """Queries until a library is paid back, by the cost of a step."""
    every = {sample.family: Costs.of(costed(sample, settings)) for sample in asked}
    shown = (0.0, 0.002, 0.004, 0.006, 0.008, 0.01)
    lines = [(f"{1e3 * cost:g}", *(_queries(each.break_even(cost)) for each in every.values())) for cost in shown]
    return markdown(("ms a step", *(f"queries, {family}" for family in every)), lines)


def predictions(main: Sequence[Sample]) -> str:
    """How far predictions are from what was earned, by ranker and operator."""
    metrics: dict[str, Metric] = {
        "error": "prediction/error",
        "bias": "prediction/bias",
        "regret": "regret",
        "Kendall tau-b": "rank_correlation",
    }
    return _table(main, ("family", "ranker", "operator", "gamma"), metrics)


def curves(parts: Sequence[Sample], *, shown: int = 10) -> str:
    """Quality of scratch at about so many numbers of episodes."""
    kept = []
    for sample in parts:
        ends = sorted({row["episodes"] for row in sample.rows})
        few = set(ends[:: max(1, len(ends) // shown)]) | {ends[-1]}
        rows = [row for row in sample.rows if row["episodes"] in few]
        kept.append(Sample(sample.family, rows, sample.layouts, sample.draws))
    return _table(kept, ("family", "gamma", "episodes"), {"quality": "quality"})


def coverage(parts: Sequence[Sample]) -> str:
    """Quality by kind of cut and what is kept."""
    metrics: dict[str, Metric] = {
        "quality": "quality/normalised",
        "scratch": "quality/scratch",
        "best single": "quality/best_single",
        "random tables": "quality/random_tables",
        "value coverage": "coverage/value",
        "path coverage": "coverage/path",
    }
    return _table(parts, ("family", "gamma", "operator", "cut", "kept"), metrics)


def chain(parts: Sequence[Sample]) -> str:
    """Quality by length of the chain and arm."""
    metrics: dict[str, Metric] = {
        "less scratch": "over/scratch",
        "quality": "quality/normalised",
        "scratch": "quality/scratch",
        "best single": "quality/best_single",
        "random tables": "quality/random_tables",
        "optimum on records": "quality/optimum_recorded",
    }
    return _table(parts, ("family", "gamma", "operator", "chain", "shaping", "length"), metrics)


def plain_table(lines: Sequence[Row]) -> str:
    """Lines with an interval beside a number as one cell; columns in the order of the first line."""
    words = [name for name, value in lines[0].items() if isinstance(value, str) or name == "gamma"]
    numbers = [name for name in lines[0] if name not in words and not name.endswith(("/ci_low", "/ci_high"))]
    body = [
        [*(_named(name, line[name]) for name in words), *(_number(line, name) for name in numbers)] for line in lines
    ]
    return markdown([*words, *numbers], body, words=len(words))


def _number(line: Row, name: str) -> str:
    value = float(line[name])
    return cell(Interval(value, *(float(line.get(f"{name}/ci_{end}", math.nan)) for end in ("low", "high"))))


def _table(parts: Iterable[Sample], by: Sequence[str], metrics: dict[str, Metric]) -> str:
    """A line for each value of some columns; numbers are means over layouts. Metrics that no row has are left out."""
    held = list(parts)
    known = {
        name: metric for name, metric in metrics.items() if callable(metric) or any(metric in s.rows[0] for s in held)
    }
    lines = []
    for sample in held:
        for named, rows in sorted(grouped(sample.rows, *by).items(), key=lambda pair: _place(by, pair[0])):
            cells = [each(sample, rows) if callable(each) else cell(sample.mean(rows, each)) for each in known.values()]
            lines.append([*map(_named, by, named), *cells])
    return markdown([*by, *known], lines, words=len(by))


def _place(by: Sequence[str], named: Sequence[Any]) -> list[Any]:
    """Operators as the project lists them, numbers and other names ascending."""
    order = in_operator_order({"sum", "max", "normalized-sum", "gpi", "switch", "options", "plan"})
    return [
        (order.index(value) if value in order else len(order), value) if name == "operator" else value
        for name, value in zip(by, named, strict=True)
    ]


def _named(column: str, value: object) -> str:
    if column == "gamma" and isinstance(value, float):
        return gamma_told(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(found: Interval) -> str:
    return "-" if math.isnan(found.value) else duration(found.value)


def _queries(value: float) -> str:
    return "never" if math.isinf(value) else significant(value)
