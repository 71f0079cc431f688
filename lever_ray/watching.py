"""Telling whoever waits how far long work is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

Watch = Callable[[int, int, str], None]
"""Is told how many pieces of work are done, of how many, and in which stage; as a stage begins none is done."""


def watched(items: Sequence[Item], watch: Watch | None, stage: str) -> Iterator[Item]:
    """Items one by one; each is done when the next is asked for.

    Args:
        items: of the work.
        watch: told of each; None where nobody waits.
        stage: of the work, as ``watch`` is told it.
    """
    for done, item in enumerate(items):
        if watch is not None:
            watch(done, len(items), stage)
        yield item
    if watch is not None:
        watch(len(items), len(items), stage)
