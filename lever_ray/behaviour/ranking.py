"""What return regressors learn from: every policy of a library at one discount, with its embedding and a return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lever_ray.behaviour.embeddings import embedded, singles
from lever_ray.behaviour.rows import RankingRows
from lever_ray.embedding.blocks import kernel_array
from lever_ray.embedding.offline import SUM, make_pool, offline_returns
from lever_ray.embedding.outcome import BEHAVIOUR_KINDS, OFF_SUPPORT, states_that_matter
from lever_ray.embedding.recorded import recorded_returns
from lever_ray.embedding.regressor import TARGETS, term_weights
from lever_ray.errors import NothingToLearnFrom, check_known
from lever_ray.library.format.sealed import SealedEnvironment
from lever_ray.library.reader import LibraryReader
from lever_ray.library.serving.groups import group_of
from lever_ray.library.serving.holding import Holding, Part
from lever_ray.library.serving.selecting import only_terms
from lever_ray.library.serving.shard import Shard
from lever_ray.policies.group import GroupKey, PolicyGroup
from lever_ray.tasks.canonical import CANONICAL_STATES, check_canonical
from lever_ray.tasks.objective import Objective


class Lesson(NamedTuple):
    """What is to be learnt from.

    Attributes:
        target: one of :data:`lever_ray.embedding.regressor.TARGETS`.
        objective: what target ``composite`` relabels policies with; None for the others.
        gamma: discount of the policies.
        episodes: their training budget; None for any.
        kind: features.
        canonical: canonical states that ``psi`` and ``psi_static`` are averaged over.
        terms: those of the environments that are learnt from, in their order.
    """

    target: str
    objective: Objective | None
    gamma: float
    episodes: int | None
    kind: str
    canonical: int
    terms: tuple[str, ...]


def ranking_rows(
    library: LibraryReader,
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
        library: the policies.
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
    wanted = Objective.of(objective)
    learnt = only_terms(library.terms()) if terms is None else tuple(terms)
    wanted = wanted.resolved(learnt) if learnt else wanted
    relabelled = wanted if target == "composite" else None
    lesson = Lesson(target, relabelled, gamma, episodes, kind, states_that_matter(kind, canonical), learnt)

    def make() -> RankingRows:
        parts = [part for part in library.ask(None, rows_of, lesson) if part is not None]
        if not parts:
            raise NothingToLearnFrom(_nothing_to_learn_from(library, gamma))
        return RankingRows.merge(parts)

    return library.made(lesson, make)


def _nothing_to_learn_from(library: LibraryReader, gamma: float) -> str:
    held = library.keys()
    gammas = sorted({key.gamma for key in held})
    if gamma not in gammas:
        return f"the library has no policy at gamma {gamma:g}; it has {gammas}"
    return (
        f"no policy of the library at gamma {gamma:g} is one that a regressor can learn from, with an objective of "
        "its own and a known return; use ranker='offline-return'"
    )


def rows_of(shard: Shard, lesson: Lesson) -> RankingRows | None:
    """A shard's policies as a regressor learns from them; None where there is none.

    Policies without an objective of their own are left out, and those of environments whose family is not installed.
    """
    holding, held = shard.holding, shard.keys()
    asked = [key for key in held if key.objective and key.gamma == lesson.gamma]
    parts = [
        _rows(holding, key, part, lesson)
        for key in asked
        if lesson.episodes in (None, key.episodes) and _teaches(holding, key.environment, lesson)
        for part in holding.members(key)
    ]
    return RankingRows.merge(parts) if parts else None


def _teaches(holding: Holding, name: str, lesson: Lesson) -> bool:
    """Whether an environment has the terms, and admits what its policies are relabelled with."""
    held = holding.environments.any(name)
    if isinstance(held, SealedEnvironment) or held.task.terms != lesson.terms:
        return False
    return lesson.objective is None or held.task.admits(lesson.objective.resolved(held.task.terms))


def _rows(holding: Holding, key: GroupKey, part: Part, lesson: Lesson) -> RankingRows:
    """Those of a group's members in one mapped shard: what is known of some says nothing of others."""
    group, place = group_of(holding, key, part), holding.environments[key.environment]
    y = _returns(holding, key, part, group, lesson)
    environments, layouts = np.full(len(group), key.environment), np.full(len(group), place.task.digest)
    terms = np.tile(term_weights(Objective.of(key.objective), place.task.terms), (len(group), 1))
    masked = lesson.target != "own"
    x = embedded(holding, key, part, lesson.kind, masked=masked, canonical=lesson.canonical, group=group)
    return RankingRows(environments, layouts, np.array(group.ids), terms, x, y).taken(np.isfinite(y))


def _returns(holding: Holding, key: GroupKey, part: Part, group: PolicyGroup, lesson: Lesson) -> np.ndarray:
    """float64[n]: what a regressor learns to predict; NaN where it is unknown.

    Own returns are those of policies that keep to no support: they go with the unmasked features, and are left out
    where the records do not show that rollout.
    """
    if lesson.target == "own":
        outcomes = embedded(holding, key, part, "outcome", masked=False, canonical=CANONICAL_STATES, group=group)
        return np.where(outcomes[:, OFF_SUPPORT] == 0, group.totals, np.nan)
    task, pool = holding.environments[key.environment].task, make_pool(group.q, group.support)
    if lesson.objective is not None:
        compiled = task.compile(lesson.objective.resolved(task.terms))
        return offline_returns(compiled, pool, singles(group), SUM, True, True)[0]
    if group.mean_rewards is None:
        return np.full(len(group), np.nan)
    rewards = kernel_array(group.mean_rewards, np.float32)
    return recorded_returns(task.dynamics, task.horizon, task.discount, pool, rewards, singles(group), SUM, True)[0]
