"""Standard streams as commands need them: there, able to take every text, quiet where their reader is gone."""

from __future__ import annotations

import io
import os
import select
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@contextmanager
def standard_streams() -> Iterator[None]:
    """Standard streams that are closed lead nowhere; letters that an encoding lacks are written as escapes.

    What is left to write when a command ends is written, or dropped without a word where nobody takes it.
    """
    _open_missing()
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    errors = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, before in zip(streams, errors, strict=True):
            try:
                stream.reconfigure(errors=before)
            except OSError:
                _lead_nowhere(stream.fileno())


def _open_missing() -> None:
    """Open what was closed at the start, lest the next file that is opened be taken for standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _lead_nowhere(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - stays open


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nowhere, number)
        os.close(nowhere)


def reader_is_gone() -> bool:
    """Whether standard output or error is a pipe that nobody reads any more."""
    watched = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            watched.register(stream.fileno(), 0)
    return any(events & select.POLLERR for _, events in watched.poll(0))


def tell(line: str) -> None:
    """Write one line to standard error: on a terminal folded to its width, elsewhere as it is."""
    with suppress(OSError):
        show(f"{line}\n", sys.stderr)


def show(text: str, stream: TextIO | None = None) -> None:
    """Write text: on a terminal with lines folded to its width, elsewhere as it is.

    Args:
        text: whole lines.
        stream: where to; standard output where none is given.
    """
    stream = sys.stdout if stream is None else stream
    stream.write(folded(text, width_of(stream)) if stream.isatty() else text)
    stream.flush()


def width_of(stream: TextIO) -> int:
    """Columns of a terminal: ``COLUMNS`` where that is set, else what the terminal says, else 80."""
    with suppress(OSError, ValueError):
        if not os.environ.get("COLUMNS", "").isdecimal():
            return os.get_terminal_size(stream.fileno()).columns or 80
    return shutil.get_terminal_size().columns


def folded(text: str, width: int) -> str:
    """Text with the lines broken that are wider than the width; what follows is indented as they are, or a comment."""
    return "".join(_folded(line, width) for line in text.splitlines(keepends=True))


def _folded(line: str, width: int) -> str:
    bare = line.rstrip("\n")
    return "\n".join(_parts(bare, width)) + line[len(bare) :]


def _parts(bare: str, width: int) -> list[str]:
    """The lines that one line becomes; between words, but for letters that are two columns wide."""
    if not bare.isascii():
        from rich.cells import cell_len, chop_cells

        if cell_len(bare) > len(bare):
            return list(chop_cells(bare, width))
    if len(bare) <= width:
        return [bare]
    margin = min(len(bare) - len(bare.lstrip()), width // 2) * " "
    comment = "# " if bare.startswith("# ") else ""
    return textwrap.wrap(
        bare.strip(), width, initial_indent=margin, subsequent_indent=margin + comment, break_on_hyphens=False
    )


def reach_this_machine_directly() -> None:
    """Keep proxies out of what is said to this machine, here and in processes that are started."""
    set_here = {name.lower() for name, value in os.environ.items() if value}
    if set_here.isdisjoint(_PROXIES):
        return
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    known = [host.strip() for host in given.split(",") if host.strip()]
    if "*" not in known:
        known = list(dict.fromkeys([*known, *_LOOPBACK]))
    os.environ |= dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(known))
