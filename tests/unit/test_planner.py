"""Planning on recorded transitions, optima, self-avoiding routes and the upper bound, held to plain-Python twins."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.errors import InvalidValue
from lever_ray.tasks.gridworld.bounds import packing, upper_bound
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.memoryless import best_self_avoiding
from lever_ray.tasks.gridworld.optimum import is_exact
from lever_ray.tasks.gridworld.planner import GOLD_IN_HAND, LEVER_IN_HAND, beam_search, plan, plan_anytime
from lever_ray.tasks.gridworld.waypoints import Chart, best_order, realise
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import full_support, support_bits
from tests import twin
from tests.twin import layouts, objectives, random_tables

seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.0, 0.4, 0.7, 0.9, 1.0])
widths = st.sampled_from([1, 3, 30])
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "best_known.json").read_text())
LAYOUTS = {name: Layout.from_dict(fields) for name, fields in GOLDEN["layouts"].items()}
ROOM = Layout(4, (0, 0), (3, 3), ((0, 3), (3, 0)), ((1, 1),), ((2, 2),), (1, 3))
CORRIDOR = Layout(3, (0, 0), (2, 2), ((0, 2),))


def recorded(layout, *, seed, tried):
    """uint8[S]: a random part of all actions."""
    return support_bits(random_tables(layout, seed=seed, members=1, tried=tried)[1][0])


def within(support, layout, path, actions):
    return all(support[layout.index(cell), 0] >> action & 1 for cell, action in zip(path, actions, strict=False))


def twin_optimum(layout, objective, support, *, shaping=1.0):
    """Highest return on supported actions, trying every one; a cell without any ends the episode."""
    rules = twin.twin_of(layout, objective, shaping=shaping).rules

    @twin.cache
    def best(cell, golds, lever_on, steps_left):
        allowed = [action for action in range(4) if support[layout.index(cell), 0] >> action & 1]
        outcomes = [0.0] if not steps_left or not allowed else []
        for action in allowed if steps_left else ():
            *state, reward, end = rules.transition(cell, golds, lever_on, action)
            outcomes.append(reward + (0.0 if end else best(*state, steps_left - 1)))
        return max(outcomes)

    return best(layout.start, frozenset(layout.golds), False, layout.size**2)


def twin_self_avoiding(layout, objective, support):
    """Highest return of any deterministic policy over positions on supported actions, by trying every route."""
    environment = twin.twin_of(layout, objective)
    best = -np.inf

    def value(policy):
        environment.reset()
        while environment.end is None and environment.cell in policy:
            environment.step(policy[environment.cell])
        return environment.total

    def extend(cell, policy):
        nonlocal best
        allowed = [action for action in range(4) if support[layout.index(cell), 0] >> action & 1]
        if not allowed or cell == layout.exit or cell in layout.hazards:
            best = max(best, value(policy))
            return
        for action in allowed:
            after, longer = twin.moved(layout, cell, action), policy | {cell: action}
            if after == cell or after in policy:
                best = max(best, value(longer))
            else:
                extend(after, longer)

    extend(layout.start, {})
    return best


# Plans.


@settings(max_examples=60)
@given(layouts(), st.data(), seeds, shares, widths, st.sampled_from([0.0, 1.0]))
def test_a_plans_return_is_the_environments_return_of_its_route(layout, data, seed, tried, width, shaping):
    objective = data.draw(objectives(layout))
    support = recorded(layout, seed=seed, tried=tried)
    total, actions, *_ = plan(layout.compile(objective, shaping=shaping), width=width, support=support)
    route = rollout(layout, objective=objective, actions=actions, shaping=shaping)
    assert total == pytest.approx(route.total, abs=1e-9)
    assert len(route.actions) == len(actions)
    assert within(support, layout, route.path, actions)
    ends_there = support[layout.index(route.path[-1])] == 0
    assert route.end != "truncated" or len(actions) == layout.states or ends_there


@settings(max_examples=40)
@given(layouts(largest=3, golds=2), st.data(), seeds, shares)
def test_a_beam_wide_enough_finds_the_exact_optimum(layout, data, seed, tried):
    objective = data.draw(objectives(layout))
    support = recorded(layout, seed=seed, tried=tried)
    exact = optimum(layout, objective=objective, support=support)
    assert exact.exact
    assert plan(layout.compile(objective), width=2_000, support=support).total == pytest.approx(exact.total)


@settings(max_examples=40)
@given(layouts(), st.data(), seeds, shares)
def test_orders_of_waypoints_are_realised_by_supported_ways_to_the_exit(layout, data, seed, tried):
    objective = data.draw(objectives(layout))
    support = recorded(layout, seed=seed, tried=tried)
    chart = Chart.of(layout.compile(objective), support)
    order = best_order(chart, width=10)
    actions = realise(chart, order)
    route = rollout(layout, objective=objective, actions=actions)
    assert (route.end == "exit") == bool(order)
    assert within(support, layout, route.path, actions)
    assert len(set(order)) == len(order)


@settings(max_examples=30)
@given(layouts(), st.data(), seeds, shares)
def test_more_width_is_never_worse(layout, data, seed, tried):
    task = layout.compile(data.draw(objectives(layout)))
    support = recorded(layout, seed=seed, tried=tried)
    plans = list(plan_anytime(task, widths=(1, 2, 5, 20), support=support))
    totals = [found.total for found in plans]
    assert totals == sorted(totals)
    for width, found in zip((1, 2, 5, 20), plans, strict=True):
        assert found.total >= plan(task, width=width, support=support).total


def test_a_plan_can_be_stopped_after_any_width():
    task = LAYOUTS["grid16_scaled_s0"].compile("path-gold")
    found = plan_anytime(task, widths=(1, 10, 10_000_000))
    assert next(found).total <= next(found).total


@given(widths)
def test_where_the_start_has_no_supported_action_the_route_is_empty_and_its_return_0(width):
    nothing = np.zeros((16, 1), np.uint8)
    total, actions, *_ = plan(ROOM.compile("path-gold"), width=width, support=nothing)
    assert (total, list(actions)) == (0.0, [])
    best = optimum(ROOM, objective="path-gold", support=nothing)
    assert (best.total, best.path, len(best.actions)) == (0.0, ((0, 0),), 0)
    memoryless = best_self_avoiding(ROOM, objective="path-gold", support=nothing)
    assert (memoryless.total, memoryless.end, len(memoryless.actions)) == (0.0, "stuck", 0)


def test_a_route_that_gets_stuck_keeps_its_return_so_far():
    support = np.zeros((9, 1), np.uint8)
    support[:2] = 1
    route = plan(CORRIDOR.compile("gold"), width=5, support=support)
    assert list(route.actions) == [0, 0]
    assert route.total == pytest.approx(2 - 0.02 + 5)
    assert optimum(CORRIDOR, objective="gold", support=support).total == pytest.approx(route.total)
    assert best_self_avoiding(CORRIDOR, objective="gold", support=support).total == pytest.approx(route.total)


def test_ways_lead_through_golds_that_are_gone():
    """In a corridor the only way back from the gold at its end leads over the other gold's cell."""
    blocks = tuple((row, col) for row in (1, 2) for col in range(4) if (row, col) != (1, 0) and (row, col) != (2, 0))
    layout = Layout(4, (0, 1), (3, 0), ((0, 2), (0, 3)), (*blocks, (3, 1), (3, 2), (3, 3)), lever=(0, 0))
    found = plan(layout.compile("path-gold-lever"), width=10)
    assert rollout(layout, objective="path-gold-lever", actions=found.actions).memory[0] == 0
    assert found.total == pytest.approx(optimum(layout, objective="path-gold-lever").total)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "beam width is 0; use at least 1"),
        ({"support": full_support(15, 4)}, r"support has shape \(15, 1\); this task needs \(16, 1\)"),
    ],
)
def test_bad_plans_are_refused(change, message):
    with pytest.raises(InvalidValue, match=message):
        plan(ROOM.compile("path"), **{"width": 5} | change)
    with pytest.raises(InvalidValue, match=message):
        best_self_avoiding(ROOM, objective="path", **change)


def test_a_plan_does_not_write_to_its_support():
    support = full_support(16, 4)
    support.setflags(write=False)
    assert plan(ROOM.compile("path-gold"), width=5, support=support).total > 0


# Optima.


@settings(max_examples=25)
@given(layouts(largest=3, golds=2), st.data(), seeds, shares, st.sampled_from([0.0, 1.0]))
def test_the_recorded_optimum_agrees_with_trying_everything(layout, data, seed, tried, shaping):
    objective = data.draw(objectives(layout))
    support = recorded(layout, seed=seed, tried=tried)
    best = optimum(layout, objective=objective, support=support, shaping=shaping)
    assert best.total == pytest.approx(twin_optimum(layout, objective, support, shaping=shaping), abs=1e-9)
    assert within(support, layout, best.path, best.actions)


@settings(max_examples=25)
@given(layouts(largest=4), st.data(), seeds, shares)
def test_the_recorded_optimum_is_at_most_the_optimum_and_equals_it_on_full_support(layout, data, seed, tried):
    objective = data.draw(objectives(layout))
    best = optimum(layout, objective=objective).total
    full = full_support(layout.states, 4)
    assert optimum(layout, objective=objective, support=full).total == best
    support = np.maximum(recorded(layout, seed=seed, tried=tried), 1)
    assert optimum(layout, objective=objective, support=support).total <= best + 1e-9


@pytest.mark.parametrize("objective", ["path", "hazard", "lever", "path-hazard-lever"])
def test_without_golds_to_keep_in_mind_large_layouts_are_solved_exactly(objective):
    layout = LAYOUTS["grid16_scaled_s0"]
    best = optimum(layout, objective=objective)
    assert best.exact
    assert not is_exact(layout)
    assert best.total >= plan(layout.compile(objective), width=30).total - 1e-9


# The upper bound.


@settings(max_examples=200)
@given(layouts(largest=4), st.data(), st.sampled_from([0.0, 0.3, 1.0, 2.0]))
def test_no_behaviour_earns_more_than_the_upper_bound(layout, data, shaping):
    objective = data.draw(objectives(layout))
    best = optimum(layout, objective=objective, shaping=shaping)
    assert best.exact
    assert best.total <= upper_bound(layout, objective=objective, shaping=shaping) + 1e-9


@given(st.integers(1, 7), seeds, st.integers(1, 8))
def test_a_packing_is_the_largest_separated_subset(count, seed, least):
    places = np.random.default_rng(seed).integers(0, 6, (count, 2))
    apart = np.abs(places[:, None] - places[None]).sum(axis=2)
    subsets = [[point for point in range(count) if subset >> point & 1] for subset in range(2**count)]
    separated = [len(some) for some in subsets if all(apart[a, b] >= least for a in some for b in some if a < b)]
    assert packing(apart, least) == max(separated)


def test_many_points_are_packed_into_no_fewer_than_a_separated_subset():
    places = np.stack(np.unravel_index(np.arange(36), (6, 6)), axis=1)
    apart = np.abs(places[:, None] - places[None]).sum(axis=2)
    assert packing(apart, 1) == 36
    assert packing(apart, 2) >= 18


# Self-avoiding routes.


@settings(max_examples=60)
@given(layouts(), st.data(), seeds, shares, widths)
def test_a_self_avoiding_route_visits_no_cell_twice_and_returns_what_it_says(layout, data, seed, tried, width):
    objective = data.draw(objectives(layout))
    support = recorded(layout, seed=seed, tried=tried)
    found = best_self_avoiding(layout, objective=objective, support=support, width=width)
    route = rollout(layout, objective=objective, actions=found.actions)
    assert found.total == pytest.approx(route.total, abs=1e-9)
    assert within(support, layout, route.path, found.actions)
    assert len(set(found.path)) == len(found.path)
    assert route.path[: len(found.path)] == found.path
    assert set(route.path) == set(found.path)
    repeated = found.end in ("bump", "cycle")
    assert repeated == (route.end == "truncated" and len(found.actions) == layout.states)
    assert found.end == route.end or route.end == "truncated"
    assert found.total <= optimum(layout, objective=objective, support=support).total + 1e-9 or not is_exact(layout)


@settings(max_examples=40)
@given(layouts(largest=3, golds=2), st.data(), seeds, shares)
def test_no_policy_over_positions_is_reported_to_do_better_than_the_best(layout, data, seed, tried):
    objective = data.draw(objectives(layout))
    support = recorded(layout, seed=seed, tried=tried)
    found = best_self_avoiding(layout, objective=objective, support=support)
    assert found.total <= twin_self_avoiding(layout, objective, support) + 1e-9


def test_on_small_layouts_the_best_self_avoiding_route_is_found_nearly_always():
    shortfalls = []
    for seed in range(30):
        layout = Layout.sample("grid8", seed=seed)
        cells = {"size": 4, "golds": ((0, 3), (3, 0), (1, 2))[: seed % 4], "blocks": ((2, 1),) if seed % 3 else ()}
        layout = Layout(start=(0, 0), exit=(3, 3), hazards=((2, 3),) if seed % 2 else (), **cells)
        support = recorded(layout, seed=seed, tried=1.0 if seed < 15 else 0.8)
        objective = twin.Objective.of("path-gold" if layout.golds else "path")
        found = best_self_avoiding(layout, objective=objective, support=support).total
        shortfalls.append(twin_self_avoiding(layout, objective, support) - found)
    assert np.mean(np.array(shortfalls) < 1e-9) >= 0.9


def test_a_policy_that_cannot_end_repeats_itself_until_it_is_cut():
    support = np.zeros((9, 1), np.uint8)
    support[0], support[1] = 1, 0b0100
    cycle = best_self_avoiding(CORRIDOR, objective="path", support=support)
    assert (cycle.end, cycle.path, len(cycle.actions)) == ("cycle", ((0, 0), (0, 1)), 9)
    assert cycle.total == pytest.approx(1 - 9 * 0.1)
    support[1] = 0b1000
    bump = best_self_avoiding(CORRIDOR, objective="path", support=support)
    assert (bump.end, bump.total) == ("bump", pytest.approx(1 - 0.1 - 8 * 0.1))


# Committed values.


@pytest.mark.parametrize("entry", GOLDEN["values"], ids=lambda entry: f"{entry['layout']}/{entry['objective']}")
def test_best_known_values_lie_between_a_narrow_plan_and_the_upper_bound(entry):
    layout, best = LAYOUTS[entry["layout"]], entry["best_known"]
    found = plan(layout.compile(entry["objective"]), width=100)
    assert 0.97 * best <= found.total <= best + 1e-9
    assert best <= upper_bound(layout, objective=entry["objective"]) + 1e-9
    assert entry["upper_bound"] == pytest.approx(upper_bound(layout, objective=entry["objective"]))
    if entry["exact"]:
        assert optimum(layout, objective=entry["objective"]).total == pytest.approx(best)
    route = rollout(layout, objective=entry["objective"], actions=np.array(entry["route"]))
    assert route.total == pytest.approx(best)


def test_step_by_step_search_alone_finds_the_optimum_of_a_room():
    task = ROOM.compile("path-gold-hazard-lever")
    total, _ = beam_search(task, full_support(16, 4), 500, GOLD_IN_HAND, LEVER_IN_HAND)
    assert total == pytest.approx(optimum(ROOM, objective="path-gold-hazard-lever").total)
