"""Groups of a holding's policies: by their own objective, and by what their descriptions say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lever_ray.library.search.wording import Closest, Wording, similarities
from lever_ray.library.serving.holding import Holding, Part
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.serving.merging import in_order
from lever_ray.library.serving.vectors import TextVectors
from lever_ray.policies.group import GroupKey, PolicyGroup, Run

_KEPT = 1_024
"""Groups that are kept: views of files, and their members' ids."""


class Groups:
    """Finds the members of groups; those that were asked for last are kept.

    Args:
        holding: what is mapped.
        texts: vectors of descriptions.
    """

    def __init__(self, holding: Holding, texts: TextVectors) -> None:
        self._holding, self._texts = holding, texts
        self._kept: dict[tuple[GroupKey, Wording | None], PolicyGroup | None] = {}

    def get(self, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()) -> list[PolicyGroup | None]:
        """The members of each group; None where there are none.

        Args:
            keys: of the groups.
            wordings: one per group, to find members by their descriptions, too; none to go by own objectives alone.
        """
        each: Iterable[Wording | None] = wordings or [None] * len(keys)
        return [self._kept_group(key, wording) for key, wording in zip(keys, each, strict=True)]

    def _kept_group(self, key: GroupKey, wording: Wording | None) -> PolicyGroup | None:
        question = key, wording
        if question not in self._kept:
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            parts = self._holding.members(key) if wording is None else self._worded(key, wording)
            self._kept[question] = self._group(key, parts)
        return self._kept[question]

    def _group(self, key: GroupKey, parts: Sequence[Part]) -> PolicyGroup | None:
        groups = [group_of(self._holding, key, part) for part in parts]
        if not groups:
            return None
        return in_order(groups[0] if len(groups) == 1 else PolicyGroup.merge(key.objective, groups))

    def _worded(self, key: GroupKey, wording: Wording) -> list[Part]:
        """Policies that belong to a group by their description or, where the rule says so, by their own objective."""
        found = [
            (mapped, rows[similar >= wording.retrieval.threshold])
            for mapped, rows, similar in self._by_text(key, wording)
        ]
        if wording.retrieval.rule == "objective":
            own = {mapped.entry.id: rows for mapped, rows in self._holding.members(key)}
            found = [(mapped, np.union1d(rows, own.get(mapped.entry.id, rows))) for mapped, rows in found]
        return [(mapped, rows) for mapped, rows in found if len(rows)]

    def _by_text(self, key: GroupKey, wording: Wording) -> Iterable[tuple[MappedShard, np.ndarray, np.ndarray]]:
        """Policies that a group may have for their descriptions, and how similar these are, float64[n]."""
        for mapped in self._holding.having(key.environment):
            rows, similar = [np.empty(0, np.int64)], [np.empty(0)]
            for other in mapped.keys_of.get(key.environment, ()):
                if other._replace(objective=key.objective) == key and wording.admits(other.objective):
                    rows.append(np.arange(*mapped.runs[other]))
                    similar.append(self._similar(mapped, rows[-1], other, wording))
            yield mapped, np.concatenate(rows), np.concatenate(similar)

    def _similar(self, mapped: MappedShard, rows: np.ndarray, key: GroupKey, wording: Wording) -> np.ndarray:
        codes, place = np.unique(mapped.codes("description")[rows], return_inverse=True)
        vectors = self._texts.of(mapped)[codes]
        found = similarities(vectors, self._texts.vector(wording.text))
        if wording.unwanted and not key.objective:
            nearer = similarities(vectors, self._texts.vector(wording.unwanted)) >= found
            found = np.where(nearer, -np.inf, found)
        return np.asarray(found[place])

    def closest(self, key: GroupKey, wording: Wording) -> Closest | None:
        """Whose description comes nearest to a group's; None where no policy might be a member."""
        nearest = [
            Closest(float(similar.max()), mapped.descriptions[mapped.codes("description")[rows[similar.argmax()]]])
            for mapped, rows, similar in self._by_text(key, wording)
            if len(rows)
        ]
        return max(nearest, default=None)


def group_of(holding: Holding, key: GroupKey, part: Part) -> PolicyGroup:
    """Members in one mapped shard, in the order of its rows; views of its file where the rows lie together."""
    mapped, rows = part
    environment = holding.environments[key.environment]
    mapped.check_task(key, environment)
    first, stop = int(rows[0]), int(rows[-1]) + 1
    tables, inside = mapped.sound(first, stop), _within(rows)
    costs = (mapped.numbers(name)[rows].tolist() for name in ("seed", "environment_steps", "seconds"))
    return PolicyGroup(
        objective=key.objective,
        ids=tuple(identity.decode() for identity in mapped.ids[rows].tolist()),
        q=tables.q[inside],
        support=tables.support[inside],
        totals=mapped.numbers("total")[rows],
        mean_rewards=None if tables.mean_rewards is None else tables.mean_rewards[inside],
        runs=frozenset(map(Run, *costs)),
        world=environment.task.digest,
        sources=tuple(mapped.names("support_source", rows)),
    )


def _within(rows: np.ndarray) -> slice | np.ndarray:
    """Ascending rows counted from the first; a slice where they lie together."""
    if rows[-1] - rows[0] + 1 == len(rows):
        return slice(0, len(rows))
    return rows - rows[0]
