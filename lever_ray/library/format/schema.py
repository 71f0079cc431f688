"""Arrow schemas of a library's files; ``docs/library-format.md`` says the same in words."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa

from lever_ray.tasks.support import support_bytes

SCHEMA_VERSION = 2
REPAIR = "restore the file from a copy, or run `lever-ray library repair`"
"""What to do about a damaged file."""
TEXT_DIMENSION = 256
FEATURES = 70
"""Features per observation of environments whose Psi is stored."""
EMBEDDING = FEATURES + 3
"""Length of a stored Psi: its features, and how rollouts end."""
MOST_ACTIONS = 8
"""Actions whose support fits a byte per observation."""
MOST_ENTRIES = (1 << 31) - 1
"""Entries of a list that Arrow counts with 32 bits."""

_NAME = pa.dictionary(pa.int32(), pa.string())

POLICIES = pa.schema(
    {
        "id": pa.string(),
        "environment": _NAME,
        "objective": _NAME,
        "weights": pa.list_(pa.float64()),
        "description": _NAME,
        "label": _NAME,
        "gamma": pa.float64(),
        "algorithm": _NAME,
        "episodes": pa.int64(),
        "snapshot": pa.int64(),
        "seed": pa.int64(),
        "environment_steps": pa.int64(),
        "seconds": pa.float64(),
        "total": pa.float64(),
        "support_source": _NAME,
    }
)
"""What each policy is: a row per policy, by environment, gamma, episodes, objective and id."""

TEXTS = pa.schema({"description": pa.string(), "embedding": pa.list_(pa.float32(), TEXT_DIMENSION)})
"""Text vectors: a row for every entry of the policies' ``description`` dictionary, in its order."""

EMBEDDINGS = pa.schema({"psi": pa.list_(pa.float32(), EMBEDDING)})
"""Behavioural embeddings, in the rows of the policies file."""

ENVIRONMENTS = pa.schema(
    {
        "name": pa.string(),
        "layout": pa.string(),
        "successors": pa.list_(pa.int32()),
        "features": pa.list_(pa.float32()),
        "canonical_cells": pa.list_(pa.int32()),
        "canonical_golds": pa.list_(pa.uint64()),
        "canonical_levers": pa.list_(pa.uint8()),
    }
)
"""One row per environment and append; a later row replaces an earlier one of the same name."""


def tables_schema(states: int, actions: int, *, visits: bool, mean_rewards: bool) -> pa.Schema:
    """Schema of a tables file: arrays over observations and actions, row-major, in the rows of the policies file.

    ``crc32`` is that of the row in both files, see :func:`lever_ray.library.format.arrays.checksum_of_row`.
    """
    pairs = states * actions
    columns = {
        "q": pa.list_(pa.float32(), pairs),
        "support": pa.list_(pa.uint8(), states * support_bytes(actions)),
    }
    if visits:
        columns["visits"] = pa.list_(pa.uint32(), pairs)
    if mean_rewards:
        columns["mean_rewards"] = pa.list_(pa.float32(), pairs)
    columns["crc32"] = pa.uint32()
    return pa.schema(columns)


@lru_cache(maxsize=256)
def schemas_of(kind: str, states: int) -> tuple[pa.Schema, ...]:
    """The schemas that a file of some kind may have.

    Args:
        kind: ``policies``, ``tables``, ``texts``, ``embeddings`` or ``environments``.
        states: S of the shard's policies; 0 for environments.
    """
    fixed = {"policies": POLICIES, "texts": TEXTS, "embeddings": EMBEDDINGS, "environments": ENVIRONMENTS}
    if kind in fixed:
        return (fixed[kind],)
    return tuple(
        tables_schema(states, actions, visits=visits, mean_rewards=rewards)
        for actions in range(1, MOST_ACTIONS + 1)
        if states * actions <= MOST_ENTRIES
        for visits in (False, True)
        for rewards in (False, True)
    )
