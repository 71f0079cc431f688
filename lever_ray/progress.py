"""How far long work is: bars and counts on a terminal, plain lines on a pipe, with the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Thread
from time import monotonic
from typing import ClassVar, Protocol

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

OFTEN = 3.0
"""Seconds between two lines on a pipe, at least; but for the last one, which comes when it comes."""
SELDOM = 9.0
"""Seconds without any line on a pipe after which there is one, so that nobody waits for ten."""

_MORE = "..."
"""What stands for the rest of a title that is cut."""


def duration(seconds: float) -> str:
    """A time in words: ``41 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    return f"{minutes} min {left} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class Meter:
    """How far some work is, stage by stage, and for how long it goes on at the pace so far.

    Args:
        title: of the work.
        total: pieces in all; 0 where that is not known.
        done: of these before now.
        clock: gives seconds.
    """

    def __init__(self, title: str, total: int = 0, *, done: int = 0, clock: Callable[[], float] = monotonic) -> None:
        self._title, self._clock = title, clock
        self.enter("", total, done)

    def enter(self, stage: str, total: int, done: int = 0) -> None:
        """Begin a stage, of which some pieces are done; they say nothing about the pace."""
        self.stage, self.total, self.done, self.item = stage, total, done, ""
        self._kept, self._entered, self._finished = done, self._clock(), 0.0

    def keep(self, count: int) -> None:
        """Count pieces that an earlier run has done."""
        self.done, self._kept = self.done + count, self._kept + count

    def move(self, done: int, item: str = "") -> None:
        """Say how many pieces are done, and which was the last."""
        if done > self.done:
            self._finished = self._clock()
        self.done, self.item = done, item

    @property
    def left(self) -> float | None:
        """Seconds until the stage is over; None where nothing tells: before the first piece, or when it is overdue."""
        paced = self.done - self._kept
        if paced <= 0 or self.done >= self.total:
            return None
        pace = (self._finished - self._entered) / paced
        left = pace * (self.total - self.done) - (self._clock() - self._finished)
        return left if left > 0 else None

    @property
    def times(self) -> str:
        """Time since the stage began and time left of it, in words."""
        left = self.left
        told = "" if left is None else f", about {duration(left)} left"
        return f"{duration(self._clock() - self._entered)}{told}"

    def line(self, *, moved: bool = True, width: int | None = None) -> str:
        """All of it in a line.

        Args:
            moved: whether anything was finished since the last line.
            width: columns that there are; of what does not fit, the item goes first, then the end of the title. How far
                the work is stays.
        """
        title = f"{self._title}, {self.stage}" if self.stage else self._title
        count = f"{self.done}/{self.total}" if self.total else ""
        item = f" ({self.item})" if self.item and moved else ""
        still = "" if moved and count else "still working"
        told = f": {', '.join(part for part in (count, still, self.times) if part)}"
        if width is None or cell_len(f"{title}{told}{item}") <= width:
            return f"{title}{told}{item}"
        room = max(width - cell_len(told), len(_MORE))
        return f"{title if cell_len(title) <= room else set_cell_size(title, room - len(_MORE)) + _MORE}{told}"


class _Lines:
    """Prints lines about a meter: soon after it moves, and now and then while it does not."""

    said: ClassVar[float] = monotonic()
    """When the last line was printed, whatever it was about: short pieces of work in a row are not silent, either."""

    def __init__(self, console: Console, meter: Meter) -> None:
        self._console, self._meter = console, meter
        self._changed, self._moved, self._over = Condition(), False, False
        self._begun = self._last = monotonic()
        self._thread = Thread(target=self._watch, name="progress", daemon=True)

    @contextmanager
    def beside(self) -> Iterator[Callable[[Callable[[], None], bool], None]]:
        """For as long as the work takes; call what is yielded with what moves the meter, and whether it is the last."""
        self._thread.start()
        try:
            yield self._move
        finally:
            with self._changed:
                self._over = True
                self._changed.notify()
            self._thread.join(timeout=1)  # it waits where nobody reads the pipe

    def _move(self, change: Callable[[], None], last: bool) -> None:
        with self._changed:
            change()
            self._moved = True
            if last or self._due() <= 0:
                self._print()
            self._changed.notify()

    def _due(self) -> float:
        """Seconds until the next line."""
        due = max(self._begun + OFTEN / 3, _Lines.said + SELDOM)
        return (min(due, self._last + OFTEN) if self._moved else due) - monotonic()

    def _print(self) -> None:
        self._console.print(self._meter.line(moved=self._moved), soft_wrap=True, markup=False)
        self._last = _Lines.said = monotonic()
        self._moved = False

    def _watch(self) -> None:
        with self._changed:
            while not self._over:
                if (wait := self._due()) > 0:
                    self._changed.wait(wait)
                    continue
                try:
                    self._print()
                except (OSError, SystemExit):  # nobody reads, or the disk is full: the work goes on
                    return


class Count(Protocol):
    """Says how many pieces of a stage of the work are done, and of how many."""

    def __call__(self, done: int, total: int, stage: str = "") -> None:
        """Show it."""
        ...


@contextmanager
def working(console: Console, what: str, *, at_once: bool = True) -> Iterator[Count]:
    """Say what is being done for as long as it takes; how far it is, where what is yielded is told.

    On a pipe a plain line as it begins, every few seconds while something is finished, and every ten in any case.

    Args:
        console: where to.
        what: is being done.
        at_once: False where work that takes less than a few seconds is to leave no line on a pipe.
    """
    meter = Meter(what)

    def move(done: int, total: int, stage: str) -> None:
        if (stage, total) != (meter.stage, meter.total) or done < meter.done:
            meter.enter(stage, total, done)
        meter.move(done)

    if console.is_terminal:
        with console.status(_Live(meter), spinner="line" if console.options.ascii_only else "dots"):
            yield lambda done, total, stage="": move(done, total, stage)
        return
    if at_once:
        console.print(f"{what} ...", soft_wrap=True, markup=False)
        _Lines.said = monotonic()
    with _Lines(console, meter).beside() as moving:
        yield lambda done, total, stage="": moving(lambda: move(done, total, stage), False)


class _Live:
    """A meter's line as it is whenever it is drawn, and as wide as there is room for."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The line."""
        yield Text(self._meter.line(width=options.max_width), no_wrap=True, overflow="crop")


class Advance:
    """Says that items are finished: the name of the last, or nothing, and how many.

    Args:
        meter: of the work.
        moving: shows what a change of the meter does; it is told whether that was the last.
    """

    def __init__(self, meter: Meter, moving: Callable[[Callable[[], None], bool], None]) -> None:
        self._meter, self._moving = meter, moving

    def __call__(self, item: str, count: int = 1) -> None:
        """Show it."""
        done = self._meter.done + count
        self._moving(lambda: self._meter.move(done, item), self._meter.done < self._meter.total <= done)

    def within(self, done: int, total: int, stage: str = "") -> None:
        """Say how far the work on the next items is, which are finished together."""
        told = f"{stage}{' ' if stage else ''}{done}/{total}"
        self._moving(lambda: self._meter.move(self._meter.done, told), False)

    def kept(self, count: int) -> None:
        """Say that an earlier run has done so many."""
        self._moving(lambda: self._meter.keep(count), self._meter.done + count >= self._meter.total)


@contextmanager
def progress(console: Console, title: str, total: int, *, done: int = 0) -> Iterator[Advance]:
    """A progress bar with the time left; on a pipe a plain line every few seconds, and when all is done.

    Call what is yielded as items finish.

    Args:
        console: where to.
        title: of the bar.
        total: items in all.
        done: of these before now.
    """
    meter = Meter(title, total, done=done)
    if total == done:
        yield Advance(meter, lambda change, _: change())
    elif console.is_terminal:
        with _bar(console, title, meter) as moving:
            yield Advance(meter, moving)
    else:
        with _Lines(console, meter).beside() as moving:
            yield Advance(meter, moving)


@contextmanager
def _bar(console: Console, title: str, meter: Meter) -> Iterator[Callable[[Callable[[], None], bool], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    times = TextColumn("{task.fields[meter].times}", markup=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), times)
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=meter.total, completed=meter.done, meter=meter)

        def moving(change: Callable[[], None], _: bool) -> None:
            change()
            bar.update(task, completed=meter.done)

        yield moving


def telling_kept(console: Console, advance: Advance, total: int) -> Callable[[int], None]:
    """Says how many environments an earlier run finished, and counts them."""

    def tell(count: int) -> None:
        console.print(f"{count} of {total} environments kept from an earlier run")
        advance.kept(count)

    return tell
