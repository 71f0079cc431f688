"""A library, or a part of it, as one npz or Parquet file that any other code reads, and that imports as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lever_ray.config import unwritable
from lever_ray.errors import InvalidValue, LibraryError
from lever_ray.library.reader import LibraryReader
from lever_ray.library.record import PLAIN, PolicyRecord
from lever_ray.policies.group import GroupKey
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.watching import Watch

TEXTS: tuple[str, ...] = ("id", "environment", "description", "label", "algorithm", "objective", "support_source")
_NUMBERS: tuple[str, ...] = tuple(name for name in PLAIN if name not in TEXTS)
_ARRAYS: dict[str, tuple[pa.DataType, Any]] = {
    "q": (pa.float32(), 0),
    "visits": (pa.uint32(), 0),
    "successors": (pa.int32(), -1),
    "mean_rewards": (pa.float32(), np.nan),
}
"""Arrays over observations and actions, and what stands in an npz where a policy has none."""
_COUNTS = ("episodes", "snapshot", "seed", "environment_steps")

BATCH = 1_000
"""Policies of a Parquet file's row group, about."""

SCHEMA = pa.schema(
    {
        **{name: pa.dictionary(pa.int32(), pa.string()) if name != "id" else pa.string() for name in TEXTS},
        "layout": pa.dictionary(pa.int32(), pa.string()),
        "weights": pa.list_(pa.float64()),
        **{name: pa.int64() if name in _COUNTS else pa.float64() for name in _NUMBERS},
        **{name: pa.list_(kind) for name, (kind, _) in _ARRAYS.items()},
    }
)
"""Columns of an exported Parquet file; an npz has arrays of the same names, and ``states``."""


def export(
    library: LibraryReader,
    target: str | Path,
    *,
    environment: str | None = None,
    objective: Objective | str | None = None,
    gamma: float | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> int:
    """Write the policies that match every filter, with their tasks, to ``.npz`` or ``.parquet``.

    Args:
        library: that they are in.
        target: the file.
        environment: by name; of all, if not given.
        objective: with all of whose terms; any, if not given.
        gamma: discount; any, if not given.
        overwrite: whether the file may be there already.
        watch: told how many policies are read; a Parquet file is written as they are, an npz afterwards.

    Returns:
        How many.

    Raises:
        UnknownName: no environment has that name, or none that term of the objective.
        InvalidValue: the target's ending is another one.
        LibraryError: the target exists, its folder is not there or takes no files, nothing matches, or the file cannot
            be written.
    """
    path = Path(target)
    writers: dict[str, Callable[[Path, Iterator[list[PolicyRecord]]], int]] = {".npz": _npz, ".parquet": _parquet}
    if path.suffix not in writers:
        raise InvalidValue(f"target {path} ends in {path.suffix!r}; it must end in .npz or .parquet")
    if path.exists() and not overwrite:
        raise LibraryError(f"{path} exists; choose another name, or say overwrite=True")
    if why := unwritable(path):
        raise LibraryError(why)
    parts = _parts(library, environment, objective, gamma, watch)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        count = writers[path.suffix](temporary, parts)
        if not count:
            raise LibraryError("no policy matches; `lever-ray inspect` shows what the library holds")
        temporary.replace(path)
    except OSError as error:
        raise LibraryError(f"{path} cannot be written ({error.strerror}); make room or choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return count


def _parts(
    library: LibraryReader,
    environment: str | None,
    objective: Objective | str | None,
    gamma: float | None,
    watch: Watch | None,
) -> Iterator[list[PolicyRecord]]:
    """The policies that match, so many at a time as memory holds easily."""
    name = None if environment is None else library.environment(environment).name
    census = library.census()
    found = library.matching(list(census), objective)
    keys = [key for key in found if name in (None, key.environment) and gamma in (None, key.gamma)]
    batches: list[list[GroupKey]] = [[]]
    for key in keys:
        batches[-1].append(key)
        if sum(census[each] for each in batches[-1]) >= BATCH:
            batches.append([])
    done, total = 0, sum(census[key] for key in keys)
    for batch in filter(None, batches):
        yield (records := library.members(batch))
        done += len(records)
        if watch is not None:
            watch(done, total, "policies")


def _weights(record: PolicyRecord) -> list[float]:
    """One per term of its task; 0 for those that the objective lacks."""
    return [record.objective.weight(term) if record.objective else 0.0 for term in record.task.terms]


def _documents(records: Sequence[PolicyRecord]) -> dict[str, dict[str, Any]]:
    """By environment the plain data of its task."""
    tasks: dict[str, Environment] = {record.environment: record.task for record in records}
    return {name: task.encode() for name, task in tasks.items()}


def _text(record: PolicyRecord, name: str) -> str:
    if name == "objective":
        return record.objective.name if record.objective else ""
    return str(getattr(record, name))


def _parquet(path: Path, parts: Iterator[list[PolicyRecord]]) -> int:
    count = 0
    with path.open("wb") as handle, pq.ParquetWriter(handle, SCHEMA, compression="zstd") as writer:
        for records in parts:
            writer.write_table(_table(records))
            count += len(records)
    return count


def _table(records: Sequence[PolicyRecord]) -> pa.Table:
    columns: dict[str, Any] = {name: [_text(record, name) for record in records] for name in TEXTS}
    documents = {name: json.dumps(document) for name, document in _documents(records).items()}
    columns["layout"] = [documents[record.environment] for record in records]
    columns["weights"] = [_weights(record) for record in records]
    columns |= {name: [getattr(record, name) for record in records] for name in _NUMBERS}
    for name in _ARRAYS:
        arrays = [getattr(record, name) for record in records]
        columns[name] = [None if array is None else array.ravel() for array in arrays]
    return pa.table({field.name: _column(columns[field.name], field.type) for field in SCHEMA}, schema=SCHEMA)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array(values, kind)


def _npz(path: Path, parts: Iterator[list[PolicyRecord]]) -> int:
    records = [record for part in parts for record in part]
    if records:
        with path.open("wb") as handle:
            np.savez_compressed(handle, **_arrays(records))  # type: ignore[arg-type]
    return len(records)


def _arrays(records: Sequence[PolicyRecord]) -> dict[str, np.ndarray]:
    """Arrays of an npz; those over observations are padded to the largest task, and ``states`` says by how much."""
    arrays = {name: np.array([_text(record, name) for record in records]) for name in TEXTS}
    for name in TEXTS:
        if any(_text(record, name).endswith("\0") for record in records):
            raise InvalidValue(f"a policy's {name} ends in a NUL letter, which npz does not keep; export to Parquet")
    arrays["layouts"] = np.array(json.dumps(_documents(records)))
    arrays["states"] = np.array([record.task.observations for record in records])
    terms, actions = (max(sizes) for sizes in zip(*((len(r.task.terms), r.task.actions) for r in records), strict=True))
    weights = [_weights(record) for record in records]
    arrays["weights"] = np.array([row + [0.0] * (terms - len(row)) for row in weights])
    arrays |= {name: np.array([getattr(record, name) for record in records]) for name in _NUMBERS}
    for name, (kind, nothing) in _ARRAYS.items():
        whole = np.full((len(records), arrays["states"].max(), actions), nothing, kind.to_pandas_dtype())
        for row, record in zip(whole, records, strict=True):
            given = getattr(record, name)
            if given is not None:
                row[: given.shape[0], : given.shape[1]] = given
        arrays[name] = whole
    return arrays
