"""Features of what a shard's policies do: read where they are stored, else computed once and kept beside the arrays."""

from __future__ import annotations

import numpy as np

from lever_ray.embedding.offline import make_pool
from lever_ray.embedding.outcome import behaviour_features, states_that_matter
from lever_ray.embedding.successor import make_embedder
from lever_ray.library.format.manifest import EMBEDDING_MODEL
from lever_ray.library.serving.groups import group_of
from lever_ray.library.serving.holding import Holding, Part
from lever_ray.library.serving.shard import Shard
from lever_ray.policies.group import GroupKey, PolicyGroup
from lever_ray.tasks.canonical import CANONICAL_STATES


def embeddings(
    shard: Shard, key: GroupKey, kind: str, *, masked: bool = True, canonical: int = CANONICAL_STATES
) -> np.ndarray:
    """float32[n, D]: features of a group's members; stored ones are read, others computed once.

    Args:
        shard: where they are.
        key: of a group that the shard has members of.
        kind: one of :data:`~lever_ray.embedding.outcome.BEHAVIOUR_KINDS`.
        masked: keep to the policies' support.
        canonical: canonical states that ``psi`` and ``psi_static`` are averaged over.
    """
    parts = shard.holding.members(key)
    found = [embedded(shard.holding, key, part, kind, masked=masked, canonical=canonical) for part in parts]
    if len(found) == 1:
        return found[0]
    ids = np.concatenate([mapped.ids[rows] for mapped, rows in parts])
    return np.concatenate(found)[np.argsort(ids, kind="stable")]


def embedded(
    holding: Holding,
    key: GroupKey,
    part: Part,
    kind: str,
    *,
    masked: bool,
    canonical: int,
    group: PolicyGroup | None = None,
) -> np.ndarray:
    """float32[n, D]: features of a group's members in one mapped shard, in the order of its rows.

    Args:
        holding: where the shard is.
        key: of the group.
        part: the members.
        kind: see :func:`embeddings`, as for the next.
        masked: see there.
        canonical: see there.
        group: the members' arrays, where they are read already.
    """
    mapped, rows = part
    states = states_that_matter(kind, canonical)
    stored = holding.manifest.embedding_model == EMBEDDING_MODEL
    if (kind, masked, states) == ("psi", True, CANONICAL_STATES) and stored and mapped.psi is not None:
        return mapped.psi[rows[0] : rows[-1] + 1]

    def make() -> np.ndarray:
        members = group_of(holding, key, part) if group is None else group
        return computed(holding, key, members, kind, masked=masked, canonical=states)

    return mapped.made((key, kind, masked, states), make)


def computed(
    holding: Holding,
    key: GroupKey,
    group: PolicyGroup,
    kind: str,
    *,
    masked: bool = True,
    canonical: int = CANONICAL_STATES,
) -> np.ndarray:
    """float32[n, D]: the same of some members, computed now."""
    environment = holding.environments[key.environment]
    embedder = make_embedder(environment.task, environment.canonical.thinned(canonical))
    return behaviour_features(embedder, make_pool(group.q, group.support), singles(group), masked=masked, kind=kind)


def singles(group: PolicyGroup) -> np.ndarray:
    """int32[n, 1]: mixtures of one member each."""
    return np.arange(len(group), dtype=np.int32)[:, None]
