"""What a regressor predicts of the members of groups, computed where they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lever_ray.behaviour.embeddings import embeddings
from lever_ray.embedding.regressor import FittedRegressor
from lever_ray.errors import LibraryError
from lever_ray.library.reader import LibraryReader
from lever_ray.library.serving.shard import Shard
from lever_ray.policies.group import GroupKey

_Predicted = tuple[tuple[str, ...], np.ndarray]
"""Ids of a group's members, and float64[n]."""


def predictions(library: LibraryReader, keys: Sequence[GroupKey], regressor: FittedRegressor) -> list[dict[str, float]]:
    """What a regressor predicts of the members of some groups, by id.

    Raises:
        LibraryError: a group has no member.
    """
    answers = library.ask({key.environment for key in keys}, predicted, list(keys), regressor)
    found = []
    for place, key in enumerate(keys):
        parts = [part for answer in answers if (part := answer[place]) is not None]
        if not parts:
            raise LibraryError(library.no_members(key))
        found.append(dict(sorted(pair for ids, values in parts for pair in zip(ids, values.tolist(), strict=True))))
    return found


def predicted(shard: Shard, keys: Sequence[GroupKey], regressor: FittedRegressor) -> list[_Predicted | None]:
    """The same of a shard's members of each group; None where there are none."""
    return [_predicted(shard, key, regressor) for key in keys]


def _predicted(shard: Shard, key: GroupKey, regressor: FittedRegressor) -> _Predicted | None:
    parts = shard.holding.members(key)
    if not parts:
        return None
    ids = sorted(identity.decode() for mapped, rows in parts for identity in mapped.ids[rows].tolist())
    features = embeddings(shard, key, regressor.kind, canonical=regressor.canonical)
    return tuple(ids), np.asarray(regressor.predictor.predict(features), np.float64)
