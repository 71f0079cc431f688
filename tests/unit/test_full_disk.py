"""Full disks and locked stores: one line, what is kept, and a next start that does only what is missing."""

from __future__ import annotations

import errno
import resource
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from lever_ray.behaviour.psi import embed
from lever_ray.cli import main
from lever_ray.config import TrackingSettings
from lever_ray.errors import StorageError
from lever_ray.library.library import PolicyLibrary
from lever_ray.tracking import Tracker, waiting
from tests.unit.test_tuning_commands import SMALL

EXPERIMENT = ["experiment", *SMALL, "experiment.bootstrap=50", "experiment.random_rollouts=10"]
CELLS = 4
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def template(small_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the small library, ready to be asked, and a store without experiments."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copytree(small_library, folder / "libraries" / "small")
    embed(PolicyLibrary.open(folder / "libraries" / "small"))
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return folder


@pytest.fixture
def home(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the template."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("os.fsync", lambda _: None)
    return tmp_path


def failing_from(call: int, method: Callable[..., Any], error: BaseException, *, after: bool = False) -> Any:
    """A method that raises from a call on, before it does anything or after."""
    calls = Counter[str]()

    def failing(*arguments: Any, **options: Any) -> Any:
        calls["made"] += 1
        if calls["made"] >= call and not after:
            raise error
        found = method(*arguments, **options)
        if calls["made"] >= call:
            raise error
        return found

    return failing


def full_database() -> MlflowException:
    """What MLflow raises where the disk of its database is full."""
    low = sqlite3.OperationalError("database or disk is full")
    error = MlflowException(str(OperationalError("INSERT INTO runs", {}, low)))
    error.__cause__ = low
    return error


def line_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on standard error."""
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    return told


def runs_in(home: Path) -> tuple[list[Run], list[Run]]:
    """Parents, and children."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("lever-ray").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in children], children


def check_logged_once(home: Path) -> None:
    """One parent with all its children, every metric once, and every table with as many rows as it should."""
    (parent,), children = runs_in(home)
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert len({run.data.tags["part"] for run in children}) == len(children) == CELLS
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    for run in (parent, *children):
        for name in (each for each in run.data.metrics if not each.startswith("system/")):
            assert len(client.get_metric_history(run.info.run_id, name)) == 1
    for table, rows in (("summary", CELLS), ("layouts", 3 * CELLS)):
        assert len(client.load_table(parent.info.experiment_id, f"{table}.json", [parent.info.run_id])) == rows
    artifacts = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert {"rows.parquet", "summary.parquet", "figures"} <= artifacts


# Experiments.


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_the_system_refuses_ends_in_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with files_up_to(5_000):
        code = main([*EXPERIMENT, "tracking=none"])
    told = line_of(capsys)
    assert code == 1
    assert "would be larger than this process may write" in told
    assert "no rows to keep yet; raise that limit, then run the same command again" in told
    assert not [*home.glob("experiments/**/*.tmp"), *home.glob("experiments/**/*.parquet")]
    assert main([*EXPERIMENT, "tracking=none"]) == 0


def test_a_disk_that_fills_up_keeps_finished_environments_and_the_run(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", failing_from(3, pq.write_table, FULL))
        assert main(EXPERIMENT) == 1
    told = line_of(capsys)
    assert "rows of 2 finished environments are kept in" in told
    assert f"{home}/experiments/quick-" in told
    assert "free space, then run the same command again" in told
    (parent,), _ = runs_in(home)
    assert parent.info.status == "FAILED"
    assert main(EXPERIMENT) == 0
    assert "2 of 3 environments kept from an earlier run" in capsys.readouterr().out
    (again,), _ = runs_in(home)
    assert again.info.run_id == parent.info.run_id
    check_logged_once(home)


def refused_once(method: Callable[..., Any]) -> Any:
    """A method that the full disk of a database refuses the first time."""
    calls = Counter[str]()

    def refused(*arguments: Any, **options: Any) -> Any:
        calls["made"] += 1
        if calls["made"] == 1:
            raise full_database()
        return method(*arguments, **options)

    return refused


@pytest.mark.parametrize("room", ["at once", "after a checkpoint", "later"])
@pytest.mark.parametrize("other", [[], ["experiment.bootstrap=60"], ["experiment.resume=false"]])
def test_a_run_that_a_full_disk_ends_before_anything_is_finished_does_not_go_on_running(
    home: Path, monkeypatch: pytest.MonkeyPatch, room: str, other: list[str]
) -> None:
    ends = {
        "at once": MlflowClient.set_terminated,
        "after a checkpoint": refused_once(MlflowClient.set_terminated),
        "later": failing_from(1, MlflowClient.set_terminated, full_database()),
    }
    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", failing_from(1, pq.write_table, FULL))
        patch.setattr(MlflowClient, "set_terminated", ends[room])
        assert main(EXPERIMENT) == 1
    (parent,), _ = runs_in(home)
    assert parent.info.status == ("RUNNING" if room == "later" else "FAILED")
    assert main([*EXPERIMENT, *other]) == 0
    parents, _ = runs_in(home)
    assert Counter(run.info.status for run in parents) == Counter(["FINISHED"] + ["FAILED"] * bool(other))
    if not other:
        assert parents[0].info.run_id == parent.info.run_id


@pytest.mark.parametrize(
    ("method", "call", "after"),
    [
        ("create_run", 4, True),  # two children, and one that is empty
        ("log_batch", 5, True),  # two children, and one that was not ended
        ("log_text", 2, True),  # a table that the page does not show yet
        ("set_terminated", 1 + CELLS, False),  # all but the end of the parent
    ],
)
def test_what_was_logged_stays_and_the_next_start_logs_what_is_missing(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    call: int,
    after: bool,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            MlflowClient, method, failing_from(call, getattr(MlflowClient, method), full_database(), after=after)
        )
        assert main(EXPERIMENT) == 1
    told = line_of(capsys)
    assert f"no space is left for the tracking store sqlite:///{home}/mlflow.db; rows of 3 finished" in told
    with monkeypatch.context() as patch:
        patch.setattr(
            "lever_ray.experiment.run.run_environment", failing_from(1, lambda: None, AssertionError("computed"))
        )
        assert main(EXPERIMENT) == 0
    assert "3 of 3 environments kept from an earlier run" in capsys.readouterr().out
    check_logged_once(home)
    assert not list(home.glob("experiments/*/finished"))


def test_a_finished_experiment_is_measured_and_logged_anew_on_demand(home: Path) -> None:
    assert main(EXPERIMENT) == 0
    assert main([*EXPERIMENT, "experiment.resume=false"]) == 0
    parents, children = runs_in(home)
    assert (len(parents), len(children)) == (2, 2 * CELLS)
    assert {run.info.status for run in parents} == {"FINISHED"}


@pytest.mark.parametrize("other", ["experiment.bootstrap=60", "experiment.resume=false"])
def test_other_settings_or_no_wish_to_resume_get_a_run_of_their_own(
    home: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", failing_from(4, MlflowClient.create_run, full_database()))
        assert main(EXPERIMENT) == 1
    assert main([*EXPERIMENT, other]) == 0
    parents, children = runs_in(home)
    assert Counter(run.info.status for run in parents) == {"FINISHED": 1, "FAILED": 1}
    assert len(children) == 2 + CELLS


def test_an_experiment_has_one_process_at_a_time(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    asked = [*EXPERIMENT, "tracking=none", "experiment.resume=false"]
    assert main(asked) == 0
    capsys.readouterr()
    (lock,) = home.glob("experiments/quick-*.driver")
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert main(asked) == 2
    assert "is being run by another process; wait for it" in line_of(capsys)


# Studies.


def test_a_disk_that_fills_up_keeps_the_trials_of_a_study(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = ["tune", *SMALL, "tracking=none"]
    with monkeypatch.context() as patch:
        append = JournalFileBackend.append_logs
        patch.setattr(JournalFileBackend, "append_logs", failing_from(60, append, FULL))
        assert main(quiet) == 1
    told = line_of(capsys)
    assert f"trials told so far are kept in {home}/tuning/s.journal; free space, then run the same command" in told
    assert main(quiet) == 0
    assert "Study s goes on after" in capsys.readouterr().out


def test_a_front_that_could_not_be_logged_is_logged_by_the_next_start(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_figure", failing_from(1, MlflowClient.log_figure, full_database()))
        assert main(["tune", *SMALL]) == 1
    assert "trials told so far are kept in" in line_of(capsys)
    assert main(["tune", *SMALL]) == 0
    parents, children = runs_in(home)
    assert len(children) == 6
    (finished,) = [run for run in parents if run.info.status == "FINISHED"]
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    assert "front.parquet" in {artifact.path for artifact in client.list_artifacts(finished.info.run_id)}


# Locked stores.


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process's lock on a store."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Databases that refuse at once, and a patience of moments."""

    def at_once(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _m: bool) -> tuple[str, Any]:
        return ("PRAGMA busy_timeout = 50" if "busy_timeout" in statement else statement), parameters

    event.listen(Engine, "before_cursor_execute", at_once, retval=True)
    for name, seconds in (("FIRST_TOLD", 0.3), ("TOLD_AGAIN", 0.4), ("GIVEN_UP", 1.5)):
        monkeypatch.setattr(waiting, name, seconds)
    yield
    event.remove(Engine, "before_cursor_execute", at_once)


def test_a_locked_store_is_waited_for_and_the_wait_is_told(hasty: None, home: Path) -> None:
    told: list[str] = []
    tracker = Tracker(TrackingSettings(uri=f"sqlite:///{home}/mlflow.db"), told.append)
    with tracker.run("demo", tags={}, parameters={}) as run:
        assert told == []
        begun = threading.Event()

        def hold() -> None:
            with locked(home / "mlflow.db"):
                begun.set()
                time.sleep(0.9)

        holder = threading.Thread(target=hold)
        holder.start()
        begun.wait()
        run.write(metrics=[("m", 1.0, 0)])
        holder.join()
    assert 1 <= len(told) <= 3
    assert told[0].startswith(f"Waiting for the tracking store sqlite:///{home}/mlflow.db: no answer for ")
    assert MlflowClient(tracker.uri).get_run(run.id).data.metrics["m"] == 1.0


def test_a_store_that_stays_locked_is_given_up_in_one_line_and_the_next_start_goes_on(
    hasty: None, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()
    ended = threading.Event()

    def hold() -> None:
        with locked(home / "mlflow.db"):
            begun.set()
            ended.wait(60)

    holder = threading.Thread(target=hold)
    create = MlflowClient.create_run

    def third(*arguments: Any, **options: Any) -> Any:
        if len(runs_in(home)[1]) == 2 and not begun.is_set():
            holder.start()
            begun.wait()
        return create(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", third)
        since = time.monotonic()
        assert main(EXPERIMENT) == 1
    assert time.monotonic() - since < 20
    ended.set()
    holder.join()
    told = capsys.readouterr()
    assert "Waiting for the tracking store" in told.out
    assert told.err.count("\n") == 1
    assert "stays locked by another process, after" in told.err
    assert "rows of 3 finished environments are kept in" in told.err
    (parent,), _ = runs_in(home)
    assert parent.info.status == "RUNNING"  # nobody could end it
    assert main(EXPERIMENT) == 0
    check_logged_once(home)


def test_a_store_that_is_locked_from_the_start_is_given_up_in_one_line(
    hasty: None, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Tracker(TrackingSettings(uri=f"sqlite:///{home}/mlflow.db", experiment="lever-ray"))
    with locked(home / "mlflow.db"):
        assert main(EXPERIMENT) == 1
    assert "stays locked by another process" in line_of(capsys)


def test_a_full_disk_under_a_new_store_is_no_wrong_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MlflowClient, "create_experiment", failing_from(1, lambda: None, full_database()))
    with pytest.raises(StorageError, match="no space is left for the tracking store"):
        Tracker(TrackingSettings(uri=f"sqlite:///{home}/mlflow.db"))
