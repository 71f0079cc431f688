"""Retrieval of the 10 nearest of many text vectors on one core: time, memory and recall of every index.

Vectors are of distinct sentences (:mod:`benchmarks.sentences`) and lie in a memory map, as those of a library do.
Queries are encoded sentences, none of which is among the vectors. ``hnsw`` is built over fewer, since a million take
minutes; its recall and the time of ``flat`` beside it are of as many. :mod:`benchmarks.exact_search` holds the exact
indexes against those of faiss.

    python -m benchmarks.retrieval --items 20000
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks import exact_search
from benchmarks.sentences import PHRASES, composed_vectors, cosine_with_encoder
from lever_ray.library.search.index import FaissIndex, VectorIndex, make_index
from lever_ray.library.search.text import WordLlamaEncoder

MILLION = 1_000_000
HNSW_ITEMS = 100_000
QUERIES, K, FILTERED, TEXTS = 64, 10, 10_000, 20
PROBES, CANDIDATES = (4, 16, 64), (32, 64, 256)


def figures(items: int = MILLION) -> dict[str, float]:
    """Milliseconds a query (median), seconds to build, megabytes beside the vectors, and recall."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        vectors, sentences = composed_vectors(Path(folder) / "vectors", PHRASES, items, QUERIES)
        queries = WordLlamaEncoder().encode(sentences)
        result = {f"retrieval.blas.{_blas()}.threads": 1.0, "retrieval.items": float(items)}
        result["retrieval.cosine_with_encoder"] = cosine_with_encoder(PHRASES, QUERIES)
        for kind in ("flat", "flat-int8"):
            result |= _exact(f"retrieval.distinct.{kind}", kind, vectors, queries)
        result |= _shared(vectors[:TEXTS], items, queries)
        result |= _approximate("ivf", vectors, queries, PROBES)
        result |= _approximate("hnsw", vectors[:HNSW_ITEMS], queries, CANDIDATES)
    return result | exact_search.figures(items)


def _blas() -> str:
    """The kernel that NumPy's matrix product runs, such as SkylakeX; some machines are told to take a slower one."""
    return next((str(each.get("architecture")) for each in threadpool_info() if each["user_api"] == "blas"), "unknown")


def _exact(name: str, kind: str, vectors: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    make_index(kind, vectors[:1])
    begun = perf_counter()
    index = make_index(kind, vectors)
    result = _cost(name, index, perf_counter() - begun)
    result[f"{name}.one.milliseconds"] = _milliseconds(index, queries[:16])
    result[f"{name}.batch_{QUERIES}.milliseconds"] = _batch(lambda: index.top_k(queries, K)) / QUERIES
    return result | _filtered(name, index, len(vectors), queries)


def _shared(vectors: np.ndarray, items: int, queries: np.ndarray) -> dict[str, float]:
    """Few texts, each the description of many items, in random order."""
    name, codes = f"retrieval.{TEXTS}_texts.flat", np.random.default_rng(2).integers(0, len(vectors), items)
    index = make_index("flat", vectors, codes.astype(np.int32))
    result = {f"{name}.one.milliseconds": _milliseconds(index, queries)}
    result[f"{name}.batch_{QUERIES}.milliseconds"] = _batch(lambda: index.top_k(queries, K)) / QUERIES
    return result | _filtered(name, index, items, queries)


def _filtered(name: str, index: VectorIndex, items: int, queries: np.ndarray) -> dict[str, float]:
    """Confined to 10,000 items, adjacent or anywhere."""
    count = min(FILTERED, items)
    first = (items - count) // 2
    anywhere = np.sort(np.random.default_rng(3).choice(items, count, replace=False))
    return {
        f"{name}.filtered_{count}.milliseconds": _milliseconds(index, queries, slice(first, first + count)),
        f"{name}.scattered_{count}.milliseconds": _milliseconds(index, queries, anywhere),
    }


def _approximate(kind: str, vectors: np.ndarray, queries: np.ndarray, efforts: Sequence[int]) -> dict[str, float]:
    """Recall at 10 and time for several efforts, with the exact scan of as many vectors beside it."""
    name, flat = f"retrieval.{kind}_{len(vectors)}", make_index("flat", vectors)
    result = {f"{name}.flat.one.milliseconds": _milliseconds(flat, queries[:16])}
    begun = perf_counter()
    index = FaissIndex(kind, vectors)
    result |= _cost(name, index, perf_counter() - begun)
    wanted = flat.top_k(queries, K)[1]
    for index.effort in efforts:
        found = index.top_k(queries, K)[1]
        result[f"{name}.effort_{index.effort}.recall"] = _recall(found, wanted)
        result[f"{name}.effort_{index.effort}.one.milliseconds"] = _milliseconds(index, queries)
    return result


def _recall(found: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the wanted items that were found."""
    return float(np.mean([np.isin(some, others).mean() for some, others in zip(wanted, found, strict=True)]))


def _cost(name: str, index: VectorIndex, seconds: float) -> dict[str, float]:
    return {f"{name}.build.seconds": seconds, f"{name}.megabytes": index.bytes / 1e6}


def _milliseconds(index: VectorIndex, queries: np.ndarray, items: slice | np.ndarray | None = None) -> float:
    """Median over queries, one at a time, after the first has warmed up what there is to warm."""
    index.top_k(queries[:1], K, items)
    return median(_took(lambda query=query: index.top_k(query[None], K, items)) for query in queries)


def _batch(call: Callable[[], object]) -> float:
    call()
    return median(_took(call) for _ in range(3))


def _took(call: Callable[[], object]) -> float:
    begun = perf_counter()
    call()
    return 1e3 * (perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time, memory and recall of the indexes of text vectors.")
    parser.add_argument(
        "--items", type=int, default=MILLION, help="how many vectors (default 1,000,000; at most 1,800,000)"
    )
    table = Table("figure", "value", title="retrieval")
    for name, value in figures(parser.parse_args().items).items():
        table.add_row(name, f"{value:,.4g}")
    Console().print(table)


if __name__ == "__main__":
    main()
