"""How batches reach compiled kernels: as arrays of one kind, in blocks, on the cores that this task was given."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import DTypeLike


def kernel_array(values: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """The array as kernels are compiled for it: contiguous, writable, of that type; copied only where it is not."""
    return np.require(values, dtype, ["C_CONTIGUOUS", "WRITEABLE"])


def cores() -> int:
    """Cores that this task was given: ``OMP_NUM_THREADS`` (Ray sets it to a task's ``num_cpus``), else all usable."""
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_blocks(call: Callable[[slice], None], count: int, *, size: int, threads: int = 0) -> None:
    """Call ``call`` with slices that cover ``range(count)``, on several threads where there is enough for them.

    Args:
        call: fills its slice of the answer; a kernel that releases the interpreter lock, for threads to help.
        count: how many items there are.
        size: items per slice, at most.
        threads: threads at most; 0 takes :func:`cores`. The answer does not depend on it.
    """
    blocks = [slice(first, min(first + size, count)) for first in range(0, count, size)]
    workers = min(threads or cores(), len(blocks)) if len(blocks) > 1 else 1
    if workers == 1:
        for block in blocks:
            call(block)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(call, blocks))
