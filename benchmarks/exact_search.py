"""The exact indexes beside faiss's: equal answers, CPU time a query, time to build, memory.

Of faiss: ``knn`` over the vectors in place, which is what ``IndexFlatIP`` does over a copy, and
``IndexScalarQuantizer`` of 8 bits, one step for all numbers (``QT_8bit_uniform``; that with a range per column takes
1.7 times as long, and ``QT_8bit_direct_signed`` rounds queries, too). Both answer exactly: all rows whose score may
reach the ``k``-th are scored again by :mod:`lever_ray.library.search.scan`, and where the list is too short to tell, a
longer one is asked for. The vectors are those of :mod:`benchmarks.sentences`: distinct sentences, and descriptions like
a library's, which differ in their last words alone. ``parts`` are 20 indexes over as many parts, as a library has one
for each of its shards.

    python -m benchmarks.exact_search --items 1000000 --threads 1
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from time import perf_counter, process_time

import faiss
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks import text_queries
from benchmarks.sentences import DESCRIPTIONS, PHRASES, composed_vectors
from lever_ray.library.search.index import make_index, merge_top_k
from lever_ray.library.search.items import Found, ItemVectors
from lever_ray.library.search.text import WordLlamaEncoder

QUERIES, K, PARTS, ALONE, BATCHES = 64, 10, 20, 32, 3
_BLOCK = 16_384
_LISTS = (256, 1_024, 8_192)
"""Rows that faiss lists at first."""

Answer = Callable[[np.ndarray], Found]


class FaissExact:
    """What answers exactly by an index of faiss.

    Args:
        vectors: float32[n, 256], rows of length 1.
        search: scores and rows, int64[b, w], of the ``w`` nearest by faiss.
        error: by how much such a score may be wrong, for a query of length 1.
        listed: rows that are listed at first.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        search: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]],
        error: float,
        listed: int,
    ) -> None:
        self._data, self._search, self._listed = ItemVectors(vectors), search, listed
        self._error = error + 2 * (vectors.shape[1] + 64) * 2.0**-24

    def __call__(self, queries: np.ndarray) -> Found:
        """The ``K`` nearest to each query: scores float32[b, K] and rows int64[b, K]."""
        listed = self._search(queries, self._listed)
        answers = [self._answer(*each) for each in zip(queries, *listed, strict=True)]
        return np.stack([scores for scores, _ in answers]), np.stack([rows for _, rows in answers])

    def _answer(self, query: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> Found:
        reached = scores[K - 1] - 2 * self._error * np.linalg.norm(query)
        while scores[-1] >= reached and len(rows) < len(self._data):
            (scores,), (rows,) = self._search(query[None], min(8 * len(rows), len(self._data)))
        return self._data.ranked(query, np.sort(rows[scores >= reached]), slice(0, len(self._data)), K)


def scan(vectors: np.ndarray, kind: str) -> Answer:
    """One of the library's exact indexes."""
    index = make_index(kind, vectors)
    return lambda queries: index.top_k(queries, K)


def faiss_flat(vectors: np.ndarray) -> Answer:
    """Exact but for rounding, over the vectors in place."""

    def search(queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        return faiss.knn(queries, vectors, count, metric=faiss.METRIC_INNER_PRODUCT)

    return FaissExact(vectors, search, 0.0, K + 8)


def faiss_int8(vectors: np.ndarray, listed: int = _LISTS[0]) -> Answer:
    """Over 8 bits, with the greatest length of what rounding has taken from a row."""
    rows, width = vectors.shape
    index = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT)
    greatest, lost = max(float(np.abs(block).max()) for _, block in _blocks(vectors)), 0.0
    index.train(np.repeat(np.array([[-greatest], [greatest]], np.float32), width, axis=1))
    for first, block in _blocks(vectors):
        index.add(block)
        rest = index.reconstruct_n(first, len(block)) - block
        lost = max(lost, float(np.einsum("nd,nd->n", rest, rest).max()))
    return FaissExact(vectors, index.search, 1.0001 * lost**0.5 + 1e-6, min(listed, rows))


def _blocks(vectors: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(first, np.asarray(vectors[first : first + _BLOCK])) for first in range(0, len(vectors), _BLOCK)]


def in_parts(make: Callable[[np.ndarray], Answer], vectors: np.ndarray) -> Answer:
    """One index for each part, and the best of their answers."""
    firsts = np.arange(PARTS) * len(vectors) // PARTS
    parts = [(first, make(part)) for first, part in zip(firsts, np.array_split(vectors, firsts[1:]), strict=True)]

    def answer(queries: np.ndarray) -> Found:
        found = [(first, part(queries)) for first, part in parts]
        return merge_top_k([(scores, rows + first) for first, (scores, rows) in found], K)

    return answer


CONTENDERS: Mapping[str, Callable[[np.ndarray], Answer]] = {
    "flat": lambda vectors: scan(vectors, "flat"),
    "flat-int8": lambda vectors: scan(vectors, "flat-int8"),
    "faiss-flat": faiss_flat,
    **{f"faiss-int8.list_{each}": lambda vectors, each=each: faiss_int8(vectors, each) for each in _LISTS},
    "flat-int8.parts": lambda vectors: in_parts(lambda part: scan(part, "flat-int8"), vectors),
    "faiss-int8.parts": lambda vectors: in_parts(faiss_int8, vectors),
}


def figures(items: int, threads: int = 1) -> dict[str, float]:
    """For both kinds of vectors, with so many threads of faiss and of BLAS (scans have one)."""
    encoder, before = WordLlamaEncoder(), faiss.omp_get_max_threads()
    asked = encoder.encode([query.text for query in text_queries.queries()[:QUERIES]])
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(threads):
        faiss.omp_set_num_threads(threads)
        vectors, sentences = composed_vectors(Path(folder) / "distinct", PHRASES, items, QUERIES)
        result |= measured(f"exact.{items}.distinct.threads_{threads}", vectors, encoder.encode(sentences))
        vectors, _ = composed_vectors(Path(folder) / "like", DESCRIPTIONS, items, 0)
        result |= measured(f"exact.{items}.descriptions.threads_{threads}", vectors, asked)
        faiss.omp_set_num_threads(before)
    return result


def measured(name: str, vectors: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """Seconds to build, megabytes, milliseconds a query; contenders take turns at every query.

    Raises:
        AssertionError: two of them answer differently.
    """
    gc.collect()
    made, result = {}, {}
    scan(vectors[:1], "flat-int8")(queries[:1])
    for kind, make in CONTENDERS.items():
        held, begun = _megabytes(), process_time()
        made[kind] = make(vectors)
        result[f"{name}.{kind}.build.cpu_seconds"] = process_time() - begun
        result[f"{name}.{kind}.megabytes"] = _megabytes() - held
    wanted = made["flat"](queries)
    for kind, answer in made.items():
        assert all(np.array_equal(*both) for both in zip(answer(queries), wanted, strict=True)), kind
    alone: dict[str, list[tuple[float, float]]] = {kind: [] for kind in made}
    for query in queries[:ALONE]:
        for kind, answer in made.items():
            alone[kind].append(_took(answer, query[None]))
    batch = {kind: [_took(answer, queries) for _ in range(BATCHES)] for kind, answer in made.items()}
    for kind in made:
        result |= _costs(f"{name}.{kind}.one", alone[kind], 1)
        result |= _costs(f"{name}.{kind}.batch_{len(queries)}", batch[kind], len(queries))
    return result


def _costs(name: str, took: Sequence[tuple[float, float]], queries: int) -> dict[str, float]:
    """CPU time as mean and median, since few queries may need a longer list; time as the median."""
    waited, worked = zip(*took, strict=True)
    return {
        f"{name}.cpu_milliseconds": 1e3 * fmean(worked) / queries,
        f"{name}.median.cpu_milliseconds": 1e3 * median(worked) / queries,
        f"{name}.median.milliseconds": 1e3 * median(waited) / queries,
    }


def _took(answer: Answer, queries: np.ndarray) -> tuple[float, float]:
    begun, worked = perf_counter(), process_time()
    answer(queries)
    return perf_counter() - begun, process_time() - worked


def _megabytes() -> float:
    """Memory of the process that is no file's."""
    info = psutil.Process().memory_info()
    return (info.rss - info.shared) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="The exact indexes beside faiss's.")
    parser.add_argument("--items", type=int, default=1_000_000, help="how many vectors (default 1,000,000)")
    parser.add_argument("--threads", type=int, default=1, help="of faiss and of BLAS (default 1)")
    options = parser.parse_args()
    found = figures(options.items, options.threads)
    for vectors in ("distinct", "descriptions"):
        Console(width=120).print(_table(found, f"exact.{options.items}.{vectors}.threads_{options.threads}"))


_COLUMNS = {
    "build, CPU s": "build.cpu_seconds",
    "MB": "megabytes",
    "one query, CPU ms": "one.cpu_milliseconds",
    "its median": "one.median.cpu_milliseconds",
    "waited, ms": "one.median.milliseconds",
    f"of {QUERIES}, CPU ms": f"batch_{QUERIES}.cpu_milliseconds",
    "waited, ms each": f"batch_{QUERIES}.median.milliseconds",
}


def _table(found: Mapping[str, float], name: str) -> Table:
    table = Table(title=name)
    table.add_column("index", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for kind in CONTENDERS:
        table.add_row(kind, *(f"{found[f'{name}.{kind}.{column}']:.3g}" for column in _COLUMNS.values()))
    return table


if __name__ == "__main__":
    main()
