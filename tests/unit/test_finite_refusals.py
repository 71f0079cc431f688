"""Finite tasks: what is refused, what is warned of, and the objectives that are taken."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.errors import InvalidTask, InvalidValue, UnknownName
from lever_ray.tasks.finite.kernels import paying_cycle
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.kernel import MOST_PAIRS
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout
from tests.finite_tasks import MOVES, PAYS, corridor

# What is refused.

BAD = {
    "shape": ({"successors": [0, 1]}, r"successors have shape \(2,\)"),
    "ragged": ({"successors": [[0], [1, 2]]}, "successors have rows of different lengths"),
    "fractions": ({"successors": [[0.5, 1.0]] * 3}, "dtype float64; give whole numbers"),
    "range": ({"successors": [[1, 0], [2, 3], [2, 2]]}, "from observation 1 by action 1 to 3; observations are 0 to 2"),
    "negative": ({"successors": [[1, 0], [2, -1], [2, 2]]}, "from observation 1 by action 1 to -1"),
    "no observations": ({"successors": np.empty((0, 2), int)}, "0 observations"),
    "no actions": ({"successors": np.empty((3, 0), int)}, "0 actions"),
    "reward shape": ({"rewards": {"a": [1.0, 2.0, 3.0]}}, r"'a' have shape \(3,\), successors \(3, 2\)"),
    "NaN": ({"rewards": {"a": [[0, 0], [0, math.nan], [0, 0]]}}, "reward nan of 'a' in observation 1 for action 1"),
    "infinite": (
        {"rewards": {"a": [[0, 0], [math.inf, 0], [0, 0]]}},
        "reward inf of 'a' in observation 1 for action 0",
    ),
    "huge": ({"rewards": {"a": [[0, 0], [0, 0], [1e300, 0]]}}, r"reward 1e\+300 of 'a' in observation 2 for action 0"),
    "texts": ({"rewards": {"a": [["x", "y"]] * 3}}, "give real numbers"),
    "no terms": ({"rewards": {}}, "name no term"),
    "term": ({"rewards": {"Prize-1": np.zeros((3, 2))}}, "'Prize-1' is no name; use small letters"),
    "term number": ({"rewards": {3: np.zeros((3, 2))}}, "3 is no name"),
    "unnamed": ({"rewards": np.zeros((2, 3, 2))}, r"without names; give terms=\[...\]"),
    "rows": ({"rewards": np.zeros((2, 3, 2)), "terms": ["a"]}, "2 rows, and there are 1 terms"),
    "twice": ({"rewards": np.zeros((2, 3, 2)), "terms": ["a", "a"]}, "'a' is given 2 times"),
    "terms twice": ({"terms": ["time", "prize"]}, "leave terms out"),
    "terminal shape": ({"terminal": [True, False]}, r"terminal has shape \(2,\)"),
    "terminal range": ({"terminal": [3]}, "terminal names observation 3; observations are 0 to 2"),
    "terminal kind": ({"terminal": ["x"]}, "name observations by whole numbers"),
    "start range": ({"start": 3}, "start names observation 3; observations are 0 to 2"),
    "start below": ({"start": -1}, "start names observation -1"),
    "start terminal": ({"start": 2}, "start is observation 2, which is terminal"),
    "start twice": ({"start": [0, 0]}, "start names observation 0 twice"),
    "no start": ({"start": []}, "start names no observation"),
    "start kind": ({"start": "x"}, "name observations by whole numbers"),
    "start floats": ({"start": [0.5, 0.5]}, r"start has shape \(2,\)"),
    "sum": ({"start": {0: 0.5, 1: 0.4}}, "add up to 0.9"),
    "negative weight": ({"start": {0: 1.5, 1: -0.5}}, "start has probability 1.5"),
    "NaN weight": ({"start": {0: math.nan}}, "start has probability nan"),
    "horizon": ({"horizon": 0}, "horizon is 0; use a whole number of steps, 1 to"),
    "horizon kind": ({"horizon": 2.5}, "horizon is 2.5"),
    "horizon inf": ({"horizon": math.inf}, "horizon is inf"),
    "discount 0": ({"discount": 0}, "discount is 0; use a number above 0, at most 1"),
    "discount": ({"discount": 1.01}, "discount is 1.01"),
    "discount NaN": ({"discount": math.nan}, "discount is nan"),
    "discount kind": ({"discount": "x"}, "discount is 'x'"),
    "seed": ({"seed": -1}, "seed is -1"),
    "described": ({"descriptions": {"gold": "Get gold."}}, "descriptions name term 'gold'"),
    "no text": ({"descriptions": {"time": ""}}, "give a sentence"),
    "synonyms": ({"synonyms": {"time": "quick"}}, "give a list of phrases"),
    "words": ({"synonyms": ["quick"]}, "give a mapping from term"),
    "features": ({"features": np.zeros((2, 4))}, r"features have shape \(2, 4\); give one row .* \[3, D\]"),
    "features NaN": ({"features": [[0.0], [math.nan], [0.0]]}, "features of observation 1 are .*nan"),
    "coordinates": ({"coordinates": np.zeros((3, 3))}, r"coordinates have shape \(3, 3\); .* \[3, 2\]"),
    "coordinates kind": ({"coordinates": [[0, 0], [0, 0.5], [1, 1]]}, "coordinates of observation 1 .* whole numbers"),
    "labels": ({"labels": ["a", "b"]}, "give 3 names"),
    "equal labels": ({"labels": ["a", "b", "a"]}, "'a' more than once"),
    "action names": ({"action_names": "ab"}, "give 2 names"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_breaks_a_rule_is_refused_by_name(case):
    change, message = BAD[case]
    with pytest.raises(InvalidTask, match=message):
        FiniteTask(**{"successors": MOVES, "rewards": PAYS, "terminal": [2]} | change)


def test_what_does_not_fit_in_memory_is_refused_before_it_is_copied():
    wide = np.broadcast_to(np.zeros((), np.int32), (MOST_PAIRS // 4, 8))
    with pytest.raises(InvalidTask, match="pairs; tables of more"):
        FiniteTask(wide, {"a": wide})
    with pytest.raises(InvalidTask, match="300 actions"):
        FiniteTask(np.zeros((2, 300), int), {"a": np.zeros((2, 300))})


def test_circles_that_pay_need_a_horizon_at_discount_1():
    circle = {"a": [[1.0, 0.0], [-0.5, 0.0], [0.0, 0.0]], "time": [[-1.0, -1.0]] * 3}
    back = [[1, 2], [0, 2], [2, 2]]
    with pytest.raises(InvalidTask, match=r"'a' earns 0.5 in a circle through observation \d by action 0; give a hor"):
        FiniteTask(back, circle, [2], discount=1.0)
    assert FiniteTask(back, circle, [2], discount=1.0, horizon=7).horizon == 7
    assert FiniteTask(back, circle, [2], discount=0.99).horizon == 3
    assert FiniteTask(back, circle | {"a": [[0.5, 9.0], [-0.5, 0.0], [7.0, 0.0]]}, [2], discount=1.0).horizon == 3


def test_circles_out_of_reach_do_no_harm():
    moves, pays = [[1, 1], [1, 1], [2, 2]], {"a": [[0.0, 0.0], [0.0, 0.0], [4.0, 4.0]]}
    assert FiniteTask(moves, pays, [1], discount=1.0).horizon == 3
    assert FiniteTask([[1, 1], [2, 2], [2, 2]], pays, [1], discount=1.0).horizon == 3


def test_circles_that_pay_by_rounding_alone_do_no_harm():
    pays = np.array([[0.1], [0.6], [-0.7]])
    assert pays.astype(np.float32).astype(float).sum() > 1e-9
    assert FiniteTask([[1], [2], [0]], {"a": pays}, discount=1.0).horizon == 3


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([1, 3, 10]))
def test_a_paying_circle_is_found_where_there_is_one(seed, size, divisor):
    rng = np.random.default_rng(seed)
    moves, pays = rng.integers(0, size + 1, (size, 2)), rng.integers(-4, 3, (size, 2)) / divisor
    paths = np.full((size + 1, size + 1), -np.inf)
    for state, action in product(range(size), range(2)):
        paths[state, moves[state, action]] = max(paths[state, moves[state, action]], pays[state, action])
    longest, best = paths.copy(), -np.inf
    for _ in range(size):
        best = max(best, longest[:size, :size].diagonal().max())
        longest = (longest[:, :, None] + paths[None]).max(axis=1)
    ended = np.pad(pays.astype(float), ((0, 1), (0, 0)), constant_values=-np.inf)
    state, action, total = paying_cycle(np.pad(moves, ((0, 1), (0, 0))).astype(np.int32), ended)
    assert (state >= 0) == (best > 1e-9)
    if state >= 0:
        assert 0 <= action < 2
        assert total > 1e-9


def test_ends_that_nobody_can_reach_are_told():
    far = [[min(state + 1, 4)] for state in range(5)]
    pays = {"a": np.zeros((5, 1))}
    assert FiniteTask(far, pays, [4]).warnings == ()
    assert FiniteTask(far, pays, [4], horizon=4).warnings == ()
    for task in (FiniteTask(far, pays, [4], horizon=3), FiniteTask(far, pays), FiniteTask(far, pays, [0], start=1)):
        assert "no terminal observation can be reached" in task.warnings[0]
        assert rollout(task, objective="a", q=np.zeros((5, 1))).end == "truncated"


def test_objectives_are_of_its_terms_with_weights_of_any_sign():
    task = corridor()
    assert task.compile("prize-time[2,-1]").rewards[0].tolist() == [[1.0, 1.0], [11.0, 1.0], [1.0, 1.0]]
    assert task.compile("time-prize[-1,2]") is task.compile("prize-time[2,-1]")
    assert task.compile("time").rules.stay_reward == -1.0
    assert task.admits(Objective.of("time[-1]"))
    assert not task.admits(Objective.of("gold"))
    with pytest.raises(UnknownName, match="gold"):
        task.compile("gold")
    with pytest.raises(InvalidValue, match="shaping is nan"):
        task.compile("time", shaping=math.nan)
    assert task.compile("time", shaping=0.0) is task.compile("time")
