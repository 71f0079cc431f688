"""A policy library that lies in memory: what is composed from and never stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lever_ray.library.format.environments import Environments
from lever_ray.library.format.manifest import Manifest, ShardEntry
from lever_ray.library.format.rows import alike, shard_tables
from lever_ray.library.format.sealed import AnyPolicy
from lever_ray.library.reader import LibraryReader
from lever_ray.library.record import PolicyRecord
from lever_ray.library.search.text import TextEncoder, WordLlamaEncoder
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.serving.service import LocalService
from lever_ray.library.writing.append import distinct, environment_updates

_PLACE = Path("(in memory)")
"""What stands for the folder in messages."""


class MemoryShard(MappedShard):
    """Policies in the columns of a shard's files, which are never written.

    Args:
        records: of one kind, in order, see :func:`~lever_ray.library.format.rows.alike`.
        name: of the shard.
    """

    def __init__(self, records: Sequence[AnyPolicy], name: str) -> None:
        environments = tuple(sorted({record.environment for record in records}))
        super().__init__(_PLACE, "", ShardEntry(name, len(records), len(records[0].q), environments, ()))
        policies, tables = shard_tables(records)
        self._columns = {"policies": policies, "tables": tables}

    def __getstate__(self) -> dict[str, Any]:
        kept = ("path", "library", "entry", "_columns")
        return {name: self.__dict__[name] for name in kept} | {"_made": {}}

    def _read(self, kind: str) -> pa.Table | None:
        return self._columns.get(kind)

    def _location(self, kind: str) -> Path:
        return _PLACE / kind


class MemoryLibrary(LibraryReader):
    """Policies that are given, in memory: it answers as a library in a folder does, and does not change.

    It holds what the format of libraries has no room for, too, such as tasks of more than 8 actions. It can be sent to
    other processes as it is.

    Args:
        records: the policies; those given twice are kept once.
        encoder: makes text vectors; :class:`~lever_ray.library.search.text.WordLlamaEncoder` by default.

    Raises:
        InvalidValue: something is no policy.
        LibraryError: one environment's name is given to two tasks.
    """

    def __init__(self, records: Iterable[PolicyRecord], *, encoder: TextEncoder | None = None) -> None:
        given = distinct(records)
        shards = [MemoryShard(part, f"part-{place}") for place, part in enumerate(alike(given))]
        environments = Environments(_PLACE, "", (), held=environment_updates(given, lambda _: None))
        manifest, texts = Manifest("", shards=tuple(shard.entry for shard in shards)), encoder or WordLlamaEncoder()
        super().__init__(_PLACE, LocalService(_PLACE, manifest, texts, held=(shards, environments)), texts)
