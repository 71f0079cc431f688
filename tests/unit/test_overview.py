"""A summary at a glance: reading order, what fits on a page, and quality beside controls."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest

from lever_ray.experiment.overview import (
    control_qualities,
    headline_markdown,
    in_reading_order,
    narrowed,
    quality_bars,
    way_of,
)
from lever_ray.experiment.statistics import METRICS, summarise

WAYS = [("sum", "targeted", 0.4), ("options", "exhaustive", 0.8)]


def row(
    gamma: float, mode: str, ranker: str, way: tuple[str, str, float], layout: int, **changes: Any
) -> dict[str, Any]:
    """A row as an experiment has it: returns between 0 (random) and 100 (optimum)."""
    operator, strategy, quality = way
    labels = {"gamma": gamma, "mode": mode, "setup": "path-gold", "operator": operator, "strategy": strategy}
    returns = {"composed": 100 * quality, "scratch": 20.0, "scratch_best_gamma": 30.0, "best_single_oracle": 50.0}
    values = {f"return/{name}": value for name, value in returns.items()}
    values |= {"return/random_q": 100 * quality / 2, "return/random": 0.0, "return/optimum": 100.0, "regret": 0.0}
    values |= {"quality/normalised": quality, "seconds/query": 0.001 / quality, "seconds/scratch": 0.01}
    where = {"ranker": ranker, "environment": f"grid8-{layout}", "layout_seed": layout, "trivial_layout": False}
    told = {"family": "grid8", "budget": "X1", "speedup/seconds": 10 * quality}
    return dict.fromkeys(METRICS, 1.0) | labels | where | told | values | changes


ROWS = [
    row(gamma, "trivial", ranker, way, layout)
    for gamma, ranker, way, layout in product((0.0, 0.99), ("regressor", "offline-return"), WAYS, range(6))
]


def test_lines_are_read_by_gamma_operator_and_strategy_as_tables_list_them() -> None:
    shuffled = summarise(ROWS[::-1], bootstrap=5)
    told = [(line["gamma"], way_of(line), line["ranker"]) for line in in_reading_order(shuffled)]
    ways = [(way, ranker) for way in ("targeted", "options exhaustive") for ranker in ("offline-return", "regressor")]
    assert told == [(gamma, *way) for gamma in (0.0, 0.99) for way in ways]


def test_the_operator_that_searches_by_itself_needs_no_strategy() -> None:
    assert way_of({"operator": "plan", "strategy": "union"}) == "plan"


def lines(*counts: tuple[str, str, int]) -> list[dict[str, Any]]:
    return [
        {"setup": setup, "mode": mode, "gamma": float(number), "ranker": "regressor"}
        for setup, mode, count in counts
        for number in range(count)
    ]


def test_a_page_keeps_the_value_that_leaves_most_lines_on_it() -> None:
    every = lines(("a", "x", 3), ("b", "x", 4), ("b", "y", 4), ("c", "x", 20))
    assert narrowed(every, 31) == ({}, every)
    assert narrowed(every, 30)[0] == {"setup": "c"}
    chosen, kept = narrowed(every, 10)
    assert (chosen, len(kept)) == ({"setup": "b"}, 8)
    chosen, kept = narrowed(lines(("b", "x", 4), ("b", "y", 4)), 5)
    assert (chosen, len(kept)) == ({"setup": "b", "mode": "x"}, 4)
    assert len(narrowed(lines(("a", "x", 1)) * 3, 2)[1]) == 3


def test_controls_are_normalised_layout_by_layout_and_what_offers_nothing_is_left_out() -> None:
    rows = [
        row(0.0, "trivial", "regressor", WAYS[0], 0, **{"return/optimum": 200.0}),
        row(0.0, "trivial", "regressor", WAYS[0], 1),
        row(0.0, "trivial", "regressor", WAYS[0], 2, **{"return/optimum": 0.0}),
        row(0.0, "trivial", "regressor", WAYS[0], 3, **{"return/random_q": math.nan}),
    ]
    found = control_qualities(rows)
    assert found == pytest.approx({"scratch": (0.15 + 0.3 + 0.3) / 3, "best single": 1.25 / 3, "random Q": 0.15})


def test_bars_are_means_at_equal_discount_and_random_q_the_strongest() -> None:
    summary = in_reading_order(summarise(ROWS, bootstrap=5))
    cells = [
        [each for each in ROWS if all(each[name] == line[name] for name in ("gamma", "ranker", "strategy"))]
        for line in summary
    ]
    bars = quality_bars(summary, [control_qualities(cell) for cell in cells])
    assert list(bars) == ["g0", "g0.99"]
    wanted = {"scratch": 0.3, "best single": 0.5, "random Q": 0.4, "targeted": 0.4, "options exhaustive": 0.8}
    assert bars["g0.99"] == pytest.approx(wanted)
    assert list(quality_bars([summary[0] | {"gamma": math.inf}], [control_qualities(cells[0])])) == ["all"]


def test_the_table_in_words_has_a_line_each_and_says_how_many_there_are() -> None:
    summary = in_reading_order(summarise(ROWS, bootstrap=5))
    told = headline_markdown(summary[:3], of=len(summary)).splitlines()
    assert told[0].split("|")[1:5] == [" gamma ", " mode ", " objective ", " strategy "]
    assert told[2].startswith(
        "| 0 | trivial | path-gold | targeted | offline-return | 0.400 (0.400 to 0.400) | 4x | 40.0 |"
    )
    assert len({line.count("|") for line in told[:5]}) == 1
    assert "3 of 8 lines" in told[-1]
