"""Dropping what is broken of a library, and only that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lever_ray.errors import LibraryError
from lever_ray.library.format.manifest import Manifest, ShardEntry
from lever_ray.library.format.sealed import AnyEnvironment, SealedEnvironment
from lever_ray.library.repair.checking import Damage, check_environments, check_shard
from lever_ray.library.repair.salvage import salvage
from lever_ray.library.search.text import TextEncoder, WordLlamaEncoder, model_of
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.writing.append import rewritten, write_environments, write_shards
from lever_ray.library.writing.change import Change, change, remove_orphans
from lever_ray.tasks.support import full_support, taken_actions
from lever_ray.watching import Watch, watched


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
        encoder: makes text vectors; :class:`~lever_ray.library.search.text.WordLlamaEncoder` by default.
        watch: told how many shards are checked and mended.

    Raises:
        LibraryError: the manifest is missing or damaged; see
            :func:`lever_ray.library.repair.recovery.restore_manifest`.
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
    shards: list[ShardEntry] = []
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
    shard: ShardEntry,
    damages: Sequence[Damage],
    environments: Mapping[str, AnyEnvironment],
    encoder: TextEncoder,
) -> list[ShardEntry]:
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
    begun: Change, shard: ShardEntry, environments: Mapping[str, AnyEnvironment], encoder: TextEncoder
) -> list[ShardEntry]:
    """The policies of a damaged shard that are sound, with their Psi where that is."""
    records = salvage(begun.path, shard, environments).records
    try:
        psi = MappedShard(begun.path, begun.manifest.library, shard).psi
    except LibraryError:
        psi = None
    known = {} if psi is None else {record.id: psi[row] for row, record in records.items()}
    kept = {record.id: record for record in records.values()}
    return write_shards(begun, list(kept.values()), encoder, psi=known)


def _with_transitions(begun: Change, shards: Sequence[ShardEntry], environment: AnyEnvironment) -> AnyEnvironment:
    """An environment with what some shards' policies recorded added to what it has."""
    if isinstance(environment, SealedEnvironment):
        return environment
    task, taken = environment.task, np.zeros_like(full_support(*environment.successors.shape))
    for shard in shards:
        if environment.name in shard.environments:
            mapped = MappedShard(begun.path, begun.manifest.library, shard)
            rows = slice(*mapped.rows_of(environment.name))
            known = np.array(mapped.policies["support_source"][rows].to_pylist(), object) != "unknown"
            taken |= np.bitwise_or.reduce(mapped.tables.support[rows][known], axis=0)
    recorded = np.where(taken_actions(taken, task.actions), task.dynamics.moves, -1).astype(np.int32)
    return replace(environment, successors=np.maximum(environment.successors, recorded))
