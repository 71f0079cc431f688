"""Candidate search: which candidates are evaluated, and which is chosen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.scores import Scores
from lever_ray.composition.strategies.protocol import BATCH, Blocks, Proposal, Strategy
from lever_ray.errors import InvalidValue

KEPT = 1 << 16
"""Candidates that a result lists at most."""

Evaluate = Callable[[Iterable[np.ndarray]], Iterable[Scores]]
"""Scores blocks of mixtures, int32[K, m] rows of the pool; the answers in the order of the blocks."""


@dataclass(frozen=True)
class Best:
    """The best candidate so far.

    Attributes:
        candidate: its index tuple.
        predicted_return: its score, in reward units.
        left_support: whether that score is the return of a prefix.
        evaluated: how many candidates were evaluated so far.
    """

    candidate: tuple[int, ...]
    predicted_return: float
    left_support: bool
    evaluated: int


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found.

    Attributes:
        candidate: the chosen index tuple.
        predicted_return: its score, in reward units.
        left_support: whether that score is the return of a prefix.
        evaluated: how many candidates were evaluated.
        members_scored: how many single members the ranker scored before that; recorded returns cost nothing.
        candidates: int64[K, m], the first :data:`KEPT` of them, in order of evaluation.
        scores: theirs.
    """

    candidate: tuple[int, ...]
    predicted_return: float
    left_support: bool
    evaluated: int
    members_scored: int
    candidates: np.ndarray
    scores: Scores

    @property
    def candidate_row(self) -> np.ndarray:
        """int64[1, m]: the chosen candidate as an array."""
        return np.array([self.candidate])

    def best_after(self) -> np.ndarray:
        """int64[K]: index of the best among the first 1, 2, ..., K candidates, the first on a tie."""
        merit = self.scores.comparable()
        record = np.ones(len(merit), bool)
        record[1:] = merit[1:] > np.maximum.accumulate(merit)[:-1]
        return np.maximum.accumulate(np.where(record, np.arange(len(merit)), 0))


def search(
    strategy: Strategy,
    space: CandidateSpace,
    evaluate: Evaluate,
    *,
    batch: int = BATCH,
    member_scores: np.ndarray | None = None,
    watch: Callable[[Best], None] | None = None,
) -> SearchResult:
    """Evaluate the candidates that a strategy proposes and choose the best, the first on a tie.

    Blocks are made as ``evaluate`` asks for them and forgotten with their scores, but for the first :data:`KEPT`
    candidates. ``evaluate`` is called once for single members, where they are scored, and once per proposal.

    Args:
        strategy: which candidates.
        space: the groups.
        evaluate: scores blocks of mixtures.
        batch: candidates per block; the result does not depend on it.
        member_scores: float64[P], scores of single members in the order of the pool, for strategies that score
            members; by default ``evaluate`` scores them as mixtures of one.
        watch: called with the best so far after every block, or round of proposals.

    Raises:
        InvalidValue: there are not as many member scores as members; or a user's strategy proposed nothing, or what is
            no candidate.
    """
    record, members_scored, scores = _Record(watch), 0, None
    if strategy.needs_member_scores:
        scores, members_scored = _score_members(space, evaluate, member_scores)
    proposals, told = strategy.propose(space, scores), None
    if not hasattr(proposals, "send"):
        raise InvalidValue(
            f"propose of strategy {strategy.name!r} gave {type(proposals).__name__}; it must be a generator: yield "
            "candidates, and be told their scores"
        )
    while True:
        try:
            proposed = proposals.send(told)
        except StopIteration:
            break
        told = _evaluated(proposed, strategy, space, evaluate, batch, record)
    if record.best is None:
        raise InvalidValue(f"strategy {strategy.name!r} proposed no candidate; at least one is needed")
    return record.result(members_scored)


def _evaluated(
    proposed: Proposal, strategy: Strategy, space: CandidateSpace, evaluate: Evaluate, batch: int, record: _Record
) -> Scores | None:
    """Evaluate and record what was proposed; the scores where it was listed in full."""
    if not isinstance(proposed, np.ndarray):
        if not callable(proposed):
            raise InvalidValue(f"strategy {strategy.name!r} proposed {proposed!r}; candidates are int[K, m] arrays")
        asked: deque[np.ndarray] = deque()
        make: Blocks = proposed

        def mixtures() -> Iterator[np.ndarray]:
            for block in make(batch):
                _check_candidates(block, strategy, space)
                asked.append(np.array(block))
                yield space.mixtures(asked[-1])

        for part in evaluate(mixtures()):
            record.add(asked.popleft(), part)
        return None
    _check_candidates(proposed, strategy, space)
    proposed = np.array(proposed)
    blocks = (proposed[first : first + batch] for first in range(0, len(proposed), batch))
    scores = Scores.joined(list(evaluate(space.mixtures(block) for block in blocks)))
    record.add(proposed, scores)
    return scores


def _check_candidates(proposed: np.ndarray, strategy: Strategy, space: CandidateSpace) -> None:
    """Refuse what no candidates are, before kernels read out of bounds."""
    shape, kind, groups = np.shape(proposed), np.asarray(proposed).dtype, len(space.sizes)
    if len(shape) != 2 or shape[1] != groups or not shape[0] or not np.issubdtype(kind, np.integer):
        raise InvalidValue(
            f"strategy {strategy.name!r} proposed {kind} of shape {shape}; it must give int[K, {groups}], a member "
            "of each group for every candidate"
        )
    if (proposed < 0).any() or (proposed >= space.sizes).any():
        raise InvalidValue(
            f"strategy {strategy.name!r} proposed members {proposed.min(axis=0).tolist()} to "
            f"{proposed.max(axis=0).tolist()}; the groups have {list(space.sizes)}, counted from 0"
        )


class _Record:
    """Keeps the best of what was evaluated, and the first candidates."""

    def __init__(self, watch: Callable[[Best], None] | None) -> None:
        self.best: Best | None = None
        self._watch = watch
        self._kept: list[tuple[np.ndarray, Scores]] = []

    def add(self, candidates: np.ndarray, scores: Scores) -> None:
        before = 0 if self.best is None else self.best.evaluated
        index = scores.best()
        value, left = float(scores.values[index]), bool(scores.left_support[index])
        evaluated = before + len(candidates)
        if self.best is None or (not left, value) > (not self.best.left_support, self.best.predicted_return):
            self.best = Best(tuple(int(place) for place in candidates[index]), value, left, evaluated)
        else:
            self.best = Best(self.best.candidate, self.best.predicted_return, self.best.left_support, evaluated)
        if before < KEPT:
            room = KEPT - before
            self._kept.append((candidates[:room], Scores(scores.values[:room], scores.left_support[:room])))
        if self._watch is not None:
            self._watch(self.best)

    def result(self, members_scored: int) -> SearchResult:
        assert self.best is not None
        best = self.best
        return SearchResult(
            candidate=best.candidate,
            predicted_return=best.predicted_return,
            left_support=best.left_support,
            evaluated=best.evaluated,
            members_scored=members_scored,
            candidates=np.concatenate([candidates for candidates, _ in self._kept]),
            scores=Scores.joined([scores for _, scores in self._kept]),
        )


def _score_members(space: CandidateSpace, evaluate: Evaluate, given: np.ndarray | None) -> tuple[list[np.ndarray], int]:
    """Scores of every group's members, comparable within the group, and how many had to be evaluated."""
    count = sum(space.sizes)
    if given is None:
        (scores,) = evaluate([np.arange(count, dtype=np.int32)[:, None]])
        return np.split(scores.comparable(), space.offsets[1:]), count
    if len(given) != count:
        raise InvalidValue(f"{len(given)} member scores for {count} members; give one per row of the pool")
    return np.split(np.asarray(given, np.float64), space.offsets[1:]), 0
