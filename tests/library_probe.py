"""Reads libraries that may be anything, in a process of its own: ``python -m tests.library_probe FOLDER...``.

Prints one JSON line per folder: what came of it, the peak of Arrow's memory and of the process's, in bytes.
"""

import json
import sys

import numpy as np
import pyarrow as pa

from lever_ray.errors import LibraryError
from lever_ray.library.serving.mapped import MappedShard
from tests.library_files import opened, record
from tests.peak import peak_resident


def read_everything(folder):
    """Every way to read a library but those that compute; the number of policies."""
    library = opened(folder)
    keys = library.keys()
    library.groups(keys)
    records = library.select()
    for one in records:
        assert np.array_equal(library.q(one.id), one.q)
        assert np.isfinite(one.q).all()
    library.search(["gold"], k=2)
    for shard in library.manifest.shards:
        stored = MappedShard(library.path, library.manifest.library, shard)
        _ = stored.texts, stored.psi
    return len(records)


def verify(folder):
    for damage in opened(folder).verify():
        raise LibraryError(damage.what)


def probe(folder):
    """``refused`` or ``sound``, by every way of reading; anything else is an error that is not ours."""
    found = []
    for ask in (read_everything, verify, lambda path: opened(path).add([record(seed=99)])):
        try:
            ask(folder)
            found.append("sound")
        except LibraryError as error:
            assert str(error)
            found.append("refused")
    return found


def main():
    for folder in sys.argv[1:]:
        try:
            found = probe(folder)
        except Exception as error:  # noqa: BLE001 - what any other error would be, is what is asked for
            found = [f"{type(error).__name__}: {error}"[:300]]
        print(json.dumps([found, pa.default_memory_pool().max_memory() or 0, peak_resident()]), flush=True)


if __name__ == "__main__":
    main()
