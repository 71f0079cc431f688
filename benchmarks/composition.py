"""Speed of candidate evaluation and embedding on one core: three groups of 9, operator ``sum``, 64 canonical states.

Candidates are the product of the groups, each once. Ratios to the plain-Python twins of the tests and, for exact psi,
to a plain compiled rollout say what the kernels' way of sharing work is worth. A search space of 32^4 shows how long a
million candidates take. Seconds are those of one thread on its core, so that other work on the machine does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from time import thread_time

import numpy as np

from benchmarks.plain_rollout import plain_psi
from benchmarks.timing import median_seconds
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.strategies.protocol import product_blocks
from lever_ray.embedding.offline import SUM, offline_returns
from lever_ray.embedding.successor import KINDS, Embedder, embed, make_embedder
from lever_ray.learning.sarsa import train
from lever_ray.library.record import EnvironmentRecord
from lever_ray.policies.group import PolicyGroup
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.support import support_bits, taken_actions
from tests.twin import twin_choice, twin_of, twin_offline_return, twin_psi

OBJECTIVE = "path-gold-hazard-lever"
GROUPS = ("path-gold", "hazard", "lever")
LAYOUTS = range(4)
REPEATS = 7
MILLION = 1_000_000


def figures() -> dict[str, float]:
    """Candidates per second, median over layouts and repeats, and ratios, median over layouts."""
    result = {}
    for family in ("grid8", "grid16", "grid32"):
        layouts = [Layout.sample(family, seed=seed) for seed in LAYOUTS]
        states = f"s{layouts[0].states}"
        spaces = [_space(layout, GROUPS, members=9) for layout in layouts]
        pairs = list(zip(layouts, spaces, strict=True))
        speeds = [_offline_return_speed(layout, space) for layout, space in pairs]
        name = f"composition.offline_return.{states}"
        result[f"{name}.candidates_per_second"] = median(speeds)
        result[f"{name}.ratio_to_twin"] = speeds[0] / _twin_return_speed(*pairs[0])
        for kind in KINDS:
            speeds = [_embedding_speed(layout, space, kind) for layout, space in pairs]
            result[f"embedding.{kind}.{states}.candidates_per_second"] = median(speeds)
            result[f"embedding.{kind}.{states}.ratio_to_twin"] = speeds[0] / _twin_psi_speed(*pairs[0], kind=kind)
        ratios = [_embedding_speed(*pair, "psi") / _plain_psi_speed(*pair) for pair in pairs]
        result[f"embedding.psi.{states}.ratio_to_plain_rollout"] = median(ratios)
    for family, states in (("grid8", "s64"), ("grid16", "s256")):
        result[f"composition.offline_return.{states}.seconds_for_a_million_of_32_to_the_4"] = _million_seconds(family)
    return result


def _space(layout: Layout, objectives: Sequence[str], *, members: int) -> CandidateSpace:
    groups = []
    for objective in objectives:
        snapshots = [
            snapshot
            for seed in range(-(-members // 3))
            for snapshot in train(layout, objective=objective, seed=seed).labelled().values()
        ][:members]
        support = support_bits(np.stack([snapshot.visits for snapshot in snapshots]))
        ids = tuple(f"{objective}-{index}" for index in range(len(snapshots)))
        q = np.stack([snapshot.q for snapshot in snapshots])
        groups.append(PolicyGroup(objective, ids, q, support, np.zeros(len(ids))))
    return CandidateSpace.of(groups)


def _mixtures(space: CandidateSpace) -> np.ndarray:
    return space.mixtures(np.concatenate(list(product_blocks(space.sizes))))


def _embedder(layout: Layout) -> Embedder:
    return make_embedder(layout, EnvironmentRecord.of("bench", layout, layout.terrain.moves).canonical)


_seconds = partial(median_seconds, repeats=REPEATS, clock=thread_time)
"""Of one thread's work, whatever else the machine does."""


def _offline_return_speed(layout: Layout, space: CandidateSpace) -> float:
    task, mixtures = layout.compile(OBJECTIVE), _mixtures(space)
    returns = partial(offline_returns, task, space.pool, mixtures, SUM, True, True, threads=1)
    return len(mixtures) / _seconds(returns, repeats=10 * REPEATS)


def _embedding_speed(layout: Layout, space: CandidateSpace, kind: str) -> float:
    embedder, mixtures = _embedder(layout), _mixtures(space)
    return len(mixtures) / _seconds(lambda: embed(embedder, space.pool, mixtures, kind=kind, threads=1))


def _plain_psi_speed(layout: Layout, space: CandidateSpace) -> float:
    embedder, mixtures = _embedder(layout), _mixtures(space)[::81].copy()
    return len(mixtures) / _seconds(lambda: plain_psi(embedder, space.pool, mixtures, SUM, True), repeats=3)


def _million_seconds(family: str) -> float:
    """Seconds for the offline returns of a random million of the candidates that four groups of 32 make."""
    layout = Layout.sample(family, seed=0)
    space = _space(layout, OBJECTIVE.split("-"), members=32)
    chosen = np.sort(np.random.default_rng(0).choice(32**4, size=MILLION, replace=False))
    mixtures = space.mixtures(np.stack(np.unravel_index(chosen, space.sizes), axis=1))
    task = layout.compile(OBJECTIVE)
    return _seconds(lambda: offline_returns(task, space.pool, mixtures, SUM, True, True, threads=1), repeats=3)


def _twin_return_speed(layout: Layout, space: CandidateSpace) -> float:
    mixtures, environment = _mixtures(space)[:20], twin_of(layout, Objective.of(OBJECTIVE))
    follow = partial(twin_offline_return, environment)
    return len(mixtures) / _seconds(lambda: [follow(_twin_policy(space, mixture)) for mixture in mixtures])


def _twin_psi_speed(layout: Layout, space: CandidateSpace, *, kind: str) -> float:
    """Candidates per second of the twin from one of the canonical states, divided by their number."""
    states = EnvironmentRecord.of("bench", layout, layout.terrain.moves).canonical
    start, mixture = [(layout.start, frozenset(layout.golds), False)], _mixtures(space)[0]
    choose = _twin_policy(space, mixture)
    seconds = _seconds(lambda: twin_psi(layout, choose, start, static=kind == "psi_static"), repeats=3)
    return 1 / (seconds * len(states))


def _twin_policy(space: CandidateSpace, mixture: np.ndarray) -> Callable[[int], tuple[int, bool]]:
    """The twin's choice; it reads recorded actions from visit counts, the pool from bits of them."""
    visits = taken_actions(space.pool.support[mixture], 4)
    return partial(twin_choice, space.pool.q[mixture], visits, operator="sum", masked=True)
