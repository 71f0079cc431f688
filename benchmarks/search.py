"""Speed and memory of candidate search: 32 members per group, all four terms, ranker ``offline-return``, one core."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from statistics import median
from time import perf_counter

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import composition_operator
from lever_ray.composition.rankers.offline_return import OfflineReturnScorer
from lever_ray.composition.scores import Scores
from lever_ray.composition.search import search
from lever_ray.composition.strategies.protocol import Strategy
from lever_ray.composition.strategies.registry import named_strategy
from lever_ray.learning.sarsa import train
from lever_ray.policies.group import PolicyGroup
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.support import support_bits

OBJECTIVE = "-".join(Layout.terms)
LAYOUTS = range(4)
SEEDS, SNAPSHOTS = 4, 8
MEMBERS = SEEDS * SNAPSHOTS
MILLION = 1_000_000
GAMMA = 0.99


def figures() -> dict[str, float]:
    """Seconds per million candidates, median over layouts; milliseconds of budgeted searches; megabytes at the peak."""
    result = {}
    for family in ("grid8", "grid16"):
        layouts = [Layout.sample(family, seed=seed) for seed in LAYOUTS]
        spaces = [_space(layout) for layout in layouts]
        states = f"s{layouts[0].states}"
        _seconds(layouts[0], spaces[0], named_strategy("budgeted", budget=10))
        exhaustive = [_seconds(*both, named_strategy("exhaustive")) for both in zip(layouts, spaces, strict=True)]
        scale = MILLION / spaces[0].candidates
        result[f"search.exhaustive.{states}.million_candidates.seconds"] = scale * median(exhaustive)
        result[f"search.exhaustive.{states}.million_candidates.slowest_seconds"] = scale * max(exhaustive)
        result[f"search.exhaustive.{states}.peak_megabytes"] = _peak_megabytes(layouts[0], spaces[0])
        for budget in (100, 1_000, 10_000):
            strategy = named_strategy("budgeted", budget=budget)
            seconds = [_seconds(*both, strategy) for both in zip(layouts, spaces, strict=True)]
            result[f"search.budgeted.{states}.{budget}.milliseconds"] = 1e3 * median(seconds)
    return result


def _space(layout: Layout) -> CandidateSpace:
    return CandidateSpace.of([_group(layout, term) for term in Layout.terms])


def _group(layout: Layout, term: str) -> PolicyGroup:
    runs = [train(layout, objective=term, gamma=GAMMA, seed=seed) for seed in range(SEEDS)]
    snapshots = [snapshot for run in runs for snapshot in run.snapshots[-SNAPSHOTS:]]
    support = support_bits(np.stack([snapshot.visits for snapshot in snapshots]) > 0)
    q = np.stack([snapshot.q for snapshot in snapshots])
    ids = tuple(f"{term}-{place:02d}" for place in range(MEMBERS))
    return PolicyGroup(term, ids, q, support, np.zeros(MEMBERS))


def _search(layout: Layout, space: CandidateSpace, strategy: Strategy) -> None:
    ranker, operator = OfflineReturnScorer(layout.compile(OBJECTIVE)), composition_operator("sum")

    def evaluate(blocks: Iterable[np.ndarray]) -> Iterable[Scores]:
        return (ranker.score(space, block, operator=operator, masked=True) for block in blocks)

    search(strategy, space, evaluate)


def _seconds(layout: Layout, space: CandidateSpace, strategy: Strategy) -> float:
    begun = perf_counter()
    _search(layout, space, strategy)
    return perf_counter() - begun


def _peak_megabytes(layout: Layout, space: CandidateSpace) -> float:
    """Memory that an exhaustive search takes at most, beyond the policies."""
    tracemalloc.start()
    _search(layout, space, named_strategy("exhaustive"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6
