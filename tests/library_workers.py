"""Processes that use one library at a time, forked from one that has imported everything."""

import multiprocessing
import sys
import time
from pathlib import Path

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


def read(folder, number, seconds, *files):
    """Read at random what writers told to be there, each in a file."""
    library, rng, stop, done = opened(folder), np.random.default_rng(number), time.monotonic() + seconds, 0
    while time.monotonic() < stop:
        seeds = told_by(files)
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
    print(done)


def told_by(files):
    """Seeds that stand in some files, of whole lines only."""
    lines = [line for file in files for line in Path(file).read_text().rpartition("\n")[0].splitlines()]
    return [int(seed) for line in lines for seed in line.split()]


def compact(folder, _, seconds):
    library, stop, done = opened(folder), time.monotonic() + seconds, 0
    while time.monotonic() < stop:
        time.sleep(seconds / 8)
        library.compact()
        done += 1
    print(done)


def fill(folder, limit, _):
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


def start(role, folder, number, seconds, *files, output):
    """Begin one of the above in a process of its own that writes to ``output``, and errors beside it."""
    output.touch()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pandas"])
    process = context.Process(target=_run, args=(output, role, folder, number, seconds, *files))
    process.start()
    return process


def _run(output, role, *arguments):
    with output.open("w") as sys.stdout, output.with_suffix(".errors").open("w") as sys.stderr:
        role(*arguments)
