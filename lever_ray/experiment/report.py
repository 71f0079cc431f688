"""A finished experiment in words and tables: Markdown from its rows, with 95% bootstrap intervals over layouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lever_ray.config import ContrastSettings
from lever_ray.errors import UnknownName
from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.statistics import Row, ends_of, layout_means, layouts_of, scale_of, significant
from lever_ray.glossary import EXPERIMENT, legend
from lever_ray.order import in_natural_order
from lever_ray.statistics.contrasts import holm, sign_flip
from lever_ray.statistics.intervals import Interval, interval, resamples

WAY = ("gamma", "operator", "strategy", "ranker")


@dataclass(frozen=True)
class TableSpec:
    """A table: one line per value of some columns, layouts averaged over everything else first.

    Attributes:
        title: what it answers.
        by: columns that identify a line.
        metrics: column shown by its heading.
        note: how to read it.
    """

    title: str
    by: tuple[str, ...]
    metrics: dict[str, str]
    note: str = ""


TABLES: tuple[TableSpec, ...] = (
    TableSpec(
        "Does reuse succeed?",
        WAY,
        {
            "quality/over_controls": "over the best control",
            "quality/normalised": "normalised quality",
            "regret": "regret",
            "candidates/evaluated": "evaluated",
        },
        "Over the best control: (J - max(best single policy by oracle, scratch at its best gamma, final or best "
        "snapshot)) / (J* - J_rand), paired by layout. Reuse succeeds where the lower bound is above 0.",
    ),
    TableSpec(
        "The same by setup",
        ("setup", "mode", *WAY),
        {"quality/over_controls": "over the best control", "quality/normalised": "normalised quality"},
    ),
    TableSpec(
        "Returns beside their controls",
        ("gamma", "operator", "strategy"),
        {
            "return/composed": "composed",
            "return/best_single_oracle": "best single, oracle",
            "return/best_single": "best single, ranker",
            "return/random_q": "random Q, same search",
            "return/scratch": "scratch, same gamma",
            "return/scratch_best_gamma": "scratch, best gamma",
            "return/scratch_longer": "scratch, m x episodes",
            "return/scratch_recorded_model": "scratch in recorded model",
            "return/walk_planner": "plan on random walks",
            "return/optimum": "optimum",
        },
    ),
    TableSpec(
        "How episodes end",
        ("gamma", "operator", "strategy"),
        {"ends/truncated": "circles until cut"},
    ),
    TableSpec(
        "Where the return is lost",
        ("gamma", "operator", "strategy", "ranker"),
        {
            "share/coverage": "coverage",
            "share/memory": "memory",
            "share/operator": "operator",
            "share/selection": "selection",
            "coverage/value": "value coverage",
        },
        "Terms of the gap decomposition over J* - J_rand; with normalised quality they add up to 1. Coverage: what no "
        "recorded transition leads to. Memory: what a table cannot do, since it takes the same action whenever it is "
        "back. Operator: what the best combination falls short of that. Selection: what the chosen one falls short of "
        "the best.",
    ),
    TableSpec(
        "How rankers choose",
        ("gamma", "operator", "ranker", "tier"),
        {"regret": "regret", "rank_correlation": "Kendall tau-b", "undefined": "tau undefined"},
        "Mean over setups and strategies; tau over the candidates that were evaluated.",
    ),
    TableSpec(
        "What it costs",
        ("gamma", "operator", "strategy", "ranker"),
        {
            "candidates/evaluated": "evaluated",
            "milliseconds/query": "ms a query",
            "milliseconds/scratch": "ms scratch",
            "break_even_queries": "break-even queries",
        },
        "Break-even: queries after which the library's training steps are paid back by the steps that scratch would "
        "have taken.",
    ),
)


def markdown_report(rows: Sequence[Row], *, contrasts: Sequence[ContrastSettings] = (), bootstrap: int = 2_000) -> str:
    """The report as Markdown.

    Args:
        rows: of an experiment.
        contrasts: named in the configuration before the run.
        bootstrap: resamples of the layouts.

    Raises:
        UnknownName: a contrast names a column that the rows lack.
    """
    extended, ends = [_extended(row) for row in rows], ends_of(rows)
    layouts = layouts_of(rows)
    draws = resamples(len(layouts), count=bootstrap)
    families = ", ".join(in_natural_order({row["family"] for row in rows}))
    trivial = len(layouts_of(row for row in rows if row["trivial_layout"]))
    easy = f"{trivial} of them are trivial: so easy that they are counted apart"
    numbers = "Numbers are means over layouts, in brackets their 95% bootstrap intervals."
    parts, told = [f"{len(layouts)} layouts of {families}; {easy}. {numbers}"], set[str]()
    if contrasts:
        parts.append(_explained(contrast_table(extended, contrasts, layouts, draws), told))
    parts += [_explained(_table(_with_ends(spec, ends), extended, layouts, draws), told) for spec in TABLES]
    return "\n\n".join(parts) + "\n"


def _explained(table: str, told: set[str]) -> str:
    """A table with its note, and below it what those words mean that have not been explained above."""
    lines = [f"- {term}: {meaning}" for term, meaning in legend(EXPERIMENT, [table], told=told)]
    return "\n\n".join([table, "\n".join(lines)]) if lines else table


def _with_ends(spec: TableSpec, ends: Sequence[str]) -> TableSpec:
    """A table about how episodes end, with all ends that the rows name; others as they are."""
    if not any(metric.startswith("ends/") for metric in spec.metrics):
        return spec
    named = {name: spec.metrics.get(name, name.removeprefix("ends/")) for name in ends}
    return replace(spec, metrics=named)


def _extended(row: Row) -> Row:
    scale = scale_of(row)
    shares = {f"share/{term}": row[f"gap/{term}"] / scale for term in ("coverage", "memory", "operator", "selection")}
    times = {f"milliseconds/{name}": 1e3 * row[f"seconds/{name}"] for name in ("query", "scratch")}
    return row | shares | times | {"undefined": float(math.isnan(row["rank_correlation"]))}


def markdown_table(spec: TableSpec, rows: Sequence[Row], *, bootstrap: int = 2_000) -> str:
    """One table as Markdown; layouts are resampled jointly across its lines."""
    layouts = layouts_of(rows)
    return _table(spec, rows, layouts, resamples(len(layouts), count=bootstrap))


def _table(spec: TableSpec, rows: Sequence[Row], layouts: Sequence[str | int], draws: np.ndarray) -> str:
    lines: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        lines.setdefault(tuple(row[name] for name in spec.by), []).append(row)
    header = [*spec.by, *spec.metrics.values()]
    body = [
        [*map(_named, spec.by, key), *(_cell(line, metric, layouts, draws) for metric in spec.metrics)]
        for key, line in lines.items()
    ]
    rule = ["---"] * len(spec.by) + ["---:"] * len(spec.metrics)
    table = [_joined(cells) for cells in (header, rule, *body)]
    return "\n\n".join(part for part in (f"### {spec.title}", spec.note, "\n".join(table)) if part)


def _cell(line: Sequence[Row], metric: str, layouts: Sequence[str | int], draws: np.ndarray) -> str:
    return _shown(interval(layout_means(line, metric, layouts), draws))


def _shown(estimate: Interval) -> str:
    if math.isnan(estimate.value):
        return "-"
    value, low, high = (significant(round(each, 9) + 0.0) for each in (estimate.value, estimate.low, estimate.high))
    return value if low == high else f"{value} [{low}, {high}]"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _named(column: str, value: object) -> str:
    return gamma_told(value) if column == "gamma" and isinstance(value, float) else _plain(value)


def _joined(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def contrast_table(
    rows: Sequence[Row], contrasts: Sequence[ContrastSettings], layouts: Sequence[str | int], draws: np.ndarray
) -> str:
    """Contrasts with their differences and p-values as Markdown, below a heading.

    Args:
        rows: of an experiment.
        contrasts: named in the configuration before the run.
        layouts: of the rows.
        draws: float64[B, L], see :func:`~lever_ray.experiment.statistics.resamples`.

    Raises:
        UnknownName: a contrast names a column that the rows lack.
    """
    differences = [_difference(rows, contrast, layouts) for contrast in contrasts]
    p_values = holm([sign_flip(difference) for difference in differences])
    header = _joined(["contrast", "difference, normalised", "p, Holm-corrected"])
    lines = [
        _joined([contrast.name, _shown(interval(difference, draws)), f"{p:.2g}"])
        for contrast, difference, p in zip(contrasts, differences, p_values, strict=True)
    ]
    note = "Fixed in the configuration before the run; one sign-flip test each, over layouts."
    return "\n\n".join(["### Contrasts", note, "\n".join([header, _joined(["---", "---:", "---:"]), *lines])])


def _difference(rows: Sequence[Row], contrast: ContrastSettings, layouts: Sequence[str | int]) -> np.ndarray:
    """float64[L]: mean normalised difference of two columns over the rows that a contrast selects."""
    chosen = [row for row in rows if all(_plain(row[name]) == value for name, value in contrast.where.items())]
    for column in (contrast.column, contrast.against):
        if chosen and column not in chosen[0]:
            raise UnknownName("column", column, sorted(chosen[0]), hint=f"Contrast {contrast.name!r} names it.")
    scaled = [row | {"difference": (row[contrast.column] - row[contrast.against]) / scale_of(row)} for row in chosen]
    return layout_means(scaled, "difference", layouts)
