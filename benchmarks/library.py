"""A library of a million policies: adding, opening, reading by id, memory, text search, embeddings.

``LEVER_RAY_BENCH_POLICIES`` sets how many policies on grid8 (a million by default); grid16 has a tenth. Libraries are
kept under ``LEVER_RAY_HOME/benchmarks``, so that a second run starts at once; times of adding are those of the first.

``ivf`` is measured as a library has it: one index per stored shard, made at the first search of a process and kept in
memory alone. ``python -m benchmarks.library`` measures it alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from statistics import median
from time import perf_counter, thread_time

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from benchmarks.made_up import library_of
from benchmarks.timing import median_seconds
from lever_ray.library.library import PolicyLibrary

POLICIES = int(os.environ.get("LEVER_RAY_BENCH_POLICIES", "1000000"))
READS = 20_000
PROBES, K = (4, 16, 64), 10
QUERIES = ("grab the gold and keep away from hazards", "the shortest way to the exit", "pull the lever, variant 77")
_FRESH = """
import json, psutil, random, sys
from statistics import median
from time import perf_counter as now
from lever_ray.library.library import PolicyLibrary
resident = lambda: psutil.Process().memory_info().rss / 1e6
ids, before = json.loads(sys.stdin.read()), resident()
begun = now(); library = PolicyLibrary.open(sys.argv[1]); opened = now() - begun
after_opening = resident()
begun = now(); library.q(ids[0]); first = now() - begun
after_first = resident()
begun = now(); library.q(ids[1]); second = now() - begun
for identity in ids: library.q(identity)
after_reading = resident()
times = []
for identity in ids:
    begun = now(); library.q(identity); times.append(now() - begun)
print(json.dumps({
    "open.milliseconds": 1e3 * opened, "first_read_by_id.seconds": first,
    "read_by_id.microseconds": 1e6 * median(times),
    "read_by_id.p99_microseconds": 1e6 * sorted(times)[int(.99 * len(times))],
    "resident.opened.megabytes": after_opening - before, "resident.first_read.megabytes": after_first - before,
    "resident.all_reads.megabytes": after_reading - before}))
"""


def figures() -> dict[str, float]:
    """Times are medians on one core, in a process of their own where they are those of a first touch."""
    measured: dict[str, float] = {}
    largest, _ = library_of("grid8", POLICIES, 100)
    measured["library.checksum.gigabytes_per_second"] = _checksums(largest)
    for family, policies, environments in (("grid8", POLICIES, 100), ("grid16", POLICIES // 10, 20)):
        library, making = library_of(family, policies, environments)
        measured |= making
        measured[f"library.{family}.policies"] = len(library)
        measured[f"library.{family}.megabytes"] = library.bytes / 1e6
        measured |= {f"library.{family}.{name}": value for name, value in _fresh(library).items()}
        measured |= {f"library.{family}.{name}": value for name, value in _search(library).items()}
    return measured | {f"library.grid8.{name}": value for name, value in _approximate(largest).items()}


def _checksums(library: PolicyLibrary) -> float:
    """Gigabytes that one core hashes a second, of a file in the page cache."""
    file = max(library.manifest.files, key=lambda each: each.bytes)

    def hashed() -> None:
        with (library.path / file.name).open("rb") as handle:
            hashlib.file_digest(handle, "sha256")

    return file.bytes / 1e9 / median_seconds(hashed, 15, clock=thread_time)


def _fresh(library: PolicyLibrary) -> dict[str, float]:
    """Opening and reading in a process that has touched nothing; the files themselves are in the page cache."""
    everything = np.concatenate([stored.ids for stored in library._mapped])
    drawn = np.random.default_rng(0).choice(everything, size=min(READS, len(everything)), replace=False)
    ids = json.dumps([identity.decode() for identity in drawn.tolist()])
    runs = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", _FRESH, str(library.path)], input=ids, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(3)
    ]
    return {name: median(run[name] for run in runs) for name in runs[0]}


def _search(library: PolicyLibrary) -> dict[str, float]:
    """Exact top 10 by text, end to end: encoding, all shards, merging."""
    begun = perf_counter()
    library.search(QUERIES[:1])
    first = perf_counter() - begun
    environment = library.environments[0]
    library.search(QUERIES[:1], environment=environment)
    many = [f"{QUERIES[number % 3]} {number}" for number in range(64)]
    queries = library.encoder.encode(many)
    return {
        "search.first.seconds": first,
        "search.unfiltered.milliseconds": 1e3 * median_seconds(lambda: library.search(QUERIES[:1]), 15),
        "search.one_environment.milliseconds": 1e3
        * median_seconds(lambda: library.search(QUERIES[:1], environment=environment), 200),
        "search.batch_of_64.milliseconds_per_query": 1e3 * median_seconds(lambda: library.search(many), 5) / 64,
        "search.encoding.milliseconds": 1e3 * median_seconds(lambda: library.encoder.encode(QUERIES[:1]), 200),
        "search.queries": len(queries),
    }


def _approximate(exact: PolicyLibrary) -> dict[str, float]:
    """``index="ivf"`` end to end, beside the exact index on the same 64 queries, one at a time; one core."""
    many = [f"{QUERIES[number % 3]} {number}" for number in range(64)]
    with threadpool_limits(1):
        wanted = [{match.id for match in matches} for matches in exact.search(many, K)]
        result = {"ivf.beside.exact.milliseconds": _one_by_one(exact, many)}
        library, before = PolicyLibrary.open(exact.path, index="ivf"), psutil.Process().memory_info().rss
        begun = perf_counter()
        library.search(many[:1], K)
        result["ivf.first_search.seconds"] = perf_counter() - begun
        result["ivf.first_search.resident_megabytes"] = (psutil.Process().memory_info().rss - before) / 1e6
        indexes = [library._shard.nearest.whole(stored) for stored in library._shard.mapped]
        result["ivf.indexes"] = len(indexes)
        for effort in PROBES:
            for index in indexes:
                index.effort = effort  # type: ignore[attr-defined]
            found = [{match.id for match in library.search([text], K)[0]} for text in many]
            shares = [len(some & others) / K for some, others in zip(wanted, found, strict=True)]
            result[f"ivf.effort_{effort}.recall"] = float(np.mean(shares))
            result[f"ivf.effort_{effort}.milliseconds"] = _one_by_one(library, many)
    return result


def _one_by_one(library: PolicyLibrary, texts: list[str]) -> float:
    """Median milliseconds of a search for one text."""
    times = []
    for text in texts:
        begun = perf_counter()
        library.search([text], K)
        times.append(perf_counter() - begun)
    return 1e3 * median(times)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_approximate(library_of("grid8", POLICIES, 100)[0]), indent=1) + "\n")
