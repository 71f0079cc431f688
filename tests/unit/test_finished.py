"""What is finished is shown again, and neither computed nor logged a second time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lever_ray.app import finished
from lever_ray.cli import main
from tests.unit.test_tuning_commands import SMALL

DEMO = ["demo", *SMALL, "experiment.bootstrap=50", "experiment.random_rollouts=10"]


def runs_of(home: Path) -> dict[str, str]:
    """Status of every run by its id."""
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("lever-ray").experiment_id])
    return {run.info.run_id: run.info.status for run in found}


def told(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    """Lines of tables, and links."""
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if line.startswith(" ")], [line for line in lines if "http://" in line]


@pytest.fixture
def nothing_computed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Refuses to compute, to be applied after something was."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was computed")

    monkeypatch.setattr("lever_ray.experiment.run.run_environment", refuse)
    monkeypatch.setattr("lever_ray.app.tuning_commands.Bench", refuse)
    monkeypatch.setattr("lever_ray.app.session._start_executor", refuse)
    monkeypatch.setattr("lever_ray.app.session.warm_up", refuse)
    return monkeypatch


def test_a_second_demo_shows_the_first_one(
    home: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    assert main(DEMO) == 0
    first, runs = told(capsys), runs_of(home)
    assert [link.partition(":")[0] for link in first[1]] == ["Experiment", "Tuning"]
    request.getfixturevalue("nothing_computed")
    assert main(DEMO) == 0
    said = capsys.readouterr().out
    assert said.count("Experiment quick is finished already; nothing to do.") == 1
    assert "experiment.resume=false computes it again" in said
    assert "Study s has 6 trials of 6 already: nothing is left to tune" in said
    assert main(DEMO) == 0
    assert told(capsys) == first
    assert runs_of(home) == runs
    assert main(["experiment", *DEMO[1:]]) == 0
    assert "finished already" in capsys.readouterr().out


@pytest.mark.parametrize("why", ["resume", "settings", "code", "store", "rows", "note", "deleted"])
def test_what_is_not_the_same_is_computed(
    home: Path, why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["experiment", *DEMO[1:]]
    assert main(asked) == 0
    (folder,) = (each for each in (home / "experiments").iterdir() if each.is_dir())
    runs = runs_of(home)
    if why == "code":
        monkeypatch.setattr(finished, "digest_of", lambda _: "another")
    elif why == "store":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/other.db")
    elif why == "rows":
        (folder / "rows.parquet").unlink()
    elif why == "note":
        (folder / "finished.json").write_text("{")
    elif why == "deleted":
        noted = json.loads((folder / "finished.json").read_text())["run"]
        MlflowClient(f"sqlite:///{home}/mlflow.db").delete_run(noted)
    changes = {"resume": ["experiment.resume=false"], "settings": ["experiment.bootstrap=60"]}
    capsys.readouterr()
    assert main([*asked, *changes.get(why, [])]) == 0
    said = capsys.readouterr().out
    assert "finished already" not in said
    assert "Experiment quick: 3/3" in said
    if why != "store":
        assert len(runs_of(home)) > len(runs) - (why == "deleted")
    if why != "settings":
        assert main(asked) == 0  # in turn, it is finished
        assert "finished already" in capsys.readouterr().out


def test_an_experiment_without_tracking_is_finished_without_it(
    home: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    asked = ["experiment", *DEMO[1:]]
    assert main([*asked, "tracking=none"]) == 0
    assert main(asked) == 0  # nothing of it stands in the store
    assert "finished already" not in capsys.readouterr().out
    request.getfixturevalue("nothing_computed")
    assert main([*asked, "tracking=none"]) == 0
    assert "finished already" in capsys.readouterr().out


def test_an_experiment_of_a_demo_that_stopped_in_tuning_is_not_computed_again(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lever_ray.app.tuning_commands.tune", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main(DEMO)
    capsys.readouterr()
    assert main(DEMO) == 0
    said = capsys.readouterr().out
    assert "Experiment quick is finished already" in said
    assert "Tuning s: 6/6" in said
    assert len([line for line in said.splitlines() if "http://" in line]) == 2
