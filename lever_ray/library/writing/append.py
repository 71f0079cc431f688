"""Policies and environments as new files of a change."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lever_ray.errors import InvalidValue, LibraryError
from lever_ray.library.format.manifest import DataFile, ShardEntry
from lever_ray.library.format.rows import (
    alike,
    descriptions_of,
    embeddings_table,
    encoded,
    environment_parts,
    environments_table,
    shard_tables,
    texts_table,
)
from lever_ray.library.format.sealed import AnyEnvironment, AnyPolicy, Lookup
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.search.text import TextEncoder, model_of
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.writing.change import Change
from lever_ray.watching import Watch

NO_PSI: Mapping[str, np.ndarray] = {}


def write_shards(
    begun: Change,
    records: Sequence[AnyPolicy],
    encoder: TextEncoder | None,
    *,
    psi: Mapping[str, np.ndarray] = NO_PSI,
    watch: Watch | None = None,
) -> list[ShardEntry]:
    """Write policies as new shards; text vectors too, unless the library's are of another model.

    Args:
        begun: the change that they are part of.
        records: the policies.
        encoder: makes text vectors; None to leave them out.
        psi: of policies that have it already, float32[73] by id; stored where it is known of a whole shard.
        watch: told how many policies are written.
    """
    ours = encoder is not None and begun.manifest.text_model in (None, model_of(encoder))
    shards: list[ShardEntry] = []
    for part in alike(records):
        shards.append(_write_shard(begun, part, encoder if ours else None, psi))
        if watch is not None:
            watch(sum(shard.rows for shard in shards), len(records), "policies written")
    return shards


def _write_shard(
    begun: Change, records: Sequence[AnyPolicy], encoder: TextEncoder | None, psi: Mapping[str, np.ndarray]
) -> ShardEntry:
    shard = uuid.uuid4().hex[:12]
    policies, tables = shard_tables(records)
    files = [begun.write("policies", policies, shard=shard), begun.write("tables", tables, shard=shard)]
    if encoder is not None:
        descriptions = descriptions_of(policies)
        texts = texts_table(descriptions, encoded(descriptions, encoder.encode))
        files.append(begun.write("texts", texts, shard=shard))
    if all(record.id in psi for record in records):
        known = np.stack([psi[record.id] for record in records])
        files.append(begun.write("embeddings", embeddings_table(known), shard=shard))
    environments = tuple(sorted({record.environment for record in records}))
    return ShardEntry(shard, len(records), len(records[0].q), environments, tuple(files))


def rewritten(
    begun: Change,
    shard: ShardEntry,
    lost: set[str],
    lookup: Lookup,
    encoder: TextEncoder | None,
) -> list[ShardEntry]:
    """A shard without some policies; with Psi of the others where it had them."""
    mapped = MappedShard(begun.path, begun.manifest.library, shard)
    kept = np.array([row for row, known in enumerate(mapped.ids.tolist()) if known.decode() not in lost], np.int64)
    if not len(kept):
        return []
    return write_shards(begun, list(mapped.kept(kept, lookup)), encoder, psi=stored_psi(mapped))


def stored_psi(mapped: MappedShard) -> dict[str, np.ndarray]:
    """Psi by id, float32[73] each; empty where it is not stored, or broken."""
    try:
        psi = mapped.psi
    except LibraryError:
        return {}
    ids = [identity.decode() for identity in mapped.ids.tolist()]
    return {} if psi is None else dict(zip(ids, psi, strict=True))


def write_environments(begun: Change, environments: Sequence[AnyEnvironment]) -> list[DataFile]:
    """Write environments as a new file, or as few as hold them; none where there are none."""
    return [
        begun.write("environments", environments_table(part), environments=[each.name for each in part])
        for part in environment_parts(environments)
    ]


def distinct(records: Iterable[PolicyRecord]) -> list[PolicyRecord]:
    """The policies that are given, each once, in the order in which they were first met.

    Raises:
        InvalidValue: something is no policy.
        LibraryError: one environment's name is given to several tasks.
    """
    found: dict[str, PolicyRecord] = {}
    tasks: dict[str, str] = {}
    for record in records:
        if not isinstance(record, PolicyRecord):
            raise InvalidValue(f"a policy is {record!r}; give a list of PolicyRecord, as lever.read_policies does")
        found.setdefault(record.id, record)
        if tasks.setdefault(record.environment, record.task.digest) != record.task.digest:
            raise LibraryError(
                f"environment name {record.environment!r} is given to two tasks; give one of them another name"
            )
    return list(found.values())


def environment_updates(
    records: Sequence[PolicyRecord], held: Callable[[str], EnvironmentRecord | None]
) -> list[EnvironmentRecord]:
    """Environments that are new, or whose recorded transitions grow; canonical states stay once they are drawn.

    Args:
        records: new policies, those of one environment of one task.
        held: gives the environments that there are already.

    Raises:
        LibraryError: an environment of that name is of another task.
    """
    by_name: dict[str, list[PolicyRecord]] = {}
    for record in records:
        by_name.setdefault(record.environment, []).append(record)
    updates = []
    for name, mine in sorted(by_name.items()):
        known, task = held(name), mine[0].task
        if known is not None and known.task.digest != task.digest:
            raise LibraryError(f"environment name {name!r} is taken by another task; give this one another name")
        recorded = [record.successors for record in mine if record.successors is not None]
        nothing = np.full((task.observations, task.actions), -1, np.int32)
        union = np.max([nothing, *recorded], axis=0)
        if known is None:
            updates.append(EnvironmentRecord.of(name, task, union))
        elif (union > known.successors).any():
            updates.append(replace(known, successors=np.maximum(union, known.successors)))
    return updates
