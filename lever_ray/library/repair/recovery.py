"""A manifest from nothing but the data files, where the manifest itself is lost."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lever_ray.errors import LibraryError
from lever_ray.library.format.environments import Environments
from lever_ray.library.format.files import belongs_to, decode, labels_of, mapped, write_atomically
from lever_ray.library.format.ipc import check_messages
from lever_ray.library.format.manifest import MANIFEST, DataFile, Manifest, OtherVersion, ShardEntry, read_manifest
from lever_ray.library.format.schema import schemas_of
from lever_ray.library.format.sealed import AnyEnvironment, AnyPolicy
from lever_ray.library.record import EnvironmentRecord
from lever_ray.library.repair.salvage import salvage
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.writing.append import rewritten, write_environments, write_shards
from lever_ray.library.writing.change import Change
from lever_ray.library.writing.lock import WriteLock, write_lock
from lever_ray.watching import Watch, watched


class _Found(NamedTuple):
    """A data file with what it says of itself."""

    file: DataFile
    library: str
    shard: str
    states: int
    sound: bool


def restore_manifest(
    path: str | Path, *, tell: Callable[[Mapping[str, int]], None] | None = None, watch: Watch | None = None
) -> Manifest:
    """Write a new manifest from the data files, where it is lost, damaged, or older than the last change.

    Every file says which library and shard it belongs to, and its name says whether it is sound; of a damaged one the
    sound rows are kept. Vectors are left to ``embed``. Policies whose deletion was interrupted may come back. The old
    manifest is kept beside the new one. The generation is the time, in seconds: one that no reader has seen.

    Args:
        path: of the library's folder.
        tell: is told which other libraries have how many files there, where any has: the library with the most
            files is restored, the others are left as they are.
        watch: told how many files are read.

    Raises:
        LibraryError: the manifest is sound, of another schema version, or there is no data file to restore from.
    """
    folder = Path(path)
    if not any(folder.glob("*.arrow")):
        raise LibraryError(f"{folder} holds no data file of a policy library; check the path")
    with write_lock(folder) as lock:
        _refuse_sound(folder, lock)
        by_age = watched(sorted(folder.glob("*.arrow"), key=_age), watch, "files read")
        found = [each for file in by_age if (each := _describe(file)) is not None]
        if not found:
            raise LibraryError(f"{folder} holds no sound data file of a policy library; nothing can be restored")
        (library, _), *others = Counter(each.library for each in found).most_common()
        begun = Change(folder, Manifest(library, generation=max(int(time.time()), lock.generation)), lock)
        try:
            manifest = _assembled(begun, [each for each in found if each.library == library])
            if (folder / MANIFEST).exists():
                write_atomically(folder / f"{MANIFEST}.damaged", (folder / MANIFEST).read_bytes())
            restored = begun.commit(manifest)
        finally:
            begun.withdraw()
    if others and tell is not None:
        files = list(folder.glob("*.arrow"))
        tell({name: sum(belongs_to(file, name) for file in files) for name, _ in others})
    return restored


def _refuse_sound(folder: Path, lock: WriteLock) -> None:
    try:
        held = read_manifest(folder)
    except OtherVersion:
        raise
    except LibraryError:
        return
    if lock.precedes(held.library, held.generation):
        return
    raise LibraryError(f"the manifest of {folder} is sound; nothing is to be restored")


def _age(file: Path) -> tuple[int, str]:
    return file.stat().st_mtime_ns, file.name


def _describe(file: Path) -> _Found | None:
    """What a file says of itself; None where that cannot be read, or nothing is lost without it."""
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    kind, _, named = file.stem.partition("-")
    sound = len(named) >= 32 and digest.startswith(named)
    if kind not in ("policies", "tables", "environments") or (kind == "environments" and not sound):
        return None
    try:
        data = mapped(file)
        rows = check_messages(data, rows=None)
        schema = pa.ipc.open_file(data).schema
        states = schema.field("support").type.list_size if kind == "tables" else 0
        labels = labels_of(schema)
        names = decode(file, data, schemas_of(kind, 0), rows=rows)["name"].to_pylist() if kind == "environments" else ()
    except (LibraryError, pa.ArrowException, OSError, ValueError, KeyError, AttributeError):
        return None
    entry = DataFile(file.name, kind, rows, data.size, digest, tuple(names))
    return _Found(entry, labels.get("lever_ray.library", ""), labels.get("lever_ray.shard", ""), states, sound)


def _assembled(begun: Change, found: Iterable[_Found]) -> Manifest:
    """The manifest of all shards whose files are there; the newer of two that hold a policy keeps it."""
    parts: dict[str, dict[str, _Found]] = {}
    for each in found:
        parts.setdefault(each.shard, {})[each.file.kind] = each
    environments = _environments(begun, [each.file for each in found if each.file.kind == "environments"])
    known: set[str] = set()
    shards: list[ShardEntry] = []
    for name, part in reversed(parts.items()):
        if not {"policies", "tables"} <= set(part):
            continue
        if not (part["policies"].sound and part["tables"].sound):
            left = _salvaged(begun, name, part, environments)
            shards += write_shards(begun, [record for record in left if record.id not in known], None)
            known |= {record.id for record in left}
            continue
        shard = _shard_of(begun, name, part)
        if shard is None or not environments.keys() >= set(shard.environments):
            continue
        ids = {identity.decode() for identity in MappedShard(begun.path, begun.manifest.library, shard).ids.tolist()}
        twice = ids & known
        shards += rewritten(begun, shard, twice, environments.__getitem__, None) if twice else [shard]
        known |= ids
    files = write_environments(begun, [environments[name] for name in sorted(environments)])
    return replace(begun.manifest, shards=tuple(reversed(shards)), environments=tuple(files))


def _salvaged(
    begun: Change, name: str, part: Mapping[str, _Found], environments: Mapping[str, AnyEnvironment]
) -> list[AnyPolicy]:
    """The sound policies of a shard whose files are not what their names say."""
    files = part["policies"].file, part["tables"].file
    shard = ShardEntry(name, files[0].rows, part["tables"].states, (), files)
    return list({record.id: record for record in salvage(begun.path, shard, environments).records.values()}.values())


def _environments(begun: Change, files: Sequence[DataFile]) -> Mapping[str, AnyEnvironment]:
    """Every environment that can be read, with the transitions of all its rows."""
    found: dict[str, AnyEnvironment] = {}
    for file in files:
        held = Environments(begun.path, begun.manifest.library, [file])
        for name in held.names:
            try:
                new = held.any(name)
            except LibraryError:
                continue
            found[name] = _joined(found.get(name, new), new)
    return found


def _joined(old: AnyEnvironment, new: AnyEnvironment) -> AnyEnvironment:
    """The newer of two rows of an environment, with the transitions of both where they are of one task."""
    if isinstance(old, EnvironmentRecord) and isinstance(new, EnvironmentRecord) and old.task.digest == new.task.digest:
        return replace(new, successors=np.maximum(old.successors, new.successors))
    return new


def _shard_of(begun: Change, name: str, part: Mapping[str, _Found]) -> ShardEntry | None:
    """The manifest's entry of a shard; None where it cannot be read."""
    policies, tables = part["policies"].file, part["tables"].file
    (schema,) = schemas_of("policies", 0)
    try:
        data = mapped(begun.path / policies.name)
        column = decode(begun.path / policies.name, data, (schema,), rows=policies.rows)["environment"]
        environments = tuple(sorted({str(each) for each in column.unique().to_pylist()}))
        shard = ShardEntry(name, policies.rows, part["tables"].states, environments, (policies, tables))
        stored = MappedShard(begun.path, begun.manifest.library, shard)
        _ = stored.runs, stored.tables
    except (LibraryError, OSError, OverflowError):
        return None
    return shard if policies.rows == tables.rows else None
