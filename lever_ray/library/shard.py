"""One shard of a library: the policies of some data files, with retrieval and embedding over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lever_ray.composition.groups import PolicyGroup
from lever_ray.embedding.blocks import kernel_array
from lever_ray.embedding.offline import SUM, make_pool, offline_returns
from lever_ray.embedding.outcome import OFF_SUPPORT, behaviour_features
from lever_ray.embedding.recorded import recorded_returns
from lever_ray.embedding.regressor import term_weights
from lever_ray.embedding.successor import make_embedder
from lever_ray.gridworld.layout import Layout
from lever_ray.gridworld.objective import Objective
from lever_ray.gridworld.task import admits, make_task
from lever_ray.gridworld.terrain import ACTIONS
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.rows import read_environments, read_policies, read_policy
from lever_ray.library.schema import POLICY_SCHEMA, DataFile


class GroupKey(NamedTuple):
    """What the members of a group have in common."""

    environment: str
    objective: str
    gamma: float
    episodes: int


@dataclass(frozen=True, eq=False)
class RankingRows:
    """Policies as a return regressor learns from them.

    Attributes:
        environments: str[P], environment of each policy.
        layouts: str[P], digest of that environment's layout.
        ids: str[P], its id.
        terms: float64[P, 4], term weights of its own objective, see :func:`lever_ray.embedding.regressor.term_weights`.
        x: float32[P, D], features of its behaviour.
        y: float64[P], returns on the target objective.
    """

    environments: np.ndarray
    layouts: np.ndarray
    ids: np.ndarray
    terms: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def without(self, environment: str, layout: Layout) -> RankingRows:
        """The rows of all other environments, those with the same layout under another name left out, too."""
        return self._taken((self.environments != environment) & (self.layouts != layout.digest))

    @classmethod
    def merge(cls, parts: Sequence[RankingRows]) -> RankingRows:
        """Concatenate and sort by environment and id."""
        names = [part.name for part in fields(cls)]
        whole = cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        return whole._taken(np.lexsort((whole.ids, whole.environments)))

    def of_other_objectives(self, objective: Objective) -> RankingRows:
        """The rows of policies whose own objective is another: what an experiment about composing it may learn from."""
        return self._taken((self.terms != term_weights(objective)).any(axis=1))

    def _taken(self, rows: np.ndarray) -> RankingRows:
        return RankingRows(*(getattr(self, part.name)[rows] for part in fields(self)))


class _Members(NamedTuple):
    """Where a group's policies lie in a shard's table, ordered by id."""

    rows: np.ndarray
    ids: tuple[str, ...]
    runs: frozenset[tuple[int, int]]
    adjacent: bool

    @classmethod
    def of(cls, members: Sequence[tuple[str, int, tuple[int, int]]]) -> _Members:
        ids, rows, runs = zip(*members, strict=True)
        places = np.array(rows)
        return cls(places, ids, frozenset(runs), bool((np.diff(places) == 1).all()))


class LibraryShard:
    """The policies of some data files of one library, read through memory maps.

    Args:
        path: folder of the library.
        policy_files: the data files that this shard owns.
        environment_files: all environment files of the library, oldest first.
    """

    def __init__(
        self, path: str | Path, policy_files: Sequence[DataFile], environment_files: Sequence[DataFile]
    ) -> None:
        self._path = Path(path)
        self._policy_files = tuple(policy_files)
        self._environment_files = tuple(environment_files)
        self._embeddings: dict[tuple[GroupKey, str, bool], np.ndarray] = {}

    @cached_property
    def _table(self) -> pa.Table:
        sizes = {name: record.layout.states for name, record in self._environments.items()}
        tables = [read_policies(self._path, file, sizes) for file in self._policy_files]
        return pa.concat_tables(tables) if tables else POLICY_SCHEMA.empty_table()

    @cached_property
    def _members(self) -> dict[GroupKey, _Members]:
        """Where the policies of every group lie, by id."""
        columns = [self._table[name].to_pylist() for name in (*GroupKey._fields, "id", "seed", "environment_steps")]
        found: dict[GroupKey, list[tuple[str, int, tuple[int, int]]]] = {}
        for row, (*key, identity, seed, steps) in enumerate(zip(*columns, strict=True)):
            found.setdefault(GroupKey(*key), []).append((identity, row, (seed, steps)))
        return {key: _Members.of(sorted(members)) for key, members in found.items()}

    @cached_property
    def _environments(self) -> dict[str, EnvironmentRecord]:
        return read_environments(self._path, self._environment_files)

    def count(self) -> int:
        """How many policies the shard holds."""
        return sum(file.rows for file in self._policy_files)

    def environments(self) -> list[str]:
        """Names of all environments of the library."""
        return sorted(self._environments)

    def environment(self, name: str) -> EnvironmentRecord | None:
        """What the environment's policies share; None where the library does not have it."""
        return self._environments.get(name)

    def keys(self, environment: str | None = None) -> list[GroupKey]:
        """The groups that the shard has members of."""
        return sorted(key for key in self._members if environment in (None, key.environment))

    def groups(self, keys: Sequence[GroupKey]) -> list[PolicyGroup | None]:
        """The shard's members of each group; None where it has none."""
        return [self._group(key) for key in keys]

    def _group(self, key: GroupKey) -> PolicyGroup | None:
        members = self._members.get(key)
        if members is None:
            return None
        layout = self._environments[key.environment].layout
        states = layout.states
        return PolicyGroup(
            objective=key.objective,
            ids=members.ids,
            q=self._gather("q", members, (states, ACTIONS)),
            support=self._gather("support", members, (states,)),
            totals=self._column("total", members).to_numpy(),
            mean_rewards=self._mean_rewards(members, states),
            runs=members.runs,
            layout=layout.digest,
        )

    def _mean_rewards(self, members: _Members, states: int) -> np.ndarray | None:
        if self._table["mean_rewards"].null_count and self._column("mean_rewards", members).null_count:
            return None
        return self._gather("mean_rewards", members, (states, ACTIONS))

    def records(self, key: GroupKey) -> list[PolicyRecord]:
        """The shard's members of one group as full records."""
        if key not in self._members:
            return []
        environment = self._environments[key.environment]
        return [read_policy(row, environment) for row in self._table.take(self._members[key].rows).to_pylist()]

    def embeddings(self, key: GroupKey, kind: str, *, masked: bool = True) -> np.ndarray:
        """float32[n, D]: features of a group's members; computed once."""
        if (key, kind, masked) not in self._embeddings:
            group, environment = self._group(key), self._environments[key.environment]
            assert group is not None
            embedder = make_embedder(environment.layout, environment.canonical)
            pool = make_pool(group.q, group.support)
            features = behaviour_features(embedder, pool, _singles(group), masked=masked, kind=kind)
            self._embeddings[key, kind, masked] = features
        return self._embeddings[key, kind, masked]

    def ranking_rows(
        self, target: str, objective: Objective, *, gamma: float, episodes: int | None, kind: str
    ) -> RankingRows | None:
        """Every policy at one gamma as a regressor learns from it; None where there is none.

        Args:
            target: one of :data:`lever_ray.embedding.regressor.TARGETS`.
            objective: what target ``composite`` relabels policies with.
            gamma: discount of the policies.
            episodes: their training budget; None for any.
            kind: features.
        """
        keys = [key for key in self.keys() if key.gamma == gamma and episodes in (None, key.episodes)]
        if target == "composite":
            keys = [key for key in keys if admits(self._environments[key.environment].layout, objective)]
        parts = [self._ranking_rows(key, target, objective, kind) for key in keys]
        return RankingRows.merge(parts) if parts else None

    def _ranking_rows(self, key: GroupKey, target: str, objective: Objective, kind: str) -> RankingRows:
        group, place = self._group(key), self._environments[key.environment]
        assert group is not None
        y = self._returns(key, group, target, objective)
        environments, layouts = np.full(len(group), key.environment), np.full(len(group), place.layout.digest)
        terms = np.tile(term_weights(_objective_of(key.objective)), (len(group), 1))
        x = self.embeddings(key, kind, masked=target != "own")
        return RankingRows(environments, layouts, np.array(group.ids), terms, x, y)._taken(np.isfinite(y))

    def _returns(self, key: GroupKey, group: PolicyGroup, target: str, objective: Objective) -> np.ndarray:
        """float64[n]: what a regressor learns to predict; NaN where it is unknown.

        Own returns are those of policies that keep to no support: they go with the unmasked features, and are left out
        where the records do not show that rollout.
        """
        if target == "own":
            shown = self.embeddings(key, "outcome", masked=False)[:, OFF_SUPPORT] == 0
            return np.where(shown, group.totals, np.nan)
        layout, pool = self._environments[key.environment].layout, make_pool(group.q, group.support)
        if target == "composite":
            return offline_returns(make_task(layout, objective), pool, _singles(group), SUM, True, True)[0]
        if group.mean_rewards is None:
            return np.full(len(group), np.nan)
        task, rewards = make_task(layout, "path"), kernel_array(group.mean_rewards, np.float32)
        where = task.moves, task.events, task.rules.start
        return recorded_returns(*where, pool, rewards, _singles(group), SUM, True)[0]

    def _gather(self, column: str, members: _Members, shape: tuple[int, ...]) -> np.ndarray:
        """Array [n, *shape] of a group's rows of a list column; a view where the rows lie together."""
        values = self._column(column, members).flatten().to_numpy()
        return np.asarray(values.reshape(len(members.rows), *shape))

    def _column(self, column: str, members: _Members) -> pa.Array:
        """A group's rows of a column."""
        if members.adjacent:
            return self._table[column].slice(members.rows[0], len(members.rows)).combine_chunks()
        return self._table[column].take(members.rows).combine_chunks()


def _singles(group: PolicyGroup) -> np.ndarray:
    return np.arange(len(group), dtype=np.int32)[:, None]


def _objective_of(identity: str) -> Objective:
    """The objective with an id such as ``path-gold[1,2.5]``."""
    names, _, weights = identity.rstrip("]").partition("[")
    terms = names.split("-")
    given = map(float, weights.split(",")) if weights else [1.0] * len(terms)
    return Objective.of(names, weights=dict(zip(terms, given, strict=True)))
