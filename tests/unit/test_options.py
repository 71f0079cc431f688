"""Options: the compiled search against its plain twin, brute force and the environment; budgets, ties, support."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lever_ray.composition.option_search import UNFINISHED
from lever_ray.composition.options import OptionRules, OptionStart, exit_moves, option_start, search_options
from lever_ray.composition.routes import member_actions
from lever_ray.composition.segments import event_terms
from lever_ray.embedding.offline import LEFT_SUPPORT, TRUNCATED
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import play, rollout
from lever_ray.tasks.support import full_support
from tests.finite_tasks import tasks
from tests.option_twin import OptionTwin, best_of_all, every_action
from tests.twin import layouts, objectives, pool_of, random_tables, twin_optimum

seeds = st.integers(0, 10_000)
shares = st.sampled_from([1.0, 0.9, 0.5])
EVERYTHING = OptionRules(merge="pareto", width=0)


@st.composite
def rule_sets(draw, **fixed):
    drawn = {
        "cut": draw(st.sampled_from([0, 0, 1, 2, 5])),
        "cycles": draw(st.sampled_from(["end", "choose"])),
        "merge": draw(st.sampled_from(["dominance", "pareto"])),
        "width": draw(st.sampled_from([1, 2, 10, 0])),
        "segments": draw(st.sampled_from([0, 0, 1, 7, 40])),
        "estimate": draw(st.sampled_from(["none", "exit"])),
    }
    return OptionRules(**(drawn | fixed))


@st.composite
def grid_cases(draw, *, members=3, steps=20, **size):
    """``(task, actions, start, None)`` of a layout, from its start or from anywhere with any memory."""
    layout = draw(layouts(**size))
    task = layout.compile(draw(objectives(layout)))
    if draw(st.booleans()):
        task = task._replace(rules=task.rules._replace(discount=0.9))
    tables = random_tables(layout, seed=draw(seeds), members=draw(st.integers(1, members)), tried=draw(shares))
    start = option_start(task)._replace(steps=draw(st.integers(0, steps)))
    if draw(st.booleans()):
        items, switch = task.rules.memory
        left = np.uint64(int(items) & draw(st.integers(0, 2**63)))
        start = start._replace(observation=draw(st.integers(0, layout.states - 1)), memory=(left, np.uint64(switch)))
    return task, member_actions(pool_of(*tables)), start, None


@st.composite
def finite_cases(draw, *, members=3):
    """``(task, actions, start, events)`` of a finite task in which some payments are events."""
    world = draw(tasks(most=6, horizon=20))
    rng = np.random.default_rng(draw(seeds))
    shape = (draw(st.integers(1, members)), world.observations)
    actions = rng.integers(0, world.actions, shape).astype(np.int16)
    actions[rng.random(shape) > draw(shares)] = -1
    sparse = world.rewards * (rng.random(world.rewards.shape) < 0.3)
    bits = event_terms("ab", sparse, full_support(world.observations, world.actions), named=["a", "b"]).bits
    task = world.compile("a-b")
    start = OptionStart(int(rng.choice(task.starts)), task.rules.memory, world.horizon, draw(st.sampled_from([0, 1])))
    return task, actions, start, draw(st.sampled_from([None, bits]))


cases = st.one_of(grid_cases(), finite_cases())
small_cases = st.one_of(grid_cases(largest=3, golds=2, members=2, steps=12), finite_cases(members=2))


def searched(case, rules):
    task, actions, start, events = case
    return search_options(task, actions, rules=rules, start=start, events=events, toward=toward_of(task, actions))


def toward_of(task, actions):
    """What the estimate is told: ways out by moves that some member makes."""
    taken = np.zeros(task.moves.shape, bool)
    for row in actions:
        taken[row >= 0, row[row >= 0]] = True
    return exit_moves(task, taken)


def can_search(case):
    task, _, start, _ = case
    return start.steps > 0 and not task.flags[start.observation] & 3


def replayed(task, start, actions):
    """``(total, steps, flag)`` of a route in the environment, from any full state."""
    begin = task._replace(rules=task.rules._replace(memory=start.memory, horizon=start.steps))
    states, rewards = np.empty(start.steps + 1, np.int32), np.empty(start.steps)
    steps, total, flag, _ = play(begin, np.int64(start.observation), actions, np.bool_(False), states, rewards)
    return total, steps, flag


# The twin.


@given(cases, rule_sets())
@settings(max_examples=400)
def test_the_search_agrees_with_its_plain_twin(case, rules):
    assume(can_search(case))
    task, actions, start, events = case
    found = searched(case, rules)
    toward = toward_of(task, actions)[0].tolist()
    twin = OptionTwin(task, actions, events=events, toward=toward, horizon=start.steps)
    end, node, simulated, cut_short = twin.search(start, rules)
    assert (found.end, found.simulated, found.followed) == (end, simulated, twin.followed)
    assert found.cut_short == cut_short
    assert found.total == pytest.approx(node.total if node.route else 0.0, abs=1e-9)
    others = [part.member for part in found.segments], [part.begins for part in found.segments]
    if others == (list(node.route), list(node.begins)):  # routes of equal returns up to rounding may differ
        assert [part.ends for part in found.segments] == list(node.whys)
        assert len(found.actions) == node.time


@pytest.mark.parametrize("seed", range(20))
def test_the_search_agrees_with_its_twin_where_much_can_be_taken(seed):
    rng = np.random.default_rng(seed)
    cells = [(int(cell) // 5, int(cell) % 5) for cell in rng.permutation(25)]
    layout = Layout(5, cells[0], cells[1], cells[2:8], cells[8:11], cells[11:13], cells[13])
    actions = member_actions(pool_of(*random_tables(layout, seed=seed, members=6, tried=(1.0, 0.8)[seed % 2])))
    task = layout.compile("path-gold-hazard-lever")
    if seed % 3 == 0:
        task = task._replace(rules=task.rules._replace(discount=0.95))
    start = option_start(task)
    toward, pareto = toward_of(task, actions), {"cut": 4, "cycles": "choose", "merge": "pareto"}
    exits = {"estimate": "exit"}
    for fields in ({}, {"cut": 3}, {"cycles": "choose"}, pareto, exits, exits | {"cut": 3}, exits | pareto):
        rules = OptionRules(width=5, **fields)
        found = search_options(task, actions, rules=rules, toward=toward)
        twin = OptionTwin(task, actions, toward=toward[0].tolist())
        end, node, simulated, _ = twin.search(start, rules)
        assert (found.end, found.simulated, found.followed) == (end, simulated, twin.followed)
        assert found.total == pytest.approx(node.total, abs=1e-9)
        assert found.total == pytest.approx(replayed(task, start, found.actions)[0], abs=1e-9)


@pytest.mark.parametrize("seed", range(60))
def test_the_search_agrees_with_its_twin_where_terms_are_paid_once(seed):
    rng = np.random.default_rng(seed)
    size, discount = 7, (1.0, 1.0, 0.9)[seed % 3]
    rewards = rng.integers(-4, 5, (3, size, 3))
    rewards[0] = -abs(rewards[0])  # coming back costs something
    rewards[1:] *= rng.random((2, size, 3)) < 0.2
    world = FiniteTask(
        rng.integers(0, size, (size, 3)), rewards, [6], terms=("time", "one", "two"), discount=discount, horizon=20
    )
    task, actions = world.compile("time-one-two"), rng.integers(0, 3, (4, size)).astype(np.int16)
    events = event_terms(world.terms, world.rewards, full_support(size, 3), named=["one", "two"]).bits
    start = option_start(task)
    for fields in ({}, {"cut": 1}, {"cut": 2}, {"cycles": "choose"}, {"merge": "pareto"}):
        rules = OptionRules(width=4, **fields)
        found = search_options(task, actions, rules=rules, events=events)
        twin = OptionTwin(task, actions, events=events)
        end, node, simulated, _ = twin.search(start, rules)
        assert (found.end, found.simulated, found.followed) == (end, simulated, twin.followed)
        assert found.total == pytest.approx(node.total, abs=1e-9)
        assert found.total == pytest.approx(replayed(task, start, found.actions)[0], abs=1e-9)
    best = search_options(task, actions, rules=EVERYTHING, events=events)
    assert best.total == pytest.approx(best_of_all(task, actions, start, events=events), abs=1e-9)


@given(cases, rule_sets())
@settings(max_examples=300)
def test_a_route_earns_in_the_environment_what_was_predicted_and_keeps_to_the_records(case, rules):
    task, actions, start, _ = case
    found = searched(case, rules)
    if start.steps == 0:
        assert len(found.actions) == 0
        return
    total, steps, flag = replayed(task, start, found.actions)
    assert found.total == pytest.approx(total, abs=1e-9)
    assert steps == len(found.actions)
    if found.end in (LEFT_SUPPORT, UNFINISHED):
        assert found.left_support != found.unfinished
    else:
        assert (found.end == TRUNCATED) == (not flag & 3)
        assert found.end != TRUNCATED or steps == start.steps
    state, whose = start.observation, {part.begins: part.member for part in found.segments}
    member = -1
    for time, action in enumerate(found.actions.tolist()):
        member = whose.get(time, member)
        assert action == actions[member, state] >= 0
        state = task.moves[state, action]


@given(layouts(), st.data(), seeds, shares)
def test_a_whole_route_replays_in_the_real_environment(layout, data, seed, tried):
    objective = data.draw(objectives(layout))
    actions = member_actions(pool_of(*random_tables(layout, seed=seed, members=3, tried=tried)))
    found = search_options(layout.compile(objective), actions, rules=data.draw(rule_sets(segments=0, estimate="none")))
    route = rollout(layout, objective=objective, actions=found.actions)
    assert route.total == pytest.approx(found.total, abs=1e-9)
    if not found.left_support:
        assert (route.end == "truncated") == (found.end == TRUNCATED)
        assert route.end != "truncated" or route.steps == layout.horizon


# Ways out.


@given(layouts(), seeds, shares)
def test_ways_out_are_shortest_recorded_ways_to_a_goal(layout, seed, tried):
    task = layout.compile("path")
    taken = np.random.default_rng(seed).random(task.moves.shape) < tried
    toward = exit_moves(task, taken)[0]
    steps = distances(task, taken)
    assert ((toward >= 0) == ((steps > 0) & (steps < np.inf))).all()
    for state in np.flatnonzero(toward >= 0):
        assert taken[state, toward[state]]
        assert steps[task.moves[state, toward[state]]] == steps[state] - 1


def distances(task, taken):
    """Steps to the nearest goal by recorded moves, by relaxing until nothing changes."""
    steps = np.where(task.flags & 1, 0.0, np.inf)
    while True:
        onward = np.where(taken, steps[task.moves], np.inf).min(axis=1) + 1
        nearer = np.where(task.flags & 3, steps, np.minimum(steps, onward))
        if (nearer == steps).all():
            return steps
        steps = nearer


# Brute force and optima.


@given(small_cases, st.sampled_from([0, 0, 1, 3]), st.sampled_from(["end", "choose"]))
@settings(max_examples=200)
def test_pareto_without_a_width_finds_the_best_of_all_sequences(case, cut, cycles):
    assume(can_search(case))
    task, actions, start, events = case
    best = best_of_all(task, actions, start, events=events, cut=cut, choose=cycles == "choose")
    found = searched(case, replace(EVERYTHING, cut=cut, cycles=cycles))
    assert (best == -np.inf) == found.left_support
    if not found.left_support:
        assert found.total == pytest.approx(best, abs=1e-9)
        some = searched(case, OptionRules(cut=cut, cycles=cycles, width=0))
        assert some.left_support or some.total <= found.total + 1e-9


@given(layouts(largest=3, golds=2), st.data())
@settings(max_examples=30)
def test_single_moves_of_constant_actions_plan_the_optimum_of_a_grid(layout, data):
    objective = data.draw(objectives(layout))
    weights = dict(zip(objective.terms, objective.weights, strict=True))
    found = search_options(layout.compile(objective), every_action(layout), rules=replace(EVERYTHING, cut=1))
    assert found.total == pytest.approx(twin_optimum(layout, objective.name, weights=weights), abs=1e-9)


@given(tasks(most=5, horizon=12))
def test_single_moves_of_constant_actions_plan_the_optimum_from_every_start(world):
    task = world.compile("a-b")
    total = 0.0
    for state, weight in zip(task.starts.tolist(), task.weights, strict=True):
        start = OptionStart(state, task.rules.memory, world.horizon)
        total += weight * search_options(task, every_action(world), rules=replace(EVERYTHING, cut=1), start=start).total
    best = optimum(world, objective="a-b")
    assert best.exact
    assert total == pytest.approx(best.total, abs=2e-6 * max(1.0, abs(best.total)))


@given(small_cases, st.data())
@settings(max_examples=60)
def test_searching_again_from_the_route_loses_nothing(case, data):
    """What an agent does that finds itself somewhere with some steps left."""
    task, actions, start, _ = case
    case, rules = (task, actions, start, None), replace(EVERYTHING, cut=2)
    found = searched(case, rules)
    if len(found.segments) < 2 or found.left_support:
        return
    twin = OptionTwin(task, actions, horizon=start.steps)
    node = twin.first(start)
    until = data.draw(st.sampled_from(found.segments[1:])).begins
    for action in found.actions[:until].tolist():
        node, _ = twin.moved(node, action)
    memory = np.uint64(node.memory[0]), np.uint64(node.memory[1])
    again = searched((task, actions, OptionStart(node.state, memory, start.steps - until), None), rules)
    assert node.total + node.weight * again.total == pytest.approx(found.total, abs=1e-9)


# Budgets.


def goodness(route):
    """Routes that end are better than beginnings, whatever these have earned."""
    return not route.left_support and not route.unfinished, route.total


@given(cases, rule_sets(segments=0, width=3))
@settings(max_examples=60)
def test_a_budget_is_kept_exactly_and_more_of_it_is_never_worse(case, rules):
    assume(can_search(case))
    whole = searched(case, rules)
    assert not whole.cut_short
    budgets = [budget for budget in (1, 2, 3, 5, 8, 13, 21, 34, 55) if budget < whole.simulated]
    routes = [searched(case, replace(rules, segments=budget)) for budget in budgets]
    assert [route.simulated for route in routes] == budgets
    assert all(route.cut_short for route in routes)
    exact = searched(case, replace(rules, segments=max(1, whole.simulated)))
    assert (exact.total, exact.cut_short, exact.end) == (whole.total, False, whole.end)
    ended = [route for route in [*routes, whole] if not route.left_support]
    assert [goodness(route) for route in ended] == sorted(goodness(route) for route in ended)


# Ties.


@given(cases, rule_sets())
@settings(max_examples=60)
def test_doubling_every_member_changes_no_route(case, rules):
    task, actions, start, events = case
    assume(not rules.segments)
    doubled = searched((task, np.concatenate([actions, actions]), start, events), rules)
    once = searched(case, rules)
    assert doubled.total == once.total
    assert doubled.segments == once.segments
