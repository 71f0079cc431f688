"""SARSA: equal seeds give equal bytes, the kernel equals its plain twin, snapshots and labels, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.errors import InvalidTask, InvalidValue, UnknownName
from lever_ray.learning.budgets import BUDGETS, training_budget
from lever_ray.learning.sarsa import Snapshot, TrainingRun, default_decay, train
from lever_ray.tasks.gridworld.env import GridWorld
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout
from tests.twin import layouts, objectives, twin_sarsa

ROOM = Layout(4, (0, 0), (3, 3), ((0, 2), (2, 0)), ((1, 1),), ((0, 3),), (3, 0))
ARRAYS = ("q", "visits", "successors", "mean_rewards")


def run_of(totals):
    """A training run whose snapshots, one per episode, have these greedy returns."""
    empty = np.zeros((16, 4))
    snapshots = [Snapshot(episode, empty, empty, empty, empty, float(total)) for episode, total in totals]
    return TrainingRun(ROOM, Objective.of("path"), 0.0, 0, len(snapshots), tuple(snapshots), 1, 1.0)


def same_bytes(one, other):
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ARRAYS)


# Training.


@pytest.mark.parametrize("gamma", [0.0, 0.99])
def test_equal_seeds_give_equal_bytes_and_other_seeds_others(gamma):
    asked = {"objective": "path-gold", "episodes": 300, "gamma": gamma, "snapshot_every": 100}
    first, again, other = (train(ROOM, seed=seed, **asked) for seed in (7, 7, 8))
    assert first.environment_steps == again.environment_steps
    for one, two in zip(first.snapshots, again.snapshots, strict=True):
        assert same_bytes(one, two)
        assert one.total == two.total
    assert not same_bytes(first.snapshots[-1], other.snapshots[-1])


def test_how_often_snapshots_are_taken_does_not_change_what_is_learnt():
    often, once = (train(ROOM, objective="gold", episodes=90, snapshot_every=every) for every in (7, 90))
    assert same_bytes(often.snapshots[-1], once.snapshots[-1])


@settings(max_examples=40)
@given(st.data(), layouts(largest=4), st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.integers(0, 2**32))
def test_the_training_kernel_agrees_with_the_plain_twin(data, layout, gamma, seed):
    objective = data.draw(objectives(layout))
    run = train(layout, objective=objective, episodes=25, gamma=gamma, seed=seed, epsilon_decay=0.8)
    world = GridWorld(layout, objective=objective)
    q, visits, sums = map(np.array, twin_sarsa(world, episodes=25, gamma=gamma, seed=seed, decay=0.8))
    assert np.array_equal(run.q, q.astype(np.float32))
    assert np.array_equal(run.snapshots[-1].visits, visits)
    means = sums / np.maximum(visits, 1)
    assert run.snapshots[-1].mean_rewards == pytest.approx(means, rel=1e-6, abs=1e-6)


def test_a_policy_with_discount_learns_the_shortest_way_to_the_exit():
    corridor = Layout(5, (0, 0), (0, 4), blocks=tuple((1, col) for col in range(5)))
    run = train(corridor, objective="path", episodes=500, gamma=0.99)
    assert (run.snapshots[-1].total, run.total) == (pytest.approx(100 + 4 - 0.4),) * 2
    assert np.array_equal(run.q, run.snapshots[-1].q)
    assert run.steps_per_second > 0


def test_without_shaping_and_discount_nothing_propagates_beyond_one_step():
    run = train(ROOM, objective="path", episodes=200, gamma=0.0, shaping=0.0)
    beside_exit = [ROOM.index(cell) for cell in ((2, 3), (3, 2))]
    assert (run.q[beside_exit] > 1).sum() == 2
    assert np.delete(run.q, beside_exit, axis=0).max() <= 0.0


# Snapshots.


@pytest.mark.parametrize("objective", ["path", "path-gold", "hazard-lever", "path-gold-hazard-lever"])
def test_snapshots_record_what_was_tried_where_it_led_and_what_it_paid(objective):
    run = train(ROOM, objective=objective, episodes=120, gamma=0.99, snapshot_every=50)
    assert [snapshot.episode for snapshot in run.snapshots] == [50, 100, 120]
    for snapshot in run.snapshots:
        tried = snapshot.visits > 0
        moves = ROOM.terrain.moves
        assert np.array_equal(snapshot.successors, np.where(tried, moves, -1))
        assert (snapshot.mean_rewards[~tried] == 0).all()
        assert snapshot.mean_rewards[tried].min() >= -100
        assert snapshot.mean_rewards[tried].max() <= 100 + 100 + 100 + 80 + 5 + 20
        bumps = tried & (moves == np.arange(ROOM.states)[:, None])
        assert snapshot.mean_rewards[bumps] == pytest.approx(-0.1)
        assert (snapshot.q[~tried] == 0).all()
        assert [getattr(snapshot, name).dtype for name in ARRAYS] == ["float32", "uint32", "int32", "float32"]


def test_terminal_cells_and_blocks_are_never_acted_in():
    visits = train(ROOM, objective="path", episodes=200).snapshots[-1].visits
    for cell in (ROOM.exit, *ROOM.hazards, *ROOM.blocks):
        assert visits[ROOM.index(cell)].sum() == 0


def test_environment_steps_count_every_move_of_training_and_of_the_greedy_episodes():
    run = train(ROOM, objective="path-gold", episodes=200, snapshot_every=60, gamma=0.99)
    greedy = [rollout(ROOM, objective="path-gold", q=snapshot.q) for snapshot in run.snapshots]
    assert [snapshot.total for snapshot in run.snapshots] == [route.total for route in greedy]
    assert run.environment_steps == run.snapshots[-1].visits.sum() + sum(route.steps for route in greedy)


def test_snapshots_are_of_their_own_time():
    run = train(ROOM, objective="path", episodes=30, snapshot_every=10)
    visits = [snapshot.visits.sum() for snapshot in run.snapshots]
    assert visits == sorted(set(visits))
    first = train(ROOM, objective="path", episodes=10, epsilon_decay=default_decay(30))
    assert same_bytes(run.snapshots[0], first.snapshots[0])


def test_a_watcher_sees_every_snapshot_as_it_is_taken():
    seen = []
    run = train(ROOM, objective="path", episodes=25, snapshot_every=10, watch=seen.append)
    assert len(seen) == 3
    assert all(one is other for one, other in zip(seen, run.snapshots, strict=True))


def test_a_watcher_that_raises_stops_the_training():
    def stop(snapshot):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(ROOM, objective="path", episodes=25, snapshot_every=10, watch=stop)


# Labels.


@given(st.lists(st.integers(-3, 3), min_size=3, max_size=12))
def test_labels_name_three_snapshots_in_the_order_of_their_returns(totals):
    run = run_of(enumerate(totals, start=1))
    chosen = run.labelled()
    assert set(chosen) == {"worst", "median", "best"}
    assert len({snapshot.episode for snapshot in chosen.values()}) == 3
    assert chosen["worst"].total <= chosen["median"].total <= chosen["best"].total
    assert (chosen["worst"].total, chosen["best"].total) == (min(totals), max(totals))
    assert chosen["best"] is run.best
    assert run.best.episode == totals.index(max(totals)) + 1


@pytest.mark.parametrize(
    ("totals", "episodes"),
    [
        ([5, 1, 3], {"worst": 2, "median": 3, "best": 1}),
        ([4, 3, 2, 1], {"worst": 4, "median": 3, "best": 1}),
        ([1, 2, 2, 2, 9], {"worst": 1, "median": 2, "best": 5}),
        ([7, 7, 7], {"worst": 2, "median": 3, "best": 1}),
        ([3, 1], {"worst": 2, "median": 2, "best": 1}),
        ([3], {"worst": 1, "median": 1, "best": 1}),
    ],
)
def test_the_median_is_the_lower_one_and_ties_go_to_the_earliest_free_snapshot(totals, episodes):
    chosen = run_of(enumerate(totals, start=1)).labelled()
    assert {label: snapshot.episode for label, snapshot in chosen.items()} == episodes


# Budgets and bad input.


def test_the_budgets_are_those_of_the_science_page():
    budgets = {name: (budget.episodes, budget.epsilon_decay) for name, budget in BUDGETS.items()}
    assert budgets == {"X1": (10_000, 0.99954), "X5": (50_000, 0.99991), "X10": (100_000, 0.99995)}
    assert [default_decay(episodes) for episodes, _ in budgets.values()] == [0.99954, 0.99991, 0.99995]
    assert training_budget("X5") is BUDGETS["X5"]


@pytest.mark.parametrize("episodes", [1, 40, 2_500])
def test_any_other_number_of_episodes_ends_exploration_with_the_last(episodes):
    assert default_decay(episodes) ** episodes == pytest.approx(0.01)
    decayed = train(ROOM, objective="path", episodes=40, epsilon_decay=default_decay(40))
    assert same_bytes(train(ROOM, objective="path", episodes=40).snapshots[-1], decayed.snapshots[-1])


def test_an_unknown_budget_names_the_nearest_match():
    with pytest.raises(UnknownName, match=r"unknown training budget 'X100'.*Did you mean 'X10'"):
        training_budget("X100")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"episodes": 0}, "episodes is 0"),
        ({"gamma": -0.1}, "gamma is -0.1"),
        ({"gamma": 1.01}, "gamma is 1.01"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"snapshot_every": 0}, "snapshot_every is 0"),
        ({"epsilon_decay": 0.0}, "epsilon_decay is 0.0"),
        ({"epsilon_decay": 1.5}, "epsilon_decay is 1.5"),
        ({"shaping": -1.0}, "shaping is -1.0"),
        ({"objective": []}, "at least one term"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(setting, message):
    with pytest.raises(InvalidValue, match=message):
        train(ROOM, **{"objective": "path", **setting})


def test_objectives_that_do_not_exist_or_do_not_fit_the_layout_are_refused():
    with pytest.raises(UnknownName, match="Did you mean 'path'"):
        train(ROOM, objective="paht")
    with pytest.raises(InvalidTask, match="asks for gold"):
        train(Layout(2, (0, 0), (1, 1)), objective="gold")
