"""How much resident memory of this process some work takes while it runs, as Linux counts it."""

from __future__ import annotations

import ctypes
import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What the kernel takes for setting the peak back to what is resident now."""


def peak_growth(work: Callable[[], Any]) -> float:
    """Bytes by which the resident memory of this process grows at most while some work runs; NaN where none tells.

    Freed memory is given back first, so that using it again counts. Pages that were never written do not. Whatever else
    the process does meanwhile counts as well, and the kernel is off by some hundred kilobytes.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text(_RESET_PEAK)
        before = resident("VmRSS")
    except (OSError, AttributeError):
        work()
        return math.nan
    kept = work()
    grown = resident("VmHWM") - before
    del kept
    return float(max(0, grown))


def resident(field: str) -> int:
    """Bytes of resident memory of this process by a field of its status: ``VmRSS`` now, ``VmHWM`` at its peak.

    Raises:
        OSError: this system does not tell.
    """
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"{_STATUS} has no {field}")
