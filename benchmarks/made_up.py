"""Large policy libraries, made up from a few trained policies: noise on their action values, a description each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np

from lever_ray.config import home
from lever_ray.learning.sarsa import TrainingRun, train
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.record import PolicyRecord
from lever_ray.tasks import registry

OBJECTIVES = ("path", "gold", "hazard", "lever", "path-gold", "hazard-lever", "path-gold-hazard")
APPEND = 100_000
EPISODES = 1_000


def library_of(family: str, policies: int, environments: int) -> tuple[PolicyLibrary, dict[str, float]]:
    """A library of so many policies, kept for the next time, and what making it took (empty where it was there)."""
    place = home() / "benchmarks" / f"{family}-{policies}"
    if (place / "complete").exists():
        return PolicyLibrary.open(place / "library"), {}
    figures = _make(place / "library", family, policies, environments)
    (place / "complete").touch()
    return PolicyLibrary.open(place / "library"), figures


def _make(path: Path, family: str, policies: int, environments: int) -> dict[str, float]:
    path.parent.mkdir(parents=True, exist_ok=True)
    library = PolicyLibrary.create(path)
    making, adding = [], []
    for first in range(0, policies, APPEND):
        begun = perf_counter()
        records = list(_records(family, range(first, min(first + APPEND, policies)), environments, policies))
        made = perf_counter()
        library.add(records)
        making.append(made - begun)
        adding.append(perf_counter() - made)
    count = min(APPEND, policies)
    return {
        f"library.{family}.make_{count}_records.seconds": float(np.median(making)),
        f"library.{family}.add_{count}_records.seconds": float(np.median(adding)),
        f"library.{family}.add_{count}_records.greatest_seconds": max(adding),
    }


def _records(family: str, numbers: range, environments: int, policies: int) -> Iterator[PolicyRecord]:
    """Policies by number; those of one environment lie together."""
    rng = np.random.default_rng(numbers.start)
    for number in numbers:
        place = number * environments // policies
        run = _trained(family, place, OBJECTIVES[number % len(OBJECTIVES)])
        snapshot = run.snapshots[-1]
        noise = rng.normal(0, 0.01, snapshot.q.shape).astype(np.float32)
        told = run.task.describe().describe(run.objective)
        yield PolicyRecord(
            environment=f"{family}-{place}",
            task=run.task,
            objective=run.objective,
            description=f"{told} Variant {number}, seed {number * 7919 % 10007}.",
            q=snapshot.q * (1 + noise),
            successors=snapshot.successors,
            label="best",
            total=snapshot.total,
            episodes=run.episodes,
            snapshot=snapshot.episode,
            seed=number,
            environment_steps=run.environment_steps,
            seconds=run.seconds,
        )


@cache
def _trained(family: str, place: int, objective: str) -> TrainingRun:
    task = registry.source(family).sample(place)
    return train(task, objective=objective, episodes=EPISODES, gamma=0.0, seed=place)
