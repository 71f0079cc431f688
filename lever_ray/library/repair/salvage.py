"""What is left of a shard whose files are damaged: the policies whose own checksum still holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lever_ray.errors import LibraryError
from lever_ray.library.format.arrays import Tables
from lever_ray.library.format.files import decode, mapped
from lever_ray.library.format.manifest import DataFile, ShardEntry
from lever_ray.library.format.policies import ID_LENGTH, read_policy, sealed_policy
from lever_ray.library.format.schema import schemas_of
from lever_ray.library.format.sealed import AnyEnvironment, AnyPolicy, SealedEnvironment


class Salvage(NamedTuple):
    """What can be read of a shard, whatever the checksums of its files say.

    Attributes:
        records: the sound policies, by row.
        lost: ids of the others, as far as they can be read.
    """

    records: dict[int, AnyPolicy]
    lost: tuple[str, ...]


def salvage(path: Path, shard: ShardEntry, environments: Mapping[str, AnyEnvironment]) -> Salvage:
    """Read the rows of a damaged shard one by one; nothing of it where its size is wrong, or it is no Arrow file.

    Args:
        path: folder of the library.
        shard: the manifest's entry.
        environments: those that can be read.
    """
    policies, tables = _policies(path, shard), _tables(path, shard)
    rows = {} if policies is None else dict(_sound_rows(policies))
    records: dict[int, AnyPolicy] = {}
    for row, values in rows.items():
        environment = environments.get(values["environment"])
        if tables is None or environment is None:
            continue
        record = _record(values, tables.cut(row, row + 1), environment)
        if record is not None:
            records[row] = record
    return Salvage(records, tuple(rows[row]["id"] for row in rows if row not in records and _is_id(rows[row]["id"])))


def _record(values: dict[str, Any], tables: Tables, environment: AnyEnvironment) -> AnyPolicy | None:
    """A policy; None where it is not what its checksum and its id say."""
    if list(tables.checksums([values])) != tables.crc32.tolist():
        return None
    if isinstance(environment, SealedEnvironment):
        return sealed_policy(values, tables)
    try:
        record = read_policy(values, tables, environment)
    except LibraryError:
        return None
    return record if (record.id, record.support_source) == (values["id"], values["support_source"]) else None


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) == ID_LENGTH and not set(value) - set("0123456789abcdef")


def _policies(path: Path, shard: ShardEntry) -> pa.Table | None:
    file = shard.file("policies")
    assert file is not None
    return _as_it_is(path, file, shard.states)


def _tables(path: Path, shard: ShardEntry) -> Tables | None:
    file = shard.file("tables")
    assert file is not None
    table = _as_it_is(path, file, shard.states)
    try:
        return None if table is None else Tables.of(table, shard.states, path / file.name)
    except LibraryError:
        return None


def _as_it_is(path: Path, file: DataFile, states: int) -> pa.Table | None:
    """A file of the right size, structure and columns, whatever its content; else None."""
    location = path / file.name
    try:
        data = mapped(location)
        if data.size != file.bytes:
            return None
        return decode(location, data, schemas_of(file.kind, states), rows=file.rows, full=False)
    except (LibraryError, pa.ArrowException, OSError, ValueError):
        return None


def _sound_rows(table: pa.Table) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows that can be read at all, as plain Python, with their places."""
    columns = [_readable(column.chunks[0]) for column in table.columns]
    sound = np.ones(len(table), bool)
    for column in columns:
        sound[list(_unsound(column, 0, len(column)))] = False
    rows = np.flatnonzero(sound)
    values = pa.table(columns, names=table.schema.names).take(pa.array(rows, pa.int64())).to_pylist()
    yield from zip(rows.tolist(), values, strict=True)


def _readable(column: pa.Array) -> pa.Array:
    """A column whose dictionary, where it has one, has nulls for entries that cannot be read."""
    if not pa.types.is_dictionary(column.type):
        return column
    names, broken = column.dictionary, set(_unsound(column.dictionary, 0, len(column.dictionary)))
    if not broken:
        return column
    kept = [None if place in broken else names[place].as_py() for place in range(len(names))]
    return pa.DictionaryArray.from_arrays(column.indices, pa.array(kept, names.type), safe=False)


def _unsound(column: pa.Array, first: int, stop: int) -> Iterator[int]:
    """Places between two that Arrow cannot read, found by halving."""
    try:
        column.slice(first, stop - first).validate(full=True)
    except (pa.ArrowException, ValueError):
        if stop - first == 1:
            yield first
        else:
            middle = (first + stop) // 2
            yield from _unsound(column, first, middle)
            yield from _unsound(column, middle, stop)
