"""How long a call takes."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter


def median_seconds(call: Callable[[], object], repeats: int, *, clock: Callable[[], float] = perf_counter) -> float:
    """Seconds of a call: the median of several, after one that loads kernels and touches files."""
    call()
    times = []
    for _ in range(repeats):
        begun = clock()
        call()
        times.append(clock() - begun)
    return median(times)
