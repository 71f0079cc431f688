"""The files of a benchmark: their columns, and writing them so that equal content gives equal bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lever_ray.errors import LibraryError, storage_error

FORMAT = 1
"""Version of the files; another one is refused."""
ABOUT = "benchmark.json"
CHECKSUMS = "checksums.sha256"
KEEPER = "keeper.json"

_NAME, _NAMES = pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.string())
YARDSTICKS: tuple[str, ...] = ("optimum", "random", "best_single", "scratch", "scratch_best_snapshot")
"""``optimum`` J*, ``random`` J_rand, ``best_single`` the best policy of the pool by oracle, ``scratch`` training on the
composite objective at the discount that is best there (final policy), ``scratch_best_snapshot`` its best snapshots."""

SCHEMAS: dict[str, pa.Schema] = {
    "I0/environments": pa.schema(
        {
            "environment": pa.string(),
            "split": _NAME,
            "family": _NAME,
            "observations": pa.int32(),
            "actions": pa.int32(),
            "horizon": pa.int32(),
        }
    ),
    "I0/questions": pa.schema(
        {
            "question": pa.string(),
            "environment": _NAME,
            "gamma": pa.float64(),
            "mode": _NAME,
            "objective": _NAME,
            "groups": _NAMES,
            "pool": _NAMES,
            "candidates": pa.int32(),
        }
    ),
    "I0/candidates": pa.schema({"question": _NAME, "candidate": pa.int32(), "members": pa.list_(pa.int16())}),
    "I0/policies": pa.schema(
        {
            "policy": pa.int32(),
            "environment": _NAME,
            "objective": _NAME,
            "gamma": pa.float64(),
            "seed": pa.int32(),
            "label": _NAME,
            "episodes": pa.int32(),
            "snapshot": pa.int32(),
            "total": pa.float64(),
            "description": _NAME,
            "q": pa.list_(pa.float32()),
            "support": pa.list_(pa.uint8()),
        }
    ),
    "I1/transitions": pa.schema({"policy": pa.int32(), "successors": pa.list_(pa.int32())}),
    "I1/starts": pa.schema({"environment": pa.string(), "starts": pa.list_(pa.int32())}),
    "I1/events": pa.schema({"environment": pa.string(), "events": pa.list_(pa.uint8())}),
    "I2/rewards": pa.schema({"policy": pa.int32(), "mean_rewards": pa.list_(pa.float32())}),
    "worlds": pa.schema({"environment": pa.string(), "seed": pa.int64(), "document": pa.string()}),
    "returns": pa.schema({"question": _NAME, "candidate": pa.int32(), "sum": pa.float64(), "max": pa.float64()}),
    "yardsticks": pa.schema(
        {
            "question": pa.string(),
            **{name: pa.float64() for name in YARDSTICKS},
            "optimum_exact": pa.bool_(),
            "trivial_layout": pa.bool_(),
        }
    ),
}
"""Columns by file, without its ending; the last three hold answers and what they follow from."""


def table_of(kind: str, columns: Mapping[str, Any]) -> pa.Table:
    """A table of a file's schema."""
    schema = SCHEMAS[kind]
    return pa.table({field.name: _column(columns[field.name], field.type) for field in schema}, schema=schema)


def from_rows(kind: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The same from rows."""
    return table_of(kind, {name: [row[name] for row in rows] for name in SCHEMAS[kind].names})


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode()
    return pa.array(values, kind)


def write_file(file: Path, content: pa.Table | str) -> None:
    """Write a table as Parquet, or a text.

    Raises:
        StorageError: the disk is full.
        LibraryError: the file cannot be written otherwise.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            file.write_text(content, encoding="utf-8")
        else:
            with file.open("wb") as handle:
                pq.write_table(content, handle, compression="zstd", row_group_size=1 << 16)
    except OSError as error:
        if (full := storage_error(error, str(file))) is not None:
            raise full from error
        raise LibraryError(f"{file} cannot be written ({error.strerror}); choose another place") from error


def read_table(file: Path, kind: str) -> pa.Table:
    """A file's table.

    Raises:
        LibraryError: it is no such file.
    """
    try:
        with file.open("rb") as handle:
            table = pq.read_table(handle)
    except (OSError, pa.ArrowException) as error:
        raise LibraryError(f"{file} cannot be read ({error}); export or download the benchmark again") from error
    if table.schema.names != SCHEMAS[kind].names:
        raise LibraryError(
            f"{file} has columns {', '.join(table.schema.names)}; {', '.join(SCHEMAS[kind].names)} are needed"
        )
    return table.combine_chunks()


def digest_of(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_checksums(folder: Path) -> str:
    """List every file of a folder as ``sha256sum`` does; the SHA-256 of that list."""
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    lines = [f"{digest_of(folder / name)}  {name}\n" for name in files if name != CHECKSUMS]
    write_file(folder / CHECKSUMS, "".join(lines))
    return digest_of(folder / CHECKSUMS)


def check_checksums(folder: Path, needed: Iterable[str] = ()) -> str:
    """Refuse a folder of which a file is missing or not as it was listed; the SHA-256 of the list.

    Args:
        folder: of the benchmark, or of its answers.
        needed: files that the list must have.

    Raises:
        LibraryError: naming the file.
    """
    file = folder / CHECKSUMS
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LibraryError(f"{folder} is no folder of a benchmark: {CHECKSUMS} cannot be read ({error})") from error
    listed = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        listed[name] = digest
        if not name or name.startswith("/") or ".." in Path(name).parts:
            raise LibraryError(f"{file} has a line {line[:80]!r}, which names no file of {folder}")
        if not (folder / name).is_file() or digest_of(folder / name) != digest:
            raise LibraryError(
                f"{folder / name} is missing or was changed (checksum mismatch); export or download the benchmark again"
            )
    if missing := sorted({*needed} - {*listed}):
        raise LibraryError(f"{file} does not list {', '.join(missing)}; export or download the benchmark again")
    return digest_of(file)
