"""Strategies that others are compared with: candidates by chance, and in the order of their members' scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.strategies.budgeted import BUDGET, check_budget
from lever_ray.composition.strategies.protocol import Proposals, every_candidate
from lever_ray.errors import check_whole


@dataclass(frozen=True)
class Random:
    """At most B candidates, drawn without replacement.

    Attributes:
        budget: B.
        seed: of the draws.

    Raises:
        InvalidValue: ``budget`` is below 1, or the seed below 0.
    """

    budget: int = BUDGET
    seed: int = 0
    name: ClassVar[str] = "random"
    needs_member_scores: ClassVar[bool] = False
    parameters: ClassVar[tuple[str, ...]] = ("budget", "seed")

    def __post_init__(self) -> None:
        check_budget(self.budget)
        check_whole("seed", self.seed, 0, "a seed")

    @property
    def id(self) -> str:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        return f"{self.name}-{self.budget}"

    def propose(self, space: CandidateSpace, _scores: Sequence[np.ndarray] | None) -> Proposals:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        if self.budget >= space.candidates:
            yield every_candidate(space)
            return
        drawn = np.random.default_rng(self.seed).choice(space.candidates, self.budget, replace=False)
        yield lambda batch: (
            np.stack(np.unravel_index(drawn[first : first + batch], space.sizes), axis=1)
            for first in range(0, len(drawn), batch)
        )


@dataclass(frozen=True)
class BestFirst:
    """At most B candidates, in the order of the sum of their members' scores.

    Attributes:
        budget: B.

    Raises:
        InvalidValue: ``budget`` is below 1.
    """

    budget: int = BUDGET
    name: ClassVar[str] = "best-first"
    needs_member_scores: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ("budget",)

    def __post_init__(self) -> None:
        check_budget(self.budget)

    @property
    def id(self) -> str:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        return f"{self.name}-{self.budget}"

    def propose(self, _space: CandidateSpace, scores: Sequence[np.ndarray] | None) -> Proposals:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        assert scores is not None
        yield _best_first(scores, self.budget)


def _best_first(scores: Sequence[np.ndarray], budget: int) -> np.ndarray:
    """The ``budget`` candidates int64[K, m] with the largest sums of scores, ties in lexicographic order.

    The best of a product begin with the best of the product without its last group, so groups are joined one by one.
    """
    candidates, sums = np.zeros((1, 0), np.int64), np.zeros(1)
    for part in scores:
        joined = (sums[:, None] + part).ravel()
        best = np.argsort(-joined, kind="stable")[:budget]
        rows, members = np.divmod(best, len(part))
        candidates, sums = np.column_stack([candidates[rows], members]), joined[best]
        lexicographic = np.lexsort((*candidates.T[::-1], -sums))
        candidates, sums = candidates[lexicographic], sums[lexicographic]
    return candidates
