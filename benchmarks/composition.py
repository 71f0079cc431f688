"""Speed of candidate evaluation and embedding on one core: three groups of 9, operator ``sum``, 64 canonical states."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np

from lever_ray.composition.groups import CandidateSpace, PolicyGroup
from lever_ray.composition.search import product_blocks
from lever_ray.embedding.offline import SUM, offline_returns, support_bits
from lever_ray.embedding.successor import KINDS, embed, make_embedder
from lever_ray.gridworld.layout import Layout
from lever_ray.gridworld.objective import Objective
from lever_ray.gridworld.task import make_task
from lever_ray.learning.sarsa import train
from lever_ray.library.record import EnvironmentRecord
from tests.twin import twin_choice, twin_of, twin_offline_return

OBJECTIVE = "path-gold-hazard-lever"
GROUPS = ("path-gold", "hazard", "lever")
LAYOUTS = range(4)
REPEATS = 5


def figures() -> dict[str, float]:
    """Candidates per second, median over layouts and repeats, and the ratio to the plain-Python twin of the tests."""
    result = {}
    for family in ("grid8", "grid16", "grid32"):
        layouts = [Layout.sample(family, seed=seed) for seed in LAYOUTS]
        states = f"s{layouts[0].states}"
        spaces = [_space(layout) for layout in layouts]
        speeds = [_offline_return_speed(layout, space) for layout, space in zip(layouts, spaces, strict=True)]
        name = f"composition.offline_return.{states}"
        result[f"{name}.candidates_per_second"] = median(speeds)
        result[f"{name}.ratio_to_twin"] = speeds[0] / _twin_speed(layouts[0], spaces[0])
        for kind in KINDS:
            speeds = [_embedding_speed(layout, space, kind) for layout, space in zip(layouts, spaces, strict=True)]
            result[f"embedding.{kind}.{states}.candidates_per_second"] = median(speeds)
    return result


def _space(layout: Layout) -> CandidateSpace:
    groups = []
    for objective in GROUPS:
        runs = [train(layout, objective=objective, seed=seed) for seed in range(3)]
        snapshots = [snapshot for run in runs for snapshot in run.labelled().values()]
        support = support_bits(np.stack([snapshot.visits for snapshot in snapshots]))
        ids = tuple(f"{objective}-{index}" for index in range(len(snapshots)))
        q = np.stack([snapshot.q for snapshot in snapshots])
        groups.append(PolicyGroup(objective, ids, q, support, np.zeros(len(ids))))
    return CandidateSpace.of(groups)


def _mixtures(space: CandidateSpace) -> np.ndarray:
    return space.mixtures(np.concatenate(list(product_blocks(space.sizes))))


def _speed(call: Callable[[], object], count: int) -> float:
    """Items per second: the median of several calls, after one that loads the kernels."""
    call()
    seconds = []
    for _ in range(REPEATS):
        begun = perf_counter()
        call()
        seconds.append(perf_counter() - begun)
    return count / median(seconds)


def _offline_return_speed(layout: Layout, space: CandidateSpace) -> float:
    task, mixtures = make_task(layout, OBJECTIVE), np.tile(_mixtures(space), (20, 1))
    return _speed(lambda: offline_returns(task, space.pool, mixtures, SUM, True, True), len(mixtures))


def _embedding_speed(layout: Layout, space: CandidateSpace, kind: str) -> float:
    record = EnvironmentRecord.of("bench", layout, layout.terrain.moves)
    embedder, mixtures = make_embedder(layout, record.canonical), _mixtures(space)
    return _speed(lambda: embed(embedder, space.pool, mixtures, kind=kind), len(mixtures))


def _twin_speed(layout: Layout, space: CandidateSpace) -> float:
    """Candidates per second of the twin; it reads recorded actions from visit counts, the pool from bits of them."""
    mixtures, environment = _mixtures(space)[:20], twin_of(layout, Objective.of(OBJECTIVE))
    visits = (space.pool.support[:, :, None] >> np.arange(4, dtype=np.uint8)) & 1

    def follow(mixture: np.ndarray) -> object:
        choose = partial(twin_choice, space.pool.q[mixture], visits[mixture], operator="sum", masked=True)
        return twin_offline_return(environment, choose)

    return _speed(lambda: [follow(mixture) for mixture in mixtures], len(mixtures))
