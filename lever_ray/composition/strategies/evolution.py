"""Budgeted candidate search: at most B evaluations, of which any prefix is a search with a smaller budget.

In a sum of action values the member with the largest values decides most cells, so candidates differ most between
members of large and of small values. Every group is therefore put in the order of its members' *scale* (the standard
deviation of their action values, known without any evaluation), and candidates are points of that lattice. The first
rounds lie half near its corners, some groups loud and the others quiet, and half evenly. Later rounds are half such
designs and half offspring: a good candidate with a group or two exchanged, or two good candidates crossed.
Designs are Latin hypercubes, so that a round spreads evenly over every group (McKay et al. 1979). Parents come from
the best of their own population, and equal scores, which are common, are ordered anew in every round: a plateau is
wandered over rather than held to its first point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.scores import Scores

FIRST_ROUND, LARGEST_ROUND = 8, 128
"""Candidates proposed in the first and in the largest round."""
GROWTH = 4
"""A round proposes one candidate for so many evaluated ones."""
EARLY = 64
"""Candidates proposed before any offspring."""
EARLY_FOLDS = (3, 0)
"""How often early design points are folded towards the corners, in turn: half of them far, half not at all."""
FOLDS = (0.6, 0.3, 0.1)
"""Shares of later design points that are folded 0, 1 and 2 times."""
DESIGN, CROSSED, BOTH, NEAR = 0.5, 0.2, 0.2, 0.5
"""Probabilities: of a design point; of a crossing; of exchanging a further group; of a neighbour in scale."""
ELITE = 8
"""The best candidates of a population, from which parents are drawn."""
STEP = 2.0
"""Half-width of the Cauchy step to a neighbour, in members."""


@dataclass
class Archive:
    """What a search has evaluated, in order.

    Attributes:
        sizes: int64[m], members per group.
        candidates: int64[n, m], places of the members in the order of scale.
        populations: int64[n], which population each belongs to.
        scores: theirs.
        seen: the same candidates as bytes.
    """

    sizes: np.ndarray
    candidates: np.ndarray
    populations: np.ndarray
    scores: Scores
    seen: set[bytes] = field(default_factory=set)

    @classmethod
    def of(cls, sizes: tuple[int, ...]) -> Archive:
        """An empty one."""
        nothing = Scores(np.empty(0), np.empty(0, bool))
        return cls(np.array(sizes), np.empty((0, len(sizes)), np.int64), np.empty(0, np.int64), nothing)

    def unseen(self, proposed: np.ndarray) -> np.ndarray:
        """Indices of those candidates int64[K, m] that are new, the first of equal ones; they count as seen now."""
        new = []
        for index, candidate in enumerate(proposed):
            key = candidate.tobytes()
            if key not in self.seen:
                self.seen.add(key)
                new.append(index)
        return np.array(new, np.int64)

    def add(self, candidates: np.ndarray, populations: np.ndarray, scores: Scores) -> None:
        """Append a round."""
        self.candidates = np.concatenate([self.candidates, candidates])
        self.populations = np.concatenate([self.populations, populations])
        self.scores = Scores.joined([self.scores, scores])


def by_scale(space: CandidateSpace) -> list[np.ndarray]:
    """Members of every group, int64[n], by the standard deviation of their action values as the library holds them."""
    scales = (group.q.std(axis=(1, 2), dtype=np.float64) for group in space.groups)
    return [np.argsort(scale, kind="stable") for scale in scales]


def rounds(archive: Archive, *, budget: int, populations: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Propose rounds of new candidates; the caller evaluates each and adds it to the archive before the next.

    Args:
        archive: empty at first.
        budget: B, candidates in all; below the size of the product. What a round proposes does not depend on it.
        populations: how many sets of candidates evolve apart.
        seed: of every draw.

    Yields:
        ``(candidates int64[K, m], populations int64[K])``.
    """
    rng = np.random.default_rng(seed)
    total, proposed, cursor = int(np.prod(archive.sizes.astype(object))), 0, 0
    while (evaluated := len(archive.candidates)) < budget:
        if proposed < EARLY:
            size = max(FIRST_ROUND, proposed)
            candidates = design(rng, archive.sizes, np.resize(EARLY_FOLDS, size))
        else:
            size = int(np.clip(evaluated // GROWTH, FIRST_ROUND, LARGEST_ROUND))
            candidates = _next_round(rng, archive, size, populations)
        homes = np.arange(size) % populations
        proposed += size
        new = archive.unseen(candidates)
        candidates, homes = candidates[new], homes[new]
        if proposed >= EARLY and 2 * len(new) < size:  # few candidates are left: take them in order
            stop = min(cursor + size, total)
            rest = np.stack(np.unravel_index(np.arange(cursor, stop), archive.sizes), axis=1)
            cursor, rest = stop, rest[archive.unseen(rest)]
            candidates = np.concatenate([candidates, rest])
            homes = np.concatenate([homes, np.arange(len(rest)) % populations])
        if len(candidates):
            yield candidates[: budget - evaluated], homes[: budget - evaluated]


def design(rng: np.random.Generator, sizes: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """A Latin hypercube of candidates, int64[K, m].

    Args:
        rng: what draws it.
        sizes: int64[m].
        folds: int[K], how often each point is moved towards the corners by u -> 3 u^2 - 2 u^3.
    """
    shape = (len(folds), len(sizes))
    strata = rng.permuted(np.tile(np.arange(len(folds))[:, None], len(sizes)), axis=0)
    unit = (strata + rng.random(shape)) / len(folds)
    for fold in range(int(folds.max())):
        unit = np.where(folds[:, None] > fold, unit * unit * (3.0 - 2.0 * unit), unit)
    return np.minimum((unit * sizes).astype(np.int64), sizes - 1)


def _next_round(rng: np.random.Generator, archive: Archive, size: int, populations: int) -> np.ndarray:
    """Design points and offspring, int64[size, m]."""
    fresh = design(rng, archive.sizes, rng.choice(len(FOLDS), size, p=FOLDS))
    mother, father = _parents(rng, archive, size, populations)
    shape = fresh.shape
    exchanged = rng.random(shape) < BOTH
    exchanged[np.arange(size), rng.integers(shape[1], size=size)] = True
    step = np.rint(STEP * rng.standard_cauchy(shape)).clip(-archive.sizes, archive.sizes).astype(np.int64)
    near = np.clip(mother + step, 0, archive.sizes - 1)
    mutant = np.where(exchanged, np.where(rng.random(shape) < NEAR, near, fresh), mother)
    crossed = np.where(rng.random(shape) < 0.5, mother, father)
    kind = rng.random((size, 1))
    return np.where(kind < DESIGN, fresh, np.where(kind < DESIGN + CROSSED, crossed, mutant))


def _parents(rng: np.random.Generator, archive: Archive, size: int, populations: int) -> tuple[np.ndarray, np.ndarray]:
    """Two for every child, int64[size, m] each, from the best of its population; chance ranks equals."""
    shuffled = rng.permutation(len(archive.candidates))
    ranked = shuffled[np.argsort(-archive.scores.comparable()[shuffled], kind="stable")]
    population = archive.populations[ranked]
    elites = [ranked[population == home][:ELITE] for home in range(min(populations, size))]
    elites = [elite if len(elite) else ranked[:ELITE] for elite in elites]
    home, counts = np.arange(size) % len(elites), np.array([len(elite) for elite in elites])
    drawn = rng.integers(counts[home], size=(2, size)) + (np.cumsum(counts) - counts)[home]
    mothers, fathers = archive.candidates[np.concatenate(elites)[drawn]]
    return mothers, fathers
