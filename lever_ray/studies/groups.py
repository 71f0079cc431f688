"""What studies ask, and groups of members that they train for themselves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lever_ray.learning.sarsa import Snapshot
from lever_ray.policies.group import PolicyGroup
from lever_ray.tasks.support import support_bits

PUBLISHED_SETUPS: tuple[tuple[str, str], ...] = (
    ("trivial", "path-gold"),
    ("trivial", "path-gold-hazard"),
    ("trivial", "path-gold-hazard-lever"),
    ("double", "path-gold-hazard"),
    ("double", "path-gold-hazard-lever"),
    ("triple", "path-gold-hazard-lever"),
)
"""The published composition problems: mode and composite objective."""


def group_of_snapshots(objective: str, snapshots: Iterable[Snapshot]) -> PolicyGroup:
    """The snapshots of some training runs, in the order given, as members for one objective."""
    members = list(snapshots)
    return PolicyGroup(
        objective=objective,
        ids=tuple(f"{objective}-{place:03d}" for place in range(len(members))),
        q=np.stack([member.q for member in members]),
        support=support_bits(np.stack([member.visits for member in members]) > 0),
        totals=np.array([member.total for member in members]),
        mean_rewards=np.stack([member.mean_rewards for member in members]),
    )
