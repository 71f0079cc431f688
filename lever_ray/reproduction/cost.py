"""When a library pays: the cost of its training and of queries, against training from scratch for every query."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lever_ray.experiment.statistics import layout_means, layouts_of

Row = dict[str, Any]

BY = ("family", "budget", "gamma", "mode", "setup", "operator", "strategy", "ranker")
"""What a line of the surface is about."""
STEP_COSTS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Seconds that an environment step takes, beyond what it takes in our compiled kernel: from none to 10 ms."""
QUERIES = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)


@dataclass(frozen=True)
class Costs:
    """What a library and training from scratch cost, means over layouts; one library answers queries of one world.

    Attributes:
        library_steps: environment steps that training the library's members took.
        library_seconds: computing time of that, and of fitting a ranker.
        scratch_steps, scratch_seconds: of training one policy for a query.
        query_seconds: of answering it from the library end to end: reading the text, retrieval, ranking and composing,
            which take no environment step.
    """

    library_steps: float
    library_seconds: float
    scratch_steps: float
    scratch_seconds: float
    query_seconds: float

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Costs:
        """Of some rows of the study; a layout counts with the mean of its rows."""
        held = list(rows)
        layouts = layouts_of(held)

        def mean(name: str) -> float:
            return float(np.nanmean(layout_means(held, name, layouts)))

        return cls(
            library_steps=mean("environment_steps/library"),
            library_seconds=mean("seconds/library") + mean("seconds/fit"),
            scratch_steps=mean("environment_steps/saved"),
            scratch_seconds=mean("seconds/scratch"),
            query_seconds=mean("seconds/end_to_end"),
        )

    def once(self, step_cost: float) -> float:
        """Seconds of making the library, at a cost of an environment step in seconds."""
        return self.library_seconds + self.library_steps * step_cost

    def trained(self, step_cost: float) -> float:
        """Seconds of training from scratch for one query."""
        return self.scratch_seconds + self.scratch_steps * step_cost

    def saved(self, step_cost: float, queries: float) -> float:
        """Seconds that the library saves over training for every query; negative before it is paid back."""
        return queries * (self.trained(step_cost) - self.query_seconds) - self.once(step_cost)

    def break_even(self, step_cost: float) -> float:
        """Queries after which the library is paid back; infinity where a query saves nothing."""
        gained = self.trained(step_cost) - self.query_seconds
        return self.once(step_cost) / gained if gained > 0 else math.inf


def break_even(
    rows: Iterable[Row], step_costs: Sequence[float] = STEP_COSTS, queries: Sequence[int] = QUERIES
) -> list[Row]:
    """Seconds with a library and from scratch, by way, cost of an environment step and number of queries.

    Args:
        rows: of the study, without errors.
        step_costs: seconds by environment step, beyond those of our kernel.
        queries: how many are asked.

    Returns:
        Lines with the columns of :data:`BY`, ``step_cost``, ``queries``, ``seconds/library`` (making it, and queries),
        ``seconds/scratch``, ``seconds/saved`` and ``break_even_queries``: the number from which on a library saves
        time, infinite where a query takes longer than training. See :class:`Costs`.
    """
    lines: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        lines.setdefault(tuple(row[name] for name in BY), []).append(row)
    return [line for key, same in lines.items() for line in _surface(key, Costs.of(same), step_costs, queries)]


def _surface(key: tuple[Any, ...], costs: Costs, step_costs: Sequence[float], queries: Sequence[int]) -> Iterator[Row]:
    for cost in step_costs:
        for count in queries:
            yield dict(zip(BY, key, strict=True)) | {
                "step_cost": cost,
                "queries": count,
                "seconds/library": costs.once(cost) + count * costs.query_seconds,
                "seconds/scratch": count * costs.trained(cost),
                "seconds/saved": costs.saved(cost, count),
                "break_even_queries": costs.break_even(cost),
            }
