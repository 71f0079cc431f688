"""`lever-ray ui`: the links that are asked for, printed when the server answers, and none of its own lines."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lever_ray.app.serving import links_of, serve
from lever_ray.app.settings import load_settings
from lever_ray.cli import main
from lever_ray.errors import UnknownName
from lever_ray.tracking import Tracker, View, scatter
from tests.terminals import ROOT, variables
from tests.unit.test_tuning_commands import SMALL

LATE = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
print("noise of the server", flush=True)
time.sleep(1)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("os.fsync", lambda _: None)
    return tmp_path


@pytest.fixture
def port() -> int:
    """One that is free."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def published(tracker: Tracker, kind: str, name: str) -> None:
    """Views as an experiment or a study publishes them."""
    second = [f"{name} by strategy"] if kind == "experiment" else []
    tracker.publish(kind, *(View(each, [scatter("speedup", "quality")], {}) for each in (name, *second)))


def test_settings_choose_the_link(small_library: Path, home: Path) -> None:
    shutil.copytree(small_library, home / "libraries" / "small")
    asked = [*SMALL, "experiment.bootstrap=50", "experiment.random_rollouts=10"]
    assert main(["experiment", *asked]) == 0
    tracker = Tracker(load_settings(asked).tracking)
    (title,) = (name for name in tracker.view_names() if name.startswith("quick ") and "by strategy" not in name)
    for kind, name in (("experiment", "later 123456"), ("tuning", "tune s"), ("tuning", "tune t")):
        published(tracker, kind, name)
    shared = {"key": "mlflow.sharedViewState.x", "value": "deflate;no name"}
    tracker._client.set_experiment_tag(tracker.experiment_id, **shared)

    def links(*words: str) -> dict[str, str]:
        found = links_of(Tracker(load_settings().tracking), load_settings(words, about=()), words, port=5001)
        return {kind: link.rpartition("=")[2] for kind, link in found.items()}

    assert links() == links("tracking=sqlite") == {"experiment": "later-123456", "tuning": "tune-t"}
    own = [word for word in asked if not word.startswith("tuning.")]
    assert links(*own) == {"experiment": title.replace(" ", "-")}
    assert links("tuning.study=s") == {"tuning": "tune-s"}
    assert links(*asked) == {"experiment": title.replace(" ", "-"), "tuning": "tune-s"}
    for words, said in (
        (["experiment=demo"], r"unknown experiment 'demo'.*Known: later 123456, quick \w{6}\..*`lever-ray experiment`"),
        (
            [*own, "experiment.random_rollouts=11"],
            r"unknown experiment with these settings 'quick \w{6}'.*Known: later",
        ),
        (["tuning.study=x"], r"unknown study 'x'.*Known: s, t\..*`lever-ray tune`"),
    ):
        with pytest.raises(UnknownName, match=said):
            links(*words)


def test_links_are_printed_when_the_server_answers(home: Path, port: int) -> None:
    code = (
        "import sys; from lever_ray.app.serving import serve; "
        f"sys.exit(serve([sys.executable, '-c', {LATE!r}, '{port}'], {{'experiment': 'http://here'}}, port={port}))"
    )
    begun = time.monotonic()
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, env=variables(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ui:
        assert ui.stdout is not None
        assert ui.stderr is not None
        assert ui.stdout.readline() == "Experiment: http://here\n"
        assert time.monotonic() - begun > 1
        socket.create_connection(("127.0.0.1", port), 5).close()
        os.kill(ui.pid, signal.SIGTERM)
        assert ui.wait(20) == 128 + signal.SIGTERM
        assert "noise" not in ui.stdout.read() + ui.stderr.read()
    assert "noise of the server" in (home / "ui.log").read_text()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_a_server_that_fails_is_told_with_the_file_of_what_it_said(
    home: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = [sys.executable, "-c", "import sys; print('noise'); sys.exit(3)"]
    assert serve(failing, {"experiment": "http://here"}, port=port) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"lever-ray: the MLflow UI ended with code 3; what it said is in {home}/ui.log\n"
    assert (home / "ui.log").read_text() == "noise\n"
