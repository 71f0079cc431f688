"""The items of a shard whose text vectors are nearest to a query's: exact by a scan, or approximate by faiss.

Every index scores an item by :func:`lever_ray.library.search.scan.exact_scores`, whatever found it, and orders answers
by score (descending), then by item (ascending). So the parts of a library can be merged, and batches split, without a
trace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lever_ray.errors import InvalidValue, LeverError, look_up
from lever_ray.library.search.items import Found, ItemVectors, Places, at, blocks, count, read_only

if TYPE_CHECKING:
    from lever_ray.library.search.scan import Candidates

_MATRIX_PRODUCT = 10
"""Queries from which on a matrix product is faster than a scan for each."""
_QUANTIZED = 3
"""Queries up to which int8 is faster to read; for more, memory is not what a scan waits for."""
_ROWS_AT_ONCE = {"one": 65536, "few": 1024, "many": 4096}
"""Rows per block: many where they are read once and in place, else as many as the second-level cache holds."""
NOTHING = -1
"""The item that fills an answer up where an approximate index found fewer than ``k``; its score is -inf."""


class VectorIndex(Protocol):
    """What finds the items nearest to a query."""

    name: str
    exact: bool

    @property
    def bytes(self) -> int:
        """Memory that the index takes beside the vectors and codes that it was given."""

    def top_k(self, queries: NDArray[np.float32], k: int, items: Places | None = None) -> Found:
        """The ``k`` nearest items to each query.

        Args:
            queries: float32[b, d], finite.
            k: at least 1.
            items: which ones may be found: a slice of step 1, or int64[m], ascending; None for all.

        Returns:
            Scores float32[b, k'] and items int64[b, k'], ``k' = min(k, items there are)``, by score (descending), then
            item (ascending). A score is the product of query and vector, the cosine of unit vectors.

        Raises:
            InvalidValue: queries of another shape or not finite, ``k`` below 1, or items that do not exist.
        """


class FlatIndex:
    """The exact answer, by a scan of all vectors.

    Args:
        vectors: float32[n, d], see :class:`ItemVectors`.
        codes: int32[m], or None.
        quantized: keep a copy of the vectors in int8 (a quarter of their memory, and one pass over them to make).
            A scan for up to three queries reads that, which takes half the time or less; answers are equal.
    """

    exact = True

    def __init__(
        self, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None, *, quantized: bool = False
    ) -> None:
        self.name = "flat-int8" if quantized else "flat"
        self.data = ItemVectors(vectors, codes)
        self._quantized = _quantized(self.data.vectors) if quantized else None

    @property
    def bytes(self) -> int:
        """See :class:`VectorIndex`."""
        return sum(part.nbytes for part in self._quantized or ())

    def top_k(self, queries: NDArray[np.float32], k: int, items: Places | None = None) -> Found:
        """See :meth:`VectorIndex.top_k`."""
        queries, chosen = self.data.checked(queries, k), self.data.chosen(items)
        k = min(k, count(chosen))
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        rows = self.data.rows(chosen)
        from lever_ray.library.search.scan import Candidates

        found = [Candidates(query, min(k, count(rows))) for query in queries]
        scan = self._scan if len(queries) < _MATRIX_PRODUCT else self._multiply
        scan(queries, rows, found)
        return _stacked([self.data.ranked(each.query, at(rows, each.places()), chosen, k) for each in found], k)

    def _scan(self, _: NDArray[np.float32], rows: Places, found: Sequence[Candidates]) -> None:
        parts: tuple[Any, ...] = self.data.vectors, None, None
        if self._quantized and len(found) <= _QUANTIZED:
            parts = self._quantized
        once = len(found) == 1 and isinstance(rows, slice)
        for first, block in blocks(rows, _ROWS_AT_ONCE["one" if once else "few"]):
            read: list[Any] = [None if part is None else read_only(part[block]) for part in parts]
            for each in found:
                each.scan(first, *read)

    def _multiply(self, queries: NDArray[np.float32], rows: Places, found: Sequence[Candidates]) -> None:
        for first, block in blocks(rows, _ROWS_AT_ONCE["many"]):
            for each, products in zip(found, queries @ self.data.vectors[block].T, strict=True):
                each.sift(first, products)


class FaissIndex:
    """Approximate answers by an index of faiss over the vectors, rounded to 8 bits there and scored exactly here.

    A query that is confined to some items is answered by a scan of those, exactly.

    Args:
        kind: ``ivf`` (lists of near vectors, of which some are searched) or ``hnsw`` (a graph of neighbours).
        vectors: float32[n, d], see :class:`ItemVectors`.
        codes: int32[m], or None.
        effort: lists searched by ``ivf``, or candidates held by ``hnsw``; more find more and take longer.

    Raises:
        LeverError: faiss is not installed.
    """

    exact = False

    def __init__(
        self,
        kind: str,
        vectors: NDArray[np.float32],
        codes: NDArray[np.int32] | None = None,
        *,
        effort: int | None = None,
    ) -> None:
        self.name = kind
        self.flat = FlatIndex(vectors, codes)
        self._parameters = look_up("faiss index", kind, _PARAMETERS)
        self.effort = effort or self._parameters.effort
        self._faiss = _faiss()
        self._index = self._built(self.flat.data.vectors)

    def _built(self, vectors: NDArray[np.float32]) -> Any:
        product = self._faiss.METRIC_INNER_PRODUCT
        lists = max(1, min(math.isqrt(len(vectors)), len(vectors) // 39))
        index = self._faiss.index_factory(vectors.shape[1], self._parameters.factory.format(lists=lists), product)
        if len(vectors):
            sample = vectors[:: max(1, len(vectors) // (64 * lists + 4096))]
            index.train(np.ascontiguousarray(sample))
            index.add(vectors)
        return index

    @cached_property
    def bytes(self) -> int:
        """See :class:`VectorIndex`; as many as the index would take in a file."""
        sizes: list[int] = []

        def written(part: Any) -> int:
            sizes.append(len(part))
            return len(part)

        self._faiss.write_index(self._index, self._faiss.PyCallbackIOWriter(written))
        return sum(sizes)

    def top_k(self, queries: NDArray[np.float32], k: int, items: Places | None = None) -> Found:
        """See :meth:`VectorIndex.top_k`; where fewer are found, the rest is :data:`NOTHING`."""
        if items is not None or len(self.flat.data) == 0:
            return self.flat.top_k(queries, k, items)
        queries = self.flat.data.checked(queries, k)
        k, wanted = min(k, len(self.flat.data)), min(2 * k + 8, len(self.flat.data.vectors))
        rows = self._index.search(queries, wanted, params=self._search_parameters(wanted))[1]
        found = [np.unique(each[each >= 0]) for each in rows]
        everything = slice(0, len(self.flat.data))
        answers = [self.flat.data.ranked(*each, everything, k) for each in zip(queries, found, strict=True)]
        return _stacked(answers, k)

    def _search_parameters(self, wanted: int) -> Any:
        if self.name == "ivf":
            return self._faiss.SearchParametersIVF(nprobe=self.effort)
        return self._faiss.SearchParametersHNSW(efSearch=max(self.effort, wanted))


class _Parameters:
    """How faiss names an index, and how hard it searches unless told."""

    def __init__(self, factory: str, effort: int) -> None:
        self.factory, self.effort = factory, effort


_PARAMETERS = {"ivf": _Parameters("IVF{lists},SQ8", 16), "hnsw": _Parameters("HNSW32_SQ8", 64)}

INDEXES: Mapping[str, Callable[..., VectorIndex]] = {
    "flat": FlatIndex,
    "flat-int8": partial(FlatIndex, quantized=True),
    "ivf": partial(FaissIndex, "ivf"),
    "hnsw": partial(FaissIndex, "hnsw"),
}


def make_index(
    kind: str, vectors: NDArray[np.float32], codes: NDArray[np.int32] | None = None, **options: Any
) -> VectorIndex:
    """An index of some kind.

    Args:
        kind: ``flat``, ``flat-int8`` (exact), ``ivf``, ``hnsw`` (approximate, by faiss).
        vectors: float32[n, d], of unit length; not copied by the exact kinds.
        codes: int32[m], the row of each item's vector; None where item ``i`` has row ``i``.
        **options: of the kind, e.g. ``effort`` of :class:`FaissIndex`.

    Raises:
        UnknownName: no such kind.
        InvalidValue: arrays of another type or shape, or codes that are not rows.
        LeverError: the kind needs faiss, which is not installed.
    """
    return look_up("index", kind, INDEXES)(vectors, codes, **options)


def merge_top_k(parts: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best of several answers to the same queries.

    Args:
        parts: of each shard scores float32[b, k'] and ids [b, k'], numbers or strings, in any order.
        k: at least 1.

    Returns:
        Scores and ids [b, min(k, sum of k')], by score (descending), then id (ascending).

    Raises:
        InvalidValue: no parts, or ``k`` below 1.
    """
    if not parts or k < 1:
        raise InvalidValue(f"{len(parts)} parts and k = {k}; give one part at least, and k of at least 1")
    scores, ids = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _stacked(answers: Sequence[Found], k: int) -> Found:
    """Answers as two arrays [b, k], filled up with nothing."""
    scores = np.full((len(answers), k), -np.inf, np.float32)
    items = np.full((len(answers), k), NOTHING, np.int64)
    for row, (some, which) in enumerate(answers):
        scores[row, : len(some)], items[row, : len(some)] = some, which
    return scores, items


def _quantized(vectors: NDArray[np.float32]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from lever_ray.library.search.scan import quantize

    codes = np.empty(vectors.shape, np.int8)
    scales, errors = np.empty(len(vectors), np.float32), np.empty(len(vectors), np.float32)
    quantize(vectors, codes, scales, errors)
    return codes, scales, errors


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise LeverError("this index needs faiss; pip install 'lever-ray[faiss]', or take index 'flat'") from error
    return faiss
