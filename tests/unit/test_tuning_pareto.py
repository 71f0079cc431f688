"""Dominance, hypervolume and halving, held to plain-Python twins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.composition.recipe import Recipe
from lever_ray.config import LimitSettings
from lever_ray.errors import InvalidValue
from lever_ray.tuning.pareto import Point, dominance_ranks, goes_on, hypervolume, run_batch, rungs
from lever_ray.tuning.trial import Measured, split_environments

numbers = st.integers(0, 5).map(float)
points = st.lists(st.builds(Point, numbers, numbers.map(lambda x: 10.0**x), st.sampled_from([0.0, 0.0, 1.0, 2.0])))


def beats(one: Point, other: Point) -> bool:
    if one.violation > 0 or other.violation > 0:
        return one.violation < other.violation
    no_worse = one.quality >= other.quality and one.cost <= other.cost
    return no_worse and (one.quality, one.cost) != (other.quality, other.cost)


@given(points)
def test_ranks_are_those_of_peeling_fronts_off(given_points: list[Point]) -> None:
    ranks = dominance_ranks(given_points)
    left, rank = list(range(len(given_points))), 0
    while left:
        front = [a for a in left if not any(beats(given_points[b], given_points[a]) for b in left)]
        assert [int(ranks[a]) for a in front] == [rank] * len(front)
        left, rank = [a for a in left if a not in front], rank + 1


@given(points)
def test_hypervolume_is_the_mean_of_the_best_affordable_quality(given_points: list[Point]) -> None:
    costs = np.exp(np.linspace(0, np.log(1e6), 60_001))
    kept = [point for point in given_points if point.violation == 0]
    affordable = [max([0.0, *(p.quality for p in kept if p.cost <= cost)]) for cost in costs[::100]]
    found = hypervolume(given_points, cheapest=1.0, dearest=1e6)
    assert found == pytest.approx(np.mean(affordable), abs=0.05)


def test_hypervolume_grows_with_a_point_that_adds_something_and_only_then() -> None:
    some = [Point(0.5, 1.0, 0.0), Point(0.8, 100.0, 0.0)]
    before = hypervolume(some, cheapest=1.0, dearest=1e4)
    assert before == pytest.approx(0.65)
    assert hypervolume([*some, Point(0.6, 200.0, 0.0)], cheapest=1.0, dearest=1e4) == before
    assert hypervolume([*some, Point(0.9, 10.0, 1.0)], cheapest=1.0, dearest=1e4) == before
    assert hypervolume([*some, Point(0.7, 10.0, 0.0)], cheapest=1.0, dearest=1e4) == pytest.approx(0.7)
    assert hypervolume([], cheapest=1.0, dearest=1e4) == 0.0


@pytest.mark.parametrize(("count", "sizes"), [(1, (1,)), (3, (3,)), (4, (2, 4)), (10, (2, 5, 10)), (80, (20, 40, 80))])
def test_rungs_double_up_to_all_environments(count: int, sizes: tuple[int, ...]) -> None:
    assert rungs(count) == sizes


def test_the_better_half_goes_on_and_the_front_always() -> None:
    line = [Point(0.1 * place, 1.0, 0.0) for place in range(10)]
    assert goes_on(line, []) == [False] * 5 + [True] * 5
    assert goes_on(line[:3], []) == [True] * 3, "too few to tell"
    front = [Point(0.1 * place, float(place), 0.0) for place in range(10)]
    assert goes_on(front, [Point(0.0, 20.0, 0.0)] * 10) == [True] * 10
    assert goes_on([Point(0.95, 1.0, 0.5)], front) == [False], "what breaks a limit comes last"


def _measured(choice: Recipe, environments: Sequence[str]) -> list[Measured]:
    return [Measured(choice.width / 100, float(len(name)), 1e-3, 1.0) for name in environments]


def test_a_batch_visits_rung_by_rung_and_stops_what_is_hopeless() -> None:
    asked: list[tuple[int, list[str]]] = []

    def evaluate(choices: Sequence[Recipe], environments: Sequence[str]) -> list[list[Measured]]:
        asked.append((len(choices), list(environments)))
        return [_measured(choice, environments) for choice in choices]

    tried = [Recipe(strategy="targeted", operator="plan", width=width) for width in range(1, 9)]
    names = [f"grid8-{number}" for number in range(8)]

    def place(results: Sequence[Measured]) -> Point:
        return Point.of(results, cost="candidates", limits=LimitSettings())

    found = run_batch(tried, names, evaluate, earlier=[], place=place, halving=True)
    assert asked == [(8, names[:2]), (4, names[2:4]), (4, names[4:])], "four are too few to stop any at the second rung"
    assert [len(results) for results in found] == [2] * 4 + [8] * 4
    assert found[-1] == _measured(tried[-1], names)
    whole = run_batch(tried, names, evaluate, earlier=[], place=place, halving=False)
    assert [len(results) for results in whole] == [8] * 8


def test_environments_are_split_by_their_names_alone() -> None:
    names = [f"grid8-{number}" for number in range(20)]
    tuning, held_out = split_environments(names, 0.5)
    assert len(tuning) == len(held_out) == 10
    assert sorted([*tuning, *held_out]) == sorted(names)
    assert list(held_out) == sorted(held_out)
    assert split_environments(names, 0.5) == (tuning, held_out)
    assert [len(part) for part in split_environments(names[:2], 0.9)] == [1, 1]
    assert [len(part) for part in split_environments(names, 0.01)] == [19, 1]
    with pytest.raises(InvalidValue, match="has 1 environment, too few to split"):
        split_environments(names[:1], 0.5)
