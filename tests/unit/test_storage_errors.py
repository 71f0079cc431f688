"""What full disks, locked databases and clusters that do not start are taken for, and what others print."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from lever_ray.cli import guarded
from lever_ray.errors import LibraryError, keeping, storage_error
from lever_ray.tracking.sqlite import checkpoint, write_ahead_log
from tests.unit.test_full_disk import FULL, failing_from, full_database, line_of

# What errors are taken for.


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "no space is left for /data/x; free space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota leaves no space for here; free space"),
        (OSError(errno.EROFS, "Read-only file system"), "the file system of here is read-only; make it take files"),
        (pa.ArrowException("IOError: [errno 28] No space left on device"), "no space is left for here"),
        (sqlite3.OperationalError("database or disk is full"), "no space is left for here"),
        (OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error")), "the disk of here fails or is"),
        (full_database(), "no space is left for here"),
        (raised_from(RuntimeError("a task failed"), FULL), "no space is left for here"),
        (sqlite3.OperationalError("database is locked"), "here stays locked by another process; end what holds it"),
    ],
)  # fmt: skip
def test_errors_of_any_library_are_taken_for_what_they_are(
    error: Exception, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = storage_error(error, "here")
    assert str(found).startswith(told)
    assert str(found).endswith("then run the same command again")

    def command() -> int:
        with keeping("here", lambda: "3 rows are kept"):
            raise error

    assert guarded(command) == 1
    assert "; 3 rows are kept; " in line_of(capsys)


def test_other_errors_stay_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (ValueError("a bug"), FileNotFoundError(errno.ENOENT, "No such file"), MlflowException("no such run")):
        assert storage_error(error, "here") is None
        with pytest.raises(type(error)), keeping("here", lambda: "nothing"):
            raise error

    def refused(cause: OSError) -> int:
        raise LibraryError("the library cannot be written; make room") from cause

    assert guarded(lambda: refused(FULL)) == 1
    assert guarded(lambda: refused(OSError(errno.EACCES, "Permission denied"))) == 2
    assert capsys.readouterr().err == "lever-ray: the library cannot be written; make room\n" * 2


def test_an_error_outside_of_all_that_is_kept_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise FULL

    assert guarded(command) == 1
    assert line_of(capsys) == (
        "lever-ray: no space is left for what the command writes; free space, then run the same command again\n"
    )


# What others print.


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("The node timed out.\nIts last words: ..."), "Ray does not start (The node timed out.); see to"),
        (FULL, "no space is left for Ray's session folder; free space"),
    ],
)
def test_a_cluster_that_does_not_start_is_one_line(
    error: Exception, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from lever_ray.ray_execution import connect

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", failing_from(1, lambda: None, error))
    assert guarded(lambda: int(connect("local"))) == 1
    assert line_of(capsys).startswith(f"lever-ray: {told}")


def test_what_ray_says_of_its_own_state_is_not_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from ray._private.worker import print_to_stdstream

    from lever_ray.ray_execution import connect

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    connect("local")
    print_to_stdstream({"lines": ["[state-dump] NodeManager"], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    assert capsys.readouterr().out == ""


def test_mlflow_prints_no_links_of_its_own() -> None:
    assert os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"


def test_a_checkpoint_makes_room_in_a_database(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    write_ahead_log(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE runs (status TEXT)")
        connection.execute("INSERT INTO runs VALUES ('RUNNING')")
        connection.commit()
        log = file.with_name("store.db-wal")
        assert log.stat().st_size > 0
        checkpoint(file)
        assert log.stat().st_size == 0
        assert connection.execute("SELECT status FROM runs").fetchall() == [("RUNNING",)]
    checkpoint(None)
