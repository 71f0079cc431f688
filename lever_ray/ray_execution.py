"""Ray: the executor whose tasks run on a cluster, and the library whose shards live in actors."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ObjectLostError, OwnerDiedError, RayError, RayTaskError

from lever_ray.composition.groups import PolicyGroup
from lever_ray.errors import InvalidValue, SettingsError
from lever_ray.executor import Outcome
from lever_ray.library.reader import LibraryReader
from lever_ray.library.retrieval import Wording
from lever_ray.library.schema import DataFile, Manifest, read_manifest
from lever_ray.library.shard import LibraryShard
from lever_ray.library.stored import GroupKey

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def connect(address: str = "", **options: Any) -> bool:
    """Join or start a Ray cluster, unless this process has one already.

    Args:
        address: of a cluster; ``RAY_ADDRESS``, else ``local`` (a cluster of this process's own), if empty.
        options: further arguments of ``ray.init``.

    Returns:
        Whether this call joined or started one.

    Raises:
        SettingsError: nothing listens at the address.
    """
    place = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(place)
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address=place, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError) as error:
        raise SettingsError(f"Ray cluster {place!r} cannot be joined ({error}); check cluster.address") from error
    return True


def _check_reachable(address: str) -> None:
    """Fail at once where a host and port take no connection; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise SettingsError(
            f"no Ray cluster listens at {address} ({error}); start one with `make cluster`, or unset "
            "cluster.address and RAY_ADDRESS for one of this process's own"
        ) from error


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
    """What became of a task; a worker that crashed or ran out of memory is a failed item like any other."""
    try:
        return Outcome(index, ray.get(reference))
    except RayError as error:
        return Outcome(index, error=_cause(error))


def _cause(error: RayError) -> Exception:
    """What the task itself raised, where it did."""
    cause = getattr(error, "cause", None) if isinstance(error, RayTaskError) else None
    return cause if isinstance(cause, Exception) else error


class ShardServer(LibraryShard):
    """A shard in an actor: its groups are kept in the object store, where workers read them without a copy."""

    def published(self, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()) -> list[ray.ObjectRef | None]:
        """A reference to the shard's members of each group; None where it has none."""
        return [None if group is None else ray.put(group) for group in self.groups(keys, wordings)]


ShardActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")(ShardServer)
"""An actor that is lost reads its files again where it is restarted."""


_Asked = tuple[GroupKey, Wording | None]
"""A group, and how its members are found where that is not by their own objective."""


class ShardedLibrary(LibraryReader):
    """A library whose shards are held by Ray actors; it answers as ``PolicyLibrary`` does.

    Groups are published to the object store when they are first asked for; from then on a worker reads them from its
    node's shared memory. The library can be sent to tasks, which then ask the same actors.
    """

    def __init__(self, actors: list[Any]) -> None:
        self._actors = actors
        self._published: dict[_Asked, list[ray.ObjectRef]] = {}

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
            raise _cause(error) from None

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()) -> list[PolicyGroup]:
        """See :meth:`LibraryReader.groups`; read from the object store."""
        asked: list[_Asked] = list(zip(keys, wordings, strict=True)) if wordings else [(key, None) for key in keys]
        try:
            return self._read(asked)
        except (ObjectLostError, OwnerDiedError):
            self._published.clear()
            return self._read(asked)

    def _read(self, asked: Sequence[_Asked]) -> list[PolicyGroup]:
        missing = [each for each in asked if each not in self._published]
        if missing:
            wordings = [wording for _, wording in missing if wording is not None]
            answers = self._ask("published", [key for key, _ in missing], wordings)
            for position, each in enumerate(missing):
                self._published[each] = [answer[position] for answer in answers if answer[position] is not None]
        parts = iter(ray.get([reference for each in asked for reference in self._published[each]]))
        return [self._merged(each[0], [next(parts) for _ in self._published[each]], each[1]) for each in asked]

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
