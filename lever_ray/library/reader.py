"""Reading a library, whoever holds its shards: one process, or Ray actors."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, Self, TypeVar, cast

import numpy as np

from lever_ray.errors import InvalidValue, LibraryError, UnknownName
from lever_ray.library.format.environments import Environments
from lever_ray.library.format.files import MissingFile
from lever_ray.library.format.manifest import Manifest
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.search.index import merge_top_k
from lever_ray.library.search.text import TextEncoder
from lever_ray.library.search.wording import Wording
from lever_ray.library.serving.merging import (
    by_place,
    merged_closest,
    merged_counts,
    merged_group,
    merged_keys,
    merged_records,
)
from lever_ray.library.serving.nearest import Where
from lever_ray.library.serving.selecting import matching, terms_of
from lever_ray.library.serving.service import Near, ShardService
from lever_ray.library.serving.shard import Shard
from lever_ray.order import in_natural_order
from lever_ray.policies.group import GroupKey, PolicyGroup
from lever_ray.tasks.objective import Objective

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")

_TRIES = 20
"""Times that a question is asked anew because the library was changed under it."""


class Match(NamedTuple):
    """A policy whose description is near to a text.

    Attributes:
        id: of the policy.
        similarity: cosine of the text's and the description's vectors.
    """

    id: str
    similarity: float


class VectorStore(Protocol):
    """Stores vectors that were made of a library's policies."""

    def store_psi(self, found: Mapping[str, np.ndarray]) -> None:
        """Write Psi of some shards, float32[n, 73] by id; shards that the library has no more are left out."""

    def store_missing_texts(self) -> None:
        """Encode the descriptions of all shards that lack their vectors, or of all where another model made them."""


@dataclass
class _Known:
    """What is known of one state of a library.

    Attributes:
        manifest: the state.
        environments: of it.
        keys: groups that have members, by the environment that was asked about; None for all.
        made: what was made of the policies, by what it is.
    """

    manifest: Manifest
    environments: Environments
    keys: dict[str | None, tuple[GroupKey, ...]] = field(default_factory=dict)
    made: dict[Hashable, Any] = field(default_factory=dict)


class LibraryReader:
    """What can be asked of a library. Answers of several shards are merged by id, so sharding never shows.

    Args:
        path: of the library's folder.
        service: who holds its shards.
        encoder: makes text vectors.
    """

    def __init__(self, path: Path, service: ShardService, encoder: TextEncoder) -> None:
        self.path, self.encoder, self._service = path, encoder, service
        self._last: _Known | None = None

    @property
    def _known(self) -> _Known:
        """What is known of the state that is served now; nothing of it outlasts that state."""
        manifest, known = self._service.manifest, self._last
        if known is None or known.manifest is not manifest:
            self._last = known = _Known(manifest, self._service.environments())
        return known

    def vector_store(self) -> VectorStore | None:
        """Who stores vectors that are made of the policies; None where nothing is stored."""
        return None

    def refresh(self) -> bool:
        """Read the manifest again; whether the library has changed since it was read."""
        return self._service.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what the library holds; it cannot be asked afterwards."""
        self._service.close()

    def ask(
        self, near: Near, function: Callable[Concatenate[Shard, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[T]:
        """What a function gives of every shard, asked again where the library was changed meanwhile.

        For the arguments see :meth:`~lever_ray.library.serving.service.ShardService.apply`.
        """
        return self.up_to_date(lambda: self._service.apply(near, function, *args, **kwargs))

    def each(self, function: Callable[[Shard, A], T], wanted: Sequence[Sequence[A]], /) -> Iterator[tuple[A, T]]:
        """See :meth:`~lever_ray.library.serving.service.ShardService.each`."""
        return self._service.each(function, wanted)

    def up_to_date(self, read: Callable[[], T]) -> T:
        """What reading gives; read again where a file is gone since the library was changed."""
        for _ in range(_TRIES):
            manifest = self.manifest
            try:
                return read()
            except MissingFile:
                if self.manifest is manifest and not self.refresh() and self.manifest is manifest:
                    raise
        return read()

    def made(self, what: Hashable, make: Callable[[], T]) -> T:
        """Something made of all policies; once for every state of the library."""
        known = self._known.made
        if what not in known:
            known[what] = make()
        return cast(T, known[what])

    @property
    def manifest(self) -> Manifest:
        """The files of the library, as they are known to this object."""
        return self._service.manifest

    def __len__(self) -> int:
        return self.manifest.rows

    @property
    def environments(self) -> tuple[str, ...]:
        """Names of the environments, in natural order: ``grid8-2`` before ``grid8-10``."""
        return tuple(in_natural_order(self._known.environments.names))

    def environment(self, name: str) -> EnvironmentRecord:
        """What an environment's policies share; read once.

        Raises:
            UnknownName: the library has no such environment; the message lists those it has.
            ForeignFamily: its family of tasks is not installed.
            LibraryError: its file or its row is damaged.
        """
        found = self.up_to_date(lambda: self._known.environments.get(name))
        if found is None:
            raise UnknownName(
                "environment", name, self.environments, hint="Train policies for it with `lever-ray build`."
            )
        return found

    def foreign(self) -> dict[str, str]:
        """The family of every environment whose family of tasks is not installed, by name."""
        return self.up_to_date(lambda: self._known.environments.foreign())

    def keys(self, environment: str | None = None) -> tuple[GroupKey, ...]:
        """The groups that have members, ascending; asked for once. Of one environment, only its shards are touched."""
        known = self._known.keys
        if environment not in known:
            known[environment] = merged_keys(self.ask(_near(environment), Shard.keys, environment))
        return known[environment]

    def census(self) -> dict[GroupKey, int]:
        """How many members each group has."""
        return dict(sorted(merged_counts(self.ask(None, Shard.census)).items()))

    def support_sources(self) -> dict[str, int]:
        """How many policies have their support from ``visits``, from ``transitions``, or ``unknown``."""
        return merged_counts(self.ask(None, Shard.support_sources))

    def publish(self, environments: Iterable[str]) -> None:
        """Make the groups of some environments ready for tasks that this library will be sent to."""

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()) -> list[PolicyGroup]:
        """The members of some groups, each ordered by id; one request to every shard concerned.

        Args:
            keys: of the groups.
            wordings: one per group, to find members by their descriptions, too; none to go by own objectives alone.

        Raises:
            LibraryError: a group has no member; the message says what the environment has, or what came closest.
        """
        parts = self.up_to_date(lambda: self._service.groups(keys, wordings))
        merged = [merged_group(part) for part in parts]
        for place, key in enumerate(keys):
            if merged[place] is None:
                wording = wordings[place] if wordings else None
                raise LibraryError(self.no_members(key) if wording is None else self._nothing_similar(key, wording))
        return [group for group in merged if group is not None]

    def _nothing_similar(self, key: GroupKey, wording: Wording) -> str:
        best = merged_closest(self.ask({key.environment}, Shard.closest, key, wording))
        if best is None:
            return self.no_members(key)
        by_objective = wording.retrieval.rule == "objective"
        own = f" for {key.objective!r}, and of those without an objective none" if by_objective else ""
        return (
            f"environment {key.environment!r} has no policy{own} like {wording.text!r} at gamma {key.gamma:g} and "
            f"{key.episodes} episodes: {best.told(wording.retrieval)}"
        )

    def no_members(self, key: GroupKey) -> str:
        """That a group has no member, in words: what its environment has."""
        held = sorted({other.objective for other in self.keys(key.environment)})
        return (
            f"environment {key.environment!r} has no policy for {key.objective!r} at gamma {key.gamma:g} "
            f"and {key.episodes} episodes; objectives held: {', '.join(held) or 'none'}"
        )

    def select(
        self,
        *,
        environment: str | None = None,
        objective: Objective | str | None = None,
        gamma: float | None = None,
        episodes: int | None = None,
        label: str | None = None,
    ) -> list[PolicyRecord]:
        """Full records of the policies that match every given filter, ordered by group and id.

        Raises:
            UnknownName: no policy and no environment has a term of that objective.
        """
        wanted = [
            key
            for key in self.matching(self.keys(environment), objective)
            if gamma in (None, key.gamma) and episodes in (None, key.episodes)
        ]
        return [record for record in self.members(wanted) if label in (None, record.label)]

    def matching(self, keys: Sequence[GroupKey], objective: Objective | str | None) -> list[GroupKey]:
        """Groups whose objective is a given one, see :func:`lever_ray.library.serving.selecting.matching`."""
        return matching(keys, objective, lambda: {*self.terms(), *terms_of(self.keys())})

    def terms(self) -> set[tuple[str, ...]]:
        """The terms of every environment whose family is installed."""
        foreign = self.foreign()
        return {self.environment(name).task.terms for name in self.environments if name not in foreign}

    def members(self, keys: Sequence[GroupKey]) -> list[PolicyRecord]:
        """Full records of the policies of some groups, ordered by group and id."""
        near = {key.environment for key in keys}
        return merged_records(self.ask(near, Shard.records, list(keys)))

    def policies(self, ids: Sequence[str]) -> list[PolicyRecord]:
        """Full records of some ids, in their order.

        Raises:
            UnknownName: the library has no policy of some id.
        """
        return by_place(ids, (pair for answer in self.ask(None, Shard.find, list(ids)) for pair in answer))

    def tables(self, ids: Sequence[str]) -> list[np.ndarray]:
        """float32[S, A] of every id: the Q-tables, in the ids' order.

        Raises:
            UnknownName: the library has no policy of some id.
        """
        answers = (part for answer in self.ask(None, Shard.tables, list(ids)) for part in answer)
        return by_place(ids, (pair for places, tables in answers for pair in zip(places.tolist(), tables, strict=True)))

    def search(
        self,
        texts: Sequence[str],
        k: int = 10,
        *,
        environment: str | None = None,
        gamma: float | None = None,
        episodes: int | None = None,
    ) -> list[list[Match]]:
        """The policies whose descriptions are nearest to some texts, by cosine (descending), then id.

        Exact, unless the library was opened with an approximate index and all policies are looked at.

        Args:
            texts: none of them blank.
            k: how many policies per text.
            environment: look only at its policies.
            gamma: look only at policies with this discount.
            episodes: look only at policies with this training budget.

        Raises:
            InvalidValue: a text is blank, or ``k`` is below 1.
            UnknownName: no environment has that name.
        """
        if k < 1:
            raise InvalidValue(f"k is {k}; ask for at least 1 policy")
        if environment is not None:
            self.environment(environment)
        queries = self.encoder.encode(list(texts))
        where = Where(environment, gamma, episodes)
        parts = self.ask(_near(environment), Shard.top_k, queries, k, where)
        nothing = np.zeros((len(texts), 0), np.float32), np.zeros((len(texts), 0), "S1")
        scores, ids = merge_top_k([nothing, *parts], k)
        return [
            [Match(identity.decode(), score) for identity, score in zip(*row, strict=True) if score > -math.inf]
            for row in zip(ids.tolist(), scores.tolist(), strict=True)
        ]


def _near(environment: str | None) -> Near:
    return None if environment is None else {environment}
