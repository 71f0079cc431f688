"""Libraries of schema version 1: their files as records of today."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lever_ray.errors import LeverError, LibraryError
from lever_ray.gridworld.objective import Objective
from lever_ray.gridworld.terrain import ACTIONS
from lever_ray.library.environments import read_environment
from lever_ray.library.files import write_lock
from lever_ray.library.manifest import FORMAT, MANIFEST, Manifest, write_manifest
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.rows import PLAIN
from lever_ray.library.schema import SCHEMA_VERSION
from lever_ray.library.text import TextEncoder, WordLlamaEncoder, model_of
from lever_ray.library.writing import Change, write_environments, write_shards

_REMEDY = "restore the file from a copy, and migrate again"


def migrate(path: str | Path, *, encoder: TextEncoder | None = None) -> int:
    """Bring a library of schema version 1 to today's; one of today's is left as it is.

    The old files are removed after the new manifest is in place, so a crash leaves the one or the other library.

    Returns:
        How many policies were migrated; 0 where there was nothing to do.

    Raises:
        LibraryError: there is no library, it is damaged, or the disk is full; nothing is changed then.
    """
    folder, texts = Path(path), encoder or WordLlamaEncoder()
    with write_lock(folder) if (folder / MANIFEST).is_file() else _no_library(folder):
        content = _old_manifest(folder)
        if content is None:
            return 0
        begun = Change(folder, Manifest.new())
        try:
            environments = _old_environments(folder, content)
            records = list(_old_records(folder, content, environments))
            shards = write_shards(begun, records, texts)
            files = write_environments(begun, [environments[name] for name in sorted(environments)])
            new = replace(
                begun.manifest,
                shards=tuple(shards),
                environments=tuple(files),
                text_model=model_of(texts),
                generation=1,
            )
            write_manifest(folder, new)
            begun.manifest = new
        finally:
            begun.withdraw()
        for entry in content["files"]:
            (folder / entry["name"]).unlink(missing_ok=True)
    return len(records)


def _no_library(folder: Path) -> Any:
    raise LibraryError(f"no policy library at {folder}; check the path")


def _old_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a library of version 1; None where it is of today's version."""
    file = folder / MANIFEST
    try:
        content = json.loads(file.read_bytes())
        version, files = content["schema_version"], content.get("files")
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        if version == SCHEMA_VERSION:
            return None
        right = hashlib.sha256(json.dumps([version, files], sort_keys=True).encode()).hexdigest()
        if version != 1 or content["checksum"] != right:
            raise ValueError(f"schema version {version!r}, or its checksum does not match")
        if any(Path(entry["name"]).name != entry["name"] for entry in files):
            raise ValueError("it names files elsewhere")
    except (ValueError, KeyError, TypeError) as error:
        raise LibraryError(f"manifest {file} is damaged ({error}); {_REMEDY}") from error
    return dict(content)


def _old_tables(folder: Path, content: Mapping[str, Any], kind: str) -> Iterator[tuple[Path, pa.Table]]:
    for entry in content["files"]:
        if entry["kind"] != kind:
            continue
        location = folder / entry["name"]
        try:
            data = location.read_bytes()
            if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                raise ValueError("its checksum does not match")
            yield location, pa.ipc.open_file(pa.py_buffer(data)).read_all()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise LibraryError(f"{location} cannot be read ({error}); {_REMEDY}") from error


def _old_environments(folder: Path, content: Mapping[str, Any]) -> dict[str, EnvironmentRecord]:
    found = {}
    for location, table in _old_tables(folder, content, "environments"):
        for row, name in enumerate(table["name"].to_pylist()):
            found[name] = read_environment(table.slice(row, 1), name, location)
    return found


def _old_records(
    folder: Path, content: Mapping[str, Any], environments: Mapping[str, EnvironmentRecord]
) -> Iterator[PolicyRecord]:
    for location, table in _old_tables(folder, content, "policies"):
        for row in table.to_pylist():
            try:
                record = _old_record(row, environments[row["environment"]])
            except (LeverError, ValueError, KeyError, TypeError) as error:
                raise LibraryError(f"policy {row['id']!r} in {location} cannot be read ({error}); {_REMEDY}") from error
            if record.id != row["id"]:
                raise LibraryError(f"policy {row['id']!r} in {location} has other content than its id says; {_REMEDY}")
            yield record


def _old_record(row: Mapping[str, Any], environment: EnvironmentRecord) -> PolicyRecord:
    shape = (environment.layout.states, ACTIONS)
    terms = row["objective"].partition("[")[0].split("-")
    rewards = row["mean_rewards"]
    return PolicyRecord(
        layout=environment.layout,
        objective=Objective.of(terms, weights=dict(zip(terms, row["weights"], strict=True))),
        q=np.array(row["q"], np.float32).reshape(shape),
        visits=np.array(row["visits"], np.uint32).reshape(shape),
        mean_rewards=None if rewards is None else np.array(rewards, np.float32).reshape(shape),
        **{name: row[name] for name in PLAIN},
    )
