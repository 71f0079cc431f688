"""A tuning job on Ray, killed without warning; the study goes on as if it had not been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lever_ray.app.session import session
from lever_ray.app.settings import load_settings
from lever_ray.app.tuning_commands import TuningReport, tune_budget
from lever_ray.cli import main

ROOT = Path(__file__).resolve().parents[2]
STUDY = [
    "library.name=small",
    "library.layouts=3",
    "library.training_seeds=1",
    "library.objectives=[path,gold,hazard,lever,path-gold,hazard-lever]",
    "experiment=quick",
    "tracking=none",
    "tuning.study=cut",
    "tuning.trials=14",
    "tuning.setup.mode=double",
    "tuning.space.operators=[sum,max,switch]",
    "tuning.space.rankers=[recorded-return,offline-return]",
    "tuning.bootstrap=50",
]
RUNNING, COMPLETE, PRUNED = 0, 1, 2
_STATE_OF_TRIAL = 6
"""Operation code of Optuna's journal."""

pytestmark = pytest.mark.cluster


def told(journal: Path) -> int:
    """How many trials a journal holds a result of."""
    if not journal.exists():
        return 0
    lines = journal.read_text().splitlines(keepends=True)
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    states = [entry.get("state") for entry in entries if entry["op_code"] == _STATE_OF_TRIAL]
    return sum(state in (COMPLETE, PRUNED) for state in states)


def kill_after(trials: int, home: Path, tmp_path: Path) -> None:
    """Start the job, and kill its driver as soon as so many trials were told."""
    variables = os.environ | {"LEVER_RAY_HOME": str(home), "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
    log = tmp_path / "log"
    job = subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / "tune_budget.py"), *STUDY],
        env=variables,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    try:
        while told(home / "tuning" / "cut.journal") < trials:
            assert job.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
        job.wait(timeout=10)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)


def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> TuningReport:
    monkeypatch.setenv("LEVER_RAY_HOME", str(home))
    with session(load_settings([*STUDY, "cluster=serial"]), tracked=False) as parts:
        return tune_budget(parts)


def outcomes(report: TuningReport) -> list[tuple[str, str, float, float]]:
    return [(row["label"], row["state"], row["quality"], row["candidates"]) for row in report.trials]


def test_a_job_killed_on_ray_goes_on_to_the_same_study(
    small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(small_library, cut / "libraries" / "small")
    kill_after(4, cut, tmp_path)
    kept = told(cut / "tuning" / "cut.journal")
    assert 4 <= kept < 14
    resumed = run(cut, monkeypatch)
    assert f"goes on after {kept} finished trials" in capsys.readouterr().out
    assert len(resumed.trials) == 14
    assert {state for _, state, _, _ in outcomes(resumed)} <= {"complete", "pruned"}
    assert outcomes(resumed)[:kept] == outcomes(run(cut, monkeypatch))[:kept]
    monkeypatch.setenv("LEVER_RAY_HOME", str(cut))
    assert main(["recommend", "--share", "0.5", "--name", "cheap", *STUDY]) == 0
    query = ["compose", "--objective", "path-gold-hazard-lever", "--environment", "grid8-1", "--json"]
    assert main([*query, *STUDY, "strategy=tuned-cheap"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    told_of = load_settings([*STUDY, "strategy=tuned-cheap"]).strategy
    assert (answer["operator"], answer["ranker"]) == (told_of.operator, told_of.ranker)
