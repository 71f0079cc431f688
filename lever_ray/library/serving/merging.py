"""One answer from those of several shards: whatever the shards are, and in whatever order they answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from lever_ray.errors import UnknownName
from lever_ray.library.format.rows import objective_id
from lever_ray.library.record import PolicyRecord
from lever_ray.library.search.wording import Closest
from lever_ray.policies.group import GroupKey, PolicyGroup

K = TypeVar("K")
T = TypeVar("T")


def merged_keys(answers: Iterable[Iterable[GroupKey]]) -> tuple[GroupKey, ...]:
    """Every group once, ascending."""
    return tuple(sorted({key for keys in answers for key in keys}))


def merged_counts(answers: Iterable[Iterable[tuple[K, int]]]) -> dict[K, int]:
    """Counts of each thing, added up."""
    counts: dict[K, int] = {}
    for thing, count in (pair for answer in answers for pair in answer):
        counts[thing] = counts.get(thing, 0) + count
    return counts


def merged_group(parts: Iterable[PolicyGroup | None]) -> PolicyGroup | None:
    """The members that several shards have of one group, ordered by id; None where none has any.

    Args:
        parts: what each shard has, ordered by id.
    """
    found = [part for part in parts if part is not None]
    if len(found) < 2:
        return found[0] if found else None
    return in_order(PolicyGroup.merge(found[0].objective, found))


def in_order(group: PolicyGroup) -> PolicyGroup:
    """A group ordered by id: itself where it is."""
    return group if list(group.ids) == sorted(group.ids) else group.ordered()


def merged_closest(answers: Iterable[Closest | None]) -> Closest | None:
    """The nearest of what each shard has that is near."""
    found = [closest for closest in answers if closest is not None]
    return max(found, key=lambda closest: (closest.similarity, closest.description), default=None)


def merged_records(answers: Iterable[Iterable[PolicyRecord]]) -> list[PolicyRecord]:
    """Records ordered by group and id."""

    def place(record: PolicyRecord) -> tuple[Any, ...]:
        return record.environment, objective_id(record), record.gamma, record.episodes, record.id

    return sorted((record for answer in answers for record in answer), key=place)


def by_place(ids: Sequence[str], pairs: Iterable[tuple[int, T]]) -> list[T]:
    """What was found of every id, in the ids' order.

    Args:
        ids: what was asked for.
        pairs: places among the ids, and what is there.

    Raises:
        UnknownName: nothing was found of some id.
    """
    found = dict(pairs)
    for place, identity in enumerate(ids):
        if place not in found:
            raise UnknownName("policy id", identity, (), hint="`lever-ray library search` lists ids.")
    return [found[place] for place in range(len(ids))]
