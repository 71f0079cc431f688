"""Items and their text vectors, of which many may share one; which rows a query has to look at, and what it ranks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lever_ray.errors import InvalidValue

Places = slice | NDArray[np.int64]
"""Places of an array: a slice of step 1, or ascending."""
Found = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores and items."""

_LONGEST_QUERY = 1e15
"""Length of a query whose products are far from overflow."""


class ItemVectors:
    """Items and their vectors; many items may share one.

    Args:
        vectors: float32[n, d], of length 1 (longer than 2 might be missed); read only, so that a memory map will do.
        codes: int32[m], the row of each item's vector; None where item ``i`` has row ``i``.

    Raises:
        InvalidValue: arrays of another type or shape, or codes that are not rows.
    """

    def __init__(self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None) -> None:
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise InvalidValue(f"vectors are {vectors.dtype}{list(vectors.shape)}; give float32[n, d]")
        self.vectors = read_only(vectors)
        self.codes = None if codes is None else _checked_codes(codes, len(vectors))

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.vectors if self.codes is None else self.codes)

    def checked(self, queries: NDArray[np.float32], k: int) -> NDArray[np.float32]:
        """The queries as kernels read them.

        Raises:
            InvalidValue: they have another width, or are not finite, or ``k`` is below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise InvalidValue(f"queries have shape {queries.shape}; give float32[b, {self.vectors.shape[1]}]")
        queries = read_only(np.asarray(queries, np.float32))
        lengths = np.sqrt(np.square(queries, dtype=np.float64).sum(axis=1))
        bad = np.flatnonzero(~(lengths < _LONGEST_QUERY))
        if len(bad):
            raise InvalidValue(f"query {bad[0]} has length {lengths[bad[0]]}; give finite vectors, best of length 1")
        if k < 1:
            raise InvalidValue(f"k is {k}; ask for at least 1 item")
        return queries

    def chosen(self, items: Places | None) -> Places:
        """The items, as a slice where they are adjacent.

        Raises:
            InvalidValue: they do not exist, are not ascending, or a slice has a step.
        """
        if items is None:
            return slice(0, len(self))
        if isinstance(items, slice):
            start, stop, step = items.indices(len(self))
            if step != 1:
                raise InvalidValue(f"items is {items}; give a slice of step 1, or an array")
            return slice(start, max(start, stop))
        if items.ndim != 1 or items.dtype.kind not in "iu":
            raise InvalidValue(f"items are {items.dtype}{list(items.shape)}; give int64[m], e.g. np.flatnonzero(mask)")
        places = read_only(np.asarray(items, np.int64))
        if len(places) and not (places[0] >= 0 and places[-1] < len(self) and (np.diff(places) > 0).all()):
            raise InvalidValue(
                f"items lie in {places.min()}..{places.max()} of {len(self)}; give them ascending, each once"
            )
        return _adjacent(places)

    def rows(self, chosen: Places) -> Places:
        """The rows that some items have, each once, ascending."""
        if self.codes is None:
            return chosen
        return self._all_rows if count(chosen) == len(self) else self._rows(chosen)

    @cached_property
    def _all_rows(self) -> Places:
        return self._rows(slice(0, len(self)))

    def _rows(self, chosen: Places) -> Places:
        assert self.codes is not None
        taken = np.zeros(len(self.vectors), np.bool_)
        taken[self.codes[chosen]] = True
        return _adjacent(read_only(np.flatnonzero(taken)))

    def ranked(self, query: NDArray[np.float32], rows: NDArray[np.int64], chosen: Places, k: int) -> Found:
        """The ``k`` nearest of the chosen items that have one of these rows (ascending), in order."""
        from lever_ray.library.search.scan import best_items, exact_scores

        scores = exact_scores(self.vectors, rows, query)
        items = rows
        if self.codes is not None and len(rows):
            of_row = np.full(len(self.vectors), -np.inf, np.float32)
            of_row[rows] = scores
            codes = read_only(self.codes[chosen])
            places = best_items(codes, of_row, min(k, len(codes)))
            scores = of_row[codes[places]]
            items = places + chosen.start if isinstance(chosen, slice) else chosen[places]
        order = np.argsort(-scores, kind="stable")[:k]
        return scores[order], items[order]


def _checked_codes(codes: NDArray[np.int32], rows: int) -> NDArray[np.int32] | None:
    """Codes as kernels read them; None where item ``i`` has row ``i``."""
    if codes.ndim != 1 or codes.dtype != np.int32:
        raise InvalidValue(f"codes are {codes.dtype}{list(codes.shape)}; give int32[m]")
    if len(codes) and not 0 <= codes.min() <= codes.max() < rows:
        raise InvalidValue(f"codes lie in {codes.min()}..{codes.max()}, but there are {rows} vectors")
    same = len(codes) == rows and np.array_equal(codes, np.arange(rows))
    return None if same else read_only(codes)


def read_only(array: np.ndarray) -> np.ndarray:
    """A contiguous view that cannot be written to, as memory maps are: so kernels are compiled once."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def count(chosen: Places) -> int:
    """How many places there are."""
    return chosen.stop - chosen.start if isinstance(chosen, slice) else len(chosen)


def _adjacent(places: NDArray[np.int64]) -> Places:
    """Ascending places as a slice, where they are adjacent."""
    if len(places) == 0:
        return slice(0, 0)
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places


def at(rows: Places, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows at some places among rows."""
    return places + rows.start if isinstance(rows, slice) else rows[places]


def blocks(rows: Places, size: int) -> Iterator[tuple[int, Places]]:
    """Places of blocks of rows, and the blocks: views of adjacent rows, copies of others."""
    for first in range(0, count(rows), size):
        if isinstance(rows, slice):
            yield first, slice(rows.start + first, min(rows.start + first + size, rows.stop))
        else:
            yield first, rows[first : first + size]
