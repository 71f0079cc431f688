"""Between records and the rows of a shard's files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lever_ray.errors import LibraryError
from lever_ray.library.format.arrays import checksum_of_row
from lever_ray.library.format.schema import (
    EMBEDDING,
    EMBEDDINGS,
    ENVIRONMENTS,
    FEATURES,
    MOST_ENTRIES,
    POLICIES,
    TEXT_DIMENSION,
    TEXTS,
    tables_schema,
)
from lever_ray.library.format.sealed import AnyEnvironment, AnyPolicy, SealedEnvironment, SealedPolicy
from lever_ray.library.record import PLAIN
from lever_ray.tasks.features import initial_features
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.support import support_bytes

SHARD_BYTES = 64 << 20
"""Size of a tables file from which the rest of an append goes into another shard."""

_PSI: dict[str, bool] = {}
"""Whether tasks have Psi, by digest: their features take long to make."""
_KEPT = 1 << 14

Encode = Callable[[Sequence[str]], np.ndarray]
"""Turns texts into float32[n, 256] of unit rows."""


def objective_id(record: AnyPolicy) -> str:
    """Id of a record's objective; empty where it has none."""
    if isinstance(record, SealedPolicy):
        return str(record.row["objective"])
    return record.objective.id if record.objective else ""


def row_of(record: AnyPolicy) -> dict[str, Any]:
    """A policy's row of :data:`~lever_ray.library.format.schema.POLICIES`, its columns in order."""
    if isinstance(record, SealedPolicy):
        return {name: record.row[name] for name in POLICIES.names}
    more = {
        "objective": objective_id(record),
        "weights": list(record.objective.weights) if record.objective else [],
        "support_source": record.support_source,
    }
    plain = {name: getattr(record, name) for name in ("id", *PLAIN)} | more
    return {name: plain[name] for name in POLICIES.names}


def sorted_records(records: Sequence[AnyPolicy]) -> list[AnyPolicy]:
    """Records in the order of a shard's rows: by environment, gamma, episodes, objective and id."""

    def place(record: AnyPolicy) -> tuple[Any, ...]:
        plain = record.row if isinstance(record, SealedPolicy) else vars(record)
        return record.environment, plain["gamma"], plain["episodes"], objective_id(record), record.id

    return sorted(records, key=place)


class Kind(NamedTuple):
    """What the policies of a shard have in common.

    Attributes:
        states: S, observations of their tasks.
        actions: A.
        visits: whether they have visits.
        mean_rewards: whether they have recorded rewards.
        apart: what keeps them from other shards, see :func:`kept_apart`.
    """

    states: int
    actions: int
    visits: bool
    mean_rewards: bool
    apart: str = ""

    @property
    def row_bytes(self) -> int:
        """Bytes of a policy in a tables file."""
        optional = 1 + self.visits + self.mean_rewards
        return self.states * support_bytes(self.actions) + 4 * self.actions * self.states * optional


def has_psi(task: Environment) -> bool:
    """Whether a library stores Psi of a task's policies: it has as many features as the format foresees."""
    if task.digest not in _PSI:
        while len(_PSI) >= _KEPT:
            _PSI.pop(next(iter(_PSI)))
        tables = task.features()
        _PSI[task.digest] = tables is not None and tables.dimension == FEATURES
    return _PSI[task.digest]


def kept_apart(environment: str, task: Environment | None) -> str:
    """What keeps policies from the shards of others: that no Psi of theirs is stored, or that nobody knows.

    Args:
        environment: its name.
        task: its task; None where the family is not installed.
    """
    if task is None:
        return f"sealed {environment}"
    return "" if has_psi(task) else "no psi"


def alike(records: Sequence[AnyPolicy]) -> Iterator[list[AnyPolicy]]:
    """Records dealt into shards of one :class:`Kind` each, not too big."""
    parts: dict[Kind, list[AnyPolicy]] = {}
    apart: dict[str, str] = {}
    for record in records:
        name = record.environment
        if name not in apart:
            apart[name] = kept_apart(name, None if isinstance(record, SealedPolicy) else record.task)
        states, actions = record.q.shape
        kind = Kind(states, actions, record.visits is not None, record.mean_rewards is not None, apart[name])
        parts.setdefault(kind, []).append(record)
    for kind, part in sorted(parts.items()):
        count = max(1, SHARD_BYTES // kind.row_bytes)
        ordered = sorted_records(part)
        for first in range(0, len(ordered), count):
            yield ordered[first : first + count]


def shard_tables(records: Sequence[AnyPolicy]) -> tuple[pa.Table, pa.Table]:
    """A shard's policies and tables, see :mod:`~lever_ray.library.format.schema`.

    The records are in order, with the same arrays.
    """
    rows = [row_of(record) for record in records]
    columns = {field.name: _column([row[field.name] for row in rows], field.type) for field in POLICIES}
    return pa.table(columns, schema=POLICIES), _tables_table(records, [list(row.values()) for row in rows])


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array(values, kind)


def _tables_table(records: Sequence[AnyPolicy], rows: Iterable[Sequence[Any]]) -> pa.Table:
    first = records[0]
    optional = {name: getattr(first, name) is not None for name in ("visits", "mean_rewards")}
    schema = tables_schema(*first.q.shape, **optional)
    names = [name for name in schema.names if name != "crc32"]
    arrays = [np.stack([getattr(record, name) for record in records]) for name in names]
    checksums = [checksum_of_row(row, [array[place] for array in arrays]) for place, row in enumerate(rows)]
    columns = [vectors(array, schema.field(name).type) for name, array in zip(names, arrays, strict=True)]
    return pa.table([*columns, pa.array(checksums, pa.uint32())], schema=schema)


def vectors(rows: Sequence[np.ndarray] | np.ndarray, kind: pa.DataType) -> pa.Array:
    """Arrays of equal size as a column of fixed-size lists."""
    values = np.asarray(rows).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(values, kind.value_type), type=kind)


def texts_table(descriptions: Sequence[str], vectors_of: np.ndarray) -> pa.Table:
    """Table of :data:`~lever_ray.library.format.schema.TEXTS` from descriptions and their vectors float32[t, 256]."""
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
    """Table of :data:`~lever_ray.library.format.schema.EMBEDDINGS` from float32[n, 73].

    Raises:
        LibraryError: the vectors are of another length.
    """
    if psi.shape[1:] != (EMBEDDING,):
        raise LibraryError(
            f"Psi has shape {psi.shape}; schema 2 holds vectors of {EMBEDDING}, of tasks with {FEATURES} features"
        )
    return pa.table([vectors(psi, EMBEDDINGS.field("psi").type)], EMBEDDINGS)


def features_of(task: Environment) -> np.ndarray:
    """float32[S * D]: the features of every observation at the beginning, row-major; empty where it has none."""
    tables = task.features()
    return np.zeros(0, np.float32) if tables is None else initial_features(tables).ravel()


def environments_table(environments: Sequence[AnyEnvironment]) -> pa.Table:
    """Table of :data:`~lever_ray.library.format.schema.ENVIRONMENTS`."""
    return pa.Table.from_pylist([_environment_row(environment) for environment in environments], schema=ENVIRONMENTS)


def _environment_row(environment: AnyEnvironment) -> dict[str, Any]:
    if isinstance(environment, SealedEnvironment):
        return dict(environment.row)
    memories = environment.canonical.memories
    return {
        "name": environment.name,
        "layout": json.dumps(environment.task.encode()),
        "successors": environment.successors.ravel(),
        "features": features_of(environment.task),
        "canonical_cells": environment.canonical.observations,
        "canonical_golds": memories[:, 0],
        "canonical_levers": memories[:, 1].astype(np.uint8),
    }


def environment_parts(environments: Sequence[AnyEnvironment]) -> Iterator[list[AnyEnvironment]]:
    """Environments dealt into files, as a rule one: no column has more entries than Arrow counts."""
    part: list[AnyEnvironment] = []
    held = 0
    for environment in environments:
        entries = _entries(environment)
        if part and held + entries > MOST_ENTRIES:
            yield part
            part, held = [], 0
        part.append(environment)
        held += entries
    if part:
        yield part


def _entries(environment: AnyEnvironment) -> int:
    """Entries of the longest of an environment's lists, about."""
    if isinstance(environment, SealedEnvironment):
        return max(len(environment.row["successors"]), len(environment.row["features"]))
    return environment.task.observations * max(environment.task.actions, FEATURES)
