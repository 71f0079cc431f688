"""How the policies of some of a library's shards behave: embeddings, what regressors learn from, predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lever_ray.composition.groups import PolicyGroup
from lever_ray.embedding.blocks import kernel_array
from lever_ray.embedding.canonical import CANONICAL_STATES
from lever_ray.embedding.offline import SUM, make_pool, offline_returns
from lever_ray.embedding.outcome import OFF_SUPPORT, behaviour_features, states_that_matter
from lever_ray.embedding.recorded import recorded_returns
from lever_ray.embedding.regressor import FittedRegressor, term_weights
from lever_ray.embedding.successor import make_embedder
from lever_ray.library.files import MissingFile
from lever_ray.library.manifest import EMBEDDING_MODEL
from lever_ray.library.policies import Part, ShardPolicies
from lever_ray.library.ranking import RankingRows
from lever_ray.library.record import EnvironmentRecord
from lever_ray.library.schema import EMBEDDING, FEATURES
from lever_ray.library.sealed import SealedEnvironment
from lever_ray.library.stored import GroupKey, StoredShard
from lever_ray.tasks.objective import Objective


class ShardBehaviour(ShardPolicies):
    """Adds embeddings to what is stored; see :class:`~lever_ray.library.policies.ShardPolicies`."""

    def embeddings(
        self, key: GroupKey, kind: str, *, masked: bool = True, canonical: int = CANONICAL_STATES
    ) -> np.ndarray:
        """float32[n, D]: features of a group's members; stored ones are read, others computed once.

        Args:
            key: of a group that the shard has members of.
            kind: one of :data:`~lever_ray.embedding.outcome.BEHAVIOUR_KINDS`.
            masked: keep to the policies' support.
            canonical: canonical states that ``psi`` and ``psi_static`` are averaged over.
        """
        parts = self._members(key)
        found = [self._embedded(key, part, kind, masked=masked, canonical=canonical) for part in parts]
        if len(found) == 1:
            return found[0]
        ids = np.concatenate([stored.ids[rows] for stored, rows in parts])
        return np.concatenate(found)[np.argsort(ids, kind="stable")]

    def _embedded(
        self, key: GroupKey, part: Part, kind: str, *, masked: bool, canonical: int, group: PolicyGroup | None = None
    ) -> np.ndarray:
        """float32[n, D]: features of a group's members in one stored shard, in the order of its rows."""
        stored, rows = part
        states = states_that_matter(kind, canonical)
        if (kind, masked, states) == ("psi", True, CANONICAL_STATES):
            psi = self._stored_psi(stored)
            if psi is not None:
                return psi[rows[0] : rows[-1] + 1]

        def make() -> np.ndarray:
            members = self._group_of(key, stored, rows) if group is None else group
            return self._computed(key, members, kind, masked=masked, canonical=states)

        return stored.made((key, kind, masked, states), make)

    def _stored_psi(self, stored: StoredShard) -> np.ndarray | None:
        """float32[n, 73] of a stored shard; None where it is missing or was made by another model."""
        return stored.psi if self._manifest.embedding_model == EMBEDDING_MODEL else None

    def _computed(
        self, key: GroupKey, group: PolicyGroup, kind: str, *, masked: bool, canonical: int = CANONICAL_STATES
    ) -> np.ndarray:
        environment = self._environments[key.environment]
        embedder = make_embedder(environment.task, environment.canonical.thinned(canonical))
        pool = make_pool(group.q, group.support)
        return behaviour_features(embedder, pool, _singles(group), masked=masked, kind=kind)

    def ranking_rows(
        self,
        target: str,
        objective: Objective,
        *,
        gamma: float,
        episodes: int | None,
        kind: str,
        canonical: int = CANONICAL_STATES,
        terms: Sequence[str] | None = None,
    ) -> RankingRows | None:
        """Every policy at one gamma as a regressor learns from it; None where there is none.

        Policies without an objective of their own are left out, and those of environments whose family is not
        installed.

        Args:
            target: one of :data:`lever_ray.embedding.regressor.TARGETS`.
            objective: what target ``composite`` relabels policies with.
            gamma: discount of the policies.
            episodes: their training budget; None for any.
            kind: features.
            canonical: canonical states that ``psi`` and ``psi_static`` are averaged over.
            terms: those of the environments that are learnt from; None for all environments, whose terms are the same.
        """
        keys = [key for key in self.keys() if key.objective and key.gamma == gamma and episodes in (None, key.episodes)]
        relabelled = objective if target == "composite" else None
        parts = [
            self._ranking_rows(key, part, target, objective, kind, canonical)
            for key in keys
            if self._teaches(key.environment, terms, relabelled)
            for part in self._members(key)
        ]
        return RankingRows.merge(parts) if parts else None

    def _teaches(self, name: str, terms: Sequence[str] | None, relabelled: Objective | None) -> bool:
        """Whether an environment has the terms, and admits what its policies are relabelled with."""
        held = self._environments.any(name)
        if isinstance(held, SealedEnvironment) or (terms is not None and held.task.terms != tuple(terms)):
            return False
        return relabelled is None or held.task.admits(relabelled.resolved(held.task.terms))

    def _ranking_rows(
        self, key: GroupKey, part: Part, target: str, objective: Objective, kind: str, canonical: int
    ) -> RankingRows:
        """Those of a group's members in one stored shard: what is known of some says nothing of others."""
        group, place = self._group_of(key, *part), self._environments[key.environment]
        y = self._returns(key, part, group, target, objective)
        environments, layouts = np.full(len(group), key.environment), np.full(len(group), place.task.digest)
        terms = np.tile(term_weights(Objective.of(key.objective), place.task.terms), (len(group), 1))
        x = self._embedded(key, part, kind, masked=target != "own", canonical=canonical, group=group)
        return RankingRows(environments, layouts, np.array(group.ids), terms, x, y).taken(np.isfinite(y))

    def _returns(self, key: GroupKey, part: Part, group: PolicyGroup, target: str, objective: Objective) -> np.ndarray:
        """float64[n]: what a regressor learns to predict; NaN where it is unknown.

        Own returns are those of policies that keep to no support: they go with the unmasked features, and are left out
        where the records do not show that rollout.
        """
        if target == "own":
            outcomes = self._embedded(key, part, "outcome", masked=False, canonical=CANONICAL_STATES, group=group)
            shown = outcomes[:, OFF_SUPPORT] == 0
            return np.where(shown, group.totals, np.nan)
        task, pool = self._environments[key.environment].task, make_pool(group.q, group.support)
        if target == "composite":
            compiled = task.compile(objective.resolved(task.terms))
            return offline_returns(compiled, pool, _singles(group), SUM, True, True)[0]
        if group.mean_rewards is None:
            return np.full(len(group), np.nan)
        rewards = kernel_array(group.mean_rewards, np.float32)
        return recorded_returns(task.dynamics, task.horizon, task.discount, pool, rewards, _singles(group), SUM, True)[
            0
        ]

    def predictions(
        self, keys: Sequence[GroupKey], regressor: FittedRegressor
    ) -> list[tuple[tuple[str, ...], np.ndarray] | None]:
        """Ids of each group's members and what a regressor predicts of them, float64[n]; None where there are none."""
        return [self._predicted(key, regressor) for key in keys]

    def _predicted(self, key: GroupKey, regressor: FittedRegressor) -> tuple[tuple[str, ...], np.ndarray] | None:
        parts = self._members(key)
        if not parts:
            return None
        ids = sorted(identity.decode() for stored, rows in parts for identity in stored.ids[rows].tolist())
        features = self.embeddings(key, regressor.kind, canonical=regressor.canonical)
        return tuple(ids), np.asarray(regressor.predictor.predict(features), np.float64)

    # Embeddings that are not stored yet.

    def without_psi(self) -> list[str]:
        """Ids of the stored shards whose Psi is missing or was made by another model, and can be made here."""
        ours = self._manifest.embedding_model == EMBEDDING_MODEL
        missing = [stored for stored in self.stored if not ours or stored.entry.file("embeddings") is None]
        return [stored.entry.id for stored in missing if self._can_embed(stored)]

    def _can_embed(self, stored: StoredShard) -> bool:
        """Whether every environment of a stored shard has the features of Psi, and its family is installed."""
        names = stored.entry.environments
        return all(self._has_features(stored, name) for name in names) and all(
            isinstance(self._environments.any(name), EnvironmentRecord) for name in names
        )

    def _has_features(self, stored: StoredShard, name: str) -> bool:
        return self._environments.features(name) == stored.entry.states * FEATURES

    def without_features(self) -> int:
        """How many policies are of environments without the features of Psi."""
        count = 0
        for stored in self.stored:
            for name in stored.entry.environments:
                if not self._has_features(stored, name):
                    first, stop = stored.rows_of(name)
                    count += stop - first
        return count

    def psi_of(self, shard: str) -> np.ndarray:
        """float32[n, 73]: Psi of every policy of a stored shard, computed now; see ``docs/library-format.md``.

        Raises:
            MissingFile: the shard is not served here: the library has changed.
        """
        stored = next((each for each in self.stored if each.entry.id == shard), None)
        if stored is None:
            raise MissingFile(f"library {self._path} has no shard {shard} here; it was changed since it was read")
        psi = np.empty((stored.entry.rows, EMBEDDING), np.float32)
        for key, (first, stop) in stored.runs.items():
            group = self._group_of(key, stored, np.arange(first, stop))
            psi[first:stop] = self._computed(key, group, "psi", masked=True)
        return psi


def _singles(group: PolicyGroup) -> np.ndarray:
    return np.arange(len(group), dtype=np.int32)[:, None]
