"""Between records and the rows of a shard's files."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.schema import EMBEDDINGS, ENVIRONMENTS, POLICIES, TEXT_DIMENSION, TEXTS, tables_schema
from lever_ray.tasks.gridworld.features import feature_tables, initial_features
from lever_ray.tasks.gridworld.terrain import ACTIONS

PLAIN: tuple[str, ...] = (
    "environment",
    "description",
    "label",
    "gamma",
    "algorithm",
    "episodes",
    "snapshot",
    "seed",
    "environment_steps",
    "seconds",
    "total",
)
"""Fields of a record that are stored as they are."""
SHARD_BYTES = 64 << 20
"""Size of a tables file from which the rest of an append goes into another shard."""

Encode = Callable[[Sequence[str]], np.ndarray]
"""Turns texts into float32[n, 256] of unit rows."""


def sorted_records(records: Sequence[PolicyRecord]) -> list[PolicyRecord]:
    """Records in the order of a shard's rows: by environment, gamma, episodes, objective and id."""
    return sorted(
        records,
        key=lambda record: (record.environment, record.gamma, record.episodes, objective_id(record), record.id),
    )


def objective_id(record: PolicyRecord) -> str:
    """Id of a record's objective; empty where it has none."""
    return record.objective.id if record.objective else ""


def alike(records: Sequence[PolicyRecord]) -> Iterator[list[PolicyRecord]]:
    """Records dealt into shards: of equally many cells, all with or all without visits and rewards, not too big."""
    parts: dict[tuple[int, bool, bool], list[PolicyRecord]] = {}
    for record in records:
        kind = (record.layout.states, record.visits is not None, record.mean_rewards is not None)
        parts.setdefault(kind, []).append(record)
    for (states, *optional), part in sorted(parts.items()):
        count = max(1, SHARD_BYTES // row_bytes(states, *optional))
        ordered = sorted_records(part)
        for first in range(0, len(ordered), count):
            yield ordered[first : first + count]


def row_bytes(states: int, visits: bool, mean_rewards: bool) -> int:
    """Bytes of a policy in a tables file."""
    return states + 4 * ACTIONS * states * (1 + visits + mean_rewards)


def shard_tables(records: Sequence[PolicyRecord]) -> tuple[pa.Table, pa.Table]:
    """A shard's policies and tables, see :mod:`~lever_ray.library.schema`; records in order, with the same arrays."""
    columns = _plain_columns(records)
    policies = pa.table({field.name: _column(columns[field.name], field.type) for field in POLICIES}, schema=POLICIES)
    return policies, _tables_table(records, zip(*(columns[name] for name in POLICIES.names), strict=True))


def _plain_columns(records: Sequence[PolicyRecord]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [getattr(record, name) for record in records] for name in ("id", *PLAIN)}
    columns["objective"] = [objective_id(record) for record in records]
    columns["weights"] = [list(record.objective.weights) if record.objective else [] for record in records]
    columns["support_source"] = [record.support_source for record in records]
    return columns


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array(values, kind)


def _tables_table(records: Sequence[PolicyRecord], rows: Iterable[Sequence[Any]]) -> pa.Table:
    first = records[0]
    schema = tables_schema(
        first.layout.states, visits=first.visits is not None, mean_rewards=first.mean_rewards is not None
    )
    names = [name for name in schema.names if name != "crc32"]
    arrays = [np.stack([getattr(record, name) for record in records]) for name in names]
    checksums = [checksum_of_row(row, [array[place] for array in arrays]) for place, row in enumerate(rows)]
    columns = [vectors(array, schema.field(name).type) for name, array in zip(names, arrays, strict=True)]
    return pa.table([*columns, pa.array(checksums, pa.uint32())], schema=schema)


def checksum_of_row(values: Sequence[Any], arrays: Iterable[np.ndarray]) -> int:
    """CRC-32 of a policy: its values in the order of the policies file as JSON, then its arrays, row-major.

    Args:
        values: plain, as ``json.dumps`` takes them.
        arrays: of the tables file, in its order.
    """
    found = zlib.crc32(json.dumps(values).encode())
    for array in arrays:
        found = zlib.crc32(array.data, found)
    return found


def vectors(rows: Sequence[np.ndarray] | np.ndarray, kind: pa.DataType) -> pa.Array:
    """Arrays of equal size as a column of fixed-size lists."""
    values = np.asarray(rows).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(values, kind.value_type), type=kind)


def texts_table(descriptions: Sequence[str], vectors_of: np.ndarray) -> pa.Table:
    """Table of :data:`~lever_ray.library.schema.TEXTS` from descriptions and their vectors float32[t, 256]."""
    return pa.table([pa.array(descriptions, pa.string()), vectors(vectors_of, TEXTS.field("embedding").type)], TEXTS)


def encoded(descriptions: Sequence[str], encode: Encode) -> np.ndarray:
    """float32[t, 256]: unit vectors of descriptions; 0 for blank ones."""
    found = np.zeros((len(descriptions), TEXT_DIMENSION), np.float32)
    said = [row for row, text in enumerate(descriptions) if text.strip()]
    if said:
        found[said] = encode([descriptions[row] for row in said])
    return found


def descriptions_of(policies: pa.Table) -> list[str]:
    """The descriptions that a policies table's rows refer to, in the order of their codes."""
    chunks = policies["description"].chunks
    return chunks[0].dictionary.to_pylist() if chunks else []


def embeddings_table(psi: np.ndarray) -> pa.Table:
    """Table of :data:`~lever_ray.library.schema.EMBEDDINGS` from float32[n, 73]."""
    return pa.table([vectors(psi, EMBEDDINGS.field("psi").type)], EMBEDDINGS)


def environments_table(environments: Sequence[EnvironmentRecord]) -> pa.Table:
    """Table of :data:`~lever_ray.library.schema.ENVIRONMENTS`."""
    rows = [
        {
            "name": environment.name,
            "layout": json.dumps(environment.layout.to_dict()),
            "successors": environment.successors.ravel(),
            "features": initial_features(feature_tables(environment.layout)).ravel(),
            "canonical_cells": environment.canonical.cells,
            "canonical_golds": environment.canonical.golds,
            "canonical_levers": environment.canonical.levers,
        }
        for environment in environments
    ]
    return pa.Table.from_pylist(rows, schema=ENVIRONMENTS)
