"""How long cells take: from those that are finished, else from what they took elsewhere; and batches made of that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import groupby
from time import perf_counter

import numpy as np

from lever_ray.learning.sarsa import train
from lever_ray.reproduction.cells import Cell
from lever_ray.reproduction.sizes import FAMILIES, layout
from lever_ray.reproduction.store import Finished
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.support import full_support

BATCH = 0.2
"""Seconds that a batch of cells takes, about."""
ENOUGH = 5
"""Finished cells of a kind from which on they alone tell how long one takes."""
_UNKNOWN = 0.05
"""Seconds of a cell that nothing is known of."""
REFERENCE = "reference_seconds.json"
"""File of this package: mean CPU seconds by kind of cell where the study was run before, and of other work."""
CALIBRATION = "calibration"
"""In that file: of :func:`calibration`."""
POLICIES = "policies"
"""In that file: of training all policies of one layout, by family and budget."""
AFTER = "after"
"""In that file: of merging, summing up and writing, per line of the summary."""

Like = tuple[str, ...]


@dataclass
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        self.total += seconds
        self.count += count

    @property
    def value(self) -> float:
        return self.total / self.count


@dataclass
class Pace:
    """Mean CPU seconds of cells of size 1 by kind; of one that is not known, of those that are most like it."""

    _means: dict[Like, _Mean] = field(default_factory=dict)
    _elsewhere: dict[Like, _Mean] = field(default_factory=dict)

    @classmethod
    def of(cls, finished: Iterable[Finished]) -> Pace:
        """From finished cells, and from the reference where there are too few like them."""
        pace = cls()
        for like, (seconds, count) in reference().items():
            _learn(pace._elsewhere, like, seconds * count, count)
        for each in finished:
            _learn(pace._means, each.like, each.cpu / each.size, 1)
        return pace

    def cell(self, cell: Cell) -> float:
        """Expected CPU seconds of a cell."""
        return self.seconds(cell.like) * cell.size

    def seconds(self, like: Like) -> float:
        """Expected CPU seconds of what has size 1."""
        for length in range(len(like), 0, -1):
            here, there = self._means.get(like[:length]), self._elsewhere.get(like[:length])
            if here is not None and (here.count >= ENOUGH or there is None):
                return here.value
            if there is not None:
                return there.value
        return _UNKNOWN


def _learn(means: dict[Like, _Mean], like: Like, seconds: float, count: int) -> None:
    for length in range(1, len(like) + 1):
        means.setdefault(like[:length], _Mean()).add(seconds, count)


@cache
def reference() -> Mapping[Like, tuple[float, int]]:
    """Mean CPU seconds and number of cells by kind, where the study was run before."""
    text = (files("lever_ray.reproduction") / REFERENCE).read_text(encoding="utf-8")
    return {tuple(like.split("|")): (seconds, count) for like, (seconds, count) in json.loads(text).items()}


def reference_text(finished: Iterable[Finished], others: Mapping[Like, float]) -> str:
    """What :data:`REFERENCE` holds, of some finished cells.

    Args:
        finished: cells that were run.
        others: CPU seconds of other work: :data:`POLICIES`, :data:`AFTER`, :data:`CALIBRATION`.
    """
    means: dict[Like, _Mean] = {}
    for each in finished:
        means.setdefault(each.like, _Mean()).add(each.cpu / each.size)
    lines = {"|".join(like): [round(mean.value, 5), mean.count] for like, mean in sorted(means.items())}
    lines |= {"|".join(like): [round(seconds, 5), 1] for like, seconds in others.items()}
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in lines.items()) + "\n}\n"


def calibration(clock: Callable[[], float] = perf_counter, *, rounds: int = 7) -> float:
    """Seconds that a fixed piece of training and planning takes here; the median of some rounds.

    Args:
        clock: gives seconds.
        rounds: after a first one that loads what is compiled.
    """
    tasks = [layout(family, 0) for family in FAMILIES[:2]]
    taken = []
    for each in range(rounds + 1):
        begun = clock()
        for task in tasks:
            for gamma in (0.0, 0.99):
                train(task, objective="path-gold-hazard", episodes=10_000, gamma=gamma, seed=each)
            optimum(task, objective="path-gold", support=full_support(task.observations, task.actions))
        taken.append(clock() - begun)
    return float(np.median(taken[1:]))


def measured_speed() -> float:
    """Seconds on the clock here and now, by CPU second where the reference was measured."""
    usual, _ = reference().get((CALIBRATION,), (0.0, 0))
    return calibration() / usual if usual else 1.0


def batches(cells: Sequence[Cell], pace: Pace, *, seconds: float = BATCH) -> Iterator[list[Cell]]:
    """Cells in their order, in batches that take about so long; those that share preparations stay together.

    Args:
        cells: what is to be done.
        pace: how long each takes.
        seconds: of a batch; a cell that takes longer is a batch of its own.
    """
    batch: list[Cell] = []
    expected = 0.0
    for _, same in groupby(cells, key=lambda cell: cell.bench):
        group = list(same)
        times = [pace.cell(cell) for cell in group]
        if expected and expected + min(sum(times), seconds) > 1.5 * seconds:
            yield batch
            batch, expected = [], 0.0
        for cell, time in zip(group, times, strict=True):
            if expected and expected + time > 1.5 * seconds:
                yield batch
                batch, expected = [], 0.0
            batch.append(cell)
            expected += time
        if expected >= seconds:
            yield batch
            batch, expected = [], 0.0
    if batch:
        yield batch
