"""Policies of which only a part of what training recorded is left: coverage as an experimental condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lever_ray.errors import InvalidValue, check_known
from lever_ray.policies.group import PolicyGroup
from lever_ray.tasks.support import support_bits, taken_actions

DROPS: tuple[str, ...] = ("shared", "independent")
"""Pairs are dropped for all policies of an environment at once, or for each policy by itself."""


def check_coverage(coverage: float) -> None:
    """Refuse a share of pairs outside (0, 1].

    Raises:
        InvalidValue: naming it.
    """
    if not 0.0 < coverage <= 1.0:
        raise InvalidValue(f"coverage is {coverage}; it must lie in (0, 1]")


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
    check_coverage(coverage)
    rng = np.random.default_rng([seed, DROPS.index(drop)])
    support = np.concatenate([group.support for group in groups])
    recorded = np.bitwise_or.reduce(support)[None] if drop == "shared" else support
    actions = groups[0].q.shape[2]
    kept = np.stack([sample_pairs(taken_actions(bits, actions), coverage, rng) for bits in recorded])
    return keep_pairs(groups, kept)


def sample_pairs(taken: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """bool[S, A]: a share of the pairs set in bool[S, A], in whole pairs; nested for equal states of ``rng``."""
    pairs = rng.permutation(np.flatnonzero(taken))
    kept = np.zeros(taken.size, bool)
    kept[pairs[: round(share * len(pairs))]] = True
    return kept.reshape(taken.shape)


def keep_pairs(groups: Sequence[PolicyGroup], kept: np.ndarray) -> list[PolicyGroup]:
    """The same policies, of whose records only some pairs are left.

    Args:
        groups: P policies in all.
        kept: bool[P or 1, S, A], the pairs that may stay, of each policy or of all.
    """
    left = np.concatenate([group.support for group in groups]) & support_bits(kept)
    parts = np.split(left, np.cumsum([len(group) for group in groups])[:-1])
    return [_with_support(group, bits) for group, bits in zip(groups, parts, strict=True)]


def _with_support(group: PolicyGroup, support: np.ndarray) -> PolicyGroup:
    recorded = group.mean_rewards
    rewards = None if recorded is None else recorded * taken_actions(support, recorded.shape[2])
    return replace(group, support=support, mean_rewards=rewards)
