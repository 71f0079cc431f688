"""A policy from its row and its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lever_ray.errors import LeverError, LibraryError
from lever_ray.library.format.arrays import Tables
from lever_ray.library.format.schema import REPAIR
from lever_ray.library.format.sealed import SealedPolicy
from lever_ray.library.record import PLAIN, EnvironmentRecord, HeldPolicy, PolicyRecord
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.support import taken_actions

ID_LENGTH = 20
"""Hexadecimal digits of a policy's id."""


def sealed_policy(row: Mapping[str, Any], tables: Tables) -> SealedPolicy:
    """A policy of an environment whose family is not installed, from its row and its arrays [1, ...]."""
    visits, rewards = (None if part is None else part[0] for part in (tables.visits, tables.mean_rewards))
    return SealedPolicy(row, tables.q[0], tables.support[0], visits, rewards)


def read_policy(row: dict[str, Any], tables: Tables, environment: EnvironmentRecord) -> PolicyRecord:
    """A record from a row of the policies table, its arrays [1, ...] and its environment.

    Raises:
        LibraryError: the row cannot be a policy of that environment.
    """
    task, terms = environment.task, row["objective"].partition("[")[0].split("-")
    try:
        known = taken_actions(tables.support[0], task.actions)
        recorded = np.where(known, task.dynamics.moves, -1)
        return HeldPolicy(
            task=task,
            objective=Objective.of(terms, weights=dict(zip(terms, row["weights"], strict=True)))
            if row["objective"]
            else None,
            q=tables.q[0],
            visits=tables.visits[0] if tables.visits is not None else None,
            successors=None if row["support_source"] == "unknown" else recorded,
            mean_rewards=None if tables.mean_rewards is None else tables.mean_rewards[0],
            **{name: row[name] for name in PLAIN},
        )
    except (LeverError, ValueError, TypeError) as error:
        raise LibraryError(f"policy {row['id']!r} cannot be read ({error}); {REPAIR}") from error
