"""Libraries of schema version 1: their files as records of today."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lever_ray.errors import LeverError, LibraryError
from lever_ray.library.format.environments import read_environment
from lever_ray.library.format.files import decode
from lever_ray.library.format.manifest import (
    MANIFEST,
    Manifest,
    OtherVersion,
    checksum_of,
    read_document,
    read_manifest,
)
from lever_ray.library.format.sealed import SealedEnvironment
from lever_ray.library.record import PLAIN, EnvironmentRecord, HeldPolicy, PolicyRecord
from lever_ray.library.search.text import TextEncoder, WordLlamaEncoder, model_of
from lever_ray.library.writing.append import write_environments, write_shards
from lever_ray.library.writing.change import Change, remove_files
from lever_ray.library.writing.lock import write_lock
from lever_ray.tasks.objective import Objective
from lever_ray.watching import Watch, watched

_VERSION = 1
_REMEDY = "restore the file from a copy, and migrate again"
_POLICIES = pa.schema(
    {
        **dict.fromkeys(("id", "environment", "objective"), pa.string()),
        "weights": pa.list_(pa.float64()),
        **dict.fromkeys(("description", "label"), pa.string()),
        "gamma": pa.float64(),
        "algorithm": pa.string(),
        **dict.fromkeys(("episodes", "snapshot", "seed", "environment_steps"), pa.int64()),
        **dict.fromkeys(("seconds", "total"), pa.float64()),
        "q": pa.list_(pa.float32()),
        "support": pa.list_(pa.uint8()),
        "visits": pa.list_(pa.uint32()),
        "mean_rewards": pa.list_(pa.float32()),
    }
)
_ENVIRONMENTS = pa.schema(
    {
        **dict.fromkeys(("name", "layout"), pa.string()),
        **dict.fromkeys(("successors", "canonical_cells"), pa.list_(pa.int32())),
        "canonical_golds": pa.list_(pa.uint64()),
        "canonical_levers": pa.list_(pa.uint8()),
    }
)


def migrate(path: str | Path, *, encoder: TextEncoder | None = None, watch: Watch | None = None) -> int:
    """Bring a library of schema version 1 to today's; one of today's is left as it is.

    The old files are removed after the new manifest is in place, so a crash leaves the one or the other library.

    Args:
        path: of the library's folder.
        encoder: makes text vectors; :class:`~lever_ray.library.search.text.WordLlamaEncoder` by default.
        watch: told how many files are read, and how many policies are written.

    Returns:
        How many policies were migrated; 0 where there was nothing to do.

    Raises:
        LibraryError: there is no library, it is damaged, or the disk is full; nothing is changed then.
    """
    folder = Path(path)
    read_document(folder)
    with write_lock(folder) as lock:
        if not _is_old(folder):
            return 0
        old = _old_files(folder)
        begun = Change(folder, replace(Manifest.new(), library=_library_of(folder)), lock)
        try:
            new, count = _written(begun, old, encoder or WordLlamaEncoder(), watch)
            begun.commit(new)
        finally:
            begun.withdraw()
        remove_files(folder, [entry["name"] for entry in old])
    return count


def _library_of(folder: Path) -> str:
    """Id of the library to be: always the same of one old manifest, so that what a killed migration left is known."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()[:32]


def _is_old(folder: Path) -> bool:
    try:
        read_manifest(folder)
    except OtherVersion as error:
        if error.version != _VERSION:
            raise
        return True
    return False


def _old_files(folder: Path) -> list[dict[str, Any]]:
    """The entries of a manifest of version 1."""
    content = read_document(folder)
    files = content.get("files")
    try:
        if content.get("checksum") != checksum_of(_VERSION, files) or not isinstance(files, list):
            raise ValueError("its checksum does not match")
        for entry in files:
            if Path(entry["name"]).name != entry["name"] or not entry["name"].isprintable():
                raise ValueError("it names files elsewhere")
            _ = entry["kind"], entry["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LibraryError(f"manifest {folder / MANIFEST} is damaged ({error}); {_REMEDY}") from error
    return files


def _written(
    begun: Change, old: Sequence[Mapping[str, Any]], encoder: TextEncoder, watch: Watch | None
) -> tuple[Manifest, int]:
    """The manifest of the same library with files of today, and how many policies it has."""
    environments = _old_environments(begun.path, old)
    files_read = watched(old, watch, "files read")
    records = list(_old_records(begun.path, files_read, environments))
    shards = write_shards(begun, records, encoder, watch=watch)
    files = write_environments(begun, [environments[name] for name in sorted(environments)])
    manifest = replace(begun.manifest, shards=tuple(shards), environments=tuple(files), text_model=model_of(encoder))
    return manifest, len(records)


def _old_tables(
    folder: Path, old: Iterable[Mapping[str, Any]], kind: str, schema: pa.Schema
) -> Iterator[tuple[Path, pa.Table]]:
    for entry in old:
        if entry["kind"] != kind:
            continue
        location = folder / entry["name"]
        try:
            data = location.read_bytes()
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                raise ValueError("its checksum does not match")
        except (OSError, ValueError) as error:
            raise LibraryError(f"{location} cannot be read ({error}); {_REMEDY}") from error
        yield location, decode(location, pa.py_buffer(data), (schema,), rows=None)


def _old_environments(folder: Path, old: Iterable[Mapping[str, Any]]) -> dict[str, EnvironmentRecord]:
    found = {}
    for location, table in _old_tables(folder, old, "environments", _ENVIRONMENTS):
        for row, name in enumerate(table["name"].to_pylist()):
            environment = read_environment(table.slice(row, 1), name, location)
            if isinstance(environment, SealedEnvironment):
                raise LibraryError(
                    f"environment {name!r} in {location} is of task family {environment.family!r}, which is not "
                    "installed; install it, and migrate again"
                )
            found[name] = environment
    return found


def _old_records(
    folder: Path, old: Iterable[Mapping[str, Any]], environments: Mapping[str, EnvironmentRecord]
) -> Iterator[PolicyRecord]:
    for location, table in _old_tables(folder, old, "policies", _POLICIES):
        for row in table.to_pylist():
            try:
                record = _old_record(row, environments[row["environment"]])
            except (LeverError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise LibraryError(f"policy {row['id']!r} in {location} cannot be read ({error}); {_REMEDY}") from error
            if record.id != row["id"]:
                raise LibraryError(f"policy {row['id']!r} in {location} has other content than its id says; {_REMEDY}")
            yield record


def _old_record(row: Mapping[str, Any], environment: EnvironmentRecord) -> PolicyRecord:
    shape = environment.successors.shape
    terms = row["objective"].partition("[")[0].split("-")
    rewards = row["mean_rewards"]
    return HeldPolicy(
        task=environment.task,
        objective=Objective.of(terms, weights=dict(zip(terms, row["weights"], strict=True))),
        q=np.array(row["q"], np.float32).reshape(shape),
        visits=np.array(row["visits"], np.uint32).reshape(shape),
        mean_rewards=None if rewards is None else np.array(rewards, np.float32).reshape(shape),
        **{name: row[name] for name in PLAIN},
    )
