"""Retrieval and composition under concurrent clients: one process with threads, and Ray with a process per client.

Every query draws an environment at random, fetches the groups of a four-term objective (about 140 members each), and
composes by ``hybrid`` k = 3 ranked by ``offline-return``. The two modes answer the same queries.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
import ray

from benchmarks.made_up import library_of
from lever_ray.library.reader import LibraryReader
from lever_ray.library.store import PolicyLibrary
from lever_ray.query.compose import compose
from lever_ray.ray_execution import ShardedLibrary, connect, disconnect

POLICIES, ENVIRONMENTS, ACTORS = 100_000, 100, 2
CLIENTS = (1, 4, 16)
QUERIES = 384
OBJECTIVE = "path-gold-hazard-lever"
GROUPS = ["path", "gold", "hazard", "lever"]


def figures() -> dict[str, float]:
    """Queries per second and milliseconds per query (p50, p99), serial and Ray side by side."""
    library, _ = library_of("grid8", POLICIES, ENVIRONMENTS)
    names = list(library.environments)
    plan = [names[draw] for draw in np.random.default_rng(0).integers(0, len(names), QUERIES)]
    measured = _figures("serial", _serial(library, plan))
    connect("local", num_cpus=2, include_dashboard=False)
    sharded = ShardedLibrary.open(library.path, actors=ACTORS)
    measured |= _figures("ray", _on_ray(sharded, plan))
    measured |= _overhead(library, sharded, names)
    disconnect()
    return measured


def ask(library: LibraryReader, environment: str) -> float:
    """Seconds of one query."""
    begun = perf_counter()
    compose(library, environment=environment, objective=OBJECTIVE, groups=GROUPS, ranker="offline-return")
    return perf_counter() - begun


def _serial(library: PolicyLibrary, plan: list[str]) -> dict[int, tuple[float, list[float]]]:
    for name in library.environments:
        ask(library, name)
    found = {}
    for clients in CLIENTS:
        with ThreadPoolExecutor(clients) as pool:
            begun = perf_counter()
            times = list(pool.map(lambda name: ask(library, name), plan))
            found[clients] = perf_counter() - begun, times
    return found


class Client:
    """A driver of its own: asks one query after the other."""

    def __init__(self, library: ShardedLibrary) -> None:
        self._library = library
        for name in library.environments:
            ask(library, name)

    def run(self, plan: list[str]) -> list[float]:
        """Seconds of every query."""
        return [ask(self._library, name) for name in plan]


def _on_ray(library: ShardedLibrary, plan: list[str]) -> dict[int, tuple[float, list[float]]]:
    actor, found = ray.remote(num_cpus=0)(Client), {}
    for clients in CLIENTS:
        started = [actor.remote(library) for _ in range(clients)]
        ray.get([client.run.remote([]) for client in started])
        begun = perf_counter()
        answers = ray.get([client.run.remote(plan[place::clients]) for place, client in enumerate(started)])
        found[clients] = perf_counter() - begun, [seconds for answer in answers for seconds in answer]
        for client in started:
            ray.kill(client)
    return found


def _figures(mode: str, found: dict[int, tuple[float, list[float]]]) -> dict[str, float]:
    measured = {}
    for clients, (seconds, times) in found.items():
        name = f"serving.{mode}.{clients}_clients"
        measured[f"{name}.queries_per_second"] = len(times) / seconds
        measured[f"{name}.p50_milliseconds"] = 1e3 * float(np.percentile(times, 50))
        measured[f"{name}.p99_milliseconds"] = 1e3 * float(np.percentile(times, 99))
    return measured


def _overhead(library: PolicyLibrary, sharded: ShardedLibrary, names: list[str]) -> dict[str, float]:
    """What Ray adds to a query of one client, alternating: groups that are published already, and at first."""

    def times(asked: LibraryReader) -> list[float]:
        return [ask(asked, name) for name in names]

    first = times(sharded)
    pairs = [(times(library), times(sharded)) for _ in range(3)]
    alone, published = (np.median([pair[side] for pair in pairs]) for side in (0, 1))
    call: list[float] = []
    for _ in range(200):
        begun = perf_counter()
        sharded._ask("count")
        call.append(perf_counter() - begun)
    rounds: dict[str, Any] = {
        "serving.query.serial.milliseconds": alone,
        "serving.query.ray.milliseconds": published,
        "serving.query.ray_at_first.milliseconds": np.median(first),
        "serving.overhead_of_ray.milliseconds": published - alone,
        "serving.overhead_of_ray_at_first.milliseconds": np.median(first) - alone,
        "serving.question_to_all_actors.milliseconds": np.median(call),
    }
    return {name: 1e3 * float(value) for name, value in rounds.items()}
