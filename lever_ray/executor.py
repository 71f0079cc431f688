"""Executors: where independent pieces of work run. The Ray one lives in :mod:`lever_ray.ray_execution`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lever_ray.watching import Watch


@dataclass(frozen=True)
class Outcome:
    """What became of one piece of work.

    Attributes:
        index: its place among the items.
        value: what the function returned; None where it failed.
        error: what it raised; None where it succeeded.
    """

    index: int
    value: Any = None
    error: Exception | None = None

    def result(self) -> Any:
        """The value; raises the error where there is one."""
        if self.error is not None:
            raise self.error
        return self.value


class Executor(Protocol):
    """Runs a function over items; results do not depend on which executor does."""

    @property
    def name(self) -> str:
        """``serial`` or ``ray``."""
        ...

    @property
    def workers(self) -> int:
        """How many items run at a time."""
        ...

    def map(
        self, function: Callable[..., Any], items: Iterable[Any], *, shared: tuple[Any, ...] = ()
    ) -> Iterator[Outcome]:
        """Call ``function(item, *shared)`` for every item and yield outcomes as they complete, in any order."""
        ...

    def prepare(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function where items will run, in the meantime: loading what they need, it saves the first ones time.

        Nothing waits for it, and nothing is said where it fails.
        """
        ...


class SerialExecutor:
    """Runs everything in this process, one item after the other."""

    name = "serial"
    workers = 1

    def map(
        self, function: Callable[..., Any], items: Iterable[Any], *, shared: tuple[Any, ...] = ()
    ) -> Iterator[Outcome]:
        """See :class:`Executor`."""
        for index, item in enumerate(items):
            try:
                value = function(item, *shared)
            except Exception as error:  # noqa: BLE001 - a failed item is data; Outcome.result() raises it again
                yield Outcome(index, error=error)
            else:
                yield Outcome(index, value)

    def prepare(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Nothing: items run in this process, which has loaded what it needs."""


def in_order(outcomes: Iterable[Outcome]) -> list[Any]:
    """The values of all outcomes in the order of their items; raises the error of the first that failed."""
    return [outcome.result() for outcome in sorted(outcomes, key=lambda outcome: outcome.index)]


def gathered(
    executor: Executor,
    function: Callable[..., Any],
    items: Sequence[Any],
    *,
    shared: tuple[Any, ...] = (),
    watch: Watch | None = None,
    stage: str = "",
) -> list[Any]:
    """``function(item, *shared)`` for every item, in their order; the first that failed raises its error at the end.

    Args:
        executor: where items run.
        function: of an item.
        items: of the work.
        shared: further arguments, the same for all items.
        watch: told how many items are finished, as each is.
        stage: of the work, as ``watch`` is told it.
    """
    if watch is None:
        return in_order(executor.map(function, items, shared=shared))
    watch(0, len(items), stage)
    outcomes = []
    for outcome in executor.map(function, items, shared=shared):
        outcomes.append(outcome)
        watch(len(outcomes), len(items), stage)
    return in_order(outcomes)
