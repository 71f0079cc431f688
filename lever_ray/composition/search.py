"""Candidate search: which candidates are evaluated, and which is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.rankers import Scores
from lever_ray.errors import InvalidValue, check_known

STRATEGIES: tuple[str, ...] = ("targeted", "hybrid", "exhaustive")
"""``targeted``: the best-scored policy of every group; ``hybrid``: the product of the k best; ``exhaustive``: all."""
BATCH = 8192
"""Candidates evaluated at a time; results do not depend on it."""

Evaluate = Callable[[Iterable[np.ndarray]], Iterable[Scores]]
"""Scores blocks of mixtures, int32[K, m] rows of the pool; the answers in the order of the blocks."""


@dataclass(frozen=True)
class Strategy:
    """A candidate strategy; fixed before any reward is seen.

    Attributes:
        name: one of :data:`STRATEGIES`.
        k: members per group that ``hybrid`` combines.

    Raises:
        UnknownName: the name is not known.
        InvalidValue: ``k`` is below 1.
    """

    name: str
    k: int = 3

    def __post_init__(self) -> None:
        check_known("strategy", self.name, STRATEGIES)
        if not isinstance(self.k, int | np.integer) or self.k < 1:
            raise InvalidValue(f"k is {self.k}; a whole number of members per group, at least 1, is needed")

    @property
    def id(self) -> str:
        """The name with its parameter, e.g. ``hybrid-3``."""
        return f"hybrid-{self.k}" if self.name == "hybrid" else self.name

    @property
    def scores_members(self) -> bool:
        """Whether single members are scored first."""
        return self.name != "exhaustive"


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        candidate: the chosen index tuple.
        predicted_return: its score, in reward units.
        left_support: whether that score is the return of a prefix.
        evaluated: how many candidates were evaluated.
        members_scored: how many single members were scored before that, to make short lists.
        candidates: int64[K, m], all of them, in order of evaluation.
        scores: theirs.
    """

    candidate: tuple[int, ...]
    predicted_return: float
    left_support: bool
    evaluated: int
    members_scored: int
    candidates: np.ndarray
    scores: Scores


def search(strategy: Strategy, space: CandidateSpace, evaluate: Evaluate, *, batch: int = BATCH) -> SearchResult:
    """Evaluate the candidates that a strategy names and choose the best, the first on a tie.

    Args:
        strategy: which candidates.
        space: the groups.
        evaluate: scores blocks of mixtures.
        batch: candidates per block; the result does not depend on it.
    """
    shortlists = _shortlists(strategy, space, evaluate)
    blocks = list(product_blocks([len(shortlist) for shortlist in shortlists], batch=batch))
    chosen = [
        np.stack([shortlist[block[:, axis]] for axis, shortlist in enumerate(shortlists)], axis=1) for block in blocks
    ]
    parts = list(evaluate(space.mixtures(block) for block in chosen))
    candidates = np.concatenate(chosen)
    scores = Scores(
        np.concatenate([part.values for part in parts]), np.concatenate([part.left_support for part in parts])
    )
    best = scores.best()
    return SearchResult(
        candidate=tuple(int(index) for index in candidates[best]),
        predicted_return=float(scores.values[best]),
        left_support=bool(scores.left_support[best]),
        evaluated=len(candidates),
        members_scored=sum(space.sizes) if strategy.scores_members else 0,
        candidates=candidates,
        scores=scores,
    )


def _shortlists(strategy: Strategy, space: CandidateSpace, evaluate: Evaluate) -> list[np.ndarray]:
    """Members of every group that the strategy combines, best first."""
    if not strategy.scores_members:
        return [np.arange(size) for size in space.sizes]
    keep = 1 if strategy.name == "targeted" else strategy.k
    (members,) = evaluate([np.arange(sum(space.sizes), dtype=np.int32)[:, None]])
    shortlists = []
    for offset, size in zip(space.offsets, space.sizes, strict=True):
        part = slice(int(offset), int(offset) + size)
        ranked = Scores(members.values[part], members.left_support[part]).ranked()
        shortlists.append(ranked[:keep])
    return shortlists


def product_blocks(sizes: Sequence[int], *, batch: int = BATCH) -> Iterator[np.ndarray]:
    """The product of ranges as index tuples int64[<= batch, m], in lexicographic order, a block at a time."""
    total = int(np.prod(np.array(sizes, dtype=object)))
    for first in range(0, total, batch):
        flat = np.arange(first, min(first + batch, total))
        yield np.stack(np.unravel_index(flat, sizes), axis=1)
