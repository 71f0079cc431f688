"""Explicit arrays as a family of tasks."""

from __future__ import annotations

import numpy as np

from lever_ray.tasks.finite import ready
from lever_ray.tasks.finite.task import FiniteTask, words_of
from lever_ray.tasks.protocol import Family, Source


def _random(seed: int) -> FiniteTask:
    return ready.random_task(seed, observations=300, actions=6)


def _example() -> FiniteTask:
    """Five places in a row, the last one terminal, with two starts; the second action goes back."""
    places = np.arange(5)
    successors = np.stack([np.minimum(places + 1, 4), np.maximum(places - 1, 0)], axis=1)
    prize = np.zeros((5, 2))
    prize[3, 0] = 10.0
    return FiniteTask(
        successors,
        {"prize": prize, "time": np.full((5, 2), -1.0)},
        [4],
        start={0: 0.75, 2: 0.25},
        features=np.eye(5),
        action_names=("on", "back"),
    )


_SEA = words_of(ready.SEA_TERMS, ready.SEA_DESCRIPTIONS, ready.SEA_SYNONYMS)
_WILD = words_of(ready.RANDOM_TERMS, ready.RANDOM_DESCRIPTIONS, ready.RANDOM_SYNONYMS)
SOURCES = {
    source.name: source
    for source in (
        Source("deep-sea", FiniteTask.family, ready.SEA_TERMS, {"trivial": ready.SEA_TERMS}, _SEA, ready.deep_sea),
        Source(
            "random-deterministic",
            FiniteTask.family,
            ready.RANDOM_TERMS,
            {"trivial": ready.RANDOM_TERMS},
            _WILD,
            _random,
        ),
    )
}
"""What libraries can be built from, by name."""

FAMILY = Family(FiniteTask.family, FiniteTask.decode, SOURCES, _example)
