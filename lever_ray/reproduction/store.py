"""Finished cells on disk: Parquet parts that are only ever added, read at the start as results by address."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lever_ray.errors import StorageError
from lever_ray.experiment.run import write_rows

Row = dict[str, Any]
MOST_PARTS = 64
"""Parts from which on they are merged as the store is opened."""
EVERY = 1.0
"""Seconds of results that are kept in memory before they are written: the most that a kill loses."""
_COLUMNS = ("address", "kind", "like", "seconds", "cpu", "row", "error", "size")


@dataclass(frozen=True)
class Finished:
    """What became of a cell.

    Attributes:
        address: of the cell.
        kind: of the cell.
        like: see :class:`lever_ray.reproduction.cells.Cell`.
        seconds: wall-clock seconds that it took.
        cpu: CPU seconds.
        row: what it gave; None where it failed.
        error: why it failed; empty where it did not.
        size: see :class:`lever_ray.reproduction.cells.Cell`.
    """

    address: str
    kind: str
    like: tuple[str, ...]
    seconds: float
    cpu: float
    row: Row | None
    error: str = ""
    size: float = 1.0


class _Kept(NamedTuple):
    """A result as the store holds it, its row as text: a third of the memory, and read when it is asked for."""

    finished: Finished
    text: str


class CellStore:
    """Results by address in a folder.

    What failed is kept for the record alone: it is not among the results, so that the next start tries it again.

    Args:
        folder: made where it is missing.

    Raises:
        StorageError: a part cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._waiting: list[_Kept] = []
        self._written = monotonic()
        files = sorted(folder.glob("part-*.parquet"))
        self._next = 1 + max((_number(file) for file in files), default=0)
        self._known: dict[str, _Kept] = {}
        for file in files:
            self._remember(_read(file))
        if len(files) > MOST_PARTS:
            self._merge(files)

    def __contains__(self, address: object) -> bool:
        return address in self._known

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def get(self, address: str) -> Finished | None:
        """The result of an address; None where there is none."""
        kept = self._known.get(address)
        return None if kept is None else replace(kept.finished, row=json.loads(kept.text))

    def results(self) -> Iterator[Finished]:
        """All results, without their rows: kind and seconds."""
        return (kept.finished for kept in self._known.values())

    def add(self, finished: Sequence[Finished]) -> None:
        """Keep some results, on disk within :data:`EVERY` second of results."""
        kept = [_Kept(replace(each, row=None), json.dumps(each.row)) for each in finished]
        self._waiting += kept
        self._remember(kept)
        if monotonic() - self._written >= EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory alone."""
        if self._waiting:
            self._write(self._waiting)
            self._waiting = []
        self._written = monotonic()

    def _remember(self, kept: Iterable[_Kept]) -> None:
        self._known |= {each.finished.address: each for each in kept if not each.finished.error}

    def _write(self, kept: Iterable[_Kept]) -> None:
        rows = [asdict(each.finished) | {"row": each.text, "like": list(each.finished.like)} for each in kept]
        write_rows(self._folder / f"part-{self._next:06d}.parquet", rows)
        self._next += 1

    def _merge(self, files: Sequence[Path]) -> None:
        """Make one part of many; a kill in between leaves results twice, which changes nothing."""
        self._write(self._known.values())
        for file in files:
            with suppress(FileNotFoundError):
                file.unlink()


def _number(file: Path) -> int:
    text = file.stem.removeprefix("part-")
    return int(text) if text.isdigit() else 0


def _read(file: Path) -> Iterator[_Kept]:
    try:
        with file.open("rb") as handle:
            table = pq.read_table(handle, columns=list(_COLUMNS))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise StorageError(f"{file} cannot be read ({error})", "delete it: what it held is computed again") from error
    for row in table.to_pylist():
        text = row["row"]
        yield _Kept(Finished(**row | {"row": None, "like": tuple(row["like"])}), text)
