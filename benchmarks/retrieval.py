"""Retrieval of the 10 nearest of many text vectors on one core: time, memory and recall of every index.

Sentences are made by combining words and are encoded; where more vectors are wanted than sentences are made, rows are
sentences plus noise, so that all are distinct. They lie in a memory map, as those of a library do. Queries are
sentences that are not among them. ``hnsw`` is built over fewer vectors, since building it takes long; its
recall and ``flat``'s time beside it are of as many.

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

from lever_ray.library.index import FaissIndex, VectorIndex, make_index
from lever_ray.library.text import WordLlamaEncoder

MILLION = 1_000_000
SENTENCES = 50_000
HNSW_ITEMS = 100_000
NOISE = 0.3
"""Length of the noise that is added to a vector of length 1; the cosine of both is about 0.96."""
QUERIES, K, FILTERED, TEXTS = 64, 10, 10_000, 20
PROBES, CANDIDATES = (4, 16, 64), (32, 64, 256)

WORDS = (
    ("quickly", "carefully", "at any cost", "if it is cheap", "before anything else", "without hurry", "by day", ""),
    ("grab", "collect", "avoid", "reach", "pull", "guard", "leave", "count", "follow", "ignore"),
    ("the gold", "every coin", "the lever", "the exit", "all traps", "the lava", "the treasure", "the old door",
     "the guard", "the river", "the map", "the cold cave"),
    ("and then", "but never", "or else", "while you"),
    ("stay on the path", "walk north", "touch the hazard", "open the gate", "go home", "rest at the camp",
     "cross the bridge", "climb the wall", "feed the dragon", "wait for the signal"),
    ("in the desert", "near the castle", "under the hill", "by the sea", "in the dark forest", "on the island", ""),
)  # fmt: skip


def figures(items: int = MILLION) -> dict[str, float]:
    """Milliseconds a query (median), seconds to build, megabytes beside the vectors, and recall."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        vectors, queries = _vectors(Path(folder) / "vectors", items)
        result = {f"retrieval.blas.{_blas()}.threads": 1.0, "retrieval.items": float(items)}
        for kind in ("flat", "flat-int8"):
            result |= _exact(f"retrieval.distinct.{kind}", kind, vectors, queries)
        result |= _shared(vectors[:TEXTS], items, queries)
        result |= _approximate("ivf", vectors, queries, PROBES)
        return result | _approximate("hnsw", vectors[:HNSW_ITEMS], queries, CANDIDATES)


def _sentences(count: int) -> list[str]:
    """Distinct sentences, drawn from all combinations of the words."""
    sizes = [len(part) for part in WORDS]
    chosen = np.random.default_rng(0).choice(int(np.prod(sizes)), count, replace=False)
    places = np.stack(np.unravel_index(chosen, sizes), axis=1)
    return [" ".join(part[place] for part, place in zip(WORDS, row, strict=True)).strip() for row in places]


def _vectors(path: Path, items: int) -> tuple[np.ndarray, np.ndarray]:
    """float32[items, 256] in a memory map, and queries float32[64, 256]."""
    texts = _sentences(min(items, SENTENCES) + QUERIES)
    encoder, rng = WordLlamaEncoder(), np.random.default_rng(1)
    encoded = encoder.encode(texts)
    sentences = encoded[QUERIES:]
    with path.open("wb") as file:
        for copy in range(0, items, len(sentences)):
            rows = sentences[: items - copy]
            if copy:
                noise = rng.standard_normal(rows.shape, dtype=np.float32)
                rows = rows + NOISE / np.sqrt(np.float32(encoder.dimension)) * noise
            file.write((rows / np.linalg.norm(rows, axis=1, keepdims=True)).tobytes())
    return np.memmap(path, np.float32, "r", shape=(items, encoder.dimension)), encoded[:QUERIES]


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
    parser.add_argument("--items", type=int, default=MILLION, help="how many vectors (default 1,000,000)")
    table = Table("figure", "value", title="retrieval")
    for name, value in figures(parser.parse_args().items).items():
        table.add_row(name, f"{value:,.4g}")
    Console().print(table)


if __name__ == "__main__":
    main()
