"""Other orders of the search over options: the usual one is the compiled search, bounds hold, pruning loses nothing."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from lever_ray.composition.option_operator import Options
from lever_ray.composition.options import OptionRules, OptionStart, search_options
from lever_ray.composition.outcome_task import OutcomeWorth, outcome_task
from lever_ray.composition.routes import member_actions
from lever_ray.composition.segments import event_terms
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.studies.option_bound import GainBound
from lever_ray.studies.option_levels import Order, level_trials, orders, search_in_order
from lever_ray.studies.option_trials import walked
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.kernel import TERMINAL, nearest_item
from lever_ray.tasks.support import full_support
from tests.twin import distances_to, moved, pool_of, random_tables

WORTHS = (
    OutcomeWorth(goal=20.0, trap=-30.0, item=4.0, switch=7.0, all_items=5.0),
    OutcomeWorth(goal=-3.0, trap=None, item=-2.0, switch=6.0),
    OutcomeWorth(goal=10.0, trap=2.0, item=3.0, switch=-4.0),
)


def seeker(layout, target):
    """int16[S]: the shortest way to a cell."""
    distance = distances_to(layout, target)
    cells = [(state // layout.size, state % layout.size) for state in range(layout.states)]
    ways = [[distance.get(moved(layout, cell, action), layout.states) for action in range(4)] for cell in cells]
    return np.argmin(ways, axis=1).astype(np.int16)


def grid_case(seed, *, size=6, golds=6):
    """``(layout, actions)``: three random tables, and a member for each gold, the lever and the exit."""
    rng = np.random.default_rng(seed)
    cells = [(int(cell) // size, int(cell) % size) for cell in rng.permutation(size * size)]
    layout = Layout(size, cells[0], cells[1], cells[5 : 5 + golds], cells[2:4], cells[4:5], cells[5 + golds])
    drawn = member_actions(pool_of(*random_tables(layout, seed=seed, members=3, tried=(1.0, 0.8)[seed % 2])))
    return layout, np.vstack([drawn, *(seeker(layout, cell) for cell in (cells[1], *cells[5 : 6 + golds]))])


def scores(layout, seed):
    """The task with the reward, discounted or not, and with the worth of outcomes."""
    exact = layout.compile("path-gold-hazard-lever")
    yield exact._replace(rules=exact.rules._replace(discount=0.95)) if seed % 3 == 0 else exact
    yield outcome_task(layout.dynamics, layout.horizon, WORTHS[seed % 3])


def finite_case(seed):
    """``(task, actions, events)`` of a finite task whose terms are paid once or whenever."""
    rng = np.random.default_rng(seed)
    rewards = rng.integers(-4, 5, (3, 7, 3))
    rewards[0] = -abs(rewards[0])
    rewards[1:] *= rng.random((2, 7, 3)) < 0.2
    world = FiniteTask(rng.integers(0, 7, (7, 3)), rewards, [6], terms=("time", "one", "two"), horizon=20)
    events = event_terms(world.terms, world.rewards, full_support(7, 3), named=["one", "two"]).bits
    return world.compile("time-one-two"), rng.integers(0, 3, (4, 7)).astype(np.int16), events


def same(found, other):
    assert found.actions.tolist() == other.actions.tolist()
    names = ("total", "end", "segments", "simulated", "followed", "cut_short")
    assert [getattr(found, name) for name in names] == [getattr(other, name) for name in names]


# The usual order.


@pytest.mark.parametrize("seed", range(10))
def test_the_usual_order_is_the_compiled_search(seed):
    layout, actions = grid_case(seed)
    for task in scores(layout, seed):
        for cut, width, segments, merge in product((0, 3, 8), (1, 5, 30), (0, 7, 300), ("dominance", "pareto")):
            rules = OptionRules(cut=cut, width=width, segments=segments, merge=merge)
            same(search_in_order(task, actions, rules=rules), search_options(task, actions, rules=rules))
        for few in (actions, actions[:2], actions[4:5]):  # with few members nothing may end by itself
            for rules in (OptionRules(cycles="choose", width=4), OptionRules(cut=2, width=4)):
                same(search_in_order(task, few, rules=rules), search_options(task, few, rules=rules))


@pytest.mark.parametrize("seed", range(10))
def test_the_usual_order_is_the_compiled_search_where_terms_are_paid_once(seed):
    task, actions, events = finite_case(seed)
    for rules in (OptionRules(), OptionRules(cut=2, width=3), OptionRules(segments=9)):
        for laps in (True, False):
            found = search_in_order(task, actions, rules=rules, events=events, laps=laps)
            same(found, search_options(task, actions, rules=rules, events=events, laps=laps))


@pytest.mark.parametrize("seed", range(5))
def test_levels_by_events_are_levels_by_segments_where_only_events_end_them(seed):
    layout, actions = grid_case(seed)
    for task in scores(layout, seed):
        usual = search_options(task, actions, rules=OptionRules(width=6))
        same(search_in_order(task, actions, rules=OptionRules(width=6), order=Order("events")), usual)
        cut = OptionRules(cut=3, width=6)
        by_steps = search_in_order(task, actions, rules=cut, order=Order("steps", bucket=task.rules.horizon + 1))
        same(by_steps, search_in_order(task, actions, rules=cut, order=Order("none")))


# Bounds.


@pytest.mark.parametrize("seed", range(12))
def test_no_route_gains_more_than_the_bound(seed):
    layout, actions = grid_case(seed, size=4, golds=3)
    everything = OptionRules(cut=1, width=0, merge="pareto")
    for task in scores(layout, seed):
        steps = 14
        bound = GainBound(task, actions, int(task.rules.memory[0]), steps)
        route = search_options(task, actions, rules=OptionRules(cut=2, width=2))
        for time, here in enumerate(walked(task, route.actions)[:steps]):
            if task.flags[here.observation] & TERMINAL:
                break
            start = OptionStart(here.observation, here.memory, steps - time)
            best = search_options(task, actions, rules=everything, start=start)
            nearest = int(nearest_item(task.near, np.int64(here.observation), here.memory))
            gain = bound(here.observation, int(here.memory[0]), int(here.memory[1]), nearest)
            assert best.left_support or best.total <= gain + 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_of_outcomes_is_at_most_what_all_of_them_are_worth(seed):
    layout, actions = grid_case(seed)
    worth = WORTHS[seed % 3]
    bound = GainBound(outcome_task(layout.dynamics, layout.horizon, worth), actions, 0b111111, layout.horizon)
    most = max(0.0, worth.goal, worth.trap or 0.0) + max(0.0, worth.all_items)
    for items, switch in ((0b111111, 0), (0b101, 1), (0, 0), (0, 1)):
        events = items.bit_count() * max(0.0, worth.item) + (not switch) * max(0.0, worth.switch)
        gains = [bound(state, items, switch, -1) for state in range(layout.states)]
        assert max(gains) <= most + events + 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_what_cannot_win_is_dropped_and_complete_searches_find_the_same(seed):
    layout, actions = grid_case(seed, golds=3)
    for task in scores(layout, seed):
        for rules in (OptionRules(width=0), OptionRules(width=0, cut=5)):
            usual = search_options(task, actions, rules=replace(rules, merge="pareto"))
            ways = ("segments", False), ("steps", False), ("events", True), ("none", True)
            for (levels, bounded), prune in product(ways, ("steps", "score")):
                complete, order = replace(rules, merge="pareto"), Order(levels, bounded=bounded)
                free = search_in_order(task, actions, rules=complete, order=order)
                found = search_in_order(task, actions, rules=complete, order=replace(order, prune=prune))
                assert found.total == pytest.approx(usual.total, abs=1e-9)
                assert found.simulated <= free.simulated
                assert prune == "score" or len(found.actions) == len(usual.actions)


def test_pruning_saves_segments_where_all_is_taken():
    layout, actions = grid_case(1, golds=3)
    task = outcome_task(layout.dynamics, layout.horizon, WORTHS[0])
    rules = OptionRules(cut=4, width=0)
    whole, kept, dropped = (
        search_in_order(task, actions, rules=rules, order=Order(prune=prune)) for prune in ("none", "steps", "score")
    )
    assert whole.total == kept.total == dropped.total == 20 + 3 * 4 + 7 + 5
    assert len(kept.actions) == len(whole.actions)
    assert dropped.simulated <= kept.simulated < whole.simulated


# The trials.


def test_trials_are_those_of_the_orders_and_keep_their_budget():
    layout, actions = grid_case(2)
    task = layout.compile("path-gold-hazard-lever")
    for options in (Options(), Options(cut=8)):
        usual = search_options(task, actions, rules=options.rules)
        found = level_trials(task, actions, options.rules)
        assert set(found) == set(orders(options.rules, usual.simulated))
        assert ("levels of memory events, width 10" in found) == (options.cut is not None)
        assert found["best first"].segments <= usual.simulated
        assert found["levels of segments, width 30"].segments == usual.simulated
        best = search_options(task, actions, rules=OptionRules(cut=1, width=0)).total
        assert all(walked(task, trial.actions)[-1].total <= best + 1e-9 for trial in found.values())


def test_wrong_orders_are_named():
    with pytest.raises(UnknownName, match="Did you mean 'events'"):
        Order("event")
    with pytest.raises(UnknownName, match="prune of options"):
        Order(prune="all")
    with pytest.raises(InvalidValue, match="bucket of options is 0"):
        Order("steps", bucket=0)
