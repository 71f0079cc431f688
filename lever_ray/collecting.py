"""Python's search for cycles among objects, put off while many are made that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

MOST_UNCOLLECTED = 500_000
"""Objects that may be made between two searches; Python's own 700 spends time to save memory.

What a command imports, and what compiling a kernel makes, is mostly kept or dropped by its counts: looking through it
again and again takes a tenth of a short command, and more of compiling.
"""


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Search seldom within; not at all, where that was switched off before."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], MOST_UNCOLLECTED) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
