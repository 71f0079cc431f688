"""A look at an Arrow IPC file's messages before Arrow reads them.

A memory-mapped file costs no memory whatever its header claims, unless a message says that it is compressed: then
Arrow allocates as much as the message claims. Our files are never compressed, and such a message is refused; so are
messages of older Arrow formats, which say it elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

_MAGIC = b"ARROW1"
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_FOOTER_DICTIONARIES, _FOOTER_BATCHES = 2, 3
_VERSION, _HEADER_TYPE, _HEADER, _CUSTOM = 0, 1, 2, 4
_V5 = 4
_CONTINUATION = b"\xff\xff\xff\xff"
_DICTIONARY_DATA, _LENGTH, _COMPRESSION = 1, 0, 3


def check_messages(data: pa.Buffer, *, rows: int | None) -> int:
    """Refuse a file whose blocks lie outside it, that is compressed, or that has other than one batch of all rows.

    Args:
        data: the whole file.
        rows: how many it must have; None for any, in any number of batches.

    Returns:
        How many rows it has.

    Raises:
        ValueError: saying what is wrong.
    """
    view = memoryview(data)
    try:
        found = list(_batches(view))
    except (struct.error, IndexError) as error:
        raise ValueError(f"its messages cannot be read: {error}") from error
    if rows is not None and (sum(found) != rows or len(found) > 1):
        raise ValueError(f"it has batches of {found[:5]} rows instead of one of {rows}")
    return sum(found)


def _batches(view: memoryview) -> Iterator[int]:
    """Rows of every record batch."""
    size = len(view)
    if size < 2 * len(_MAGIC) + 4 or bytes(view[:6]) != _MAGIC or bytes(view[-6:]) != _MAGIC:
        raise ValueError("it does not begin and end as an Arrow file does")
    (length,) = struct.unpack_from("<i", view, size - 10)
    if not 0 < length <= size - 18:
        raise ValueError(f"its footer claims {length} bytes")
    footer = _root(view[size - 10 - length : size - 10])
    for field, kind in ((_FOOTER_DICTIONARIES, _DICTIONARY_BATCH), (_FOOTER_BATCHES, _RECORD_BATCH)):
        for message in _blocks(view, footer, field):
            rows = _check_message(message, kind)
            if kind == _RECORD_BATCH:
                yield rows


def _blocks(view: memoryview, footer: _Table, field: int) -> Iterator[memoryview]:
    """The metadata of every message that the footer lists."""
    place = footer.reference(field)
    if place is None:
        return
    (count,) = struct.unpack_from("<I", footer.data, place)
    if count * 24 > len(footer.data):
        raise ValueError(f"its footer claims {count} blocks")
    for index in range(count):
        offset, metadata, body = struct.unpack_from("<qixxxxq", footer.data, place + 4 + 24 * index)
        if min(offset, metadata, body) < 0 or offset + metadata + body > len(view) or metadata < 8:
            raise ValueError(f"a block of {metadata} + {body} bytes at {offset} lies outside of it")
        if bytes(view[offset : offset + 4]) != _CONTINUATION:
            raise ValueError(f"the block at {offset} is not of today's Arrow format")
        yield view[offset + 8 : offset + metadata]


def _check_message(data: memoryview, kind: int) -> int:
    """Rows of a batch; refuses another kind of message and compression."""
    message = _root(data)
    if message.scalar("<h", _VERSION) != _V5 or message.place(_CUSTOM) is not None:
        raise ValueError("a message is of an old Arrow format, or has metadata of its own")
    found = message.scalar("<B", _HEADER_TYPE)
    if found != kind:
        raise ValueError(f"a message of kind {found} stands where one of kind {kind} belongs")
    header = message.table(_HEADER)
    batch = header.table(_DICTIONARY_DATA) if kind == _DICTIONARY_BATCH else header
    if batch.place(_COMPRESSION) is not None:
        raise ValueError("it is compressed; files of a library are not")
    return int(batch.scalar("<q", _LENGTH))


class _Table:
    """A table of a FlatBuffer: a position, and a list of where its fields lie."""

    def __init__(self, data: memoryview, position: int) -> None:
        self.data, self._position = data, position
        (back,) = struct.unpack_from("<i", data, position)
        self._fields = position - back
        if self._fields < 0:
            raise ValueError("a list of fields lies outside of its message")
        (self._size,) = struct.unpack_from("<H", data, self._fields)

    def place(self, field: int) -> int | None:
        """Where a field's value lies; None where it is left out."""
        if 4 + 2 * field >= self._size:
            return None
        (offset,) = struct.unpack_from("<H", self.data, self._fields + 4 + 2 * field)
        return self._position + offset if offset else None

    def scalar(self, form: str, field: int) -> Any:
        """A number; 0 where it is left out."""
        place = self.place(field)
        return 0 if place is None else struct.unpack_from(form, self.data, place)[0]

    def reference(self, field: int) -> int | None:
        """Where that lies which a field refers to."""
        place = self.place(field)
        return None if place is None else place + struct.unpack_from("<I", self.data, place)[0]

    def table(self, field: int) -> _Table:
        """The table that a field refers to."""
        place = self.reference(field)
        if place is None:
            raise ValueError("a message lacks its header")
        return _Table(self.data, place)


def _root(data: memoryview) -> _Table:
    return _Table(data, struct.unpack_from("<I", data, 0)[0])
