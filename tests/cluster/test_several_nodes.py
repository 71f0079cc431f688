"""A sharded library on several nodes: placement, lost nodes and actors, changes by others, several drivers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `several_nodes.py` observed."""
    library = tmp_path_factory.mktemp("nodes") / "library"
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.several_nodes", str(library)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_actors_are_spread_and_new_nodes_get_their_share(seen: dict[str, Any]) -> None:
    assert (seen["nodes at first"], seen["nodes then"]) == (2, 3)
    assert (seen["moved of two"], seen["moved"]) == (0, 1)


@pytest.mark.parametrize(
    "when",
    ["as in one process", "after moving", "after a crash", "after embedding", "after compacting"],
)
def test_answers_stay_the_same(seen: dict[str, Any], when: str) -> None:
    assert seen[f"answers {when}"]


def test_an_actor_that_restarts_after_a_compaction_serves_the_new_state(seen: dict[str, Any]) -> None:
    assert seen["answers after compacting and a crash"]


def test_queries_in_flight_survive_the_loss_of_a_node(seen: dict[str, Any]) -> None:
    loss = seen["loss"]
    assert loss["asked"] >= 20
    assert loss["right"] == loss["asked"]


def test_missing_embeddings_are_computed_in_the_actors_once(seen: dict[str, Any]) -> None:
    assert (seen["embedded"], seen["embedded again"]) == (72, 0)


def test_two_drivers_are_served_by_the_same_actors(seen: dict[str, Any]) -> None:
    assert seen["two drivers"]
    assert seen["ended"] == 3
