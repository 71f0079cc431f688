"""Psi of policies that a library does not store yet: computed where they are, and stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from lever_ray.behaviour.embeddings import computed
from lever_ray.library.format.files import MissingFile
from lever_ray.library.format.manifest import EMBEDDING_MODEL
from lever_ray.library.format.schema import EMBEDDING, FEATURES
from lever_ray.library.reader import LibraryReader, VectorStore
from lever_ray.library.record import EnvironmentRecord
from lever_ray.library.serving.groups import group_of
from lever_ray.library.serving.holding import Holding
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.serving.shard import Shard

_STORED_AT_ONCE = 4096
"""Policies whose Psi is computed before it is stored."""


def embed(library: LibraryReader, watch: Callable[[int], None] | None = None) -> int:
    """Compute and store what is missing: Psi of policies, vectors of descriptions; also those of older models.

    Policies of environments without the features that Psi is made of are left out; :func:`without_features` tells how
    many they are. Nothing of a library in memory is stored: what is asked for is computed then, and kept.

    Args:
        library: it.
        watch: told of how many more policies Psi is done.

    Returns:
        For how many policies Psi was computed.
    """
    store, done = library.vector_store(), 0
    if store is None:
        return 0
    library.refresh()
    store.store_missing_texts()
    library.refresh()
    while any(lacking := library.ask(None, without_psi)):
        before = library.manifest
        try:
            for count in _computed_and_stored(library, store, lacking):
                done += count
                if watch is not None:
                    watch(count)
        except MissingFile:
            if not library.refresh() and library.manifest is before:
                raise
        library.refresh()
    return done


def _computed_and_stored(library: LibraryReader, store: VectorStore, lacking: Sequence[Sequence[str]]) -> Iterator[int]:
    """Have Psi of some shards computed and store it, many at once; of how many policies."""
    found: dict[str, np.ndarray] = {}
    for shard, psi in library.each(psi_of, lacking):
        found[shard] = psi
        if sum(map(len, found.values())) >= _STORED_AT_ONCE:
            yield _stored(store, found)
            found = {}
    if found:
        yield _stored(store, found)


def _stored(store: VectorStore, found: Mapping[str, np.ndarray]) -> int:
    store.store_psi(found)
    return sum(map(len, found.values()))


def without_psi(shard: Shard) -> list[str]:
    """Ids of the mapped shards whose Psi is missing or was made by another model, and can be made here."""
    holding = shard.holding
    ours = holding.manifest.embedding_model == EMBEDDING_MODEL
    missing = [mapped for mapped in holding.mapped if not ours or mapped.entry.file("embeddings") is None]
    return [mapped.entry.id for mapped in missing if _can_embed(holding, mapped)]


def _can_embed(holding: Holding, mapped: MappedShard) -> bool:
    """Whether every environment of a mapped shard has the features of Psi, and its family is installed."""
    names = mapped.entry.environments
    return all(_has_features(holding, mapped, name) for name in names) and all(
        isinstance(holding.environments.any(name), EnvironmentRecord) for name in names
    )


def _has_features(holding: Holding, mapped: MappedShard, name: str) -> bool:
    return holding.environments.features(name) == mapped.entry.states * FEATURES


def without_features(library: LibraryReader) -> int:
    """How many policies :func:`embed` leaves out: their environments lack the features that Psi is made of."""
    return 0 if library.vector_store() is None else sum(library.ask(None, _lacking_features))


def _lacking_features(shard: Shard) -> int:
    count = 0
    for mapped in shard.mapped:
        for name in mapped.entry.environments:
            if not _has_features(shard.holding, mapped, name):
                first, stop = mapped.rows_of(name)
                count += stop - first
    return count


def psi_of(shard: Shard, identity: str) -> np.ndarray:
    """float32[n, 73]: Psi of every policy of a mapped shard, computed now; see ``docs/library-format.md``.

    Args:
        shard: where it is.
        identity: of the mapped shard.

    Raises:
        MissingFile: it is not served here: the library has changed.
    """
    holding = shard.holding
    mapped = next((each for each in holding.mapped if each.entry.id == identity), None)
    if mapped is None:
        raise MissingFile(f"library {holding.path} has no shard {identity} here; it was changed since it was read")
    psi = np.empty((mapped.entry.rows, EMBEDDING), np.float32)
    for key, (first, stop) in mapped.runs.items():
        group = group_of(holding, key, (mapped, np.arange(first, stop)))
        psi[first:stop] = computed(holding, key, group, "psi")
    return psi
