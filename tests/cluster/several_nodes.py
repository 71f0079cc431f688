"""A sharded library on a cluster of several nodes of this machine; run by a test in a process of its own.

Prints what was observed as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import ray
from ray.cluster_utils import Cluster

from lever_ray.behaviour.psi import embed
from lever_ray.library.library import PolicyLibrary
from lever_ray.policies.group import GroupKey
from lever_ray.ray_execution import ShardedLibrary, end_shared
from tests.twin import made_up_record
from tests.unit.test_library import HALL, ROOM

SYSTEM = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
SHARDS = 6


def make_library(path: Path) -> PolicyLibrary:
    """A library of several shards, each with policies of both environments."""
    library = PolicyLibrary.create(path)
    for shard in range(SHARDS):
        seeds = range(10 * shard, 10 * shard + 4)
        rooms = [made_up_record("room", ROOM, seed=seed, objective=name) for seed in seeds for name in ("path", "gold")]
        library.add([*rooms, *(made_up_record("hall", HALL, seed=seed) for seed in seeds)])
    return library


def answers(library: Any) -> list[Any]:
    """What a driver may ask, as plain values."""
    keys = [GroupKey("room", "path", 0.0, 0), GroupKey("room", "gold", 0.0, 0), GroupKey("hall", "path", 0.0, 0)]
    groups = [[*group.ids, float(group.q.sum())] for group in library.groups(keys)]
    found = library.search(["number 12", "number three"], 5)
    tables = [float(table.sum()) for table in library.tables([library.groups(keys)[0].ids[0]])]
    return [groups, [[list(match) for match in each] for each in found], tables, len(library)]


def losing_a_node(cluster: Cluster, node: Any, library: ShardedLibrary, expected: list[Any]) -> dict[str, Any]:
    """Take a node away while questions are asked; how many were answered, and whether all rightly."""
    right, gone = [], threading.Event()

    def take() -> None:
        cluster.remove_node(node, allow_graceful=False)
        gone.set()

    thread, begun = threading.Thread(target=take), monotonic()
    thread.start()
    while not gone.is_set() or len(right) < 20:
        right.append(answers(library) == expected)
    thread.join()
    return {"asked": len(right), "right": sum(right), "seconds": monotonic() - begun}


def other_driver(path: Path, address: str) -> Any:
    """What a second driver gets from the same actors, and their ids."""
    code = (
        "import json, ray, sys; from pathlib import Path; from tests.cluster.several_nodes import *;"
        "ray.init(sys.argv[2], log_to_driver=False); library = ShardedLibrary.open(sys.argv[1], actors=3, shared=True);"
        "print(json.dumps([answers(library), [str(a._actor_id) for a in library._service.served.actors]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), address], capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(path: Path) -> dict[str, Any]:
    local = make_library(path)
    expected = json.loads(json.dumps(answers(local)))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": SYSTEM})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(cluster.address, log_to_driver=False)
    seen: dict[str, Any] = {}
    library = ShardedLibrary.open(path, actors=3)
    seen["answers as in one process"] = answers(library) == expected
    seen["nodes at first"] = len(set(library.nodes()))
    seen["moved of two"] = library.spread(0.0)
    third = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    seen["moved"], seen["nodes then"] = library.spread(patience=120.0), len(set(library.nodes()))
    seen["answers after moving"] = answers(library) == expected
    seen["loss"] = losing_a_node(cluster, third, library, expected)
    ray.kill(library._service.served.actors[0], no_restart=False)
    seen["answers after a crash"] = answers(library) == expected
    seen["embedded"] = embed(library)
    seen["embedded again"] = embed(library)
    seen["answers after embedding"] = answers(library) == expected
    local.refresh()
    local.compact()
    seen["answers after compacting"] = answers(library) == expected
    ray.kill(library._service.served.actors[0], no_restart=False)
    seen["answers after compacting and a crash"] = answers(library) == expected
    library.close()
    shared = ShardedLibrary.open(path, actors=3, shared=True)
    theirs = other_driver(path, cluster.address)
    seen["two drivers"] = theirs == [expected, [str(actor._actor_id) for actor in shared._service.served.actors]]
    seen["ended"] = end_shared(shared.manifest.library)
    ray.shutdown()
    cluster.shutdown()
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
