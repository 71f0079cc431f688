"""Merging small shards and environment files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lever_ray.library.format.environments import Environments
from lever_ray.library.format.manifest import ShardEntry
from lever_ray.library.format.rows import SHARD_BYTES, Kind, environment_parts, kept_apart
from lever_ray.library.format.sealed import AnyPolicy, SealedEnvironment
from lever_ray.library.search.text import TextEncoder, WordLlamaEncoder, model_of
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.writing.append import stored_psi, write_environments, write_shards
from lever_ray.library.writing.change import Change, change, remove_orphans
from lever_ray.watching import Watch, watched

_OVERHEAD = 1 << 16
"""Bytes of a tables file that are no policy's, at most."""


def compact(path: str | Path, *, encoder: TextEncoder | None = None, watch: Watch | None = None) -> tuple[int, int]:
    """Merge small shards and environment files, and remove files of changes that were never finished.

    Shards of three quarters of the usual size and more stay as they are. Policies that two small shards hold are kept
    once. Doing it again changes nothing.

    Args:
        path: of the library's folder.
        encoder: makes text vectors; :class:`~lever_ray.library.search.text.WordLlamaEncoder` by default.
        watch: told how many shards are looked at and, of those that are merged at a time, read and written.

    Returns:
        Shards before and after.

    Raises:
        LibraryError: the library is damaged, or the disk is full; nothing is changed then.
    """
    folder, texts = Path(path), encoder or WordLlamaEncoder()
    with change(folder) as begun:
        held = begun.manifest
        environments = Environments(folder, held.library, held.environments)
        shards = _merged(begun, environments, texts, watch)
        files = held.environments
        if len(files) > 1:
            held_now = [environments.any(name) for name in environments.names]
            if len(list(environment_parts(held_now))) < len(files):
                files = tuple(write_environments(begun, held_now))
        if (tuple(shards), files) != (held.shards, held.environments):
            model = held.text_model or model_of(texts)
            begun.commit(replace(held, shards=tuple(shards), environments=files, text_model=model))
        remove_orphans(begun)
    return len(held.shards), len(shards)


def _merged(begun: Change, environments: Environments, encoder: TextEncoder, watch: Watch | None) -> list[ShardEntry]:
    """The shards of a library after small ones were merged."""
    new: list[ShardEntry] = []
    merged: set[str] = set()
    done: set[str] = set()
    for batch in _batches(begun, environments, watch):
        records, psi = _contents(batch, environments, done, watch)
        done |= {record.id for record in records}
        merged |= {mapped.entry.id for mapped in batch}
        if records:
            new += write_shards(begun, records, encoder, psi=psi, watch=watch)
    return [*(shard for shard in begun.manifest.shards if shard.id not in merged), *new]


def _batches(begun: Change, environments: Environments, watch: Watch | None) -> Iterator[list[MappedShard]]:
    """Small shards of one kind that together make no more than one, two or more at a time."""
    open_batches: dict[Kind, list[MappedShard]] = {}
    for shard in watched(begun.manifest.shards, watch, "shards looked at"):
        file = shard.file("tables")
        if file is None or file.bytes - 4 * shard.rows - _OVERHEAD >= 0.75 * SHARD_BYTES:
            continue
        mapped = MappedShard(begun.path, begun.manifest.library, shard)
        kind = _kind_of(mapped, environments)
        most = max(1, SHARD_BYTES // kind.row_bytes)
        if shard.rows >= 0.75 * most:
            continue
        batch = open_batches.setdefault(kind, [])
        if sum(each.entry.rows for each in batch) + shard.rows > most:
            if len(batch) > 1:
                yield batch
            batch = open_batches[kind] = []
        batch.append(mapped)
    yield from (batch for batch in open_batches.values() if len(batch) > 1)


def _kind_of(mapped: MappedShard, environments: Environments) -> Kind:
    """What the policies of a shard have in common."""
    tables, apart = mapped.tables, set()
    for name in mapped.entry.environments:
        held = environments.any(name)
        apart.add(kept_apart(name, None if isinstance(held, SealedEnvironment) else held.task))
    optional = tables.visits is not None, tables.mean_rewards is not None
    return Kind(*tables.shape, *optional, " ".join(sorted(apart)))


def _contents(
    batch: Sequence[MappedShard], environments: Environments, done: set[str], watch: Watch | None
) -> tuple[list[AnyPolicy], dict[str, np.ndarray]]:
    """The policies of some shards that are not done yet, each once, and Psi of those that have it."""
    records: dict[str, AnyPolicy] = {}
    psi: dict[str, np.ndarray] = {}
    for mapped in watched(batch, watch, "shards read"):
        for record in mapped.kept(np.arange(len(mapped.ids)), environments.any):
            if record.id not in done:
                records[record.id] = record
        psi |= stored_psi(mapped)
    return list(records.values()), psi
