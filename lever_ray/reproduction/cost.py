"""When a library pays: the cost of its training and of queries, against training from scratch for every query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]

BY = ("family", "budget", "gamma", "mode", "setup", "operator", "strategy", "ranker")
"""What a line of the surface is about."""
STEP_COSTS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Seconds that an environment step takes, beyond what it takes in our compiled kernel: from none to 10 ms."""
QUERIES = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)


def break_even(
    rows: Iterable[Row], step_costs: Sequence[float] = STEP_COSTS, queries: Sequence[int] = QUERIES
) -> list[Row]:
    """Seconds with a library and from scratch, by way, cost of an environment step and number of queries.

    With a library: its training and the fitting of a ranker once, in seconds and steps, and every query end to end:
    reading the text, retrieval, ranking and composing, which take no environment step. From scratch: one training for
    every query. All are means over layouts, of the library that one layout's query takes its members from.

    Args:
        rows: of the study, without errors.
        step_costs: seconds by environment step, beyond those of our kernel.
        queries: how many are asked.

    Returns:
        Lines with the columns of :data:`BY`, ``step_cost``, ``queries``, ``seconds/library`` (training and queries),
        ``seconds/scratch``, ``seconds/saved`` and ``break_even_queries``: the number from which on a library saves
        time, infinite where a query takes longer than training.
    """
    lines: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        lines.setdefault(tuple(row[name] for name in BY), []).append(row)
    return [line for key, same in lines.items() for line in _surface(key, same, step_costs, queries)]


def _surface(
    key: tuple[Any, ...], rows: list[Row], step_costs: Sequence[float], queries: Sequence[int]
) -> Iterator[Row]:
    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in rows]))

    library = mean("seconds/library") + mean("seconds/fit")
    query, scratch = mean("seconds/end_to_end"), mean("seconds/scratch")
    library_steps, scratch_steps = mean("environment_steps/library"), mean("environment_steps/saved")
    for cost in step_costs:
        once, trained = library + cost * library_steps, scratch + cost * scratch_steps
        from_on = once / (trained - query) if trained > query else np.inf
        for count in queries:
            reused, anew = once + count * query, count * trained
            yield dict(zip(BY, key, strict=True)) | {
                "step_cost": cost,
                "queries": count,
                "seconds/library": reused,
                "seconds/scratch": anew,
                "seconds/saved": anew - reused,
                "break_even_queries": float(from_on),
            }
