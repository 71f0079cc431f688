"""Retrieval and composition under concurrent clients, in three ways.

``threads``: one process, a thread per client. ``processes``: a process per client, without Ray, each with the library
open for itself. ``ray``: two actors hold the shards, a process per client asks them. Ray is to be compared with
``processes``; threads of one process share its interpreter lock.

Every query draws an environment at random, fetches the groups of a four-term objective (about 140 members each), and
composes by ``hybrid`` k = 3 ranked by ``offline-return``. All ways answer the same queries, on one thread each, after
every client has asked once about every environment. Figures are those of the fastest round of nine.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import psutil
import ray

from benchmarks.made_up import library_of
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.reader import LibraryReader
from lever_ray.library.serving.shard import Shard
from lever_ray.query.compose import compose
from lever_ray.ray_execution import ShardedLibrary, connect, disconnect

POLICIES, ENVIRONMENTS, ACTORS = 100_000, 100, 2
CLIENTS, ROUNDS = (1, 2, 4, 16), 9
QUERIES = 384
OBJECTIVE = "path-gold-hazard-lever"
GROUPS = ["path", "gold", "hazard", "lever"]


class Served(NamedTuple):
    """What some clients were served.

    Attributes:
        seconds: until the last of them was done.
        times: of every query.
        megabytes: memory that one client has for itself; NaN where clients share a process.
    """

    seconds: float
    times: list[float]
    megabytes: float = float("nan")


def figures() -> dict[str, float]:
    """Queries per second, milliseconds per query (p50, p99) and memory per client, every way side by side."""
    os.environ["OMP_NUM_THREADS"] = "1"  # as Ray's actors have it
    library, _ = library_of("grid8", POLICIES, ENVIRONMENTS)
    names = list(library.environments)
    plan = [names[draw] for draw in np.random.default_rng(0).integers(0, len(names), QUERIES)]
    measured = _figures("threads", _by_threads(library, plan)) | _figures("processes", _by_processes(library, plan))
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


def _by_threads(library: PolicyLibrary, plan: list[str]) -> dict[int, Served]:
    for name in library.environments:
        ask(library, name)
    found = {}
    for clients in CLIENTS:
        with ThreadPoolExecutor(clients) as pool:

            def served(pool: ThreadPoolExecutor = pool) -> Served:
                begun = perf_counter()
                times = list(pool.map(lambda name: ask(library, name), plan))
                return Served(perf_counter() - begun, times)

            found[clients] = _fastest(served)
    return found


def _by_processes(library: PolicyLibrary, plan: list[str]) -> dict[int, Served]:
    found = {}
    for clients in CLIENTS:
        with ExitStack() as stack:
            started = [
                stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for _ in range(clients)
            ]
            ready = [each.submit(_run_alone, library.path, []) for each in started]
            _ = [each.result() for each in ready]

            def served(started: list[ProcessPoolExecutor] = started) -> Served:
                begun, parts = perf_counter(), _dealt(plan, len(started))
                asked = [each.submit(_run_alone, library.path, part) for each, part in zip(started, parts, strict=True)]
                return _served(begun, [each.result() for each in asked])

            found[clients] = _fastest(served)
    return found


def _dealt(plan: list[str], clients: int) -> list[list[str]]:
    return [plan[place::clients] for place in range(clients)]


def _fastest(served: Callable[[], Served]) -> Served:
    """The fastest round of several: other work on the machine can only slow them."""
    return min((served() for _ in range(ROUNDS)), key=lambda each: each.seconds)


def _run_alone(path: Path, plan: list[str]) -> tuple[list[float], float]:
    return _client_of(path).run(plan)


@cache
def _client_of(path: Path) -> Client:
    """The client of this process."""
    return Client(PolicyLibrary.open(path))


class Client:
    """A process of its own: asks one query after the other."""

    def __init__(self, library: LibraryReader) -> None:
        self._library = library
        for name in library.environments:
            ask(library, name)

    def run(self, plan: list[str]) -> tuple[list[float], float]:
        """Seconds of every query, and the megabytes that this process shares with nobody."""
        times = [ask(self._library, name) for name in plan]
        return times, psutil.Process().memory_full_info().uss / 1e6 if plan else 0.0


def _on_ray(library: ShardedLibrary, plan: list[str]) -> dict[int, Served]:
    actor, found = ray.remote(num_cpus=0)(Client), {}
    for clients in CLIENTS:
        started = [actor.remote(library) for _ in range(clients)]
        ray.get([client.run.remote([]) for client in started])

        def served(started: list[Any] = started) -> Served:
            begun, parts = perf_counter(), _dealt(plan, len(started))
            asked = [client.run.remote(part) for client, part in zip(started, parts, strict=True)]
            return _served(begun, ray.get(asked))

        found[clients] = _fastest(served)
        for client in started:
            ray.kill(client)
    return found


def _served(begun: float, answers: list[tuple[list[float], float]]) -> Served:
    """What clients answered that have just finished."""
    seconds = perf_counter() - begun
    return Served(seconds, [each for times, _ in answers for each in times], answers[0][1])


def _figures(mode: str, found: dict[int, Served]) -> dict[str, float]:
    measured = {}
    for clients, (seconds, times, megabytes) in found.items():
        name = f"serving.{mode}.{clients}_clients"
        measured[f"{name}.queries_per_second"] = len(times) / seconds
        measured[f"{name}.p50_milliseconds"] = 1e3 * float(np.percentile(times, 50))
        measured[f"{name}.p99_milliseconds"] = 1e3 * float(np.percentile(times, 99))
        if mode != "threads":
            measured[f"{name}.megabytes_per_client"] = megabytes
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
        sharded.ask(None, Shard.keys, "nowhere")
        call.append(perf_counter() - begun)
    rounds: dict[str, Any] = {
        "serving.query.one_process.milliseconds": alone,
        "serving.query.ray.milliseconds": published,
        "serving.query.ray_at_first.milliseconds": np.median(first),
        "serving.overhead_of_ray.milliseconds": published - alone,
        "serving.overhead_of_ray_at_first.milliseconds": np.median(first) - alone,
        "serving.question_to_all_actors.milliseconds": np.median(call),
    }
    return {name: 1e3 * float(value) for name, value in rounds.items()}
