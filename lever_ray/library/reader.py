"""Reading a library, whoever holds its shards: one process, or Ray actors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from lever_ray.composition.groups import PolicyGroup
from lever_ray.embedding.canonical import CANONICAL_STATES, check_canonical
from lever_ray.embedding.outcome import BEHAVIOUR_KINDS, states_that_matter
from lever_ray.embedding.regressor import TARGETS, FittedRegressor
from lever_ray.errors import InvalidValue, LibraryError, NothingToLearnFrom, UnknownName, check_known
from lever_ray.library.environments import Environments
from lever_ray.library.files import MissingFile
from lever_ray.library.index import merge_top_k
from lever_ray.library.manifest import Manifest
from lever_ray.library.ranking import RankingRows
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.rows import objective_id
from lever_ray.library.selecting import matching, only_terms, terms_of
from lever_ray.library.shard import Where
from lever_ray.library.stored import GroupKey
from lever_ray.library.text import TextEncoder
from lever_ray.library.wording import Wording
from lever_ray.tasks.objective import Objective

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


class LibraryReader(ABC):
    """What can be asked of a library. Answers of several shards are merged by id, so sharding never shows."""

    def __init__(self, path: Path, manifest: Manifest, encoder: TextEncoder) -> None:
        self.path, self.encoder = path, encoder
        self._manifest, self._epoch = manifest, 0

    @abstractmethod
    def _ask_shards(self, method: str, *args: Any, near: Collection[str] | None, **kwargs: Any) -> list[Any]:
        """Call a method of every :class:`lever_ray.library.shard.LibraryShard`; the answers in shard order.

        Shards without policies of the environments ``near`` may be left out; None for all.
        """

    @abstractmethod
    def refresh(self) -> bool:
        """Read the manifest again; whether the library has changed since it was read."""

    @abstractmethod
    def embed(self, watch: Callable[[int], None] | None = None) -> int:
        """Compute and store Psi and text vectors that are missing; for how many policies Psi was computed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - most libraries hold nothing that has to be given back
        """Give back what the library holds; it cannot be asked afterwards."""

    def _ask(self, method: str, *args: Any, near: Collection[str] | None = None, **kwargs: Any) -> list[Any]:
        """Ask all shards, or those with policies of some environments."""
        return self._up_to_date(lambda: self._ask_shards(method, *args, near=near, **kwargs))

    def _up_to_date(self, read: Callable[[], T]) -> T:
        """What reading gives; read again where a file is gone since the library was changed."""
        for _ in range(_TRIES):
            epoch = self._epoch
            try:
                return read()
            except MissingFile:
                if self._epoch == epoch and not self.refresh() and self._epoch == epoch:
                    raise
        return read()

    @property
    def manifest(self) -> Manifest:
        """The files of the library, as they are known to this object."""
        return self._manifest

    def __len__(self) -> int:
        return self._manifest.rows

    @property
    def environments(self) -> tuple[str, ...]:
        """Names of the environments, in natural order: ``grid8-2`` before ``grid8-10``."""
        return self._manifest.environment_names

    def environment(self, name: str) -> EnvironmentRecord:
        """What an environment's policies share; read once.

        Raises:
            UnknownName: the library has no such environment; the message lists those it has.
            ForeignFamily: its family of tasks is not installed.
            LibraryError: its file or its row is damaged.
        """
        found = self._up_to_date(lambda: self._environments.get(name))
        if found is None:
            raise UnknownName(
                "environment", name, self.environments, hint="Train policies for it with `lever-ray build`."
            )
        return found

    def foreign(self) -> dict[str, str]:
        """The family of every environment whose family of tasks is not installed, by name."""
        return self._up_to_date(lambda: self._environments.foreign())

    def without_features(self) -> int:
        """How many policies :meth:`embed` leaves out: their environments lack the features that Psi is made of."""
        return sum(self._ask("without_features"))

    @cached_property
    def _environments(self) -> Environments:
        return Environments(self.path, self._manifest.library, self._manifest.environments)

    @cached_property
    def _known_keys(self) -> dict[str | None, tuple[GroupKey, ...]]:
        return {}

    def _forget(self) -> None:
        """Drop what was remembered of an earlier state of the library, and let those who were reading it know."""
        self._epoch += 1
        for name in ("_environments", "_known_ranking_rows", "_known_keys"):
            self.__dict__.pop(name, None)

    def keys(self, environment: str | None = None) -> tuple[GroupKey, ...]:
        """The groups that have members, ascending; asked for once. Of one environment, only its shards are touched."""
        known = self._known_keys
        if environment not in known:
            found = {key for keys in self._ask("keys", environment, near=_near(environment)) for key in keys}
            known[environment] = tuple(sorted(found))
        return known[environment]

    def census(self) -> dict[GroupKey, int]:
        """How many members each group has."""
        counts: dict[GroupKey, int] = {}
        for key, count in (pair for answer in self._ask("census") for pair in answer):
            counts[key] = counts.get(key, 0) + count
        return dict(sorted(counts.items()))

    def support_sources(self) -> dict[str, int]:
        """How many policies have their support from ``visits``, from ``transitions``, or ``unknown``."""
        counts: dict[str, int] = {}
        for source, count in (pair for answer in self._ask("support_sources") for pair in answer.items()):
            counts[source] = counts.get(source, 0) + count
        return counts

    def publish(self, environments: Iterable[str]) -> None:  # noqa: B027 - most libraries are read where they are used
        """Make the groups of some environments ready for tasks that this library will be sent to."""

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()) -> list[PolicyGroup]:
        """The members of some groups, each ordered by id; one request to every shard concerned.

        Args:
            keys: of the groups.
            wordings: one per group, to find members by their descriptions, too; none to go by own objectives alone.

        Raises:
            LibraryError: a group has no member; the message says what the environment has, or what came closest.
        """
        answers = self._ask("groups", list(keys), list(wordings), near={key.environment for key in keys})
        merged = []
        for place, key in enumerate(keys):
            wording = wordings[place] if wordings else None
            merged.append(self._merged(key, [answer[place] for answer in answers], wording))
        return merged

    def _merged(self, key: GroupKey, parts: Sequence[PolicyGroup | None], wording: Wording | None) -> PolicyGroup:
        """One group from what every shard has of it."""
        found = [part for part in parts if part is not None]
        if not found:
            raise LibraryError(self._no_members(key) if wording is None else self._nothing_similar(key, wording))
        return found[0] if len(found) == 1 else PolicyGroup.merge(found[0].objective, found).ordered()

    def _nothing_similar(self, key: GroupKey, wording: Wording) -> str:
        answers = self._ask("closest", key, wording, near={key.environment})
        found = [closest for closest in answers if closest is not None]
        if not found:
            return self._no_members(key)
        best = max(found, key=lambda closest: (closest.similarity, closest.description))
        by_objective = wording.retrieval.rule == "objective"
        own = f" for {key.objective!r}, and of those without an objective none" if by_objective else ""
        return (
            f"environment {key.environment!r} has no policy{own} like {wording.text!r} at gamma {key.gamma:g} and "
            f"{key.episodes} episodes: {best.told(wording.retrieval)}"
        )

    def _no_members(self, key: GroupKey) -> str:
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
        """Those of some groups whose objective is a given one, see :func:`lever_ray.library.selecting.matching`."""
        return matching(keys, objective, lambda: {*self._all_terms(), *terms_of(self.keys())})

    def _all_terms(self) -> set[tuple[str, ...]]:
        """The terms of every environment whose family is installed."""
        foreign = self.foreign()
        return {self.environment(name).task.terms for name in self.environments if name not in foreign}

    def members(self, keys: Sequence[GroupKey]) -> list[PolicyRecord]:
        """Full records of the policies of some groups, ordered by group and id."""
        near = {key.environment for key in keys}
        records = [record for part in self._ask("records", list(keys), near=near) for record in part]
        records.sort(
            key=lambda record: (record.environment, objective_id(record), record.gamma, record.episodes, record.id)
        )
        return records

    def policies(self, ids: Sequence[str]) -> list[PolicyRecord]:
        """Full records of some ids, in their order.

        Raises:
            UnknownName: the library has no policy of some id.
        """
        found = dict(pair for answer in self._ask("find", list(ids)) for pair in answer)
        self._check_found(ids, set(found))
        return [found[place] for place in range(len(ids))]

    def tables(self, ids: Sequence[str]) -> list[np.ndarray]:
        """float32[S, A] of every id: the Q-tables, in the ids' order.

        Raises:
            UnknownName: the library has no policy of some id.
        """
        found: dict[int, np.ndarray] = {}
        for places, tables in (part for answer in self._ask("tables", list(ids)) for part in answer):
            found |= dict(zip(places.tolist(), tables, strict=True))
        self._check_found(ids, set(found))
        return [found[place] for place in range(len(ids))]

    @staticmethod
    def _check_found(ids: Sequence[str], found: set[int]) -> None:
        for place, identity in enumerate(ids):
            if place not in found:
                raise UnknownName("policy id", identity, (), hint="`lever-ray library search` lists ids.")

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
        parts = self._ask("top_k", queries, k, where, near=_near(environment))
        nothing = np.zeros((len(texts), 0), np.float32), np.zeros((len(texts), 0), "S1")
        scores, ids = merge_top_k([nothing, *parts], k)
        return [
            [Match(identity.decode(), score) for identity, score in zip(*row, strict=True) if score > -math.inf]
            for row in zip(ids.tolist(), scores.tolist(), strict=True)
        ]

    def predictions(self, keys: Sequence[GroupKey], regressor: FittedRegressor) -> list[dict[str, float]]:
        """What a regressor predicts of the members of some groups, by id; computed where the members are.

        Raises:
            LibraryError: a group has no member.
        """
        answers = self._ask("predictions", list(keys), regressor, near={key.environment for key in keys})
        found = []
        for place, key in enumerate(keys):
            parts = [answer[place] for answer in answers if answer[place] is not None]
            if not parts:
                raise LibraryError(self._no_members(key))
            found.append(dict(sorted(pair for ids, values in parts for pair in zip(ids, values.tolist(), strict=True))))
        return found

    def ranking_rows(
        self,
        *,
        target: str,
        objective: Objective | str,
        gamma: float,
        episodes: int | None = None,
        kind: str = "psi",
        canonical: int = CANONICAL_STATES,
        terms: Sequence[str] | None = None,
    ) -> RankingRows:
        """What a return regressor learns from: every policy at one gamma, with embedding and return; asked for once.

        Args:
            target: ``composite`` relabels the policies offline with ``objective``; ``own`` keeps their own returns,
                ``recorded`` adds up their recorded rewards.
            objective: the composite objective.
            gamma: discount of the policies.
            episodes: their training budget; None for any.
            kind: ``psi``, ``psi_static`` or ``outcome``.
            canonical: canonical states that the first two are averaged over, at least 1; all that are stored, if more.
            terms: only environments with these terms, in this order, are learnt from; None where all have the same.

        Raises:
            UnknownName: target or kind is not known, or no environment has a term of the objective.
            InvalidValue: ``canonical`` is below 1, environments differ in terms and none are given, or there are no
                feature vectors for ``psi``.
            NothingToLearnFrom: no policy has that gamma, or none that does has an objective of its own.
        """
        check_known("regressor target", target, TARGETS)
        check_known("embedding", kind, BEHAVIOUR_KINDS)
        check_canonical(canonical)
        wanted, states = Objective.of(objective), states_that_matter(kind, canonical)
        learnt = only_terms(self._all_terms()) if terms is None else tuple(terms)
        wanted = wanted.resolved(learnt) if learnt else wanted
        question = (target, wanted if target == "composite" else None, gamma, episodes, kind, states, learnt)
        known = self._known_ranking_rows
        if question not in known:
            asked: dict[str, Any] = {"gamma": gamma, "episodes": episodes, "kind": kind, "canonical": states}
            asked["terms"] = learnt
            answers = self._ask("ranking_rows", target, wanted, **asked)
            parts = [part for part in answers if part is not None]
            if not parts:
                raise NothingToLearnFrom(self._nothing_to_learn_from(gamma))
            known[question] = RankingRows.merge(parts)
        return known[question]

    def _nothing_to_learn_from(self, gamma: float) -> str:
        gammas = sorted({key.gamma for key in self.keys()})
        if gamma not in gammas:
            return f"the library has no policy at gamma {gamma:g}; it has {gammas}"
        return (
            f"no policy of the library at gamma {gamma:g} is one that a regressor can learn from, with an objective of "
            "its own and a known return; use ranker='offline-return'"
        )

    @cached_property
    def _known_ranking_rows(self) -> dict[tuple[Any, ...], RankingRows]:
        return {}


def _near(environment: str | None) -> Collection[str] | None:
    return None if environment is None else {environment}
