"""The store as an SQLite file: its place, and its write-ahead log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from sqlalchemy import event
from sqlalchemy.engine import Engine


def sqlite_file(uri: str) -> Path | None:
    """Place of the file; None of another kind of store."""
    return Path("/", unquote(urlparse(uri).path).lstrip("/")) if uri.startswith("sqlite:") else None


def why_no_database(file: Path) -> str:
    """Why a file that is there is no database; empty where it is one, or is empty or locked."""
    if not file.exists():
        return ""
    try:
        with closing(sqlite3.connect(file, timeout=0)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


def write_ahead_log(file: Path) -> None:
    """Let the UI read while a run writes."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def checkpoint(file: Path | None) -> None:
    """Write the log of a database into it and begin it anew, so that it takes a little more without growing."""
    if file is not None:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@event.listens_for(Engine, "connect")
def _sync_seldom(connection: Any, _record: Any) -> None:
    """Under a write-ahead log, leave syncing to its checkpoints: a loss of power may undo what was logged last."""
    if isinstance(connection, sqlite3.Connection):
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            connection.execute("PRAGMA synchronous=NORMAL")
