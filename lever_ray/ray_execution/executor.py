"""Connecting to a Ray cluster, and the executor whose tasks run there."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import ray
import ray._private.worker
from ray.exceptions import RayError, RayTaskError

from lever_ray.errors import InvalidValue, SettingsError, StorageError, storage_error
from lever_ray.executor import Outcome

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
        StorageError: Ray does not start here, e.g. because a disk is full.
    """
    place = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(place)
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _keep_to_itself()
    try:
        ray.init(address=place, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError) as error:
        raise SettingsError(f"Ray cluster {place!r} cannot be joined ({error}); check cluster.address") from error
    except Exception as error:
        if found := storage_error(error, "Ray's session folder"):
            raise found from error
        raise StorageError(
            f"Ray does not start ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            "see to free memory, and to free space in its session folder and in /dev/shm, or set cluster=serial; then "
            "run the same command again",
        ) from error
    return True


def _keep_to_itself() -> None:
    """Keep what Ray says of its own state out of this process's output; what goes wrong with a task is raised."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray._private.worker._worker_logs_enabled = False


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

    def prepare(self, function: Callable[..., Any], *arguments: Any) -> None:
        """See :class:`lever_ray.executor.Executor`; one task per core of the cluster."""
        for _ in range(self.workers):
            _remote_call.remote(function, *arguments)

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
        return Outcome(index, error=task_error(error))


def task_error(error: RayError) -> Exception:
    """What the task itself raised, where it did."""
    cause = getattr(error, "cause", None) if isinstance(error, RayTaskError) else None
    return cause if isinstance(cause, Exception) else error
