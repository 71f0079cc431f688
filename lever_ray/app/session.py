"""The parts of one command: console, executor, tracker, library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from lever_ray.config import Settings, library_path
from lever_ray.console import make_console
from lever_ray.executor import Executor, SerialExecutor
from lever_ray.library.reader import LibraryReader
from lever_ray.library.store import PolicyLibrary

if TYPE_CHECKING:
    from lever_ray.tracking import Tracker


@dataclass
class Session:
    """The parts of one command: settings, console, executor, and a tracker where runs are logged."""

    settings: Settings
    console: Console
    executor: Executor
    tracker: Tracker | None

    def where_to_look(self) -> list[str]:
        """Lines that tell where the runs can be seen."""
        if self.tracker is None:
            return []
        lines = [f"Runs: {self.tracker.link()}"]
        if not self.tracker.uri.startswith("http"):
            lines.append("Start the MLflow UI with `make ui`, then open that link.")
        return lines

    def open_library(self) -> LibraryReader:
        """The library of the settings; its shards are held by actors where the executor is Ray.

        Raises:
            LibraryError: it is missing or damaged.
        """
        path = library_path(self.settings.library)
        if self.settings.cluster.executor == "serial":
            return PolicyLibrary.open(path)
        from lever_ray.ray_execution import ShardedLibrary

        return ShardedLibrary.open(path, actors=self.settings.library.actors)


@contextmanager
def session(settings: Settings, *, tracked: bool = True) -> Iterator[Session]:
    """Create the MLflow store, then start the executor; ends a cluster that it started."""
    console = make_console()
    tracker = None
    if tracked and settings.tracking.enabled:
        with console.status("Opening the MLflow store"):
            from lever_ray.tracking import Tracker

            tracker = Tracker(settings.tracking)
    if settings.cluster.executor == "serial":
        yield Session(settings, console, SerialExecutor(), tracker)
        return
    with console.status("Starting Ray"):
        from lever_ray.ray_execution import RayExecutor, connect, disconnect

        connect(settings.cluster.address)
    try:
        yield Session(settings, console, RayExecutor(window=settings.cluster.window), tracker)
    finally:
        disconnect()
