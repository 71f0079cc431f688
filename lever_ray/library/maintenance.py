"""Keeping a library: check it, compact it, take policies out, and drop what is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lever_ray.errors import LibraryError, UnknownName
from lever_ray.gridworld.features import feature_tables, initial_features
from lever_ray.library.environments import Environments
from lever_ray.library.files import read_table
from lever_ray.library.ids import places_of
from lever_ray.library.manifest import DataFile, Manifest, Shard, read_manifest
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.rows import SHARD_BYTES
from lever_ray.library.stored import StoredShard
from lever_ray.library.text import TextEncoder, WordLlamaEncoder
from lever_ray.library.writing import Change, change, write_environments, write_shards


@dataclass(frozen=True)
class Damage:
    """Something broken.

    Attributes:
        what: in words, with the file.
        shard: id of the shard; empty for environments.
        kind: of the file.
        lost: ids of the policies that `repair` leaves out; empty where nothing is lost but what can be computed again.
        policies: how many they are; also counted where their ids cannot be read.
    """

    what: str
    shard: str
    kind: str
    lost: tuple[str, ...] = ()
    policies: int = 0


def verify(path: str | Path, watch: Callable[[int, int], None] | None = None) -> list[Damage]:
    """Read and check every file and every row of a library.

    Args:
        path: folder of the library.
        watch: told how many of how many shards are done.

    Returns:
        What is broken; empty for a sound library.

    Raises:
        LibraryError: its manifest is missing or damaged.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    environments, found = _check_environments(folder, manifest)
    for done, shard in enumerate(manifest.shards, 1):
        found += _check_shard(folder, manifest, shard, environments)
        if watch is not None:
            watch(done, len(manifest.shards))
    return found


def _check_environments(path: Path, manifest: Manifest) -> tuple[dict[str, EnvironmentRecord], list[Damage]]:
    """The environments that can be read, each from its newest sound row, and what is broken."""
    found: list[Damage] = []
    sound: dict[str, EnvironmentRecord] = {}
    for file in manifest.environments:
        one = Environments(path, manifest.library, [file])
        for name in file.environments:
            try:
                sound[name] = one[name]
                _check_features(path, manifest, file, sound[name])
            except LibraryError as error:
                found.append(Damage(str(error), "", "environments"))
                if file.environments and str(error).startswith(str(path / file.name)):
                    break
    return sound, found


def _check_features(path: Path, manifest: Manifest, file: DataFile, environment: EnvironmentRecord) -> None:
    row = file.environments.index(environment.name)
    stored = read_table(path, file, library=manifest.library)["features"][row].as_py()
    right = initial_features(feature_tables(environment.layout)).ravel()
    if not np.array_equal(np.array(stored, np.float32), right):
        raise LibraryError(f"environment {environment.name!r} in {path / file.name} has features of another layout")


def _check_shard(
    path: Path, manifest: Manifest, shard: Shard, environments: dict[str, EnvironmentRecord]
) -> Iterator[Damage]:
    """What is broken in a shard; the first file that hides all others ends the search."""
    stored = StoredShard(path, manifest.library, shard)
    try:
        _ = stored.runs
        ids = [identity.decode() for identity in stored.ids.tolist()]
    except LibraryError as error:
        yield Damage(str(error), shard.id, "policies", (), shard.rows)
        return
    try:
        rows = set(stored.broken_rows(0, shard.rows).tolist())
    except LibraryError as error:
        yield Damage(str(error), shard.id, "tables", tuple(ids), shard.rows)
        return
    rows |= _unreadable(stored, environments, rows)
    if rows:
        lost = tuple(ids[row] for row in sorted(rows))
        what = (
            f"policies {list(lost[:3])} in {path / stored.entry.files[1].name} cannot be read or hold NaN or infinity"
        )
        yield Damage(what, shard.id, "rows", lost, len(lost))
    for kind in ("texts", "psi"):
        try:
            getattr(stored, kind)
        except LibraryError as error:
            yield Damage(str(error), shard.id, "texts" if kind == "texts" else "embeddings")


def _unreadable(stored: StoredShard, environments: dict[str, EnvironmentRecord], broken: set[int]) -> set[int]:
    """Rows that are no policies of their environment, beyond those whose arrays are broken."""
    found = set()
    for key, (first, stop) in stored.runs.items():
        held = environments.get(key.environment)
        for row in range(first, stop):
            try:
                if held is None or held.layout.states != stored.entry.states:
                    raise LibraryError(f"environment {key.environment!r} is missing or of another size")
                if row not in broken:
                    _check_record(stored, row, environments)
            except LibraryError:
                found.add(row)
    return found


def _check_record(stored: StoredShard, row: int, environments: dict[str, EnvironmentRecord]) -> None:
    (record,) = stored.records(np.array([row]), environments)
    if record.id != stored.ids[row].decode():
        raise LibraryError(f"policy {stored.ids[row].decode()!r} has other content than its id says")


@dataclass(frozen=True)
class RepairReport:
    """What a repair did.

    Attributes:
        damages: what was broken.
        dropped: ids of the policies that were left out.
        policies: how many were left out.
        orphans: files of changes that were never finished, removed.
    """

    damages: tuple[Damage, ...]
    dropped: tuple[str, ...]
    policies: int
    orphans: int


def repair(path: str | Path, *, encoder: TextEncoder | None = None) -> RepairReport:
    """Drop what is broken and only that; vectors are left for ``embed`` to make again.

    Environments that are lost are read from an older row where there is one; policies of environments that are lost
    altogether are dropped.

    Raises:
        LibraryError: the manifest is missing or damaged; see :func:`restore_manifest`.
    """
    folder = Path(path)
    with change(folder) as begun:
        held = begun.manifest
        environments, damages = _check_environments(folder, held)
        for shard in held.shards:
            damages += _check_shard(folder, held, shard, environments)
        orphans = remove_orphans(begun)
        if damages:
            begun.commit(_without(begun, damages, environments, encoder or WordLlamaEncoder()))
    dropped = tuple(identity for damage in damages for identity in damage.lost)
    return RepairReport(tuple(damages), dropped, sum(damage.policies for damage in damages), orphans)


def _without(
    begun: Change,
    damages: Sequence[Damage],
    environments: Mapping[str, EnvironmentRecord],
    encoder: TextEncoder,
) -> Manifest:
    by_shard: dict[str, list[Damage]] = {}
    for damage in damages:
        by_shard.setdefault(damage.shard, []).append(damage)
    shards: list[Shard] = []
    for shard in begun.manifest.shards:
        mine = by_shard.get(shard.id, [])
        kinds = {damage.kind for damage in mine}
        if kinds & {"policies", "tables"}:
            continue
        lost = {identity for damage in mine for identity in damage.lost}
        if lost:
            shards += _rewritten(begun, shard, lost, environments, encoder)
            continue
        for kind in kinds:
            shard = shard.lacking(kind)
        shards.append(shard)
    held = begun.manifest.environments
    if "" in by_shard:
        held = tuple(write_environments(begun, [environments[name] for name in sorted(environments)]))
    return replace(begun.manifest, shards=tuple(shards), environments=held)


def _rewritten(
    begun: Change,
    shard: Shard,
    lost: set[str],
    environments: Mapping[str, EnvironmentRecord] | Environments,
    encoder: TextEncoder,
) -> list[Shard]:
    """A shard without some policies; with Psi of the others where it had them."""
    stored = StoredShard(begun.path, begun.manifest.library, shard)
    kept = np.array([row for row, known in enumerate(stored.ids.tolist()) if known.decode() not in lost], np.int64)
    if not len(kept):
        return []
    return write_shards(begun, list(stored.records(kept, environments)), encoder, psi=_psi_of(stored))


def _psi_of(stored: StoredShard) -> dict[str, np.ndarray]:
    """Psi by id, float32[73] each; empty where it is not stored, or broken."""
    try:
        psi = stored.psi
    except LibraryError:
        return {}
    ids = [identity.decode() for identity in stored.ids.tolist()]
    return {} if psi is None else dict(zip(ids, psi, strict=True))


def delete(path: str | Path, ids: Sequence[str], *, encoder: TextEncoder | None = None) -> int:
    """Take policies out of a library; their environments stay. Shards that hold them are written anew.

    Returns:
        How many were taken out.

    Raises:
        UnknownName: the library has no policy of some id; nothing is changed.
        LibraryError: it is damaged, or the disk is full.
    """
    folder, texts = Path(path), encoder or WordLlamaEncoder()
    with change(folder) as begun:
        held = begun.manifest
        stored = [StoredShard(folder, held.library, shard) for shard in held.shards]
        hit = {each.entry.id: [ids[place] for place in places_of(each.ids, ids)[0].tolist()] for each in stored}
        known = {identity for found in hit.values() for identity in found}
        for identity in ids:
            if identity not in known:
                raise UnknownName("policy id", identity, (), hint="Nothing was deleted.")
        environments = Environments(folder, held.library, held.environments)
        shards: list[Shard] = []
        for shard in held.shards:
            lost = set(hit[shard.id])
            shards += _rewritten(begun, shard, lost, environments, texts) if lost else [shard]
        begun.commit(replace(held, shards=tuple(shards)))
    return len(known)


def compact(path: str | Path, *, encoder: TextEncoder | None = None) -> tuple[int, int]:
    """Merge small shards and environment files, and remove files of changes that were never finished.

    Shards of three quarters of the usual size and more stay as they are. Policies that two shards hold are kept once.

    Returns:
        Shards before and after.

    Raises:
        LibraryError: the library is damaged, or the disk is full; nothing is changed then.
    """
    folder = Path(path)
    with change(folder) as begun:
        held = begun.manifest
        remove_orphans(begun)
        small = [shard for shard in held.shards if shard.bytes < 0.75 * SHARD_BYTES]
        environments = Environments(folder, held.library, held.environments)
        if len(small) < 2 and len(held.environments) < 2:
            return len(held.shards), len(held.shards)
        kept = [shard for shard in held.shards if shard not in small]
        records, psi = _merged(folder, held, small, environments)
        shards = (*kept, *write_shards(begun, records, encoder or WordLlamaEncoder(), psi=psi))
        files = write_environments(begun, [environments[name] for name in environments.names])
        begun.commit(replace(held, shards=shards, environments=tuple(files)))
    return len(held.shards), len(shards)


def _merged(
    path: Path, manifest: Manifest, shards: Sequence[Shard], environments: Environments
) -> tuple[list[PolicyRecord], dict[str, np.ndarray]]:
    """All policies of some shards, each once, and Psi of those that have it."""
    records: dict[str, PolicyRecord] = {}
    psi: dict[str, np.ndarray] = {}
    for shard in shards:
        stored = StoredShard(path, manifest.library, shard)
        for record in stored.records(np.arange(shard.rows), environments):
            records[record.id] = record
        psi |= _psi_of(stored)
    return list(records.values()), psi


def remove_orphans(begun: Change) -> int:
    """Remove files that no manifest lists: of writers that were killed. Nobody else writes while a change is open."""
    known = {file.name for file in begun.manifest.files}
    orphans = [
        file
        for file in begun.path.iterdir()
        if (file.suffix == ".arrow" and file.name not in known) or (file.name.startswith(".") and file.suffix == ".tmp")
    ]
    for file in orphans:
        file.unlink(missing_ok=True)
    return len(orphans)
