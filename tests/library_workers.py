"""Processes that use one library at a time: ``python -m tests.library_workers ROLE FOLDER NUMBER SECONDS``."""

import sys
import time

import numpy as np

from lever_ray.errors import LibraryError
from tests.library_files import HALL, opened, record

BATCH = 3
"""Policies per append; a description of its own for each writer, so that texts are written too."""


def policy(seed):
    return record("hall", HALL, seed=seed, description=f"writer {seed // 10**6}") if seed % 2 else record(seed=seed)


def write(folder, number, seconds):
    """Append until the time is over or the process is killed; tells the seeds whose append has returned."""
    library, stop, seed = opened(folder), time.monotonic() + seconds, number * 10**6
    while time.monotonic() < stop:
        seeds = range(seed, seed + BATCH)
        library.add([policy(each) for each in seeds])
        print(*seeds, flush=True)
        seed += BATCH


def read(folder, number, seconds, told):
    """Read at random what writers told to be there; told is asked for seeds."""
    library, rng, stop, done = opened(folder), np.random.default_rng(number), time.monotonic() + seconds, 0
    while time.monotonic() < stop:
        seeds = told()
        for seed in rng.choice(seeds, min(len(seeds), 5)).tolist() if seeds else ():
            wanted = policy(seed)
            try:
                found = library.q(wanted.id)
            except LookupError:
                assert library.refresh(), f"policy {wanted.id} is not there"
                found = library.q(wanted.id)
            assert np.array_equal(found, wanted.q)
            if done % 10 == 0:
                (full,) = library.policies([wanted.id])
                assert np.array_equal(full.visits, wanted.visits)
                assert len(library.groups(library.keys()))
            done += 1
    return done


def told_by(files):
    """Seeds that stand in some files, of whole lines only."""
    lines = [line for file in files for line in open(file).read().rpartition("\n")[0].splitlines()]  # noqa: PTH123, SIM115
    return [int(seed) for line in lines for seed in line.split()]


def compact(folder, seconds):
    library, stop, done = opened(folder), time.monotonic() + seconds, 0
    while time.monotonic() < stop:
        time.sleep(seconds / 8)
        library.compact()
        done += 1
    return done


def fill(folder, limit):
    """Append until there is no room; then tell how many policies were committed, and what was said."""
    import resource

    library, seed = opened(folder), 0
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        while seed < 10_000:
            library.add([record(seed=each) for each in range(seed, seed + 40)])
            seed += 40
            print(seed, flush=True)
    except LibraryError as error:
        print(error, flush=True)


def main():
    role, folder, number, seconds, *files = sys.argv[1:]
    if role == "write":
        write(folder, int(number), float(seconds))
    elif role == "read":
        print(read(folder, int(number), float(seconds), lambda: told_by(files)))
    elif role == "compact":
        print(compact(folder, float(seconds)))
    else:
        fill(folder, int(number))


if __name__ == "__main__":
    main()
