"""What figures and findings read: rows without those that failed, by family, with estimates over layouts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lever_ray.composition.operators import OPERATORS
from lever_ray.config import ContrastSettings
from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.statistics import Row, bounds_of, layout_means, layouts_of, scale_of
from lever_ray.order import in_natural_order
from lever_ray.query.result import UNION
from lever_ray.statistics.intervals import Interval, interval, ratio_interval, resamples

CONTROLS: dict[str, str] = {
    "best_single_oracle": "best single policy (oracle)",
    "scratch_best_gamma": "scratch, best gamma",
    "scratch": "scratch, same gamma",
    "random_q": "random tables, same search",
    "walk_planner": "plan on random walks",
}
"""What compositions are held against: ending of a column of returns, and what it is called."""
TABLES = ("sum", "max", "normalized-sum")
"""Operators over tables, as published or nearly so."""
_PREFERRED: Mapping[str, tuple[str, ...]] = {"options": ("exhaustive",)}


@dataclass(frozen=True)
class ReportSettings:
    """What a report of a reproduction says beside its rows.

    Attributes:
        title: of the page.
        size: of the study, e.g. ``quick``.
        strategy: whose compositions of tables stand for their operator where one has to; fixed before rows are seen.
        ranker: the same of rankers; the first in alphabetical order where an operator has no rows of it.
        budget: training budget of the figures; the shortest if empty.
        contrasts: named in the configuration before the run.
        training_seeds: of every policy.
        bootstrap: resamples of the layouts.
    """

    title: str = "Policy reuse: the published study and what it lacks"
    size: str = ""
    strategy: str = "hybrid-3"
    ranker: str = "offline-return"
    budget: str = ""
    contrasts: Sequence[ContrastSettings] = field(default=())
    training_seeds: int = 3
    bootstrap: int = 2_000


class Way(NamedTuple):
    """How a problem was answered."""

    operator: str
    strategy: str
    gamma: float

    def __str__(self) -> str:
        parts = [self.operator, *([] if self.strategy == UNION else [self.strategy]), gamma_words(self.gamma)]
        return ", ".join(parts)


def gamma_words(gamma: float) -> str:
    """A discount in words, e.g. ``gamma 0.99`` or ``all gammas``."""
    return "all gammas" if math.isinf(gamma) else f"gamma {gamma_told(gamma)}"


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of one family, and joint resamples of its layouts.

    Attributes:
        family: its name.
        rows: all of them.
        layouts: of the rows.
        draws: float64[B, L], see :func:`~lever_ray.statistics.intervals.resamples`.
    """

    family: str
    rows: Sequence[Row]
    layouts: Sequence[str | int]
    draws: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Row], *, bootstrap: int) -> Sample:
        """Of rows that are of one family."""
        layouts = layouts_of(rows)
        return cls(str(rows[0]["family"]), rows, layouts, resamples(len(layouts), count=bootstrap))

    def mean(self, rows: Iterable[Row], metric: str) -> Interval:
        """Mean of a metric over layouts; other rows of a layout are averaged first."""
        return interval(layout_means(rows, metric, self.layouts), self.draws, bounds=bounds_of(metric))

    def difference(self, rows: Iterable[Row], other: Iterable[Row], metric: str) -> Interval:
        """Mean over layouts of a metric of some rows less that of others, paired by layout."""
        ours, theirs = (layout_means(each, metric, self.layouts) for each in (rows, other))
        return interval(ours - theirs, self.draws)

    def ratio(self, rows: Sequence[Row], numerator: str, denominator: str) -> Interval:
        """Ratio of sums over layouts that have both."""
        above, below = (layout_means(rows, name, self.layouts) for name in (numerator, denominator))
        return ratio_interval(above, below, self.draws)


def samples(rows: Sequence[Row], *, bootstrap: int) -> list[Sample]:
    """A sample for each family, in natural order."""
    by_family = grouped(rows, "family")
    return [Sample.of(by_family[(name,)], bootstrap=bootstrap) for name in in_natural_order(n for (n,) in by_family)]


def grouped(rows: Iterable[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values in some columns, in the order in which these first appear."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in columns), []).append(row)
    return groups


def by_discount(rows: Sequence[Row]) -> list[tuple[float, list[Row]]]:
    """Rows by discount; those that mix discounts stand with each, or alone where there are no others."""
    gammas = sorted({row["gamma"] for row in rows})
    single = [gamma for gamma in gammas if math.isfinite(gamma)] or gammas
    return [(gamma, [row for row in rows if row["gamma"] in (gamma, math.inf)]) for gamma in single]


def succeeded(rows: Iterable[Row]) -> list[Row]:
    """Rows without an error; numbers that are not known are NaN, and controls have their normalised quality.

    What a row of the main study gains are columns ``normalised/<control>``, see :data:`CONTROLS`, and
    ``prediction/error`` and ``prediction/bias``, how far a prediction is from what was earned, normalised.
    """
    return [_extended(row) for row in rows if not failed(row)]


def failed(row: Row) -> bool:
    """Whether a row has an error in place of numbers."""
    return bool(row.get("error"))


def _extended(given: Row) -> Row:
    row = {name: math.nan if value is None else value for name, value in given.items()}
    if "return/optimum" not in row:
        return row
    scale, chance = scale_of(row), row["return/random"]
    bias = (row["return/predicted"] - row["return/composed"]) / scale
    for name in CONTROLS:
        row[f"normalised/{name}"] = (row.get(f"return/{name}", math.nan) - chance) / scale
    row |= {"prediction/bias": bias, "prediction/error": abs(bias)}
    return row


def in_operator_order(names: Iterable[str]) -> list[str]:
    """Operators as the project lists them, unknown ones last."""
    known = list(OPERATORS)
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name))


def ways(rows: Iterable[Row]) -> dict[Way, list[Row]]:
    """Rows by way, in the order of operators, then discounts."""
    found = {Way(*key): same for key, same in grouped(rows, "operator", "strategy", "gamma").items()}
    order = in_operator_order(way.operator for way in found)
    return {way: found[way] for way in sorted(found, key=lambda way: (order.index(way.operator), way.gamma))}


def of_reference_ways(rows: Iterable[Row], settings: ReportSettings) -> list[Row]:
    """Rows of one strategy for each operator; which one is said by the settings, and never by returns."""
    kept: list[Row] = []
    for (operator,), same in grouped(rows, "operator").items():
        wanted = (*_PREFERRED.get(operator, ()), settings.strategy, "exhaustive", "targeted")
        held = {row["strategy"] for row in same}
        chosen = next((name for name in wanted if name in held), min(held))
        kept += [row for row in same if row["strategy"] == chosen]
    return kept


def of_reference_setting(rows: Iterable[Row], settings: ReportSettings) -> list[Row]:
    """Rows of one training budget, and for each operator of one ranker; neither choice looks at returns."""
    held = list(rows)
    budgets = in_natural_order({row["budget"] for row in held})
    budget = settings.budget if settings.budget in budgets else next(iter(budgets), "")
    kept: list[Row] = []
    for same in grouped((row for row in held if row["budget"] == budget), "operator").values():
        rankers = sorted({row["ranker"] for row in same})
        ranker = settings.ranker if settings.ranker in rankers else rankers[0]
        kept += [row for row in same if row["ranker"] == ranker]
    return kept
