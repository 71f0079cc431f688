"""A manifest from nothing but the data files, where the manifest itself is lost."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from lever_ray.errors import LibraryError
from lever_ray.library.environments import Environments
from lever_ray.library.files import write_lock
from lever_ray.library.manifest import MANIFEST, DataFile, Manifest, Shard, read_manifest, write_manifest
from lever_ray.library.schema import SCHEMA_VERSION
from lever_ray.library.stored import StoredShard


class _Found(NamedTuple):
    """A data file with what it says of itself."""

    file: DataFile
    library: str
    shard: str
    states: int


def restore_manifest(path: str | Path) -> Manifest:
    """Write a new manifest from the data files of a folder whose manifest is lost or damaged.

    Every file says which library and shard it belongs to, and its name says whether it is sound. Vectors are left to
    ``embed``. Policies whose deletion was interrupted may come back. The damaged manifest is kept beside the new one.

    Raises:
        LibraryError: the manifest is sound, of another schema version, or there is no data file to restore from.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise LibraryError(f"no policy library at {folder}; check the path")
    with write_lock(folder):
        _refuse_sound(folder)
        found = [each for file in sorted(folder.glob("*.arrow"), key=_age) if (each := _describe(file)) is not None]
        if not found:
            raise LibraryError(f"{folder} holds no sound data file of a policy library; nothing can be restored")
        library = Counter(each.library for each in found).most_common(1)[0][0]
        manifest = _assembled(folder, library, [each for each in found if each.library == library])
        if (folder / MANIFEST).exists():
            (folder / MANIFEST).replace(folder / f"{MANIFEST}.damaged")
        write_manifest(folder, manifest)
    return manifest


def _refuse_sound(folder: Path) -> None:
    try:
        read_manifest(folder)
    except LibraryError as error:
        if ("schema version" in str(error) and f"up to {SCHEMA_VERSION}" in str(error)) or "migrate" in str(error):
            raise
        return
    raise LibraryError(f"the manifest of {folder} is sound; nothing is to be restored")


def _age(file: Path) -> tuple[int, str]:
    return file.stat().st_mtime_ns, file.name


def _describe(file: Path) -> _Found | None:
    """What a file says of itself; None where its content is not what its name says."""
    with file.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    kind, _, named = file.stem.partition("-")
    if kind not in ("policies", "tables", "environments") or not named or not digest.startswith(named):
        return None
    try:
        table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        labels = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        states = table.schema.field("support").type.list_size if kind == "tables" else 0
        names = tuple(table["name"].to_pylist()) if kind == "environments" else ()
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError):
        return None
    entry = DataFile(file.name, kind, table.num_rows, file.stat().st_size, digest, names)
    return _Found(entry, labels.get("lever_ray.library", ""), labels.get("lever_ray.shard", ""), states)


def _assembled(folder: Path, library: str, found: Iterable[_Found]) -> Manifest:
    parts: dict[str, dict[str, Any]] = {}
    environments = []
    for each in found:
        if each.file.kind == "environments":
            environments.append(each.file)
        else:
            parts.setdefault(each.shard, {})[each.file.kind] = each
    known: set[bytes] = set()
    held, shards = set(Environments(folder, library, environments).names), []
    for name, part in reversed(parts.items()):
        if len(part) == 2:
            shard = _shard_of(folder, name, part)
            stored = StoredShard(folder, library, shard)
            ids = set(stored.ids.tolist())
            if not ids <= known and held.issuperset(shard.environments):
                shards.append(shard)
                known |= ids
    return Manifest(library, 1, tuple(reversed(shards)), tuple(environments))


def _shard_of(folder: Path, name: str, part: dict[str, _Found]) -> Shard:
    files = part["policies"].file, part["tables"].file
    table = pa.ipc.open_file(pa.memory_map(str(folder / files[0].name))).read_all()
    environments = tuple(sorted(table["environment"].unique().to_pylist()))
    return Shard(name, files[0].rows, part["tables"].states, environments, files)
