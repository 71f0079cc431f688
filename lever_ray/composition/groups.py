"""Groups of candidate policies, and the cover of a composite objective by sub-objectives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from lever_ray.embedding.offline import Pool, make_pool
from lever_ray.errors import InvalidValue, UncoveredObjective
from lever_ray.policies.group import PolicyGroup
from lever_ray.tasks.objective import Objective, check_weights


@dataclass(frozen=True, eq=False)
class CandidateSpace:
    """The product of m groups; a candidate is an index tuple, one member of each group.

    Attributes:
        groups: the groups, in the order of the tuples.
        pool: every member of every group.
        offsets: int32[m], row of the pool at which each group begins.
        sizes: members per group.
        weights: what the members' values and rewards count for in the objective, by group.
    """

    groups: tuple[PolicyGroup, ...]
    pool: Pool
    offsets: np.ndarray
    sizes: tuple[int, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(
        cls,
        groups: Sequence[PolicyGroup],
        *,
        weights: Sequence[float] | None = None,
        factors: Sequence[float] | None = None,
        normalised: bool = False,
    ) -> CandidateSpace:
        """Stack groups into one pool.

        Args:
            groups: at least one, none empty, all of the same S and A.
            weights: of the objective, one per group, see :func:`objective_weights`; all 1 by default.
            factors: more of them on the groups' action values alone, not negative; all 1 by default.
            normalised: divide each member's values by its scale, see :meth:`PolicyGroup.scales`.

        Raises:
            InvalidValue: no groups, an empty group, differing shapes, NaN, or bad weights or factors.
        """
        _check_groups(groups)
        counted = _one_each(weights, groups, "weights")
        others = _one_each(factors, groups, "factors")
        check_weights(others, what="factors of groups")
        both = [weight * factor for weight, factor in zip(counted, others, strict=True)]
        scaled = [_scaled(group, each, normalised) for group, each in zip(groups, both, strict=True)]
        sizes = tuple(len(group) for group in groups)
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        pool = make_pool(np.concatenate(scaled), np.concatenate([group.support for group in groups]))
        return cls(tuple(groups), pool, offsets, sizes, counted)

    @property
    def candidates(self) -> int:
        """How many candidates the product has."""
        return int(np.prod(np.array(self.sizes, dtype=object)))

    @cached_property
    def mean_rewards(self) -> np.ndarray:
        """float32[P, S, A]: mean recorded rewards of the pool's members on their own objectives, times their weight.

        Raises:
            InvalidValue: some members have none.
        """
        return np.concatenate(
            [_recorded_rewards(group, weight) for group, weight in zip(self.groups, self.weights, strict=True)]
        )

    @property
    def rows(self) -> np.ndarray:
        """int32[P]: every row of the pool."""
        return np.arange(len(self.pool.q), dtype=np.int32)

    @cached_property
    def union(self) -> np.ndarray:
        """uint8[S, B]: actions that any member of any group took in training."""
        return np.asarray(np.bitwise_or.reduce(self.pool.support))

    def mixtures(self, candidates: np.ndarray) -> np.ndarray:
        """Rows of the pool, int32[K, m], of index tuples int[K, m]."""
        return (candidates + self.offsets).astype(np.int32)

    def ids(self, candidate: Sequence[int]) -> tuple[str, ...]:
        """Policy ids of one index tuple."""
        return tuple(group.ids[index] for group, index in zip(self.groups, candidate, strict=True))


def _scaled(group: PolicyGroup, factor: float, normalised: bool) -> np.ndarray:
    if normalised:
        return (group.q * (factor / group.scales())[:, None, None]).astype(np.float32)
    return group.q if factor == 1.0 else group.q * np.float32(factor)


def _one_each(values: Sequence[float] | None, groups: Sequence[PolicyGroup], what: str) -> tuple[float, ...]:
    """A number per group; 1 for each where none are given."""
    numbers = (1.0,) * len(groups) if values is None else tuple(float(value) for value in values)
    if len(numbers) != len(groups):
        raise InvalidValue(f"{len(numbers)} {what} for {len(groups)} groups; give one per group")
    return numbers


def objective_weights(objective: Objective, groups: Sequence[str]) -> tuple[float, ...]:
    """What each group counts for in an objective: the weight that its terms have in common, 1 where they differ.

    Args:
        objective: the composite objective, resolved.
        groups: names of sub-objectives.
    """
    asked = [{objective.weight(term) for term in name.split("-")} for name in groups]
    return tuple(weights.pop() if len(weights) == 1 else 1.0 for weights in asked)


def disproportionate(objective: Objective, groups: Sequence[str]) -> tuple[str, ...]:
    """Groups whose terms the objective weighs differently, while their members were trained to weigh them alike."""
    return tuple(name for name in groups if len({objective.weight(term) for term in name.split("-")}) > 1)


def _recorded_rewards(group: PolicyGroup, weight: float) -> np.ndarray:
    if group.mean_rewards is None:
        raise InvalidValue(
            f"policies of group {group.objective!r} have no recorded rewards, which ranker 'recorded-return' reads; "
            "choose another ranker"
        )
    return group.mean_rewards if weight == 1.0 else group.mean_rewards * np.float32(weight)


def _check_groups(groups: Sequence[PolicyGroup]) -> None:
    if not groups:
        raise InvalidValue("no groups to compose; give at least one")
    for group in groups:
        if not len(group):
            raise InvalidValue(
                f"group {group.objective!r} has no policies; train some for that objective or choose other groups"
            )
        if group.q.shape[1:] != groups[0].q.shape[1:]:
            raise InvalidValue(
                f"group {group.objective!r} has tables {group.q.shape[1:]}, group {groups[0].objective!r} "
                f"{groups[0].q.shape[1:]}; a composition takes policies of one environment"
            )
        if "" not in (group.world, groups[0].world) and group.world != groups[0].world:
            raise InvalidValue(
                f"groups {groups[0].objective!r} and {group.objective!r} were trained in different environments "
                f"({groups[0].world[:8]}, {group.world[:8]}); a composition takes policies of one environment"
            )
        if not np.isfinite(group.q).all():
            broken = [group.ids[index] for index in np.flatnonzero(~np.isfinite(group.q).all(axis=(1, 2)))]
            raise InvalidValue(
                f"policies {broken[:3]} of group {group.objective!r} hold NaN or infinite values; "
                "leave them out or retrain them"
            )


def cover(objective: Objective, available: Iterable[str]) -> tuple[str, ...]:
    """The smallest exact cover of an objective's terms by available sub-objectives.

    Among covers of equal size the coarser comes first (its largest part larger), then the alphabetically first.

    Args:
        objective: the composite objective, resolved.
        available: ids of the objectives that policies exist for; weighted ones (``path[5]``) are no part of a cover.

    Returns:
        Names of the parts, in the order in which their first terms stand in the objective.

    Raises:
        UncoveredObjective: no exact cover exists; the message names the uncovered terms.
    """
    wanted = frozenset(objective.terms)
    parts = sorted({name for name in available if "[" not in name and frozenset(name.split("-")) <= wanted})
    for size in range(1, len(wanted) + 1):
        covers = [chosen for chosen in combinations(parts, size) if _is_partition(chosen, wanted)]
        if covers:
            best = min(covers, key=lambda chosen: (sorted(-_terms(name) for name in chosen), chosen))
            return tuple(sorted(best, key=lambda name: objective.terms.index(name.split("-")[0])))
    raise UncoveredObjective(_uncovered_message(objective, parts))


def _terms(name: str) -> int:
    return name.count("-") + 1


def _is_partition(chosen: Sequence[str], wanted: frozenset[str]) -> bool:
    terms = [term for name in chosen for term in name.split("-")]
    return len(terms) == len(wanted) and frozenset(terms) == wanted


def check_cover(objective: Objective, groups: Sequence[str]) -> None:
    """Refuse groups that do not cover an objective exactly.

    Raises:
        UncoveredObjective: naming terms that are missing, repeated or not asked for.
    """
    terms = [term for name in groups for term in name.split("-")]
    missing = [term for term in objective.terms if term not in terms]
    extra = sorted({term for term in terms if term not in objective.terms or terms.count(term) > 1})
    if missing or extra:
        raise UncoveredObjective(
            f"groups {', '.join(groups)} do not cover {objective.name!r} exactly"
            + (f"; missing: {', '.join(missing)}" if missing else "")
            + (f"; repeated or not asked for: {', '.join(extra)}" if extra else "")
            + ". Every term must stand in exactly one group."
        )


def _uncovered_message(objective: Objective, parts: Sequence[str]) -> str:
    reached = {term for name in parts for term in name.split("-")}
    missing = [term for term in objective.terms if term not in reached]
    held = ", ".join(parts) or "none"
    if missing:
        return (
            f"no policy covers {', '.join(missing)} of objective {objective.name!r} "
            f"(usable sub-objectives held: {held}); train policies for what is missing"
        )
    return (
        f"objective {objective.name!r} has no exact cover by {held}: every combination repeats a term; "
        "train policies for a single term"
    )
