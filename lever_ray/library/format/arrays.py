"""The arrays of a shard's tables file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lever_ray.errors import LibraryError
from lever_ray.library.format.schema import REPAIR

_KINDS: dict[pa.DataType, np.dtype] = {
    getattr(pa, name)(): np.dtype(name) for name in ("float32", "float64", "uint8", "uint32", "int32", "int64")
}
"""NumPy's types of the numbers in a library's files."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Arrays of a shard's policies; views of the mapped file.

    Attributes:
        q: float32[n, S, A], action values in reward units.
        support: uint8[n, S, B], a bit per action that was taken in training, see :mod:`lever_ray.tasks.support`.
        visits: uint32[n, S, A], how often; None where nobody counted.
        mean_rewards: float32[n, S, A]; None where they are unknown.
        crc32: uint32[n], see :func:`~lever_ray.library.format.arrays.checksum_of_row`.
    """

    q: np.ndarray
    support: np.ndarray
    visits: np.ndarray | None
    mean_rewards: np.ndarray | None
    crc32: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, states: int, location: Path) -> Tables:
        """Views of a tables file.

        Raises:
            LibraryError: a column lacks values.
        """
        arrays = [name for name in table.schema.names if name != "crc32"]
        held = {name: array_of(table, name, location).reshape(len(table), states, -1) for name in arrays}
        if table["crc32"].null_count:
            raise LibraryError(f"column 'crc32' of {location} lacks values; {REPAIR}")
        checksums = numbers_of(table["crc32"].chunks[0])
        return cls(held["q"], held["support"], held.get("visits"), held.get("mean_rewards"), checksums)

    def cut(self, first: int, stop: int) -> Tables:
        """Some of the rows."""
        visits = None if self.visits is None else self.visits[first:stop]
        rewards = None if self.mean_rewards is None else self.mean_rewards[first:stop]
        return Tables(self.q[first:stop], self.support[first:stop], visits, rewards, self.crc32[first:stop])

    def checksums(self, values: Iterable[Mapping[str, Any]]) -> Iterator[int]:
        """What column ``crc32`` should be, from the rows of the policies table."""
        arrays = [part for part in (self.q, self.support, self.visits, self.mean_rewards) if part is not None]
        for place, row in enumerate(values):
            yield checksum_of_row(list(row.values()), [array[place] for array in arrays])

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        _, states, actions = self.q.shape
        return states, actions


def array_of(table: pa.Table, name: str, location: Path) -> np.ndarray:
    """A column of fixed-size lists as an array [n, size]; a view."""
    column = table[name]
    (chunk,) = column.chunks
    size = column.type.list_size
    values = chunk.values.slice(chunk.offset * size, len(chunk) * size)
    if column.null_count or values.null_count:
        raise LibraryError(f"column {name!r} of {location} lacks values; {REPAIR}")
    return numbers_of(values).reshape(len(table), size)


def numbers_of(array: pa.Array) -> np.ndarray:
    """A view of numbers without nulls, as ``to_numpy`` gives it; that imports pandas wherever it is installed."""
    kind = _KINDS[array.type]
    if not len(array):
        return np.zeros(0, kind)
    return np.frombuffer(array.buffers()[1], kind, len(array), array.offset * kind.itemsize)


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
