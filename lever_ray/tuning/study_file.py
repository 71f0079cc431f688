"""The journal file of a tuning study: one driver at a time, and nothing lost where that driver was killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lever_ray.errors import SettingsError
from lever_ray.experiment.run import held_alone

_LONG_HELD = 2.0
"""Seconds after which a lock of a single write was left behind; writes take milliseconds."""
_LOOKED_AT = 1 << 20
"""Bytes at the end of a journal in which its last line is looked for."""


@contextmanager
def only_driver(journal: Path) -> Iterator[None]:
    """Keep other drivers away from a study for as long as this process lives; a kill frees it.

    Raises:
        SettingsError: another process drives the study.
    """
    refusal = f"study {journal.stem!r} is being tuned by another process; wait for it, or choose another tuning.study"
    with held_alone(journal.with_name(f"{journal.name}.driver"), refusal):
        yield


def mend_journal(journal: Path) -> None:
    """Remove what a killed driver left half done: a torn last line, and the lock of a write.

    A torn line is an entry that was never finished; appended to, it would spoil the entry after it as well.

    Raises:
        SettingsError: the file is no journal; it is left as it is.
    """
    lock = journal.with_name(f"{journal.name}.lock")
    if lock.is_symlink() and time.time() - lock.lstat().st_mtime > _LONG_HELD:
        lock.unlink(missing_ok=True)
    if not journal.exists():
        return
    _check_journal(journal)
    with journal.open("r+b") as handle:
        end = handle.seek(0, 2)
        begun = max(0, end - _LOOKED_AT)
        handle.seek(begun)
        tail = handle.read()
        if tail and not tail.endswith(b"\n"):
            handle.truncate(begun + tail.rfind(b"\n") + 1)


def _check_journal(journal: Path) -> None:
    """Refuse a file whose first line is finished and no entry of a journal."""
    with journal.open("rb") as handle:
        first = handle.readline(_LOOKED_AT)
    if not first.endswith(b"\n") and len(first) < _LOOKED_AT:
        return
    try:
        sound = "op_code" in json.loads(first)
    except (ValueError, TypeError):
        sound = False
    if not sound:
        raise SettingsError(f"{journal} is no journal of a study; move it away, or choose another tuning.study")
