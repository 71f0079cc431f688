"""Strategies that evaluate a product: of the best member of every group, of the k best, or of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.strategies.protocol import Proposals, every_candidate, product_blocks
from lever_ray.errors import check_whole


@dataclass(frozen=True)
class Targeted:
    """The best-scored policy of every group: one candidate."""

    name: ClassVar[str] = "targeted"
    needs_member_scores: ClassVar[bool] = True

    @property
    def id(self) -> str:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        return self.name

    def propose(self, _space: CandidateSpace, scores: Sequence[np.ndarray] | None) -> Proposals:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        assert scores is not None
        yield np.array([[part.argmax() for part in scores]])

    def shortlist(self, _space: CandidateSpace, scores: Sequence[np.ndarray] | None) -> list[np.ndarray]:
        """Members of each group that are put into one pool: the best, the first on a tie."""
        assert scores is not None
        return [np.array([part.argmax()]) for part in scores]


@dataclass(frozen=True)
class Hybrid:
    """The product of the k best of every group.

    Attributes:
        k: members per group.

    Raises:
        InvalidValue: ``k`` is below 1.
    """

    k: int = 3
    name: ClassVar[str] = "hybrid"
    needs_member_scores: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ("k",)

    def __post_init__(self) -> None:
        check_whole("k", self.k, 1, "members per group")

    @property
    def id(self) -> str:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        return f"{self.name}-{self.k}"

    def propose(self, space: CandidateSpace, scores: Sequence[np.ndarray] | None) -> Proposals:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        shortlists = self.shortlist(space, scores)
        yield lambda batch: (
            np.stack([shortlist[block[:, axis]] for axis, shortlist in enumerate(shortlists)], axis=1)
            for block in product_blocks([len(shortlist) for shortlist in shortlists], batch)
        )

    def shortlist(self, _space: CandidateSpace, scores: Sequence[np.ndarray] | None) -> list[np.ndarray]:
        """The k best-scored members of every group, ties in the order of the group."""
        assert scores is not None
        return [np.argsort(-part, kind="stable")[: self.k] for part in scores]


@dataclass(frozen=True)
class Exhaustive:
    """Every candidate."""

    name: ClassVar[str] = "exhaustive"
    needs_member_scores: ClassVar[bool] = False

    @property
    def id(self) -> str:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        return self.name

    def propose(self, space: CandidateSpace, _scores: Sequence[np.ndarray] | None) -> Proposals:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        yield every_candidate(space)

    def shortlist(self, space: CandidateSpace, _scores: Sequence[np.ndarray] | None) -> list[np.ndarray]:
        """All members of every group."""
        return [np.arange(size) for size in space.sizes]
