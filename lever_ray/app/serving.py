"""The MLflow UI: the links that were asked for, and the server behind them, whose own lines go to a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from lever_ray.app.keys import key_of
from lever_ray.app.question import question_of
from lever_ray.app.tuning_commands import run_name
from lever_ray.config import Settings, make_home
from lever_ray.console import make_console
from lever_ray.errors import UnknownName
from lever_ray.progress import working
from lever_ray.tracking import Tracker, experiments_among

_ABOUT_THE_STORE = {"tracking", "cluster"}
"""Groups of settings that ask about nothing that was logged."""
_LOG = "ui.log"
"""File below the home."""
_PATIENCE = 5.0
"""Seconds that a server has to end."""


def links_of(tracker: Tracker, settings: Settings, words: Sequence[str], *, port: int) -> dict[str, str]:
    """Links by kind: to what settings ask about, or to what was logged last where they ask about nothing.

    Args:
        tracker: of the store.
        settings: that the words give.
        words: settings as given: those of ``tuning`` ask about a study, others about an experiment.
        port: of the UI.

    Raises:
        UnknownName: the store has no such experiment or study.
        LibraryError: the library of the experiment is missing, so that its settings cannot be compared.
    """
    asked = {key_of(word).partition(".")[0] for word in words} - _ABOUT_THE_STORE
    if not asked:
        return tracker.links(port)
    names = tracker.view_names()
    if asked - {"tuning"}:
        tracker.point("experiment", _experiment(settings, experiments_among(names), tracker.uri))
    if "tuning" in asked:
        studies = [name.removeprefix(run_name("")) for name in names if name.startswith(run_name(""))]
        study = _known("study", settings.tuning.study, studies, tracker.uri, "lever-ray tune")
        tracker.point("tuning", run_name(study))
    return tracker.links(port)


def _experiment(settings: Settings, names: Sequence[str], uri: str) -> str:
    """Name of the view of an experiment; of which settings, its digest says."""
    name = settings.experiment.name
    if name not in {each.rpartition(" ")[0] for each in names}:
        raise UnknownName("experiment", name, names, hint=_hint(uri, "lever-ray experiment"))
    return _known("experiment with these settings", question_of(settings).title, names, uri, "lever-ray experiment")


def _known(kind: str, name: str, names: Sequence[str], uri: str, command: str) -> str:
    if name not in names:
        raise UnknownName(kind, name, names, hint=_hint(uri, command))
    return name


def _hint(uri: str, command: str) -> str:
    return f"They are those in {uri}; `{command}` with the same settings logs another."


def serve(command: Sequence[str], links: Mapping[str, str], *, port: int) -> int:
    """Serve until the server ends or is interrupted; links are printed once it answers. Its exit code.

    Args:
        command: line of the server.
        links: by kind.
        port: that it listens at on 127.0.0.1.
    """
    log = make_home() / _LOG
    with _running(command, log) as server:
        with working(make_console(stderr=True), "Starting the MLflow UI", at_once=False):
            while server.poll() is None and not _answers(port):
                time.sleep(0.1)
        if server.poll() is None:
            for kind, link in links.items():
                sys.stdout.write(f"{kind.capitalize()}: {link}\n")  # whole: broken over lines it leads nowhere
            sys.stdout.flush()
        code = server.wait()
    if code:
        sys.stderr.write(f"lever-ray: the MLflow UI ended with code {code}; what it said is in {log}\n")
    return code


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process, with those that it starts; they end when the block does, also by a signal that ends this one."""
    settings = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as said:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=settings, start_new_session=True
        )
    kept = {which: signal.signal(which, _end) for which in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield server
    finally:
        for which, handler in kept.items():
            signal.signal(which, handler)
        _kill(server)


def _end(which: int, _frame: Any) -> None:
    raise SystemExit(128 + which)


def _kill(server: subprocess.Popen[bytes]) -> None:
    for which in (signal.SIGTERM, signal.SIGKILL):
        if server.poll() is not None:
            return
        os.killpg(server.pid, which)
        try:
            server.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            continue
