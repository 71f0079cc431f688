"""What a person waits for before anything runs: imports, and compiling or loading the kernels, in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from statistics import median

REPEATS = 3
_IMPORT = "from time import perf_counter as t; b = t(); import lever_ray; print(t() - b)"
_WARM_UP = "from lever_ray.query.warm import warm_up; print(warm_up())"


def figures() -> dict[str, float]:
    """Seconds, medians of fresh processes; the cold compilation once, into an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        cold = _seconds(_WARM_UP, cache)
        cached = median(_seconds(_WARM_UP, cache) for _ in range(REPEATS))
        return {
            "startup.import.seconds": median(_seconds(_IMPORT, cache) for _ in range(REPEATS)),
            "startup.kernels.cold_seconds": cold,
            "startup.kernels.cached_seconds": cached,
        }


def _seconds(code: str, cache: str) -> float:
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])
