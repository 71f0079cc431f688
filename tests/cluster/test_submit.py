"""A job submitted to a cluster of `ray start --head`, as `make cluster` and `make submit` do it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lever_ray.library.library import PolicyLibrary

ROOT = Path(__file__).resolve().parents[2]
JOB = [
    "experiment=quick",
    "library.name=tiny",
    "library.layouts=2",
    "library.training_seeds=1",
    "experiment.bootstrap=50",
]

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Cluster:
    """A cluster's dashboard, and the environment that its commands need."""

    dashboard: str
    variables: dict[str, str]
    folder: Path

    def submit(self, *overrides: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Submit an experiment from the repository and wait for it."""
        runtime = json.dumps({"env_vars": variables})
        command = [
            "ray",
            "job",
            "submit",
            "--address",
            self.dashboard,
            "--working-dir",
            ".",
            "--runtime-env-json",
            runtime,
        ]
        job = ["--", "python", "jobs/run_experiment.py", *overrides]
        for _ in range(5):
            done = subprocess.run(
                [*command, *job], cwd=ROOT, env=self.variables, capture_output=True, text=True, timeout=240, check=False
            )
            if "No available agent" not in done.stderr + done.stdout:  # a loaded machine starts it late
                break
            time.sleep(5)
        return done


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="lever-ray-"))  # short, since socket paths may have 107 characters
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    port, dashboard_port, agent_port = _free_ports(3)  # another cluster of this machine may have the usual ones
    own = {"RAY_AUTH_TOKEN_PATH": str(token), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    variables = {name: value for name, value in os.environ.items() if not name.startswith("LEVER_RAY")} | own
    options = [f"--port={port}", f"--dashboard-port={dashboard_port}", f"--dashboard-agent-listen-port={agent_port}"]
    places = [
        "--dashboard-host=127.0.0.1",
        "--num-cpus=2",
        "--node-ip-address=127.0.0.1",
        f"--temp-dir={folder / 'ray'}",
        "--disable-usage-stats",
    ]
    head = subprocess.Popen(
        ["ray", "start", "--head", "--block", *options, *places],
        env=variables,
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    started = Cluster(f"http://127.0.0.1:{dashboard_port}", variables, folder)
    try:
        _wait_for(started)
        yield started
    finally:
        _end(head)
        shutil.rmtree(folder, ignore_errors=True)


def _end(head: subprocess.Popen[bytes]) -> None:
    """End the processes of the cluster, and none but them."""
    os.killpg(head.pid, signal.SIGTERM)
    try:
        head.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait(timeout=10)


def _wait_for(cluster: Cluster) -> None:
    """Return once the cluster takes jobs; fail with the end of its log after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        listed = subprocess.run(
            ["ray", "job", "list", "--address", cluster.dashboard],
            env=cluster.variables,
            capture_output=True,
            check=False,
        )
        if listed.returncode == 0:
            return
    pytest.fail(f"the cluster did not start: {(cluster.folder / 'log').read_text()[-800:]}")


def test_a_submitted_job_writes_to_its_home_and_logs_to_the_given_store(cluster: Cluster, tmp_path: Path) -> None:
    home, store = tmp_path / "home", f"sqlite:///{tmp_path}/mlflow.db"
    variables = _runtime_variables({"LEVER_RAY_HOME": str(home), "MLFLOW_TRACKING_URI": store})
    done = cluster.submit(*JOB, variables=variables | {"LEVER_RAY_COMMIT": "abc1234"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Mean return over 2 layouts" in done.stdout
    library = PolicyLibrary.open(home / "libraries" / "tiny")
    assert library.environments == ("grid8-0", "grid8-1")
    (rows,) = (home / "experiments").glob("quick-*/rows.parquet")
    assert pq.read_table(rows).num_rows == 2 * 2 * 2
    assert _logged_runs(store) == {"parents": 1, "children": 4, "commit": "abc1234"}
    session = cluster.folder / "ray"
    assert list(session.rglob("mlflow.db*")) == []
    assert not [path for path in session.rglob("runs") if path.is_dir()]
    assert Path(variables["NUMBA_CACHE_DIR"]).is_relative_to(home)
    for folder in (home, session):
        assert list(folder.rglob("*.nb[ic]")) == [], "its kernels are those of the installation"


def _runtime_variables(given: dict[str, str]) -> dict[str, str]:
    """What `make submit` sends along from an environment."""
    done = subprocess.run(
        [sys.executable, "-m", "lever_ray", "runtime-env"],
        cwd=ROOT,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=True,
    )
    variables: dict[str, str] = json.loads(done.stdout)["env_vars"]
    return variables


def _logged_runs(store: str) -> dict[str, object]:
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("lever-ray")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return {"parents": len(parents), "children": len(runs) - len(parents), "commit": parents[0].data.tags["commit"]}


def test_a_job_without_a_home_refuses_to_write_into_the_session_folder(cluster: Cluster) -> None:
    done = cluster.submit(*JOB, variables={})
    assert done.returncode != 0
    assert "inside a Ray session folder" in done.stdout + done.stderr
    assert "set LEVER_RAY_HOME" in done.stdout + done.stderr


def test_wrong_input_fails_the_job_with_one_clear_line(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.submit("strategy=hybird", variables={"LEVER_RAY_HOME": str(tmp_path / "home")})
    assert done.returncode != 0
    assert "unknown option of strategy 'hybird'. Did you mean 'hybrid'?" in done.stdout + done.stderr
    assert not (tmp_path / "home").exists()


def test_the_cluster_takes_no_orders_without_the_token(cluster: Cluster) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{cluster.dashboard}/api/jobs/", timeout=10)
    assert refused.value.code in (401, 403)
