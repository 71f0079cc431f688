"""A policy library that lies in memory: what is composed from and never stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from lever_ray.library.environments import Environments
from lever_ray.library.manifest import Manifest, Shard
from lever_ray.library.reader import LibraryReader
from lever_ray.library.record import PolicyRecord
from lever_ray.library.rows import alike, shard_tables
from lever_ray.library.sealed import AnyPolicy
from lever_ray.library.shard import LibraryShard
from lever_ray.library.stored import StoredShard
from lever_ray.library.text import TextEncoder, WordLlamaEncoder
from lever_ray.library.writing import distinct, environment_updates
from lever_ray.order import in_natural_order

_PLACE = Path("(in memory)")
"""What stands for the folder in messages."""


class MemoryShard(StoredShard):
    """Policies in the columns of a shard's files, which are never written.

    Args:
        records: of one kind, in order, see :func:`~lever_ray.library.rows.alike`.
        name: of the shard.
    """

    def __init__(self, records: Sequence[AnyPolicy], name: str) -> None:
        environments = tuple(sorted({record.environment for record in records}))
        super().__init__(_PLACE, "", Shard(name, len(records), len(records[0].q), environments, ()))
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
        encoder: makes text vectors; :class:`~lever_ray.library.text.WordLlamaEncoder` by default.

    Raises:
        InvalidValue: something is no policy.
        LibraryError: one environment's name is given to two tasks.
    """

    def __init__(self, records: Iterable[PolicyRecord], *, encoder: TextEncoder | None = None) -> None:
        given = distinct(records)
        self._shards = [MemoryShard(part, f"part-{place}") for place, part in enumerate(alike(given))]
        self._held = environment_updates(given, lambda _: None)
        manifest = Manifest("", shards=tuple(shard.entry for shard in self._shards))
        super().__init__(_PLACE, manifest, encoder or WordLlamaEncoder())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_shard"}

    @property
    def environments(self) -> tuple[str, ...]:
        """See :class:`LibraryReader`."""
        return tuple(in_natural_order(record.name for record in self._held))

    @cached_property
    def _environments(self) -> Environments:
        return Environments(_PLACE, "", (), held=self._held)

    @cached_property
    def _shard(self) -> LibraryShard:
        held = self._shards, self._environments
        return LibraryShard(_PLACE, self._manifest, encoder=self.encoder, held=held)

    def _ask_shards(self, method: str, *args: Any, near: Collection[str] | None, **kwargs: Any) -> list[Any]:  # noqa: ARG002 - there is one shard
        return [getattr(self._shard, method)(*args, **kwargs)]

    def refresh(self) -> bool:
        """It does not change."""
        return False

    def embed(self, watch: Callable[[int], None] | None = None) -> int:  # noqa: ARG002 - nothing is stored
        """Nothing is stored: what is asked for is computed then, and kept."""
        return 0

    def without_features(self) -> int:
        """As nothing is embedded, nothing is left out."""
        return 0
