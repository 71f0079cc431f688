"""Ray: the executor whose tasks run on a cluster, and the library whose shards live in actors."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from lever_ray.errors import InvalidValue
from lever_ray.executor import Outcome
from lever_ray.library.reader import LibraryReader
from lever_ray.library.schema import DataFile, Manifest, read_manifest
from lever_ray.library.shard import LibraryShard

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def connect(address: str = "", **options: Any) -> None:
    """Join or start a Ray cluster, unless this process has one already.

    Args:
        address: of a cluster; ``RAY_ADDRESS``, else ``local`` (a cluster of this process's own), if empty.
        options: further arguments of ``ray.init``.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        place = address or os.environ.get("RAY_ADDRESS") or "local"
        ray.init(address=place, log_to_driver=False, logging_level=logging.ERROR, **options)


def disconnect() -> None:
    """Leave the cluster; one that this process started ends."""
    ray.shutdown()


def configure_worker_logging() -> None:
    """Logging in a worker process, where the driver's configuration does not reach."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)


def _call(function: Callable[..., Any], item: Any, *shared: Any) -> Any:
    configure_worker_logging()
    return function(item, *shared)


_remote_call = ray.remote(_call)


class RayExecutor:
    """Runs items as Ray tasks of one core each, with a bounded number in flight.

    Args:
        window: tasks in flight per core of the cluster.

    Raises:
        InvalidValue: the window is below 1.
    """

    name = "ray"

    def __init__(self, *, window: int = 2) -> None:
        if window < 1:
            raise InvalidValue(f"window is {window}; at least 1 task per core is needed")
        self._window = window

    @property
    def workers(self) -> int:
        """Cores of the cluster."""
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def map(
        self, function: Callable[..., Any], items: Iterable[Any], *, shared: tuple[Any, ...] = ()
    ) -> Iterator[Outcome]:
        """See :class:`lever_ray.executor.Executor`; ``shared`` is put into the object store once."""
        references = [ray.put(value) for value in shared]
        queue = enumerate(items)
        running: dict[ray.ObjectRef, int] = {}

        def fill_window() -> None:
            """Top up the tasks in flight; the cluster may have grown since the last time."""
            room = self._window * self.workers - len(running)
            for index, item in islice(queue, max(0, room)):
                running[_remote_call.remote(function, item, *references)] = index

        fill_window()
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            index = running.pop(done)
            fill_window()
            yield _outcome(index, done)


def _outcome(index: int, reference: ray.ObjectRef) -> Outcome:
    try:
        return Outcome(index, ray.get(reference))
    except RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        return Outcome(index, error=cause)


ShardActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")(LibraryShard)
"""A :class:`LibraryShard` in an actor; one that is lost reads its files again where it is restarted."""


class ShardedLibrary(LibraryReader):
    """A library whose shards are held by Ray actors; it answers as ``PolicyLibrary`` does.

    It can be sent to tasks, which then ask the same actors.
    """

    def __init__(self, actors: list[Any]) -> None:
        self._actors = actors

    @classmethod
    def open(cls, path: str | Path, *, actors: int = 4) -> ShardedLibrary:
        """Start actors and give each its share of the library's files.

        Args:
            path: folder of the library, visible to every node.
            actors: how many; at most one per data file is started.

        Raises:
            InvalidValue: ``actors`` is below 1.
            LibraryError: see :meth:`lever_ray.library.store.PolicyLibrary.open`.
        """
        if actors < 1:
            raise InvalidValue(f"actors is {actors}; at least 1 is needed")
        folder = Path(path).resolve()
        manifest = read_manifest(folder)
        connect()
        environments = manifest.of_kind("environments")
        return cls([ShardActor.remote(folder, share, environments) for share in shares(manifest, actors)])

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        try:
            return ray.get([getattr(actor, method).remote(*args, **kwargs) for actor in self._actors])
        except RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            ray.kill(actor)


def shares(manifest: Manifest, count: int) -> list[list[DataFile]]:
    """Policy files dealt to at most ``count`` shards, largest first, each to the shard with least bytes so far."""
    files = sorted(manifest.of_kind("policies"), key=lambda file: (-file.bytes, file.name))
    dealt: list[list[DataFile]] = [[] for _ in range(max(1, min(count, len(files))))]
    for file in files:
        min(dealt, key=lambda share: sum(other.bytes for other in share)).append(file)
    return dealt
