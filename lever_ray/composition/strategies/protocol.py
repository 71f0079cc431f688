"""What a candidate strategy is: asked for candidates, and told how they scored."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.scores import Scores

BATCH = 8192
"""Candidates evaluated at a time; results do not depend on it."""

Blocks = Callable[[int], Iterator[np.ndarray]]
"""Makes candidates, int64[<= batch, m] index tuples, a block of at most so many at a time, as often as it is called."""

Proposal = np.ndarray | Blocks
"""Candidates to evaluate next: int[K, m] index tuples, or, where there are very many, what makes them."""

Proposals = Generator[Proposal, Scores | None, None]
"""Yields proposals; an array is answered with its scores, blocks (too many to keep) with None."""


@runtime_checkable
class Strategy(Protocol):
    """Which candidates are evaluated; a small frozen object, fixed before any reward is seen."""

    @property
    def name(self) -> str:
        """As users write it."""
        ...

    @property
    def id(self) -> str:
        """The name with its most telling parameter, e.g. ``hybrid-3``; rows are labelled with it."""
        ...

    @property
    def needs_member_scores(self) -> bool:
        """Whether single members are scored first."""
        ...

    def propose(self, space: CandidateSpace, scores: Sequence[np.ndarray] | None) -> Proposals:
        """Propose candidates, round by round, and be told how each round scored.

        Args:
            space: the groups.
            scores: float64[n] for each group, comparable within it; None unless members are scored.
        """
        ...


@runtime_checkable
class Shortlists(Protocol):
    """A strategy that also says which members of each group an operator pools, where that has no candidates."""

    def shortlist(self, space: CandidateSpace, scores: Sequence[np.ndarray] | None, /) -> list[np.ndarray]:
        """Places int64[<= n] in each group; ``scores`` as for :meth:`Strategy.propose`."""
        ...


def product_blocks(sizes: Sequence[int], batch: int = BATCH) -> Iterator[np.ndarray]:
    """The product of ranges as index tuples int64[<= batch, m], in lexicographic order, a block at a time."""
    total = int(np.prod(np.array(sizes, dtype=object)))
    for first in range(0, total, batch):
        flat = np.arange(first, min(first + batch, total))
        yield np.stack(np.unravel_index(flat, sizes), axis=1)


def every_candidate(space: CandidateSpace) -> Blocks:
    """The whole product of a space's groups."""
    return lambda batch: product_blocks(space.sizes, batch)
