"""The published environment, step by step: all trajectories and state vectors of the conformance data."""

import json
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lever_ray.tasks.gridworld.env import GridWorld
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.rollout import rollout
from tests.twin import TwinEnvironment, twin_features

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "conformance"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no conformance data at {FOLDER}")

FAMILIES = {"grid8": 5, "grid16_scaled": 3, "grid32": 1}
LAYOUTS = [f"{family}_s{seed}" for family, count in FAMILIES.items() for seed in range(count)]
ENDS = {"exit": "exit", "hazard": "hazard", "trunc": "truncated"}


@cache
def layouts():
    plain = json.loads((FOLDER / "layouts.json").read_text(encoding="utf-8"))
    return {entry["name"]: Layout.from_dict(entry) for entry in plain}


@cache
def lines(name):
    """The records of a file by layout."""
    records = defaultdict(list)
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        records[record["layout"]].append(record)
    return records


def environment_of(sequence):
    return GridWorld(layouts()[sequence["layout"]], objective=sequence["reward_system"])


def test_the_conformance_data_is_complete():
    sequences, vectors = lines("sequences.jsonl"), lines("state_vectors.jsonl")
    assert sorted(layouts()) == sorted(sequences) == sorted(vectors) == sorted(LAYOUTS)
    assert sum(map(len, sequences.values())) == 1_728
    assert sum(map(len, vectors.values())) == 1_800


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_published_trajectory_is_reproduced_step_by_step(name):
    for sequence in lines("sequences.jsonl")[name]:
        world = environment_of(sequence)
        world.reset()
        steps = [world.step(action) for action in sequence["actions"]]
        rewards = [reward for _, reward, *_ in steps]
        assert np.abs(np.subtract(rewards, sequence["rewards"])).max(initial=0.0) <= 1e-9, sequence["id"]
        assert [list(info["cell"]) for *_, info in steps] == sequence["positions"], sequence["id"]
        assert [int(terminated) for _, _, terminated, *_ in steps] == sequence["dones"], sequence["id"]
        assert steps[-1][-1]["golds_left"] == sequence["gold_remaining"], sequence["id"]
        assert steps[-1][-1]["lever_on"] == sequence["lever_collected"], sequence["id"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_published_trajectory_is_reproduced_by_rollout(name):
    for sequence in lines("sequences.jsonl")[name]:
        layout = layouts()[name]
        route = rollout(layout, objective=sequence["reward_system"], actions=sequence["actions"])
        assert route.total == pytest.approx(sequence["total"], abs=1e-8), sequence["id"]
        assert np.abs(route.rewards - sequence["rewards"]).max(initial=0.0) <= 1e-9, sequence["id"]
        cells = [list(layout.start), *sequence["positions"]]
        assert [list(cell) for cell in route.path] == cells, sequence["id"]
        assert route.end == ENDS[sequence["end"]], sequence["id"]
        assert route.memory[0].bit_count() == sequence["gold_remaining"], sequence["id"]
        assert bool(route.memory[1]) == sequence["lever_collected"], sequence["id"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_plain_twin_reproduces_every_published_trajectory(name):
    twins = {}
    for sequence in lines("sequences.jsonl")[name]:
        objective = sequence["reward_system"]
        twin = twins.setdefault(objective, TwinEnvironment(layouts()[name], objective))
        twin.reset()
        rewards, cells = [], []
        for action in sequence["actions"]:
            rewards.append(twin.step(action))
            cells.append(list(twin.cell))
        assert np.abs(np.subtract(rewards, sequence["rewards"])).max(initial=0.0) <= 1e-9, sequence["id"]
        assert cells == sequence["positions"], sequence["id"]
        assert (twin.end or "truncated") == ENDS[sequence["end"]], sequence["id"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_published_state_vector_is_reproduced(name):
    actions = {sequence["id"]: sequence for sequence in lines("sequences.jsonl")[name]}
    for vector in lines("state_vectors.jsonl")[name]:
        sequence = actions[vector["seq"]]
        world = environment_of(sequence)
        world.reset()
        for action in sequence["actions"][: vector["t"]]:
            world.step(action)
        shown = f"{vector['seq']} at {vector['t']}"
        assert np.abs(world.features() - vector["vec"]).max() <= 1e-6, shown


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_plain_twin_reproduces_every_published_state_vector(name):
    actions = {sequence["id"]: sequence["actions"] for sequence in lines("sequences.jsonl")[name]}
    twin = TwinEnvironment(layouts()[name], "path")
    for vector in lines("state_vectors.jsonl")[name]:
        twin.reset()
        for action in actions[vector["seq"]][: vector["t"]]:
            twin.step(action)
        phi = twin_features(layouts()[name], twin.cell, twin.golds, twin.lever_on)
        assert np.abs(np.subtract(phi, vector["vec"])).max() <= 1e-6, f"{vector['seq']} at {vector['t']}"
