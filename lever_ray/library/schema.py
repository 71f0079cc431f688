"""The files of a library: Arrow schemas, the manifest, checksums and atomic writes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from lever_ray.errors import LibraryError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_LOCK = ".lock"
_FORMAT = "lever-ray policy library"

POLICY_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "environment": pa.string(),
        "objective": pa.string(),
        "weights": pa.list_(pa.float64()),
        "description": pa.string(),
        "label": pa.string(),
        "gamma": pa.float64(),
        "algorithm": pa.string(),
        "episodes": pa.int64(),
        "snapshot": pa.int64(),
        "seed": pa.int64(),
        "environment_steps": pa.int64(),
        "seconds": pa.float64(),
        "total": pa.float64(),
        "q": pa.list_(pa.float32()),
        "support": pa.list_(pa.uint8()),
        "visits": pa.list_(pa.uint32()),
        "mean_rewards": pa.list_(pa.float32()),
    }
)
"""A row per policy, by environment, gamma, episodes, objective and id; arrays are row-major [S, A] (support [S])."""

ENVIRONMENT_SCHEMA = pa.schema(
    {
        "name": pa.string(),
        "layout": pa.string(),
        "successors": pa.list_(pa.int32()),
        "canonical_cells": pa.list_(pa.int32()),
        "canonical_golds": pa.list_(pa.uint64()),
        "canonical_levers": pa.list_(pa.uint8()),
    }
)
"""One row per environment and append; a later row replaces an earlier one of the same name."""

SCHEMAS = {"policies": POLICY_SCHEMA, "environments": ENVIRONMENT_SCHEMA}


@dataclass(frozen=True)
class DataFile:
    """An entry of the manifest: one immutable Arrow IPC file.

    Attributes:
        name: file name, without folders.
        kind: ``policies`` or ``environments``.
        rows: how many.
        bytes: file size.
        sha256: of the whole file, hexadecimal.
    """

    name: str
    kind: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The list of a library's files; swapped atomically with every append."""

    files: tuple[DataFile, ...] = ()

    def of_kind(self, kind: str) -> tuple[DataFile, ...]:
        """The files of one kind, oldest first."""
        return tuple(file for file in self.files if file.kind == kind)


def read_manifest(path: Path) -> Manifest:
    """Read and check a library's manifest.

    Raises:
        LibraryError: there is no library, its manifest is damaged, or its schema version is newer than this code.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise LibraryError(f"no policy library at {path}; build one with `lever-ray build`, or check the path")
    damaged = f"manifest {file} is damaged"
    remedy = "restore it from a copy, or build the library again in another folder"
    try:
        content = json.loads(file.read_bytes())
        version = content["schema_version"]
        files = content["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise LibraryError(f"{damaged} ({type(error).__name__}: {error}); {remedy}") from error
    if content.get("format") != _FORMAT:
        raise LibraryError(f"{file} is not the manifest of a lever-ray policy library; check the path")
    if isinstance(version, bool) or not isinstance(version, int) or not isinstance(files, list) or version < 1:
        raise LibraryError(f"{damaged} (schema version {version!r}, {type(files).__name__} of files); {remedy}")
    if version > SCHEMA_VERSION:
        raise LibraryError(
            f"library {path} has schema version {version}; this code reads up to {SCHEMA_VERSION}: upgrade lever-ray"
        )
    if content.get("checksum") != _checksum(version, files):
        raise LibraryError(f"{damaged} (its checksum does not match); {remedy}")
    entries = tuple(_read_entry(path, entry) for entry in files)
    if len({entry.name for entry in entries}) < len(entries):
        raise LibraryError(f"{damaged} (it lists a file twice); {remedy}")
    return Manifest(entries)


def _read_entry(path: Path, entry: Any) -> DataFile:
    try:
        file = DataFile(**entry)
    except TypeError as error:
        raise LibraryError(f"manifest of {path} has a malformed entry {entry!r}; restore it from a copy") from error
    sound = isinstance(file.name, str) and isinstance(file.kind, str) and isinstance(file.rows, int)
    if not sound or Path(file.name).name != file.name or file.kind not in SCHEMAS:
        raise LibraryError(
            f"manifest of {path} names file {file.name!r} of kind {file.kind!r}; restore the manifest from a copy"
        )
    return file


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest atomically and durably."""
    files = [asdict(file) for file in manifest.files]
    content = {
        "format": _FORMAT,
        "schema_version": SCHEMA_VERSION,
        "checksum": _checksum(SCHEMA_VERSION, files),
        "files": files,
    }
    write_atomically(path / MANIFEST, json.dumps(content, indent=1).encode())


def _checksum(version: int, files: Any) -> str:
    return hashlib.sha256(json.dumps([version, files], sort_keys=True).encode()).hexdigest()


def write_atomically(file: Path, data: bytes) -> None:
    """Write ``data`` beside ``file``, flush it to disk, and rename it into place."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(path: Path, kind: str, table: pa.Table) -> DataFile:
    """Write an immutable data file named by its content; returns its manifest entry."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    name = f"{kind}-{digest[:16]}.arrow"
    write_atomically(path / name, data)
    return DataFile(name, kind, table.num_rows, data.size, digest)


def read_table(path: Path, file: DataFile) -> pa.Table:
    """Memory-map a data file after checking its size, checksum and schema.

    Raises:
        LibraryError: the file is missing, truncated, damaged or of another schema.
    """
    location = path / file.name
    remedy = "restore the file from a copy, or build the library again in another folder"
    if not location.is_file():
        raise LibraryError(f"library {path} lacks its file {file.name}; {remedy}")
    size = location.stat().st_size
    if size != file.bytes:
        raise LibraryError(
            f"{location} has {size} bytes instead of {file.bytes}: it is truncated or overwritten; {remedy}"
        )
    with location.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    if digest != file.sha256:
        raise LibraryError(
            f"{location} is damaged: its checksum is {digest[:12]} instead of {file.sha256[:12]}; {remedy}"
        )
    table = pa.ipc.open_file(pa.memory_map(str(location))).read_all()
    if table.schema != SCHEMAS[file.kind] or table.num_rows != file.rows:
        raise LibraryError(
            f"{location} does not have the columns of schema version {SCHEMA_VERSION} or the rows that the manifest "
            f"says; {remedy}"
        )
    return table


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the library's write lock; the operating system releases it when the process ends, however it ends."""
    import fcntl

    with (path / _LOCK).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
