"""Finite tasks that are ready made: deep-sea treasure and random tasks."""

from __future__ import annotations

import numpy as np
import pytest

from lever_ray.errors import InvalidValue
from lever_ray.tasks import registry
from lever_ray.tasks.finite import hooks
from lever_ray.tasks.finite.ready import deep_sea, deep_sea_treasure, random_task
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import random_return, rollout

FRONT = [(1, 1), (2, 3), (3, 5), (5, 7), (8, 8), (16, 9), (24, 13), (50, 14), (74, 17), (124, 19)]
"""Treasures of the published sea, and the fewest steps to each."""


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
