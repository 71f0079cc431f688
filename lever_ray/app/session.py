"""The parts of one command: console, executor, tracker, library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lever_ray.config import Settings, library_path, make_home
from lever_ray.console import make_console, say
from lever_ray.executor import Executor, SerialExecutor
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.reader import LibraryReader
from lever_ray.progress import working
from lever_ray.query.warm import warm_up
from lever_ray.tasks.registry import source

if TYPE_CHECKING:
    from lever_ray.ray_execution import ShardedLibrary
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
        lines = [f"{kind.capitalize()}: {link}" for kind, link in self.tracker.links().items()]
        if not self.tracker.uri.startswith("http"):
            lines.append("Start the MLflow UI with `make ui`, then open the link.")
        return lines

    def open_library(self) -> LibraryReader:
        """The library of the settings; its shards are held by actors where the executor is Ray.

        Raises:
            LibraryError: it is missing or damaged.
        """
        path = library_path(self.settings.library)
        if self.settings.cluster.executor == "serial":
            return PolicyLibrary.open(path, index=self.settings.library.index)
        return self.open_shards(path, shared=self.settings.library.shared)

    def open_shards(self, path: Path, *, shared: bool = False) -> ShardedLibrary:
        """A library whose shards are held by actors, of this driver alone unless they are shared."""
        from lever_ray.ray_execution import ShardedLibrary

        settings = self.settings.library
        return ShardedLibrary.open(path, actors=settings.actors, shared=shared, index=settings.index)


@contextmanager
def session(
    settings: Settings, *, tracked: bool = True, computing: bool = True, console: Console | None = None
) -> Iterator[Session]:
    """Create the MLflow store and start the executor side by side; ends a cluster that it started.

    Args:
        settings: of the command.
        tracked: whether runs are logged.
        computing: False where results are only looked up: Ray is not started, kernels are not loaded.
        console: where to.
    """
    console = console or make_console()
    tell_home(console, make_home())
    wants_tracker = tracked and settings.tracking.enabled
    if not computing:
        with working(console, "Opening MLflow", at_once=False):
            tracker = _open_tracker(settings, console) if wants_tracker else None
        yield Session(settings, console, SerialExecutor(), tracker)
        return
    joined = False
    try:
        with working(console, _opening(settings, wants_tracker)), ThreadPoolExecutor(2) as aside:
            opening = aside.submit(_open_tracker, settings, console) if wants_tracker else None
            loading = aside.submit(warm_up, source(settings.library.family).family)
            executor, joined = _start_executor(settings)
            executor.prepare(warm_up, source(settings.library.family).family)
            tracker = None if opening is None else opening.result()
            loading.result()
        yield Session(settings, console, executor, tracker)
    finally:
        if joined:
            from lever_ray.ray_execution import disconnect

            disconnect()


def tell_home(console: Console, home: Path) -> None:
    """Say where results go, where that is not below the current folder."""
    if not home.resolve().is_relative_to(Path.cwd().resolve()):
        say(console, f"Results go to {home}")


def _opening(settings: Settings, wants_tracker: bool) -> str:
    """What is begun with; short enough for a terminal of 80 columns, with the time beside it."""
    parts = ["MLflow"] if wants_tracker else []
    parts += [] if settings.cluster.executor == "serial" else ["Ray"]
    return f"Starting {', '.join([*parts, 'kernels (compiled the first time)'])}"


def _open_tracker(settings: Settings, console: Console) -> Tracker:
    from lever_ray.tracking import Tracker

    return Tracker(settings.tracking, lambda line: console.print(line, soft_wrap=True, markup=False))


def _start_executor(settings: Settings) -> tuple[Executor, bool]:
    """The executor, and whether a Ray cluster was joined or started for it."""
    if settings.cluster.executor == "serial":
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core, as training has: seconds are compared
        return SerialExecutor(), False
    from lever_ray.ray_execution import RayExecutor, connect

    joined = connect(settings.cluster.address)
    return RayExecutor(window=settings.cluster.window), joined
