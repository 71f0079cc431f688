"""Finite tasks: plain data and back, pictures, and the family."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings

from lever_ray.app.settings import EXPERIMENT, load_settings
from lever_ray.errors import InvalidTask, InvalidValue
from lever_ray.learning.sarsa import train
from lever_ray.tasks import registry
from lever_ray.tasks.features import features, initial_features, used_features
from lever_ray.tasks.finite import hooks
from lever_ray.tasks.finite.family import FAMILY
from lever_ray.tasks.finite.ready import deep_sea, random_task
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.kernel import GOAL
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from tests.finite_tasks import MOVES, PAYS, corridor, tasks

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
