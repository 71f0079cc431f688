"""Compiled scans of vectors: which rows may be among the ``k`` nearest to a query, and their exact scores.

A scan is fast and approximate, and knows how wrong it may be. It keeps every row whose upper bound reaches the ``k``-th
greatest lower bound; the few that remain are scored again, in an order that depends on the row alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lever_ray.compiling import compiled

_ANY_ORDER = {"reassoc", "contract", "nsz"}
_BLOCK = 512
"""Rows that are multiplied before they are sifted: their products stay in the first-level cache."""
_CHUNK = 64
"""Rows that are passed over together if none of them reaches the bar."""
_LONGEST = 2.0
"""Length up to which the error bounds of a row hold; unit vectors are far from it."""


@dataclass
class Candidates:
    """The rows that may be among the ``k`` nearest to one query, while a scan goes on.

    Args:
        query: float32[d].
        k: how many rows are wanted.

    Attributes:
        margin: error that float32 arithmetic makes at most, in whatever order it adds ``d`` products up: the sum of
            their magnitudes, no greater than the product of the two lengths, times ``d * 2**-24`` (Higham, Accuracy and
            Stability of Numerical Algorithms, 3.1); 64 more roundings pay for scaling and for the bounds themselves.
        length: Euclidean length of the query.
        lower: float32[k], heap of the ``k`` greatest lower bounds; the least, ``lower[0]``, is what rows have to reach.
        rows: int64[>= count], places of the rows kept.
        upper: float32[>= count], their upper bounds.
        count: how many are kept.
    """

    query: np.ndarray
    k: int
    margin: np.float32 = field(init=False)
    length: np.float32 = field(init=False)

    def __post_init__(self) -> None:
        self.length = np.float32(np.sqrt(np.square(self.query, dtype=np.float64).sum()))
        self.margin = np.float32(_LONGEST * (len(self.query) + 64) * 2.0**-24 * float(self.length) + 1e-35)
        self.lower = np.full(self.k, -np.inf, np.float32)
        room = 4 * (self.k + _CHUNK)
        self.rows, self.upper, self.count = np.empty(room, np.int64), np.empty(room, np.float32), 0

    def scan(self, first: int, rows: np.ndarray, scales: np.ndarray | None, errors: np.ndarray | None) -> None:
        """Look at rows.

        Args:
            first: place of the first of them.
            rows: float32[n, d], or int8[n, d] with scales and errors.
            scales: float32[n], what a row is to be multiplied with.
            errors: float32[n], length of what quantisation has taken from a row.
        """
        state = self.lower, self.rows, self.upper, self.count
        self.rows, self.upper, self.count = _scan(
            rows, scales, errors, self.query, self.length, self.margin, first, *state
        )

    def sift(self, first: int, products: np.ndarray) -> None:
        """Look at rows whose products with the query, float32[n], were computed in float32."""
        state = self.lower, self.rows, self.upper, self.count
        self.rows, self.upper, self.count = _sift(products, None, None, self.length, self.margin, first, *state)

    def places(self) -> np.ndarray:
        """int64[c]: ascending places of the rows that may be among the ``k`` nearest of all that were looked at."""
        return self.rows[: self.count][self.upper[: self.count] >= self.lower[0]]


@compiled(nogil=True)
def _scan(rows, scales, errors, query, length, margin, first, lower, kept, upper, count):
    """Multiply rows with a query and sift the products, block by block; see :class:`Candidates`."""
    products = np.empty(_BLOCK, np.float32)
    for start in range(0, len(rows), _BLOCK):
        stop = min(start + _BLOCK, len(rows))
        block = products[: stop - start]
        _multiply(rows[start:stop], query, block)
        place = first + start
        if scales is None:
            kept, upper, count = _sift(block, None, None, length, margin, place, lower, kept, upper, count)
        else:
            some, lost = scales[start:stop], errors[start:stop]
            kept, upper, count = _sift(block, some, lost, length, margin, place, lower, kept, upper, count)
    return kept, upper, count


@compiled(nogil=True, fastmath=_ANY_ORDER)
def _multiply(rows, query, products):
    """Products of rows, float32 or int8 [n, d], with a query, summed in any order.

    Four rows at a time, from four places of memory: one stream alone waits at the end of every page.
    """
    quarter = len(rows) // 4
    for row in range(quarter):
        second, third, fourth = row + quarter, row + 2 * quarter, row + 3 * quarter
        a = b = c = d = np.float32(0)
        for j in range(len(query)):
            a += np.float32(rows[row, j]) * query[j]
            b += np.float32(rows[second, j]) * query[j]
            c += np.float32(rows[third, j]) * query[j]
            d += np.float32(rows[fourth, j]) * query[j]
        products[row], products[second], products[third], products[fourth] = a, b, c, d
    for row in range(4 * quarter, len(rows)):
        a = np.float32(0)
        for j in range(len(query)):
            a += np.float32(rows[row, j]) * query[j]
        products[row] = a


@compiled(nogil=True)
def _sift(products, scales, errors, length, margin, first, lower, kept, upper, count):
    """Keep what may be among the nearest, and raise the bar; returns arrays anew since they may have grown."""
    for start in range(0, len(products), _CHUNK):
        stop = min(start + _CHUNK, len(products))
        some = products[start:stop]
        scale = None if scales is None else scales[start:stop]
        error = None if errors is None else errors[start:stop]
        if _any_reaches(some, scale, error, length, margin, lower[0]):
            if count + _CHUNK > len(kept):
                kept, upper, count = _with_room(kept, upper, count, lower[0])
            count = _keep(some, scale, error, length, margin, first + start, lower, kept, upper, count)
    return kept, upper, count


@compiled(nogil=True)
def _any_reaches(products, scales, errors, length, margin, bar):
    """Whether a row's upper bound reaches the bar; a loop without branches, for whole registers at a time."""
    reaching = 0
    for place in range(len(products)):
        if scales is None:
            reaching += products[place] + margin >= bar
        else:
            reaching += products[place] * scales[place] + (margin + length * errors[place]) >= bar
    return reaching > 0


@compiled(nogil=True)
def _keep(products, scales, errors, length, margin, first, lower, kept, upper, count):
    """Keep the rows of a chunk that reach the bar; returns how many are kept by now."""
    for place in range(len(products)):
        product, radius = products[place], margin
        if scales is not None:
            product *= scales[place]
            radius = margin + length * errors[place]
        if product + radius >= lower[0]:
            kept[count], upper[count] = first + place, product + radius
            count += 1
            if product - radius > lower[0]:
                replace_least(lower, product - radius)
    return count


@compiled(nogil=True)
def _with_room(kept, upper, count, bar):
    """The candidates that still reach the bar, in arrays that are half empty at least."""
    left = 0
    for place in range(count):
        if upper[place] >= bar:
            kept[left], upper[left] = kept[place], upper[place]
            left += 1
    if 2 * left > len(kept):
        wider, bounds = np.empty(2 * len(kept), np.int64), np.empty(2 * len(kept), np.float32)
        for place in range(left):
            wider[place], bounds[place] = kept[place], upper[place]
        kept, upper = wider, bounds
    return kept, upper, left


@compiled(nogil=True)
def replace_least(heap, value):
    """Put a value in the place of a heap's least, ``heap[0]``."""
    place, child = 0, 1
    while child < len(heap):
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if value <= heap[child]:
            break
        heap[place] = heap[child]
        place, child = child, 2 * child + 1
    heap[place] = value


@compiled(nogil=True)
def exact_scores(vectors, places, query):
    """float32[c]: products of some rows with a query, each summed from its first element to its last in float64.

    Products of float32 are exact in float64, and the order is fixed: equal rows have equal scores in whatever company,
    and on whatever machine.
    """
    scores = np.empty(len(places), np.float32)
    for i in range(len(places)):
        total = 0.0
        for j in range(len(query)):
            total += np.float64(vectors[places[i], j]) * np.float64(query[j])
        scores[i] = total
    return scores


@compiled(nogil=True)
def best_items(codes, scores, k):
    """The ``k`` items of greatest score, of equal ones the first.

    Args:
        codes: int32[m], row of each item.
        scores: float32[n], score of each row; -inf leaves its items out.
        k: at least 1.

    Returns:
        int64[<= k], ascending.
    """
    greatest, best = np.empty(k, np.float32), np.float32(-np.inf)
    for place in range(k):
        greatest[place] = best
    for score in scores:
        if score > best:
            best = score
    for code in codes:
        if scores[code] > greatest[0]:
            replace_least(greatest, scores[code])
            if greatest[0] == best:
                break
    bar = greatest[0]
    ties = 0
    for score in greatest:
        ties += score == bar > -np.inf
    found, count = np.empty(k, np.int64), 0
    for item, code in enumerate(codes):
        if scores[code] > bar or (scores[code] == bar and ties > 0):
            ties -= scores[code] == bar
            found[count] = item
            count += 1
            if count == k:
                break
    return found[:count]


@compiled(nogil=True, fastmath=_ANY_ORDER)
def quantize(vectors, codes, scales, errors):
    """Round rows to int8; ``vectors[i]`` is ``scales[i] * codes[i]`` but for a rest no longer than ``errors[i]``.

    Args:
        vectors: float32[n, d], rows no longer than 2.
        codes: int8[n, d], filled.
        scales: float32[n], filled.
        errors: float32[n], filled; a little too great, for its own rounding.
    """
    for row in range(len(vectors)):
        greatest = np.float32(0)
        for value in vectors[row]:
            greatest = max(greatest, abs(value))
        scale = max(greatest, np.float32(1e-30)) / np.float32(127)
        inverse, rest = np.float32(1) / scale, np.float32(0)
        for j in range(vectors.shape[1]):
            code = np.int8(np.rint(vectors[row, j] * inverse))
            difference = vectors[row, j] - np.float32(code) * scale
            codes[row, j] = code
            rest += difference * difference
        scales[row], errors[row] = scale, np.float32(1.0001) * np.sqrt(rest) + np.float32(1e-6)
