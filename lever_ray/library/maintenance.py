"""Keeping a library: compact it, take policies out, and drop what is broken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lever_ray.errors import LibraryError, UnknownName
from lever_ray.library.checking import Damage, check_environments, check_shard
from lever_ray.library.environments import Environments
from lever_ray.library.files import belongs_to
from lever_ray.library.ids import places_of
from lever_ray.library.lock import write_lock
from lever_ray.library.manifest import MANIFEST, Manifest, Shard, read_manifest
from lever_ray.library.rows import SHARD_BYTES, Kind, environment_parts, kept_apart
from lever_ray.library.salvage import salvage
from lever_ray.library.sealed import AnyEnvironment, AnyPolicy, SealedEnvironment
from lever_ray.library.stored import StoredShard
from lever_ray.library.text import TextEncoder, WordLlamaEncoder, model_of
from lever_ray.library.writing import (
    Change,
    change,
    remove_files,
    rewritten,
    stored_psi,
    write_environments,
    write_shards,
)
from lever_ray.tasks.support import full_support, taken_actions
from lever_ray.watching import Watch, watched

_UNFINISHED = re.compile(r"\.(manifest\.json(\.damaged)?|[a-z]+-[0-9a-f]+\.arrow)\.\d+\.tmp")
"""Names of files that were being written."""
_OVERHEAD = 1 << 16
"""Bytes of a tables file that are no policy's, at most."""


@dataclass(frozen=True)
class RepairReport:
    """What a repair did.

    Attributes:
        damages: what was broken.
        dropped: ids of the policies that were left out, where they could be read.
        policies: how many were left out.
        orphans: files of changes that were never finished, removed.
    """

    damages: tuple[Damage, ...]
    dropped: tuple[str, ...]
    policies: int
    orphans: int


def repair(path: str | Path, *, encoder: TextEncoder | None = None, watch: Watch | None = None) -> RepairReport:
    """Drop what is broken and only that; vectors are left for ``embed`` to make again.

    Environments that are lost are read from an older row where there is one, and their recorded transitions are
    gathered again from the policies that are left; policies of environments that are lost altogether are dropped.

    Args:
        path: of the library's folder.
        encoder: makes text vectors; :class:`~lever_ray.library.text.WordLlamaEncoder` by default.
        watch: told how many shards are checked and mended.

    Raises:
        LibraryError: the manifest is missing or damaged; see
            :func:`lever_ray.library.recovery.restore_manifest`.
    """
    folder = Path(path)
    with change(folder) as begun:
        held = begun.manifest
        environments, damages = check_environments(folder, held)
        for shard in watched(held.shards, watch, "shards checked"):
            damages += check_shard(folder, held, shard, environments)
        if damages:
            begun.commit(_without(begun, damages, environments, encoder or WordLlamaEncoder(), watch))
        orphans = remove_orphans(begun)
    dropped = tuple(identity for damage in damages for identity in damage.lost)
    return RepairReport(tuple(damages), dropped, sum(damage.policies for damage in damages), orphans)


def _without(
    begun: Change,
    damages: Sequence[Damage],
    environments: Mapping[str, AnyEnvironment],
    encoder: TextEncoder,
    watch: Watch | None,
) -> Manifest:
    """The manifest without what is broken."""
    by_shard: dict[str, list[Damage]] = {}
    for damage in damages:
        by_shard.setdefault(damage.shard, []).append(damage)
    shards: list[Shard] = []
    for shard in watched(begun.manifest.shards, watch, "shards mended"):
        shards += _mended(begun, shard, by_shard.get(shard.id, ()), environments, encoder)
    held = begun.manifest.environments
    if "" in by_shard:
        mended = [_with_transitions(begun, shards, environments[name]) for name in sorted(environments)]
        held = tuple(write_environments(begun, mended))
    model = begun.manifest.text_model or model_of(encoder)
    return replace(begun.manifest, shards=tuple(shards), environments=held, text_model=model)


def _mended(
    begun: Change,
    shard: Shard,
    damages: Sequence[Damage],
    environments: Mapping[str, AnyEnvironment],
    encoder: TextEncoder,
) -> list[Shard]:
    """What is left of a shard: nothing, some of its policies, or all without some vectors."""
    kinds = {damage.kind for damage in damages}
    if kinds & {"policies", "tables"}:
        return _salvaged(begun, shard, environments, encoder)
    lost = {identity for damage in damages for identity in damage.lost}
    if lost:
        return rewritten(begun, shard, lost, environments.__getitem__, encoder)
    for kind in kinds:
        shard = shard.lacking(kind)
    return [shard]


def _salvaged(
    begun: Change, shard: Shard, environments: Mapping[str, AnyEnvironment], encoder: TextEncoder
) -> list[Shard]:
    """The policies of a damaged shard that are sound, with their Psi where that is."""
    records = salvage(begun.path, shard, environments).records
    try:
        psi = StoredShard(begun.path, begun.manifest.library, shard).psi
    except LibraryError:
        psi = None
    known = {} if psi is None else {record.id: psi[row] for row, record in records.items()}
    kept = {record.id: record for record in records.values()}
    return write_shards(begun, list(kept.values()), encoder, psi=known)


def _with_transitions(begun: Change, shards: Sequence[Shard], environment: AnyEnvironment) -> AnyEnvironment:
    """An environment with what some shards' policies recorded added to what it has."""
    if isinstance(environment, SealedEnvironment):
        return environment
    task, taken = environment.task, np.zeros_like(full_support(*environment.successors.shape))
    for shard in shards:
        if environment.name in shard.environments:
            stored = StoredShard(begun.path, begun.manifest.library, shard)
            rows = slice(*stored.rows_of(environment.name))
            known = np.array(stored.policies["support_source"][rows].to_pylist(), object) != "unknown"
            taken |= np.bitwise_or.reduce(stored.tables.support[rows][known], axis=0)
    recorded = np.where(taken_actions(taken, task.actions), task.dynamics.moves, -1).astype(np.int32)
    return replace(environment, successors=np.maximum(environment.successors, recorded))


def delete(
    path: str | Path, ids: Sequence[str], *, encoder: TextEncoder | None = None, watch: Watch | None = None
) -> int:
    """Take policies out of a library; their environments stay. Shards that hold them are written anew.

    Args:
        path: of the library's folder.
        ids: of the policies.
        encoder: makes text vectors; :class:`~lever_ray.library.text.WordLlamaEncoder` by default.
        watch: told how many shards are looked through and rewritten.

    Returns:
        How many were taken out.

    Raises:
        UnknownName: the library has no policy of some id; nothing is changed.
        LibraryError: it is damaged, or the disk is full; nothing is changed.
    """
    folder, texts, wanted = Path(path), encoder or WordLlamaEncoder(), list(dict.fromkeys(ids))
    with change(folder) as begun:
        held = begun.manifest
        hit: dict[str, set[str]] = {}
        for shard in watched(held.shards, watch, "shards looked through"):
            places = places_of(StoredShard(folder, held.library, shard).ids, wanted)[0]
            hit[shard.id] = {wanted[place] for place in places.tolist()}
        for identity in wanted:
            if not any(identity in found for found in hit.values()):
                raise UnknownName("policy id", identity, (), hint="Nothing was deleted.")
        if wanted:
            environments = Environments(folder, held.library, held.environments)
            shards: list[Shard] = []
            for shard in watched(held.shards, watch, "shards rewritten"):
                lost = hit[shard.id]
                shards += rewritten(begun, shard, lost, environments.any, texts) if lost else [shard]
            begun.commit(replace(held, shards=tuple(shards), text_model=held.text_model or model_of(texts)))
    return len(wanted)


def compact(path: str | Path, *, encoder: TextEncoder | None = None, watch: Watch | None = None) -> tuple[int, int]:
    """Merge small shards and environment files, and remove files of changes that were never finished.

    Shards of three quarters of the usual size and more stay as they are. Policies that two small shards hold are kept
    once. Doing it again changes nothing.

    Args:
        path: of the library's folder.
        encoder: makes text vectors; :class:`~lever_ray.library.text.WordLlamaEncoder` by default.
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


def _merged(begun: Change, environments: Environments, encoder: TextEncoder, watch: Watch | None) -> list[Shard]:
    """The shards of a library after small ones were merged."""
    new: list[Shard] = []
    merged: set[str] = set()
    done: set[str] = set()
    for batch in _batches(begun, environments, watch):
        records, psi = _contents(batch, environments, done, watch)
        done |= {record.id for record in records}
        merged |= {stored.entry.id for stored in batch}
        if records:
            new += write_shards(begun, records, encoder, psi=psi, watch=watch)
    return [*(shard for shard in begun.manifest.shards if shard.id not in merged), *new]


def _batches(begun: Change, environments: Environments, watch: Watch | None) -> Iterator[list[StoredShard]]:
    """Small shards of one kind that together make no more than one, two or more at a time."""
    open_batches: dict[Kind, list[StoredShard]] = {}
    for shard in watched(begun.manifest.shards, watch, "shards looked at"):
        file = shard.file("tables")
        if file is None or file.bytes - 4 * shard.rows - _OVERHEAD >= 0.75 * SHARD_BYTES:
            continue
        stored = StoredShard(begun.path, begun.manifest.library, shard)
        kind = _kind_of(stored, environments)
        most = max(1, SHARD_BYTES // kind.row_bytes)
        if shard.rows >= 0.75 * most:
            continue
        batch = open_batches.setdefault(kind, [])
        if sum(each.entry.rows for each in batch) + shard.rows > most:
            if len(batch) > 1:
                yield batch
            batch = open_batches[kind] = []
        batch.append(stored)
    yield from (batch for batch in open_batches.values() if len(batch) > 1)


def _kind_of(stored: StoredShard, environments: Environments) -> Kind:
    """What the policies of a shard have in common."""
    tables, apart = stored.tables, set()
    for name in stored.entry.environments:
        held = environments.any(name)
        apart.add(kept_apart(name, None if isinstance(held, SealedEnvironment) else held.task))
    optional = tables.visits is not None, tables.mean_rewards is not None
    return Kind(*tables.shape, *optional, " ".join(sorted(apart)))


def _contents(
    batch: Sequence[StoredShard], environments: Environments, done: set[str], watch: Watch | None
) -> tuple[list[AnyPolicy], dict[str, np.ndarray]]:
    """The policies of some shards that are not done yet, each once, and Psi of those that have it."""
    records: dict[str, AnyPolicy] = {}
    psi: dict[str, np.ndarray] = {}
    for stored in watched(batch, watch, "shards read"):
        for record in stored.kept(np.arange(len(stored.ids)), environments.any):
            if record.id not in done:
                records[record.id] = record
        psi |= stored_psi(stored)
    return list(records.values()), psi


def remove_empty(path: Path) -> bool:
    """Remove a library that holds no policy, with its folder if nothing else is in it; whether it was removed."""
    if not (path / MANIFEST).exists():
        return False
    with write_lock(path) as lock:
        if read_manifest(path).rows:
            return False
        (path / MANIFEST).unlink()
        lock.file.unlink()
    if not any(path.iterdir()):
        path.rmdir()
    return True


def remove_orphans(begun: Change) -> int:
    """Remove files that no manifest lists: of writers that were killed. Nobody else writes while a change is open.

    Files that do not say they are of this library are not ours to remove.
    """
    known, library = {file.name for file in begun.manifest.files}, begun.manifest.library
    orphans = {
        file.name
        for file in begun.path.iterdir()
        if _UNFINISHED.fullmatch(file.name)
        or (file.suffix == ".arrow" and file.name not in known and belongs_to(file, library))
    }
    remove_files(begun.path, orphans)
    return len(orphans)
