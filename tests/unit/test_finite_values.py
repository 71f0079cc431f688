"""Finite tasks: optimal values, plans and bounds against slow twins, and returns over the starts."""

from __future__ import annotations

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.errors import InvalidValue
from lever_ray.tasks.finite import hooks, values
from lever_ray.tasks.finite.family import FAMILY
from lever_ray.tasks.finite.ready import random_task
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.finite.values import as_table, solve
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import greedy_actions, rollout
from lever_ray.tasks.support import full_support, support_bits
from tests.finite_tasks import MOVES, PAYS, corridor, problems

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
    if found.q is not None:
        assert rollout(longer, objective=objective, q=found.q).total == pytest.approx(found.total, abs=1e-5)
    if horizon == 400:
        assert found.exact
        assert found.q is not None or not allowed[~task.terminal].any(axis=1).all()


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
