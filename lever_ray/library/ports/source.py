"""Reading columns: npz and Parquet files, and mappings in Python. No pickle is ever loaded."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lever_ray.errors import LibraryError
from lever_ray.library.format.files import mapped

_DEFLATE = 1032
"""No deflated stream grows more than so much."""
_GROWTH, _ALWAYS, _WIDTH = 200, 1 << 26, 8
"""A Parquet file may grow by this factor when it is read, or to so many bytes; and bytes of a number at most."""
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, MemoryError),
    *(ValueError, KeyError, TypeError, SyntaxError, OverflowError),
)
"""What reading a damaged archive may raise."""
_STRUCTURE = ("state", "action", "next_state")
_EXPORT = "save the policies as npz (numpy.savez) or Parquet"


@dataclass(frozen=True)
class Source:
    """Columns that are read when they are asked for.

    Attributes:
        name: what errors call it.
        kinds: what each column is stored as, e.g. ``float64 [12, 64, 4]``.
        read: gives a column: an array whose first axis is the policies (or a single value); or a list with one value
            per policy, where None stands for a missing one and numbers come as arrays of any shape.
    """

    name: str
    kinds: Mapping[str, str]
    read: Callable[[str], Any]


def open_source(source: str | Path | Mapping[str, Any]) -> Source:
    """The columns of a file or of a mapping.

    Raises:
        LibraryError: the file is missing, damaged, of another format, or holds pickled objects.
    """
    if isinstance(source, Mapping):
        return _mapping(source)
    path = Path(source)
    try:
        with path.open("rb") as handle:
            head = handle.read(4)
    except OSError as error:
        raise LibraryError(f"{path} cannot be read ({error.strerror}); check the path") from error
    if head == b"PK\x03\x04":
        return _npz(path)
    if head == b"PAR1":
        return _parquet(path)
    raise LibraryError(f"{path} is neither an npz nor a Parquet file; {_EXPORT}")


def _mapping(source: Mapping[str, Any]) -> Source:
    values = {str(name): _column(value) for name, value in source.items()}
    return Source("the mapping", {name: _kind(value) for name, value in values.items()}, values.__getitem__)


def _column(value: Any) -> Any:
    """A column as :attr:`Source.read` gives it."""
    if isinstance(value, list | tuple):
        plain = all(item is None or isinstance(item, str | int | float | Mapping) for item in value)
        return list(value) if plain else [item if _is_plain(item) else np.asarray(item) for item in value]
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        raise LibraryError(f"an array of dtype {value.dtype} holds Python objects; give numbers, texts or a list")
    return value


def _is_plain(item: Any) -> bool:
    return not isinstance(item, list | tuple | np.ndarray)


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"list of {len(value)}" if isinstance(value, list) else type(value).__name__


def _npz(path: Path) -> Source:
    try:
        headers = _headers(path)
    except _UNREADABLE as error:
        raise LibraryError(f"{path} is no sound npz file ({_first_line(error)}); {_EXPORT}") from error
    for name, (_, dtype) in headers.items():
        if dtype.hasobject:
            raise LibraryError(
                f"array {name!r} of {path} holds pickled Python objects, which are never loaded; save it as numbers or "
                "texts"
            )

    def read(name: str) -> np.ndarray:
        try:
            with np.load(path, allow_pickle=False) as file:
                return np.asarray(file[name])
        except _UNREADABLE as error:
            raise LibraryError(f"array {name!r} of {path} cannot be read ({_first_line(error)}); {_EXPORT}") from error

    return Source(str(path), {name: f"{dtype} {list(shape)}" for name, (shape, dtype) in headers.items()}, read)


def _headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of every array; sizes are checked before anything is allocated."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.filename.endswith(".npy"):
                raise ValueError(f"{entry.filename!r} in it is no array")
            with archive.open(entry) as handle:
                version = np.lib.format.read_magic(handle)
                if version not in ((1, 0), (2, 0)):
                    raise ValueError(f"array {entry.filename!r} has npy version {version}")
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(handle)
                size = handle.tell()
            expected = dtype.itemsize * int(np.prod(np.array(shape, dtype=object))) + size
            fits = (dtype.hasobject or expected == entry.file_size) and all(length >= 0 for length in shape)
            if not fits or entry.file_size > _DEFLATE * max(1, entry.compress_size):
                raise ValueError(f"array {entry.filename!r} says it has {expected} bytes, the file {entry.file_size}")
            found[entry.filename.removesuffix(".npy")] = shape, dtype
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _parquet(path: Path) -> Source:
    try:
        content = mapped(path)
        texts = [each.name for each in pq.read_schema(pa.BufferReader(content)) if _is_text(each.type)]
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
        schema = file.schema_arrow
        _check_claims(file.metadata, path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LibraryError(f"{path} is no sound Parquet file ({_first_line(error)}); {_EXPORT}") from error

    def read(name: str) -> Any:
        try:
            column = file.read(columns=[name])[name]
            column.validate(full=True)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise LibraryError(f"column {name!r} of {path} cannot be read ({_first_line(error)})") from error
        return _rows_of(column, name, path)

    rows = file.metadata.num_rows
    return Source(str(path), {field.name: f"{field.type} [{rows}]" for field in schema}, read)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _check_claims(metadata: pq.FileMetaData, path: Path) -> None:
    """Refuse a file whose metadata claim far more than its bytes can say, before anything is read.

    Raises:
        LibraryError: more policies than bytes, or values that would take very much more memory than the file does.
    """
    size, groups = path.stat().st_size, [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    decoded = sum(max(_WIDTH * chunk.num_values, chunk.total_uncompressed_size) for chunk in chunks)
    rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
    if rows > size or decoded > max(_ALWAYS, _GROWTH * size):
        raise LibraryError(
            f"{path} has {size} bytes and claims {rows} policies, {decoded / 1e6:.0f} MB when read, which cannot be "
            "policies of their own; leave out policies and columns that only repeat others, or import them in parts"
        )


def _rows_of(column: pa.ChunkedArray, name: str, path: Path) -> Any:
    if _is_list(column.type):
        return [row for chunk in column.chunks for row in _arrays(chunk, name, path)]
    if pa.types.is_dictionary(column.type):
        return [value for chunk in column.chunks for value in _shared(chunk)]
    return column.to_pylist()


def _shared(chunk: pa.DictionaryArray) -> list[Any]:
    """Values of a dictionary array; equal ones are one object."""
    values = chunk.dictionary.to_pylist()
    return [None if place is None else values[place] for place in chunk.indices.to_pylist()]


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _arrays(chunk: pa.Array, name: str, path: Path) -> list[np.ndarray | None]:
    """One array per row of a column of lists, None for a row without; lists of equally long lists become [m, k]."""
    held = chunk.is_valid().to_numpy(zero_copy_only=False)
    bounds, width, depth = np.arange(len(chunk) + 1), 0, 0
    while _is_list(chunk.type):
        if depth:
            _refuse_gaps(chunk, name, path)
        lengths = chunk.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        bounds, depth = np.concatenate([[0], np.cumsum(lengths)])[bounds], depth + 1
        width = int(lengths[0]) if depth > 1 and len(lengths) and (lengths == lengths[0]).all() else 0
        chunk = chunk.flatten()
    values = _leaves(chunk, name, path)
    rows = [values[first:stop] for first, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
    shaped = [row.reshape(-1, width) if width and row.ndim == 1 else row for row in rows]
    return [row if known else None for row, known in zip(shaped, held, strict=True)]


def _leaves(chunk: pa.Array, name: str, path: Path) -> np.ndarray:
    """Numbers [m], or the fields of structures side by side, [m, k]."""
    if not pa.types.is_struct(chunk.type):
        return _numbers(chunk, name, path)
    _refuse_gaps(chunk, name, path)
    names = [field.name for field in chunk.type]
    order = _STRUCTURE if set(names) == set(_STRUCTURE) else tuple(names)
    return np.stack([_numbers(chunk.field(part), name, path) for part in order], axis=1)


def _refuse_gaps(chunk: pa.Array, name: str, path: Path) -> None:
    if chunk.null_count:
        raise LibraryError(f"column {name!r} of {path} lacks values; fill them in, or leave those policies out")


def _numbers(chunk: pa.Array, name: str, path: Path) -> np.ndarray:
    _refuse_gaps(chunk, name, path)
    kind = chunk.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise LibraryError(f"column {name!r} of {path} is of type {kind}; give numbers")
    return np.asarray(chunk.to_numpy(zero_copy_only=False))
