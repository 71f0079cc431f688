"""Policies of which only a part of what training recorded is left: coverage as an experimental condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lever_ray.composition.groups import PolicyGroup
from lever_ray.embedding.offline import support_bits
from lever_ray.errors import InvalidValue, check_known
from lever_ray.tasks.gridworld.terrain import ACTIONS

DROPS: tuple[str, ...] = ("shared", "independent")
"""Pairs are dropped for all policies of an environment at once, or for each policy by itself."""


def thin_groups(groups: Sequence[PolicyGroup], *, coverage: float, drop: str, seed: int) -> list[PolicyGroup]:
    """The same policies with a share of the (cell, action) pairs that their training recorded.

    Dropped pairs are gone from support bits and mean rewards. Lower coverages keep a part of what higher ones keep,
    for equal seeds. Q-tables and recorded returns stay.

    Args:
        groups: all groups of one environment.
        coverage: share of pairs that is kept, in (0, 1], rounded to whole pairs.
        drop: ``shared`` draws among the pairs of the union of all policies, ``independent`` among each policy's own.
        seed: of the draw.

    Raises:
        UnknownName: ``drop`` is not known.
        InvalidValue: ``coverage`` is outside (0, 1].
    """
    check_known("drop rule", drop, DROPS)
    if not 0.0 < coverage <= 1.0:
        raise InvalidValue(f"coverage is {coverage}; it must lie in (0, 1]")
    rng = np.random.default_rng([seed, DROPS.index(drop)])
    support = np.concatenate([group.support for group in groups])
    recorded = np.bitwise_or.reduce(support)[None] if drop == "shared" else support
    left = support & np.stack([_sample_bits(bits, coverage, rng) for bits in recorded])
    parts = np.split(left, np.cumsum([len(group) for group in groups])[:-1])
    return [_with_support(group, bits) for group, bits in zip(groups, parts, strict=True)]


def taken_actions(support: np.ndarray) -> np.ndarray:
    """bool[..., S, A] of support bits uint8[..., S]."""
    return (support[..., None] >> np.arange(ACTIONS, dtype=np.uint8)) & 1 == 1


def _sample_bits(bits: np.ndarray, coverage: float, rng: np.random.Generator) -> np.ndarray:
    """uint8[S]: a share of the bits set in uint8[S]."""
    taken = taken_actions(bits)
    pairs = rng.permutation(np.flatnonzero(taken))
    kept = np.zeros(taken.size, np.uint8)
    kept[pairs[: round(coverage * len(pairs))]] = 1
    return support_bits(kept.reshape(taken.shape))


def _with_support(group: PolicyGroup, support: np.ndarray) -> PolicyGroup:
    rewards = None if group.mean_rewards is None else group.mean_rewards * taken_actions(support)
    return replace(group, support=support, mean_rewards=rewards)
