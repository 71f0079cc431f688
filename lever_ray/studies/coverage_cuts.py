"""Four ways of cutting what policies recorded: pairs one by one, a region, a chain along the best route."""

from __future__ import annotations

from collections import deque

import numpy as np

from lever_ray.errors import InvalidValue, check_known
from lever_ray.studies.partial_records import sample_pairs

CUTS: tuple[str, ...] = ("policy", "common", "region", "chain")
"""``policy`` drops pairs for each policy by itself, ``common`` for all policies at once, ``region`` all pairs of
neighbouring cells for all at once, ``chain`` transitions of the best route, one after another, for all at once."""


def kept_pairs(
    cut: str, kept: float, *, taken: np.ndarray, moves: np.ndarray, route: np.ndarray, seed: tuple[int, ...]
) -> np.ndarray:
    """Which pairs of observation and action may stay: bool[P or 1, S, A].

    For equal seeds, less keeps a part of what more keeps. Shares are rounded to whole pairs; those of ``region`` to
    whole cells, the nearest share that so many cells leave.

    Args:
        cut: one of :data:`CUTS`.
        kept: share that stays, in [0, 1]: of the recorded pairs; of the route's transitions for ``chain``.
        taken: bool[P, S, A], what each policy recorded.
        moves: int32[S, A], what follows.
        route: int[T, 2], the best route's transitions as (observation, action), in order.
        seed: of what is drawn: the pairs, the cell a region spreads from, the place where a chain begins.

    Raises:
        UnknownName: ``cut`` is not known.
        InvalidValue: ``kept`` lies outside [0, 1].
    """
    check_known("cut", cut, CUTS)
    if not 0.0 <= kept <= 1.0:
        raise InvalidValue(f"kept is {kept}; a share from 0 to 1 can stay")
    rng = np.random.default_rng([*seed, CUTS.index(cut)])
    if cut == "policy":
        return np.stack([sample_pairs(own, kept, rng) for own in taken])
    union: np.ndarray = np.logical_or.reduce(taken)
    if cut == "common":
        return sample_pairs(union, kept, rng)[None]
    left = np.ones_like(union)
    if cut == "region":
        cells = spreading(moves, union, rng)
        gone = np.concatenate([[0], np.cumsum(union[cells].sum(axis=1))])
        left[cells[: int(np.argmin(np.abs(1.0 - gone / gone[-1] - kept)))]] = False
    else:
        pairs = chain_order(route, rng)
        lost = pairs[: len(pairs) - round(kept * len(pairs))]
        left[lost[:, 0], lost[:, 1]] = False
    return left[None]


def spreading(moves: np.ndarray, union: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64[C]: the cells with recorded pairs in breadth-first order from one of them, drawn evenly.

    Cells are neighbours where a move leads from one to the other; those that are not joined to the rest come last.

    Args:
        moves: int32[S, A].
        union: bool[S, A], the recorded pairs.
        rng: draws the centre.
    """
    held = np.flatnonzero(union.any(axis=1))
    neighbours: dict[int, list[int]] = {int(cell): [] for cell in held}
    for cell in held.tolist():
        for after in moves[cell].tolist():
            if after != cell and after in neighbours:
                neighbours[cell].append(after)
                neighbours[after].append(cell)
    found: dict[int, None] = {}
    for begin in (int(rng.choice(held)), *held.tolist()):
        queue = deque([begin])
        while queue:
            cell = queue.popleft()
            if cell not in found:
                found[cell] = None
                queue.extend(neighbours[cell])
    return np.array(list(found), np.int64)


def chain_order(route: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int[T', 2]: a route's distinct transitions in the order in which a chain loses them.

    From a place drawn evenly, forward and back in turn: what is lost is always one connected part of the route.
    """
    _, first = np.unique(route, axis=0, return_index=True)
    pairs = route[np.sort(first)]
    away = np.abs(2 * (np.arange(len(pairs)) - int(rng.integers(len(pairs)))) - 1)
    return pairs[np.argsort(away, kind="stable")]
