"""Very many tiny shards.

``LEVER_RAY_FAULT_SHARDS`` says how many are listed (100,000 is what the test is meant for), and
``LEVER_RAY_FAULT_REAL_SHARDS`` how many of them have files.
"""

import hashlib
import os
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from lever_ray.library.format.manifest import DataFile, ShardEntry, write_manifest
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.writing.append import write_shards
from lever_ray.library.writing.change import change
from tests.library_files import HALL, LETTERS, opened, record
from tests.peak import peak_resident

SHARDS = int(os.environ.get("LEVER_RAY_FAULT_SHARDS", "2000"))
REAL = min(SHARDS, int(os.environ.get("LEVER_RAY_FAULT_REAL_SHARDS", "300")))
"""Shards whose files are there; the others are only listed."""


def listed_shard(number):
    """A shard of the manifest alone, of an environment of its own."""
    digests = [hashlib.sha256(f"{kind}{number}".encode()).hexdigest() for kind in ("policies", "tables")]
    files = tuple(
        DataFile(f"{kind}-{digest[:32]}.arrow", kind, 1, 1000, digest)
        for kind, digest in zip(("policies", "tables"), digests, strict=True)
    )
    return ShardEntry(f"{number:012x}", 1, 9, (f"far-{number % 100}",), files)


def many_shards(folder):
    """A library of many shards of one policy each."""
    made = PolicyLibrary.create(folder, encoder=LETTERS)
    records = [record("hall", HALL, seed=seed) for seed in range(REAL)]
    made.add(records[:1])
    with change(made.path) as begun:
        held = begun.manifest
        shards = [shard for one in records[1:] for shard in write_shards(begun, [one], None)]
        begun.commit(replace(held, shards=(*held.shards, *shards)))
    return made.path, records


def timed(what, ask):
    start = time.perf_counter()
    found = ask()
    print(f"{what}: {time.perf_counter() - start:.2f} s, peak {peak_resident() >> 20} MB")
    return found


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def test_very_many_tiny_shards_are_opened_read_and_compacted(tmp_path):
    path, records = timed(f"{REAL} shards written", lambda: many_shards(tmp_path / "library"))
    held = opened(path).manifest
    whole = replace(held, shards=(*held.shards, *map(listed_shard, range(SHARDS - REAL))))
    timed(f"manifest of {SHARDS} shards written", lambda: write_manifest(path, whole))
    library = timed("opened", lambda: opened(path))
    before = descriptors()
    assert len(library) == SHARDS
    assert timed("added to", lambda: library.add([record("hall", HALL, seed=10**6)])) == 1
    key = timed("keys of an environment", lambda: library._shard.keys("hall"))[0]
    assert len(library._shard.groups([key])[0]) == REAL + 1

    write_manifest(path, replace(held, generation=9))
    library = opened(path)
    tables = timed("all read by id", lambda: [library.q(one.id) for one in records])
    assert all(np.array_equal(q, one.q) for q, one in zip(tables, records, strict=True))
    assert descriptors() <= before + 10
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 40, limit[1]))
    try:
        assert timed("compacted", library.compact) == (REAL, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert {one.seed for one in library.select()} == set(range(REAL))
    assert not timed("verified", library.verify)
