"""One run of a fixed piece of work through the public names alone, so that two versions of the code can be compared.

Prints CPU seconds by figure as JSON; :mod:`benchmarks.compare` runs it in two checkouts in turn.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import lever_ray as lever

OBJECTIVES = ("path", "gold", "hazard", "lever")
REPEATS = 5


def library_in(folder: str, family: str) -> Any:
    """A library of 9 policies per single term in one environment; made where it does not exist."""
    try:
        return lever.PolicyLibrary.open(f"{folder}/{family}")
    except lever.LeverError:
        library, layout = lever.PolicyLibrary.create(f"{folder}/{family}"), lever.Layout.sample(family, seed=7)
        records = [
            lever.PolicyRecord(
                "world", layout, objective, f"for {objective}", snapshot.q, visits=snapshot.visits, label=label,
                mean_rewards=snapshot.mean_rewards, total=snapshot.total, seed=seed, episodes=2_000,
            )
            for objective in OBJECTIVES
            for seed in range(3)
            for label, snapshot in lever.train(
                layout, objective=objective, episodes=2_000, snapshot_every=500, seed=seed
            ).labelled().items()
        ]  # fmt: skip
        library.add(records)
        return library


def cpu(work: Callable[[], Any]) -> float:
    """Median CPU seconds of a piece of work, after a call that loads what it needs."""
    work()
    found = []
    for _ in range(REPEATS):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return median(found)


def figures(folder: str) -> dict[str, float]:
    """CPU seconds of training, candidates, retrieval and planning, by grid."""
    found = {}
    for family in ("grid8", "grid16"):
        library, layout = library_in(folder, family), lever.Layout.sample(family, seed=7)
        asked = {"environment": "world", "objective": "path-gold-hazard-lever", "ranker": "offline-return"}

        def ask(library: Any = library, asked: dict[str, str] = asked, **more: str) -> Any:
            return lever.compose(library, **asked, **more)

        def train(layout: Any = layout) -> Any:
            return lever.train(layout, objective="path-gold", episodes=5_000, gamma=0.99)

        found[f"train/{family}"] = cpu(train)
        found[f"candidates/{family}"] = cpu(lambda ask=ask: ask(strategy="exhaustive"))
        found[f"plan/{family}"] = cpu(lambda ask=ask: ask(operator="plan"))
        found[f"query/{family}"] = cpu(lambda ask=ask: [ask(strategy="targeted") for _ in range(50)])
        keys = library.keys("world")
        fresh = [lever.PolicyLibrary.open(library.path) for _ in range(REPEATS + 1)]
        found[f"retrieve/{family}"] = cpu(lambda fresh=fresh, keys=keys: fresh.pop().groups(keys))
    return found


if __name__ == "__main__":
    print(json.dumps(figures(sys.argv[1])))
