"""The data files of a library: immutable Arrow IPC files, named and checked by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lever_ray.errors import LibraryError
from lever_ray.library.format.ipc import check_messages
from lever_ray.library.format.schema import REPAIR, schemas_of

if TYPE_CHECKING:
    from lever_ray.library.format.manifest import DataFile

_MAPPED_FROM = 1 << 20
"""Bytes from which a file is memory-mapped; a smaller one is read, since mappings and open files are few."""
_OR = f"{REPAIR[0].upper()}{REPAIR[1:]}"


class MissingFile(LibraryError):
    """A file that the manifest lists is not there: lost, or the library was changed since the manifest was read."""


def write_atomically(file: Path, data: bytes | pa.Buffer) -> None:
    """Write ``data`` beside ``file``, flush it to disk, and rename it into place; :func:`flush_folder` is up to you.

    Raises:
        LibraryError: the disk is full or cannot be written; nothing is left behind.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    except OSError as error:
        raise LibraryError(
            f"{file} cannot be written ({error.strerror}); the library is as it was before. Make room or check "
            "permissions, and try again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Make the renames in a folder survive a power failure.

    Raises:
        LibraryError: the disk fails.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise LibraryError(f"{folder} cannot be flushed to disk ({error.strerror}); check the disk") from error


def write_table(path: Path, kind: str, table: pa.Table, *, library: str, shard: str = "") -> tuple[str, int, str]:
    """Write an immutable data file named by its content; it lasts once its folder is flushed.

    Args:
        path: folder of the library.
        kind: of the file.
        table: its content.
        library: id of the library; kept in the file, with kind and shard, so that it tells where it belongs.
        shard: id of the shard.

    Returns:
        Its name, bytes and SHA-256.

    Raises:
        LibraryError: the disk is full or cannot be written.
    """
    sink = pa.BufferOutputStream()
    labels = {"lever_ray.library": library, "lever_ray.kind": kind, "lever_ray.shard": shard}
    labelled = table.combine_chunks().replace_schema_metadata(labels)
    with pa.ipc.new_file(sink, labelled.schema) as writer:
        writer.write_table(labelled, max_chunksize=max(1, labelled.num_rows))
    data = sink.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    name = f"{kind}-{digest[:32]}.arrow"
    write_atomically(path / name, data)
    return name, data.size, digest


def read_table(path: Path, file: DataFile, *, library: str, shard: str = "", states: int = 0) -> pa.Table:
    """The content of a data file, after checking its size, checksum, origin, schema and structure.

    Files from 1 MiB on are memory-mapped: columns are views, and memory is taken by what is touched.

    Args:
        path: folder of the library.
        file: its manifest entry.
        library: id of the library.
        shard: id of the shard.
        states: S of the shard's policies.

    Raises:
        MissingFile: it is not there.
        LibraryError: it is truncated, damaged, of another library, or of another schema.
    """
    location = path / file.name
    data = _checked_bytes(location, file)
    table = decode(location, data, schemas_of(file.kind, states), rows=file.rows)
    _check_labels(location, table, file.kind, library, shard)
    return table


def decode(
    location: Path, data: pa.Buffer, schemas: Sequence[pa.Schema], *, rows: int | None, full: bool = True
) -> pa.Table:
    """A table from the bytes of an Arrow file, whatever they are; nothing is allocated by what its headers claim.

    Args:
        location: of the file, for messages.
        data: its content.
        schemas: one of which it must have.
        rows: how many it must have, in one batch; None for any.
        full: look at every text and code; without, only at what buffers there are.

    Raises:
        LibraryError: it is no such file.
    """
    try:
        check_messages(data, rows=rows)
        reader = pa.ipc.open_file(data)
        if not any(reader.schema.equals(known) for known in schemas):
            raise LibraryError(f"{location} does not have the columns of its kind; it was written by other code. {_OR}")
        table = reader.read_all()
        table.validate(full=full and any(pa.types.is_string(kind) for kind in table.schema.types))
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise LibraryError(f"{location} is no sound Arrow file ({reason}); {REPAIR}") from error
    return table


def _checked_bytes(location: Path, file: DataFile) -> pa.Buffer:
    """Content of a file whose size and checksum are right; hashed by reading, so that no page stays mapped for it."""
    try:
        with location.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size != file.bytes:
                raise LibraryError(
                    f"{location} has {size} bytes instead of {file.bytes}: it is truncated or overwritten; {REPAIR}"
                )
            small = handle.read() if size < _MAPPED_FROM else None
            digest = hashlib.sha256(small) if small is not None else hashlib.file_digest(handle, "sha256")
        content = pa.py_buffer(small) if small is not None else mapped(location)
    except FileNotFoundError:
        raise MissingFile(f"library {location.parent} lacks its file {location.name}; {REPAIR}") from None
    except OSError as error:
        raise LibraryError(f"{location} cannot be read ({error.strerror}); check its permissions") from error
    if digest.hexdigest() != file.sha256:
        raise LibraryError(
            f"{location} is damaged: its checksum is {digest.hexdigest()[:12]} instead of {file.sha256[:12]}; {REPAIR}"
        )
    return content


def mapped(location: Path) -> pa.Buffer:
    """A file's bytes as they are on disk. Arrow takes names that are not UTF-8 as bytes alone."""
    return pa.memory_map(os.fsencode(location)).read_buffer()


def labels_of(schema: pa.Schema) -> dict[str, str]:
    """What a data file says of where it belongs: ``lever_ray.library``, ``lever_ray.kind``, ``lever_ray.shard``."""
    pairs = (schema.metadata or {}).items()
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in pairs}


def belongs_to(location: Path, library: str) -> bool:
    """Whether a file is an Arrow file that says it is of a library; its content is not checked."""
    try:
        data = mapped(location)
        check_messages(data, rows=None)
        return labels_of(pa.ipc.open_file(data).schema).get("lever_ray.library") == library
    except (pa.ArrowException, OSError, ValueError):
        return False


def _check_labels(location: Path, table: pa.Table, kind: str, library: str, shard: str) -> None:
    labels = labels_of(table.schema)
    wanted = {"lever_ray.library": library, "lever_ray.kind": kind, "lever_ray.shard": shard}
    for name, value in wanted.items():
        if labels.get(name) != value:
            raise LibraryError(
                f"{location} belongs to another {name.partition('.')[2]} ({labels.get(name)!r} instead of {value!r}); "
                "manifest and data files must be copied together"
            )
