"""Candidate search: which candidates are evaluated, and which is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lever_ray.composition.budgeted import Archive, by_scale, rounds
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.rankers import Scores
from lever_ray.errors import InvalidValue, check_known

STRATEGIES: tuple[str, ...] = ("targeted", "hybrid", "exhaustive", "budgeted", "random", "best-first")
"""``targeted``: the best-scored policy of every group; ``hybrid``: the product of the k best; ``exhaustive``: all;
``budgeted``: at most B, chosen as scores come in (:mod:`lever_ray.composition.budgeted`). Baselines: ``random``, B
drawn without replacement; ``best-first``, B in the order of the sum of their members' scores."""
BATCH = 8192
"""Candidates evaluated at a time; results do not depend on it."""
KEPT = 1 << 16
"""Candidates that a result lists at most."""

_PARAMETER = {"hybrid": "k", "budgeted": "budget", "random": "budget", "best-first": "budget"}
"""What a strategy's id names."""

Evaluate = Callable[[Iterable[np.ndarray]], Iterable[Scores]]
"""Scores blocks of mixtures, int32[K, m] rows of the pool; the answers in the order of the blocks."""


@dataclass(frozen=True)
class Strategy:
    """A candidate strategy; fixed before any reward is seen.

    Attributes:
        name: one of :data:`STRATEGIES`.
        k: members per group that ``hybrid`` combines.
        budget: B, most candidates that ``budgeted``, ``random`` and ``best-first`` evaluate.
        restarts: populations of candidates that ``budgeted`` evolves apart.
        seed: of what ``budgeted`` and ``random`` draw.

    Raises:
        UnknownName: the name is not known.
        InvalidValue: ``k``, ``budget`` or ``restarts`` is below 1, or the seed below 0.
    """

    name: str
    k: int = 3
    budget: int = 1_000
    restarts: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        check_known("strategy", self.name, STRATEGIES)
        _check_whole("k", self.k, 1, "members per group")
        _check_whole("budget", self.budget, 1, "candidates")
        _check_whole("restarts", self.restarts, 1, "populations")
        _check_whole("seed", self.seed, 0, "a seed")

    @classmethod
    def of(cls, identity: str, **parameters: Any) -> Strategy:
        """The strategy with an id such as ``hybrid-5`` or ``best-first-100``; a bare name takes ``parameters``.

        Raises:
            UnknownName, InvalidValue: see the class.
        """
        name, _, number = identity.rpartition("-")
        if identity in STRATEGIES or name not in _PARAMETER or not number.isdecimal():
            return cls(identity, **parameters)
        return cls(name, **parameters | {_PARAMETER[name]: int(number)})

    @property
    def id(self) -> str:
        """The name with its parameter, e.g. ``hybrid-3`` or ``budgeted-1000``."""
        parameter = _PARAMETER.get(self.name)
        return self.name if parameter is None else f"{self.name}-{getattr(self, parameter)}"

    @property
    def scores_members(self) -> bool:
        """Whether single members are scored first."""
        return self.name in ("targeted", "hybrid", "best-first")


def _check_whole(name: str, value: object, least: int, what: str) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InvalidValue(f"{name} is {value!r}; a whole number ({what}), at least {least}, is needed")


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
    """Evaluate the candidates that a strategy names and choose the best, the first on a tie.

    Blocks are made as ``evaluate`` asks for them and forgotten with their scores, but for the first :data:`KEPT`
    candidates. ``budgeted`` calls ``evaluate`` once per round; any other strategy once, and once for single members.

    Args:
        strategy: which candidates.
        space: the groups.
        evaluate: scores blocks of mixtures.
        batch: candidates per block; the result does not depend on it.
        member_scores: float64[P], scores of single members in the order of the pool, for strategies that score
            members; by default ``evaluate`` scores them as mixtures of one.
        watch: called with the best so far after every block.

    Raises:
        InvalidValue: there are not as many member scores as members.
    """
    record, members_scored = _Record(watch), 0
    if strategy.name == "budgeted" and strategy.budget < space.candidates:
        _search_in_rounds(strategy, space, evaluate, batch, record)
    else:
        scores = None
        if strategy.scores_members:
            scores, members_scored = _score_members(space, evaluate, member_scores)
        listed = _listed(strategy, space, scores, batch)
        mixtures = (space.mixtures(block) for block in listed())
        for block, part in zip(listed(), evaluate(mixtures), strict=True):
            record.add(block, part)
    return record.result(members_scored)


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
        assert self.best is not None  # no group is empty, so every strategy evaluates a candidate
        best = self.best
        return SearchResult(
            candidate=best.candidate,
            predicted_return=best.predicted_return,
            left_support=best.left_support,
            evaluated=best.evaluated,
            members_scored=members_scored,
            candidates=np.concatenate([candidates for candidates, _ in self._kept]),
            scores=_joined([scores for _, scores in self._kept]),
        )


def _joined(parts: Sequence[Scores]) -> Scores:
    values, left = [part.values for part in parts], [part.left_support for part in parts]
    return Scores(np.concatenate(values), np.concatenate(left))


def _search_in_rounds(
    strategy: Strategy, space: CandidateSpace, evaluate: Evaluate, batch: int, record: _Record
) -> None:
    orders, archive = by_scale(space), Archive.of(space.sizes)
    proposals = rounds(archive, budget=strategy.budget, populations=strategy.restarts, seed=strategy.seed)
    for places, populations in proposals:
        candidates = np.stack([order[places[:, axis]] for axis, order in enumerate(orders)], axis=1)
        blocks = (candidates[first : first + batch] for first in range(0, len(candidates), batch))
        scores = _joined(list(evaluate(space.mixtures(block) for block in blocks)))
        archive.add(places, populations, scores)
        record.add(candidates, scores)


def _score_members(space: CandidateSpace, evaluate: Evaluate, given: np.ndarray | None) -> tuple[list[np.ndarray], int]:
    """Scores of every group's members, comparable within the group, and how many had to be evaluated."""
    count = sum(space.sizes)
    if given is None:
        (scores,) = evaluate([np.arange(count, dtype=np.int32)[:, None]])
        return np.split(scores.comparable(), space.offsets[1:]), count
    if len(given) != count:
        raise InvalidValue(f"{len(given)} member scores for {count} members; give one per row of the pool")
    return np.split(np.asarray(given, np.float64), space.offsets[1:]), 0


def _listed(
    strategy: Strategy, space: CandidateSpace, scores: list[np.ndarray] | None, batch: int
) -> Callable[[], Iterator[np.ndarray]]:
    """Makes the blocks of candidates of a strategy that knows them all beforehand, as often as it is called."""
    if strategy.name == "best-first":
        assert scores is not None
        ordered = _best_first(scores, strategy.budget)
        return lambda: (ordered[first : first + batch] for first in range(0, len(ordered), batch))
    if strategy.name == "random" and strategy.budget < space.candidates:
        drawn = np.random.default_rng(strategy.seed).choice(space.candidates, strategy.budget, replace=False)
        return lambda: (
            np.stack(np.unravel_index(drawn[first : first + batch], space.sizes), axis=1)
            for first in range(0, len(drawn), batch)
        )
    if scores is None:
        return lambda: product_blocks(space.sizes, batch=batch)
    keep = 1 if strategy.name == "targeted" else strategy.k
    shortlists = [np.argsort(-part, kind="stable")[:keep] for part in scores]
    return lambda: (
        np.stack([shortlist[block[:, axis]] for axis, shortlist in enumerate(shortlists)], axis=1)
        for block in product_blocks([len(shortlist) for shortlist in shortlists], batch=batch)
    )


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


def product_blocks(sizes: Sequence[int], *, batch: int = BATCH) -> Iterator[np.ndarray]:
    """The product of ranges as index tuples int64[<= batch, m], in lexicographic order, a block at a time."""
    total = int(np.prod(np.array(sizes, dtype=object)))
    for first in range(0, total, batch):
        flat = np.arange(first, min(first + batch, total))
        yield np.stack(np.unravel_index(flat, sizes), axis=1)
