"""Commands behind proxies, and where folders take no files."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lever_ray.cli.streams import reach_this_machine_directly
from tests.terminals import DEAD, NOWHERE, PROXIES, ROOT, SERIAL, UNWRITABLE, ran, variables


@pytest.fixture
def tracking_server() -> Iterator[str]:
    """The address of a server that knows one experiment."""
    answer = json.dumps({"experiment": {"experiment_id": "7", "name": "x", "lifecycle_stage": "active"}}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_tracking_server_here_is_reached_past_dead_proxies(console_home: Path, tracking_server: str) -> None:
    words = ["doctor", "cluster=serial", f"tracking.uri={tracking_server}"]
    done = ran(words, variables(console_home, **PROXIES, no_proxy="intranet.example"))
    assert done.code == 0
    assert f"store {tracking_server}, experiment 7" in done.out.decode()


def test_hosts_that_need_no_proxy_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    reach_this_machine_directly()
    assert "no_proxy" not in os.environ
    monkeypatch.setenv("HTTPS_PROXY", DEAD)
    monkeypatch.setenv("NO_PROXY", "intranet.example, localhost")
    monkeypatch.setenv("no_proxy", "")
    reach_this_machine_directly()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "intranet.example,localhost,127.0.0.1,::1"
    monkeypatch.setenv("no_proxy", "*")
    reach_this_machine_directly()
    assert os.environ["NO_PROXY"] == "*"


@pytest.mark.cluster
def test_ray_starts_past_dead_proxies(console_home: Path) -> None:
    done = ran(["doctor", "--ray", "tracking=none"], variables(console_home, **PROXIES))
    assert done.code == 0
    assert b"tasks run on" in done.out


# Folders that take no files.


def test_a_store_that_cannot_be_written_is_refused_at_once(console_home: Path) -> None:
    done = ran(["doctor", "cluster=serial", f"tracking.uri=sqlite:///{NOWHERE}/mlflow.db"], variables(console_home))
    assert done.code == 1
    assert "cannot be written (Not a directory); set tracking.uri" in " ".join(done.out.decode().split())
    assert b"retried" not in done.err


@pytest.mark.parametrize("command", ["build", "experiment"])
def test_a_home_that_cannot_be_made_is_refused(command: str) -> None:
    done = ran([command, *SERIAL], variables(Path(NOWHERE)), cwd=UNWRITABLE)
    assert done.code == 2
    assert re.fullmatch(f"lever-ray: results cannot be written to {NOWHERE} .*\n", done.err.decode())


@pytest.fixture
def without_rights() -> list[str]:
    """What runs a command so that folders without write permission take no files from it, even where root runs it."""
    if os.geteuid():
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", "--bounding-set", rights, "--inh-caps", rights]


@pytest.fixture
def read_only_install(tmp_path: Path) -> Iterator[Path]:
    """The package in folders that take no files."""
    shutil.copytree(ROOT / "lever_ray", tmp_path / "lever_ray", ignore=shutil.ignore_patterns("__pycache__"))
    folders = [path for path in (tmp_path / "lever_ray").rglob("*") if path.is_dir()] + [tmp_path / "lever_ray"]
    for folder in folders:
        folder.chmod(0o555)
    yield tmp_path
    for folder in folders:
        folder.chmod(0o755)


KERNELS = "import os, lever_ray, lever_ray.tasks.gridworld.optimum; print(os.environ.get('NUMBA_CACHE_DIR', ''))"


@pytest.mark.parametrize("rooms", ["sources", "home", "none"])
def test_kernels_are_imported_wherever_nothing_takes_files(
    read_only_install: Path, without_rights: list[str], tmp_path: Path, rooms: str
) -> None:
    taken = NOWHERE if rooms == "none" else str(tmp_path / "runs")
    environment = variables(Path(taken), HOME=NOWHERE, XDG_CACHE_HOME=None, NUMBA_CACHE_DIR=None)
    place = ROOT if rooms == "sources" else read_only_install
    environment["PYTHONPATH"] = str(place)
    done = subprocess.run(
        [*without_rights, sys.executable, "-c", KERNELS], env=environment, cwd=place, capture_output=True, check=True
    )
    cache = done.stdout.decode().strip()
    if rooms == "none":
        assert "lever-ray-numba-" in cache and not Path(cache).exists()
    else:
        assert cache == ("" if rooms == "sources" else f"{taken}/numba")
