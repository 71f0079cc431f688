"""Operators: tables, routes and users' functions; recorded returns; what is refused."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import OPERATORS, check_factors, check_support, composition_operator
from lever_ray.composition.rankers.offline_return import OfflineReturnScorer
from lever_ray.composition.rankers.recorded_return import RecordedReturnScorer
from lever_ray.composition.rankers.registry import RANKERS
from lever_ray.composition.routes import route_of
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.policies.group import PolicyGroup
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import full_support, support_bits, taken_actions
from tests.twin import layouts, objectives, random_tables, twin_choice, twin_of

TABLES = ("sum", "max", "normalized-sum")
ROUTES = ("gpi", "switch")
ROOM = Layout(3, (0, 0), (2, 2))
seeds = st.integers(0, 10_000)
shares = st.sampled_from([1.0, 0.8, 0.4])


def groups_of(layout, count, *, seed, tried):
    groups = []
    for place in range(count):
        q, visits = random_tables(layout, seed=seed + place, members=2, tried=tried)
        rewards = (visits * (place + 1.5)).astype(np.float32)
        ids = tuple(f"{place}-{index}" for index in range(2))
        groups.append(PolicyGroup(f"group-{place}", ids, q, support_bits(visits), np.arange(2.0), rewards))
    return groups


def space_of(layout, count, *, seed, tried=1.0, operator="sum"):
    groups = groups_of(layout, count, seed=seed, tried=tried)
    return CandidateSpace.of(groups, normalised=OPERATORS[operator].normalised)


def scores_of(task, space, mixtures, operator):
    rows = np.array(mixtures, np.int32)
    return OfflineReturnScorer(task).score(space, rows, operator=OPERATORS[operator], masked=True)


# Routes.


@given(layouts(), st.data(), seeds, st.integers(1, 3))
def test_gpi_and_switch_on_full_support_are_never_below_the_best_single_policy(layout, data, seed, count):
    objective = data.draw(objectives(layout))
    task, space = layout.compile(objective), space_of(layout, count, seed=seed)
    members = [2 * place for place in range(count)]
    alone = scores_of(task, space, [[member] for member in members], "sum").values
    for operator in ROUTES:
        assert scores_of(task, space, [members], operator).values[0] >= alone.max() - 1e-9


@given(layouts(), st.data(), seeds, shares, st.sampled_from(ROUTES))
def test_a_route_earns_in_the_environment_what_was_predicted(layout, data, seed, tried, operator):
    objective = data.draw(objectives(layout))
    task, space = layout.compile(objective), space_of(layout, 3, seed=seed, tried=tried)
    mixture = np.array([0, 2, 4], np.int32)
    scores = scores_of(task, space, [mixture], operator)
    route = rollout(layout, objective=objective, actions=route_of(task, space.pool, mixture, operator=operator))
    assert route.total == pytest.approx(scores.values[0], abs=1e-9)
    if not scores.left_support[0]:
        assert route.end != "truncated" or route.steps == layout.states


@given(layouts(largest=3), st.data(), seeds)
@settings(max_examples=30)
def test_a_route_keeps_to_recorded_transitions(layout, data, seed):
    objective = data.draw(objectives(layout))
    task, space = layout.compile(objective), space_of(layout, 2, seed=seed, tried=0.5)
    mixture = np.array([1, 3], np.int32)
    union = space.pool.support[1] | space.pool.support[3]
    for operator in ROUTES:
        actions = route_of(task, space.pool, mixture, operator=operator)
        path = rollout(layout, objective=objective, actions=actions).path
        taken = zip(path[: len(actions)], actions, strict=True)
        assert all(union[layout.index(cell)] >> action & 1 for cell, action in taken)


def test_switch_follows_one_policy_and_then_another():
    layout = ROOM
    right, down = np.zeros((layout.states, 4)), np.zeros((layout.states, 4))
    right[:, 0], down[:, 1] = 1, 1
    everything = full_support(layout.states, 4)[None]
    groups = [
        PolicyGroup(name, (name,), q[None].astype(np.float32), everything, np.zeros(1))
        for name, q in (("right", right), ("down", down))
    ]
    task, space = layout.compile("path"), CandidateSpace.of(groups)
    route = route_of(task, space.pool, np.array([0, 1], np.int32), operator="switch")
    assert route.tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])


# Every operator.


@given(layouts(), st.data(), seeds, shares, st.sampled_from(TABLES + ROUTES))
def test_operators_do_not_depend_on_the_order_of_the_groups(layout, data, seed, tried, operator):
    objective = data.draw(objectives(layout))
    task, space = layout.compile(objective), space_of(layout, 3, seed=seed, tried=tried, operator=operator)
    scores = scores_of(task, space, list(permutations([1, 2, 5])), operator)
    assert np.allclose(scores.values, scores.values[0], atol=1e-9)
    assert len(set(scores.left_support.tolist())) == 1


@given(layouts(), seeds, st.sampled_from(TABLES))
def test_masked_tables_take_no_unsupported_action_where_a_supported_one_exists(layout, seed, operator):
    space = space_of(layout, 3, seed=seed, tried=0.3, operator=operator)
    mixture = np.array([0, 3, 4], np.int32)
    table = OPERATORS[operator].compose(None, space, mixture, masked=True).q
    support = np.bitwise_or.reduce(space.pool.support[mixture])
    chosen = table.argmax(axis=1)
    assert all(support[state, 0] == 0 or support[state, 0] >> chosen[state] & 1 for state in range(layout.states))


@given(layouts(), seeds)
def test_normalised_sum_divides_by_the_spread_of_visited_values(layout, seed):
    groups = groups_of(layout, 2, seed=seed, tried=0.6)
    space = CandidateSpace.of(groups, normalised=True)
    table = OPERATORS["normalized-sum"].compose(None, space, np.array([0, 2], np.int32), masked=False).q
    expected = np.zeros((layout.states, 4))
    for group in groups:
        visited = taken_actions(group.support[0], 4)
        spread = group.q[0][visited].astype(np.float64).std() if visited.any() else 0.0
        expected += group.q[0] / (spread or 1.0)
    assert np.allclose(table, expected, atol=1e-5)


# Users' functions.


@given(layouts(), st.data(), seeds, shares, st.booleans())
def test_a_users_function_ranks_like_the_operator_that_it_repeats(layout, data, seed, tried, masked):
    objective = data.draw(objectives(layout))
    task, space = layout.compile(objective), space_of(layout, 3, seed=seed, tried=tried)
    mixtures = np.array([[0, 2, 4], [1, 3, 5], [0, 3, 4]], np.int32)
    for name, function in (("sum", lambda q: q.sum(axis=0)), ("max", lambda q: q.max(axis=0))):
        own = OfflineReturnScorer(task).score(space, mixtures, operator=composition_operator(function), masked=masked)
        built_in = OfflineReturnScorer(task).score(space, mixtures, operator=OPERATORS[name], masked=masked)
        assert np.array_equal(own.values, built_in.values)
        assert np.array_equal(own.left_support, built_in.left_support)


def nothing(q):
    return q


def not_a_number(q):
    return q[0] * np.nan


@pytest.mark.parametrize(("function", "said"), [(nothing, "shape"), (not_a_number, "NaN")])
def test_a_users_function_that_gives_nonsense_is_named(function, said):
    space = space_of(ROOM, 2, seed=0)
    with pytest.raises(InvalidValue, match=f"{function.__name__}.*{said}"):
        composition_operator(function).compose(None, space, np.array([0, 2], np.int32), masked=True)


# Recorded returns.


@given(layouts(), seeds, shares, st.booleans())
def test_recorded_returns_agree_with_a_plain_walk(layout, seed, tried, masked):
    groups = groups_of(layout, 3, seed=seed, tried=tried)
    space, ranker = CandidateSpace.of(groups), RecordedReturnScorer(layout.dynamics, layout.horizon)
    score = ranker.score(space, np.array([[1, 2, 4]], np.int32), operator=OPERATORS["sum"], masked=masked)
    members = [(groups[0], 1), (groups[1], 0), (groups[2], 0)]
    tables = [group.q[row] for group, row in members]
    visits = [taken_actions(group.support[row], 4) for group, row in members]
    total, met, environment, supported = 0.0, set(), twin_of(layout, Objective.of("path")), True
    while environment.end is None and environment.cell not in met:
        met.add(environment.cell)
        state = layout.index(environment.cell)
        action, supported = twin_choice(tables, visits, state, operator="sum", masked=masked)
        if not supported:
            break
        total += sum(group.mean_rewards[row, state, action] for (group, row) in members)
        environment.step(action)
    assert score.values[0] == pytest.approx(total, abs=1e-6)
    assert score.left_support[0] == (not supported)


def test_recorded_returns_need_recorded_rewards():
    group = PolicyGroup("path", ("a",), np.zeros((1, 9, 4), np.float32), full_support(9, 4)[None], np.zeros(1))
    ranker = RecordedReturnScorer(ROOM.dynamics, ROOM.horizon)
    with pytest.raises(InvalidValue, match="'path' have no recorded rewards"):
        ranker.score(CandidateSpace.of([group]), np.array([[0]], np.int32), operator=OPERATORS["sum"], masked=True)


# Refusals.


@pytest.mark.parametrize("operator", [*ROUTES, "plan"])
def test_routes_refuse_what_has_no_meaning_for_them(operator):
    with pytest.raises(InvalidValue, match="support='mask'"):
        check_support(OPERATORS[operator], "ignore")
    with pytest.raises(InvalidValue, match="factors of groups"):
        check_factors(OPERATORS[operator])
    with pytest.raises(InvalidValue, match="offline-return"):
        OPERATORS[operator].check_ranker(RANKERS["regressor"])


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="normalized-sum"):
        composition_operator("normalised-sum")


def test_operators_are_labelled_with_regime_and_tier():
    labels = {name: (operator.regime, operator.tier) for name, operator in OPERATORS.items()}
    assert labels == {
        "sum": ("support-limited", "I0"),
        "max": ("support-limited", "I0"),
        "normalized-sum": ("support-limited", "I0"),
        "gpi": ("evaluates rollouts", "I3"),
        "switch": ("evaluates rollouts", "I3"),
        "plan": ("propagates value", "I3"),
        "options": ("evaluates rollouts", "I1"),
    }


def test_groups_of_different_layouts_are_refused():
    groups = groups_of(ROOM, 2, seed=0, tried=1.0)
    here, there = (replace(group, world=name) for group, name in zip(groups, ("a" * 64, "b" * 64), strict=True))
    with pytest.raises(InvalidValue, match="'group-0' and 'group-1' were trained in different environments"):
        CandidateSpace.of([here, there])
    CandidateSpace.of([here, replace(there, world="")])
