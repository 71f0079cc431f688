"""Finite tasks: what is refused, plain data and back, and optimal values against slow twins."""

from __future__ import annotations

import json
import math
import pickle
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.app.settings import EXPERIMENT, load_settings
from lever_ray.errors import InvalidTask, InvalidValue, UnknownName
from lever_ray.learning.sarsa import train
from lever_ray.tasks import registry
from lever_ray.tasks.features import features, initial_features, used_features
from lever_ray.tasks.finite import hooks, values
from lever_ray.tasks.finite.family import FAMILY
from lever_ray.tasks.finite.kernels import paying_cycle
from lever_ray.tasks.finite.ready import deep_sea, deep_sea_treasure, random_task
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.finite.values import as_table, solve
from lever_ray.tasks.kernel import GOAL, MOST_PAIRS
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import greedy_actions, random_return, rollout
from lever_ray.tasks.support import full_support, support_bits

FRONT = [(1, 1), (2, 3), (3, 5), (5, 7), (8, 8), (16, 9), (24, 13), (50, 14), (74, 17), (124, 19)]
"""Treasures of the published sea, and the fewest steps to each."""
MOVES = [[1, 0], [2, 0], [2, 2]]
PAYS = {"prize": [[0.0, 0.0], [5.0, 0.0], [0.0, 0.0]], "time": [[-1.0, -1.0]] * 3}
corridor = partial(FiniteTask, MOVES, PAYS, [2])


# Slow, obviously right twins.


def reward_of(task, objective, state, action):
    return sum(
        weight * float(task.rewards[task.terms.index(term), state, action])
        for term, weight in zip(objective.terms, objective.weights, strict=True)
    )


def best_within(task, objective, allowed, state, steps):
    """The best of all sequences of at most so many actions; an observation without allowed actions ends them."""
    options = [action for action in range(task.actions) if allowed[state][action]]
    if steps == 0 or task.terminal[state] or not options:
        return 0.0
    return max(
        reward_of(task, objective, state, action)
        + task.discount * best_within(task, objective, allowed, task.successors[state, action], steps - 1)
        for action in options
    )


def value_within(task, objective, allowed, table, state):
    """Return within the horizon of a table of actions."""
    total, weight = 0.0, 1.0
    for _ in range(task.horizon):
        if task.terminal[state] or not any(allowed[state]):
            break
        total += weight * reward_of(task, objective, state, table[state])
        weight *= task.discount
        state = task.successors[state, table[state]]
    return total


def value_for_ever(task, objective, allowed, table):
    """float64[S]: V = r + discount P V, solved as linear equations."""
    size = task.observations
    transitions, rewards = np.zeros((size, size)), np.zeros(size)
    for state in range(size):
        if not task.terminal[state] and any(allowed[state]):
            transitions[state, task.successors[state, table[state]]] = 1.0
            rewards[state] = reward_of(task, objective, state, table[state])
    return np.linalg.solve(np.eye(size) - task.discount * transitions, rewards)


def tables(task, allowed):
    """Every choice of one allowed action per observation."""
    return product(*([a for a in range(task.actions) if row[a]] or [0] for row in allowed))


def expected(task, value):
    return sum(float(weight) * value(state) for state, weight in enumerate(task.start) if weight)


@st.composite
def tasks(draw, *, most=4, horizon=6, discounts=(0.5, 0.9, 0.99, 1.0)):
    size, actions = draw(st.integers(1, most)), draw(st.integers(1, 3))
    live = draw(st.integers(1, size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    start = rng.integers(1, 5, live) * (rng.random(live) < 0.6)
    start[rng.integers(live)] += 1
    return FiniteTask(
        rng.integers(0, size, (size, actions)),
        rng.integers(-3, 4, (2, size, actions)) / draw(st.sampled_from([1, 7])),
        range(live, size),
        terms=("a", "b"),
        start=np.pad(start / start.sum(), (0, size - live)),
        horizon=draw(st.integers(1, horizon)),
        discount=draw(st.sampled_from(discounts)),
    )


@st.composite
def problems(draw, **options):
    """A task, an objective with weights of any sign, and allowed actions bool[S, A]."""
    task = draw(tasks(**options))
    weights = draw(st.sampled_from([(1, 1), (1, -1), (-0.5, 2), (0, 1), (-1, -1)]))
    objective = Objective.of("a-b", weights=dict(zip("ab", weights, strict=True)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    shape = (task.observations, task.actions)
    return task, objective, rng.random(shape) < draw(st.sampled_from([1.0, 0.7]))


# Values.


@settings(max_examples=200, deadline=None)
@given(problems(discounts=(0.01, 0.5, 0.9, 0.99)))
def test_values_for_ever_are_the_best_of_all_policies(problem):
    task, objective, allowed = problem
    found = solve(task, objective, support=support_bits(allowed))
    best = np.max([value_for_ever(task, objective, allowed, table) for table in tables(task, allowed)], axis=0)
    assert found.exact
    assert found.error <= values.EPSILON
    assert np.abs(found.values - best).max() <= found.error + 1e-9
    mine = value_for_ever(task, objective, allowed, np.maximum(found.policy, 0))
    assert mine == pytest.approx(best, abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(problems())
def test_values_within_the_horizon_are_the_best_of_all_sequences(problem):
    task, objective, allowed = problem
    compiled = task.compile(objective)
    found = values.within_horizon(compiled, values.choices_of(compiled, support_bits(allowed)))
    for state in range(task.observations):
        best = best_within(task, objective, allowed, state, task.horizon)
        assert found.values[state] == pytest.approx(best, abs=1e-9)
        total, weight, at = 0.0, 1.0, state
        for action in found.route(state).tolist() if not task.terminal[state] else ():
            assert allowed[at][action]
            total += weight * reward_of(task, objective, at, action)
            weight, at = weight * task.discount, task.successors[at, action]
        assert total == pytest.approx(best, abs=1e-9)
        for action in range(task.actions):
            if allowed[state][action] and not task.terminal[state]:
                rest = best_within(task, objective, allowed, task.successors[state, action], task.horizon - 1)
                expect = reward_of(task, objective, state, action) + task.discount * rest
                assert found.q[state, action] == pytest.approx(expect, abs=1e-5)


@settings(max_examples=200, deadline=None)
@given(problems())
def test_optimum_plan_and_bound_keep_what_they_promise(problem):
    task, objective, allowed = problem
    support = support_bits(allowed)
    best = expected(task, lambda state: best_within(task, objective, allowed, state, task.horizon))
    found = optimum(task, objective=objective, support=support)
    assert found.exact
    assert found.total == pytest.approx(best, abs=1e-5)
    assert len(found.path) == len(found.actions) + 1
    made = hooks.plan(task, objective, width=1, support=support)
    known = [expected(task, partial(value_within, task, objective, allowed, table)) for table in tables(task, allowed)]
    mine = greedy_actions(made.q)
    assert made.total == pytest.approx(expected(task, partial(value_within, task, objective, allowed, mine)), abs=1e-9)
    assert made.total <= max(known) + 1e-9
    assert made.total <= found.total + 1e-9
    assert hooks.memoryless(task, objective, support=support) == made.total
    if found.q is not None:
        earned = expected(task, partial(value_within, task, objective, allowed, greedy_actions(found.q)))
        assert earned == pytest.approx(found.total, abs=1e-9)
    if allowed.all():
        assert hooks.bound(task, objective) >= best - 1e-9
        assert made.total == pytest.approx(rollout(task, objective=objective, q=made.q).total, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(problems(discounts=(0.5, 0.9), horizon=4), st.sampled_from([60, 400]))
def test_a_long_horizon_is_earned_by_a_table(problem, horizon):
    task, objective, allowed = problem
    longer = FiniteTask(
        task.successors, task.rewards, task.terminal, terms=task.terms, start=task.start, discount=task.discount,
        horizon=horizon,
    )  # fmt: skip
    found = optimum(longer, objective=objective, support=support_bits(allowed))
    best = np.max([value_for_ever(task, objective, allowed, table) for table in tables(task, allowed)], axis=0)
    tail = task.discount**horizon * np.abs(best).max()
    assert found.total == pytest.approx(float(task.start @ best), abs=2 * tail + 1e-6)
    if horizon == 400:
        assert found.exact
        assert found.q is not None


def test_value_iteration_agrees_with_plain_sweeps_on_a_large_task():
    task = random_task(3, observations=2_000, actions=9)
    found = solve(task, "-".join(task.terms))
    compiled, plain = task.compile("-".join(task.terms)), np.zeros(2_000)
    for _ in range(3_000):
        q = compiled.rewards[0] + 0.99 * plain[compiled.moves]
        plain = np.where(task.terminal, 0.0, q.max(axis=1))
    assert np.abs(found.values - plain).max() <= found.error + 1e-9
    assert found.q[~task.terminal] == pytest.approx(q[~task.terminal], rel=1e-5, abs=1e-4)
    assert (found.q[task.terminal] == 0).all()


def test_nothing_is_earned_beyond_a_terminal_observation():
    task = FiniteTask([[1], [1]], {"a": [[2.0], [100.0]]}, [1], discount=0.9)
    assert solve(task, "a").values.tolist() == [2.0, 0.0]


def test_what_is_earned_before_being_stuck_counts():
    task = FiniteTask([[1, 0], [0, 2], [2, 2]], {"a": [[3.0, -1.0], [5.0, 5.0], [0.0, 0.0]]}, [2], discount=0.5)
    support = support_bits(np.array([[True, True], [False, False], [True, True]]))
    found = solve(task, "a", support=support)
    assert found.values.tolist() == [3.0, 0.0, 0.0]
    assert found.policy.tolist() == [0, -1, -1]
    assert found.q[1].tolist() == [-math.inf, -math.inf]
    nothing = np.zeros_like(support)
    assert optimum(task, objective="a", support=nothing).total == 0.0
    assert optimum(task, objective="a", support=nothing).path == (0,)


def test_waiting_for_ever_is_not_chosen_where_it_ties_at_discount_1():
    waiting = [[0, 1], [1, 2], [2, 2]]
    task = FiniteTask(waiting, {"a": [[0.0, 0.0], [0.0, 5.0], [0.0, 0.0]]}, [2], discount=1.0)
    found = optimum(task, objective="a")
    assert (found.total, found.exact, found.path) == (5.0, True, (0, 1, 2))
    assert rollout(task, objective="a", q=found.q).total == 5.0
    assert hooks.plan(task, Objective.of("a"), width=1).total == 5.0


def test_the_best_action_may_depend_on_the_steps_left():
    """A detour that pays first costs a step that the last one needs."""
    task = FiniteTask([[0, 1], [1, 1]], {"a": [[1.0, 3.0], [0.0, 0.0]]}, [1], horizon=4, discount=1.0)
    found = optimum(task, objective="a")
    assert (found.total, found.actions.tolist(), found.q) == (6.0, [0, 0, 0, 1], None)
    assert hooks.plan(task, Objective.of("a"), width=1).total == 4.0


def test_a_table_made_for_the_horizon_is_taken_where_it_earns_more():
    task = FiniteTask([[0, 1], [1, 1]], {"a": [[1.0, 3.0], [0.0, 0.0]]}, [1], horizon=1, discount=0.99)
    assert solve(task, "a").values[0] == pytest.approx(100.0)
    made = hooks.plan(task, Objective.of("a"), width=1)
    assert made.total == rollout(task, objective="a", q=made.q).total == 3.0
    assert optimum(task, objective="a").q is not None


def test_too_much_work_is_estimated_and_said(monkeypatch):
    task = FiniteTask([[0, 1], [1, 1]], {"a": [[1.0, 3.0], [0.0, 0.0]]}, [1], horizon=1000, discount=1.0)
    monkeypatch.setattr(values, "MOST_WORK", 100)
    monkeypatch.setattr(hooks, "MOST_WORK", 100)
    assert not solve(task, "a").exact
    assert solve(task, "a").error == math.inf
    found = optimum(task, objective=Objective.of("a", weights={"a": 2.0}))
    assert (found.total, found.exact) == (2000.0, False)
    assert rollout(task, objective="a[2]", q=found.q).total == found.total
    assert hooks.bound(task, Objective.of("a")) == 3000.0
    assert not hooks.is_exact(task)
    shorter = FiniteTask([[0, 1], [1, 1]], {"a": [[1.0, 3.0], [0.0, 0.0]]}, [1], horizon=60, discount=0.99)
    assert not optimum(shorter, objective="a").exact
    assert hooks.is_exact(FiniteTask(MOVES, PAYS, [2], horizon=5_000))


def test_rounding_to_float32_changes_no_action():
    q = np.array([[1.0, 1.0 + 1e-12, 0.0], [2.0, 2.0, 2.0], [-np.inf, 1e9, 1e9 + 1.0]])
    table = as_table(q, np.array([1, 2, 2], np.int16))
    assert greedy_actions(table).tolist() == [1, 2, 2]
    assert table == pytest.approx(q, rel=1e-6)


@pytest.mark.parametrize("epsilon", [0, -1.0, math.nan, math.inf])
def test_solve_refuses_bounds_that_bound_nothing(epsilon):
    with pytest.raises(InvalidValue, match=r"epsilon is .* above 0"):
        solve(corridor(), "time", epsilon=epsilon)


def test_solve_refuses_a_support_of_another_shape():
    with pytest.raises(InvalidValue, match=r"support has shape \(2, 1\)"):
        solve(corridor(), "time", support=full_support(2, 2))


# Starts.


def test_returns_are_expected_over_the_starts():
    task = FAMILY.example()
    found = optimum(task, objective="prize-time")
    near, far = (sum(-(0.99**t) for t in range(n)) + 10 * 0.99 ** (n - 1) for n in (2, 4))
    assert found.total == pytest.approx(0.75 * far + 0.25 * near)
    assert found.path == (0, 1, 2, 3, 4)
    assert rollout(task, objective="prize-time", q=found.q).total == pytest.approx(found.total)
    with pytest.raises(InvalidValue, match="2"):
        rollout(task, objective="prize-time", actions=found.actions)


@pytest.mark.parametrize(
    ("start", "expect"),
    [
        (1, [0, 1, 0]),
        ([0, 1], [0.5, 0.5, 0]),
        ({1: 0.25, 0: 0.75}, [0.75, 0.25, 0]),
        (np.array([0.5, 0.5, 0.0]), [0.5, 0.5, 0]),
        ([0.125, 0.875, 0.0], [0.125, 0.875, 0]),
    ],
)
def test_a_start_is_an_observation_a_list_or_a_distribution(start, expect):
    task = corridor(start=start)
    assert task.start.tolist() == expect
    assert task.dynamics.starts.tolist() == [state for state, weight in enumerate(expect) if weight]
    assert task.compile("time").weights.sum() == 1.0


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


# The record.


def full_task():
    return corridor(
        start={0: 0.25, 1: 0.75}, horizon=9, discount=0.9, name="maze", seed=7,
        descriptions={"time": "Be quick."}, synonyms={"prize": ["the prize", "win"]},
        features=[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], coordinates=[[0, 0], [0, 1], [3, 1]],
        labels=["here", "there", "gone"], action_names=["on", "back"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "task", [corridor(), full_task(), FAMILY.example(), deep_sea(0), deep_sea(5), random_task(2, observations=50)]
)
def test_plain_data_and_pickles_give_the_same_task_again(task):
    for again in (registry.decode(json.loads(json.dumps(task.encode()))), pickle.loads(pickle.dumps(task))):  # noqa: S301 - our own
        assert again == task
        assert hash(again) == hash(task)
        assert again.digest == task.digest
        assert (again.name, again.seed) == (task.name, task.seed)
        assert again.encode() == task.encode()
        assert again.describe().descriptions == task.describe().descriptions
        assert again.describe().wanted == task.describe().wanted
        assert [again.label(state) for state in range(3)] == [task.label(state) for state in range(3)]
        assert not again.rewards.flags.writeable


@settings(max_examples=50, deadline=None)
@given(tasks())
def test_every_task_is_plain_data(task):
    again = registry.decode(json.loads(json.dumps(task.encode())))
    assert again.encode() == task.encode()
    assert again.digest == task.digest


def test_documents_may_be_written_by_hand():
    document = {"family": "finite", "successors": MOVES, "rewards": PAYS, "terms": ["prize", "time"], "terminal": [2]}
    assert registry.decode(document) == corridor()


DAMAGE = {
    "no mapping": (lambda _: [1], "must be a mapping"),
    "missing": (lambda d: {k: v for k, v in d.items() if k != "rewards"}, "lacks rewards"),
    "type": (lambda d: d | {"rewards": d["rewards"] | {"dtype": "|O"}}, r"rewards have dtype '\|O'"),
    "shape": (lambda d: d | {"rewards": d["rewards"] | {"shape": [2, 3]}}, "rewards hold 48 bytes"),
    "negative shape": (lambda d: d | {"rewards": d["rewards"] | {"shape": [-2, 3, 2]}}, "list of whole numbers"),
    "data": (lambda d: d | {"successors": d["successors"] | {"data": "?"}}, "successors hold data that is no base64"),
    "no data": (lambda d: d | {"successors": d["successors"] | {"data": 3}}, "successors hold data that is no base64"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_documents_are_refused(case):
    change, message = DAMAGE[case]
    with pytest.raises(InvalidTask, match=message):
        FiniteTask.decode(change(corridor().encode()))


def test_identity_is_what_happens_not_what_it_is_called():
    task = corridor()
    assert corridor(name="other", seed=3, descriptions={"time": "Hurry."}) == task
    for other in (corridor(discount=0.9), corridor(horizon=9), corridor(start=1), corridor(features=[[0], [1], [2]])):
        assert other != task
        assert other.digest != task.digest
    assert task != "corridor"


def test_arrays_are_copied_and_kept():
    moves = np.array(MOVES)
    task = FiniteTask(moves, PAYS, [2])
    moves[0, 0] = 2
    assert task.successors[0, 0] == 1
    for array in (task.successors, task.rewards, task.terminal, task.start):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert (task.successors.dtype, task.rewards.dtype, task.rewards.shape) == (np.int32, np.float32, (2, 3, 2))


def test_it_is_an_environment():
    task = corridor()
    assert (task.family, task.ends, task.terms, task.trivial) == ("finite", ("terminal",), ("prize", "time"), False)
    assert (task.observations, task.actions, task.horizon, task.discount) == (3, 2, 3, 0.99)
    assert task.dynamics.flags.tolist() == [0, 0, GOAL]
    assert task.hooks is hooks.HOOKS
    assert (task.label(1), task.action_label(1), task.text(), task.features()) == (1, "1", "", None)
    assert task.describe().describe("prize-time") == "Earn as much prize as possible and earn as much time as possible."
    assert "3 observations" in repr(task)


def test_features_are_those_given():
    task = full_task()
    tables = task.features()
    assert tables.dimension == used_features(tables) == 2
    assert initial_features(tables) == pytest.approx(task.table)
    assert features(task, state=1, memory=(0, 0)) == pytest.approx([0.3, 0.4])


def test_labels_are_names_then_places_then_numbers():
    assert full_task().label(2) == "gone"
    assert corridor(coordinates=[[0, 0], [0, 1], [3, 1]]).label(2) == (3, 1)
    assert corridor(coordinates=[[0, 0], [0, 1], [0, 1]]).label(2) == 2


# Pictures.


def test_a_map_shows_route_ends_and_starts():
    task = deep_sea(0)
    rows = task.text([(0, 0), (0, 1), (1, 1), (2, 1)]).splitlines()
    assert rows[:3] == ["S * . . . . . . . .", "T * . . . . . . . .", "  T . . . . . . . ."]
    assert len(rows) == 12
    assert corridor(coordinates=[[0, 0], [0, 1], [100_000, 1]]).text() == ""
    with pytest.raises(InvalidValue, match=r"route visits \(5, 0\)"):
        task.text([(5, 0)])


@pytest.mark.parametrize("task", [deep_sea(0), corridor()])
def test_it_draws_itself(task):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    task.draw(axes, [task.label(0), task.label(1)], label="best")
    assert axes.get_legend_handles_labels()[1] == ["best"]
    task.draw(axes)
    axes.figure.canvas.draw()


# Deep-sea treasure and random tasks.


def test_deep_sea_treasure_is_the_published_one():
    task = deep_sea(0)
    assert (task.observations, task.actions, task.discount, task.name, task.seed) == (61, 4, 0.99, "deep-sea-0", 0)
    assert task.label(0) == (0, 0)
    assert [task.action_label(action) for action in range(4)] == ["right", "down", "left", "up"]
    for treasure, steps in FRONT:
        column = [value for value, _ in FRONT].index(treasure)
        route = rollout(task, objective="treasure-time", actions=np.array([0] * column + [1] * (steps - column)))
        assert route.end == "terminal"
        assert route.steps == steps
        assert route.rewards[-1] == treasure - 1
        assert route.total == pytest.approx(treasure * 0.99 ** (steps - 1) - sum(0.99**t for t in range(steps)))


def test_moves_against_the_floor_or_out_of_the_sea_lead_nowhere():
    task = deep_sea(0)
    place = {task.label(state): state for state in range(task.observations)}
    for cell, action in {(0, 0): 2, (0, 3): 3, (0, 9): 0, (5, 6): 2, (9, 9): 0}.items():
        assert task.successors[place[cell], action] == place[cell]
    assert task.successors[place[0, 0], 1] == place[1, 0]
    assert (task.rewards[1] == -1).all()


@pytest.mark.parametrize("discount", [1.0, 0.99])
@pytest.mark.parametrize("hurry", [0.0, 0.1, 0.7, 1.0, 2.0, 5.0, 8.0, 10.0, 20.0, 50.0, 100.0, 200.0])
def test_optima_of_deep_sea_treasure_lie_on_the_known_front(hurry, discount):
    sea = deep_sea(0)
    task = FiniteTask(
        sea.successors, sea.rewards, sea.terminal, terms=sea.terms, discount=discount, coordinates=sea.coordinates
    )
    best = max(
        value * discount ** (steps - 1) - hurry * sum(discount**t for t in range(steps)) for value, steps in FRONT
    )
    objective = Objective.of("treasure-time", weights={"time": hurry})
    found = optimum(task, objective=objective)
    assert found.exact
    assert found.total == pytest.approx(best, abs=1e-9)
    assert rollout(task, objective=objective, q=found.q).total == pytest.approx(best, abs=1e-9)
    assert hooks.plan(task, objective, width=1).total == pytest.approx(best, abs=1e-9)
    assert hooks.bound(task, objective) >= best - 1e-9


def test_the_front_is_what_undiscounted_sums_of_the_terms_can_be():
    task = deep_sea(0)
    steps = task._steps[task.terminal]
    value = [
        task.rewards[0][(task.successors == end) & ~task.terminal[:, None]].max()
        for end in np.flatnonzero(task.terminal)
    ]
    assert sorted(zip(map(float, value), steps.tolist(), strict=True)) == [(float(v), s) for v, s in FRONT]


def test_other_seas_have_floors_that_fall_and_treasures_that_grow():
    seen = set()
    for seed in range(1, 20):
        task = registry.source("deep-sea").sample(seed)
        cells = sorted(task.label(state)[::-1] for state in np.flatnonzero(task.terminal))
        depths = [depth for _, depth in cells]
        assert depths == sorted(depths)
        assert len(cells) == 10
        assert task.warnings == ()
        assert (task.seed, task.name) == (seed, f"deep-sea-{seed}")
        values_ = [task.rewards[0][task.successors == state].max() for state in np.flatnonzero(task.terminal)]
        assert len(set(values_)) == 10
        seen.add(task.digest)
    assert len(seen) == 19
    assert deep_sea(4) == deep_sea(4)


@pytest.mark.parametrize("make", [deep_sea, random_task])
@pytest.mark.parametrize("seed", [-1, 1.5, True, "x"])
def test_seeds_are_whole_numbers(make, seed):
    with pytest.raises(InvalidValue, match="seed is"):
        make(seed)


@pytest.mark.parametrize(
    ("depths", "treasures", "message"),
    [
        ([1, 2], [1.0], "2 depths and 1 treasures"),
        ([2, 1], [1.0, 2.0], "must not decrease"),
        ([0], [1.0], "at least 1"),
    ],
)
def test_floors_that_are_none_are_refused(depths, treasures, message):
    with pytest.raises(InvalidValue, match=message):
        deep_sea_treasure(depths=depths, treasures=treasures)


@pytest.mark.parametrize(("observations", "actions"), [(4, 1), (5, 1), (10, 2), (300, 6), (5_000, 9)])
def test_random_tasks_are_spread_out_and_can_be_ended(observations, actions):
    for seed in range(3):
        task = random_task(seed, observations=observations, actions=actions)
        assert (task.observations, task.actions) == (observations, actions)
        assert task == random_task(seed, observations=observations, actions=actions)
        assert task.warnings == ()
        assert task.terminal.sum() >= 2
        if observations >= 300:
            assert task._steps.max() >= np.sqrt(observations) / 3
        FiniteTask(task.successors, task.rewards, task.terminal, terms=task.terms, discount=1.0)
        found = optimum(task, objective="-".join(task.terms))
        assert found.exact
        assert rollout(task, objective="-".join(task.terms), q=found.q).total == pytest.approx(found.total)
        assert found.total >= random_return(task, "-".join(task.terms), episodes=3) - 1e-9


def test_random_tasks_too_small_are_refused():
    for options in ({"observations": 3}, {"actions": 0}, {"terms": ("a", "b")}):
        with pytest.raises(InvalidValue, match="at least 4, 1 and 3"):
            random_task(0, **options)


def test_random_tasks_take_other_terms():
    task = random_task(0, observations=30, actions=3, terms=("iron", "coal", "harm", "steps"))
    assert task.describe().descriptions["iron"] == "Earn as much iron as possible."


# The family.


def test_the_family_is_registered_with_its_sources():
    assert registry.family("finite") is FAMILY
    for name in ("deep-sea", "random-deterministic"):
        source = registry.source(name)
        task = source.sample(1)
        assert source.family == task.family
        assert source.terms == task.terms
        assert source.pools == {"trivial": task.terms}
        assert source.words.descriptions == task.describe().descriptions
        assert source.words.wanted == task.describe().wanted
        assert task.name == f"{name}-1"
    assert len(FAMILY.example().dynamics.starts) == 2


def test_policies_are_trained_on_it():
    task = deep_sea(0)
    run = train(task, objective="time", gamma=0.99, episodes=2_000, seed=1)
    assert run.total == pytest.approx(-1.0)
    assert optimum(task, objective="time").total >= run.total


def test_its_settings_are_those_of_a_library_and_an_experiment():
    settings = load_settings(["experiment=deep-sea"], about=(EXPERIMENT,))
    source = registry.source(settings.library.family)
    for setup in settings.experiment.setups:
        assert setup.mode in source.pools
        assert Objective.of(setup.objective).resolved(source.terms).name == setup.objective
