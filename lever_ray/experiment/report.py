"""A finished experiment in words and tables: Markdown from its rows, with 95% bootstrap intervals over layouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lever_ray.config import ContrastSettings
from lever_ray.errors import UnknownName
from lever_ray.experiment.plan import DIFFERS, MATCHES, gamma_told
from lever_ray.experiment.statistics import Row, bounds_of, ends_of, layout_means, layouts_of, scale_of, significant
from lever_ray.glossary import EXPERIMENT, legend
from lever_ray.order import in_natural_order
from lever_ray.statistics.contrasts import effect_size, equivalence, holm, probability_of_improvement, sign_flip
from lever_ray.statistics.intervals import (
    FEWEST,
    FEWEST_OF_MIDDLE,
    Interval,
    interquartile_interval,
    interval,
    resamples,
)

_MIDDLE = "/iqm"
"""Ending of a column that stands for the interquartile mean of another."""
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
            "quality/normalised/iqm": "interquartile mean",
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
    extended, ends = [extended_row(row) for row in rows], ends_of(rows)
    layouts = layouts_of(rows)
    draws = resamples(len(layouts), count=bootstrap)
    families = ", ".join(in_natural_order({row["family"] for row in rows}))
    trivial = len(layouts_of(row for row in rows if row["trivial_layout"]))
    easy = f"{trivial} of them are trivial: so easy that they are counted apart"
    parts, told = [f"{len(layouts)} layouts of {families}; {easy}. {_NUMBERS}"], set[str]()
    if contrasts:
        parts.append(with_words(contrast_table(extended, contrasts, layouts, draws), told))
    parts += [with_words(_table(_with_ends(spec, ends), extended, layouts, draws), told) for spec in TABLES]
    return "\n\n".join(parts) + "\n"


_NUMBERS = (
    "Numbers are means over layouts, in brackets their 95% bootstrap intervals (studentised; of interquartile means "
    f"percentiles), shown from {FEWEST} layouts on (of interquartile means from {FEWEST_OF_MIDDLE}). Where all layouts "
    "agree on a share, its interval goes as far as layouts unlike them may have been missed."
)


def with_words(table: str, told: set[str]) -> str:
    """A table with its note, and below it what those words mean that have not been explained above."""
    lines = [f"- {term}: {meaning}" for term, meaning in legend(EXPERIMENT, [table], told=told)]
    return "\n\n".join([table, "\n".join(lines)]) if lines else table


def _with_ends(spec: TableSpec, ends: Sequence[str]) -> TableSpec:
    """A table about how episodes end, with all ends that the rows name; others as they are."""
    if not any(metric.startswith("ends/") for metric in spec.metrics):
        return spec
    named = {name: spec.metrics.get(name, name.removeprefix("ends/")) for name in ends}
    return replace(spec, metrics=named)


def extended_row(row: Row) -> Row:
    """A row with the columns of tables that follow from others: shares of the gap, milliseconds."""
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
        [*map(named, spec.by, key), *(_cell(line, metric, layouts, draws) for metric in spec.metrics)]
        for key, line in lines.items()
    ]
    rule = ["---"] * len(spec.by) + ["---:"] * len(spec.metrics)
    table = [joined(cells) for cells in (header, rule, *body)]
    return "\n\n".join(part for part in (f"### {spec.title}", spec.note, "\n".join(table)) if part)


def _cell(line: Sequence[Row], metric: str, layouts: Sequence[str | int], draws: np.ndarray) -> str:
    if metric.endswith(_MIDDLE):
        return _shown(interquartile_interval(layout_means(line, metric.removesuffix(_MIDDLE), layouts), draws))
    return _shown(interval(layout_means(line, metric, layouts), draws, bounds=bounds_of(metric)))


def _shown(estimate: Interval) -> str:
    if math.isnan(estimate.value):
        return "-"
    if math.isnan(estimate.low):
        return _number(estimate.value)
    value, low, high = (_number(each) for each in (estimate.value, estimate.low, estimate.high))
    return value if low == high else f"{value} [{low}, {high}]"


def _number(value: float) -> str:
    return significant(round(value, 9) + 0.0)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def named(column: str, value: object) -> str:
    """A value of a column that identifies a line, as tables show it."""
    return gamma_told(value) if column == "gamma" and isinstance(value, float) else _plain(value)


def joined(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


_CONTRASTS = (
    "Fixed in the configuration before the run, over layouts. Differs: a sign-flip test. Matches: two one-sided tests "
    "that the difference lies within the margin, and its 90% interval. Effect size: mean difference in standard "
    "deviations of the differences, by Hedges. Improvement: share of layouts on which it is better, ties counting half."
)
_CONTRAST_HEADER = ("contrast", "claim", "difference, normalised", "p, Holm-corrected", "effect size", "improvement")


def contrast_table(
    rows: Sequence[Row], contrasts: Sequence[ContrastSettings], layouts: Sequence[str | int], draws: np.ndarray
) -> str:
    """Contrasts with their differences and p-values as Markdown, below a heading.

    Args:
        rows: of an experiment.
        contrasts: named in the configuration before the run.
        layouts: of the rows.
        draws: float64[B, L], see :func:`~lever_ray.statistics.intervals.resamples`.

    Raises:
        UnknownName: a contrast names a column that the rows lack.
    """
    differences = [_difference(rows, contrast, layouts) for contrast in contrasts]
    tested = [_tested(contrast, each, draws) for contrast, each in zip(contrasts, differences, strict=True)]
    p_values = holm([p_value for _, p_value in tested])
    lines = [
        [
            contrast.name,
            contrast.claim if contrast.claim == DIFFERS else f"{contrast.claim} within {contrast.margin:g}",
            _shown(shown),
            "-" if math.isnan(p_value) else f"{p_value:.2g}",
            _shown(effect_size(each)),
            _shown(probability_of_improvement(each, draws)),
        ]
        for contrast, (shown, _), p_value, each in zip(contrasts, tested, p_values, differences, strict=True)
    ]
    rule = ["---", "---", *["---:"] * 4]
    table = [joined(cells) for cells in (_CONTRAST_HEADER, rule, *lines)]
    return "\n\n".join(["### Contrasts", _CONTRASTS, "\n".join(table)])


def _tested(contrast: ContrastSettings, difference: np.ndarray, draws: np.ndarray) -> tuple[Interval, float]:
    """The mean difference with its interval, and the p-value of the test that the contrast's claim asks for."""
    if contrast.claim == MATCHES:
        found = equivalence(difference, draws, margin=contrast.margin)
        return found.difference, found.p_value
    return interval(difference, draws), sign_flip(difference)


def _difference(rows: Sequence[Row], contrast: ContrastSettings, layouts: Sequence[str | int]) -> np.ndarray:
    """float64[L]: mean normalised difference of two columns over the rows that a contrast selects."""
    chosen = [row for row in rows if all(_plain(row[name]) == value for name, value in contrast.where.items())]
    for column in (contrast.column, contrast.against):
        if chosen and column not in chosen[0]:
            raise UnknownName("column", column, sorted(chosen[0]), hint=f"Contrast {contrast.name!r} names it.")
    scaled = [row | {"difference": (row[contrast.column] - row[contrast.against]) / scale_of(row)} for row in chosen]
    return layout_means(scaled, "difference", layouts)
