"""`lever-ray tune` and `recommend`, as a person runs them, and what they leave in MLflow."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lever_ray.app.settings import load_settings
from lever_ray.cli import main

SMALL = [
    "cluster=serial",
    "library.name=small",
    "library.layouts=3",
    "library.training_seeds=1",
    "library.objectives=[path,gold,hazard,lever,path-gold,hazard-lever]",
    "experiment=quick",
    "tuning.setup.mode=double",
    "tuning.trials=6",
    "tuning.bootstrap=50",
    "tuning.study=s",
]


def test_a_study_is_tabled_drawn_logged_and_recommended_from(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mlflow import MlflowClient

    assert main(["tune", *SMALL]) == 0
    told = capsys.readouterr().out
    for part in ("Pareto front", "held out", "cheapest", "strategy=tuned-s"):
        assert part in told
    kept = {path.name for path in (home / "tuning" / "s").iterdir()}
    assert {"trials.parquet", "front.parquet", "front.png"} <= kept
    front = pq.read_table(home / "tuning" / "s" / "front.parquet").to_pylist()
    assert {(row["environments"], row["held_out/environments"]) for row in front} == {(2, 1)}
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("lever-ray").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["trial"] for run in children} == {str(number) for number in range(6)}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    grown = client.get_metric_history(parent.info.run_id, "front/hypervolume")
    assert [metric.step for metric in grown] == list(range(6))
    assert all(a.value <= b.value for a, b in pairwise(grown))
    artifacts = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert {"tuned-s.yaml", "front.parquet", "trials.parquet", "front.json", "trials.json", "figures"} <= artifacts
    journal = [json.loads(line) for line in (home / "tuning" / "s.journal").read_text().splitlines()]
    links = [entry["user_attr"]["mlflow"] for entry in journal if "mlflow" in entry.get("user_attr", {})]
    assert len(links) == 6
    assert "tags.trial" in links[0]


def test_what_a_killed_driver_left_running_is_marked_as_killed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    assert main(["tune", *SMALL]) == 0
    experiment = client.get_experiment_by_name("lever-ray").experiment_id
    left = client.create_run(experiment, run_name="tune s").info.run_id
    other = client.create_run(experiment, run_name="tune other").info.run_id
    assert main(["tune", *SMALL, "tuning.trials=7"]) == 0
    assert [client.get_run(run).info.status for run in (left, other)] == ["KILLED", "RUNNING"]


def test_a_study_by_description_is_recommended_with_its_threshold(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = [*SMALL, "tracking=none", "tuning.space.retrievals=[description]", "tuning.space.threshold=[0.6,0.6]"]
    quiet += ["tuning.setup.mode=trivial"]
    assert main(["tune", *quiet]) == 0
    capsys.readouterr()
    assert main(["recommend", *quiet, "--name", "worded"]) == 0
    assert "threshold: 0.6" in capsys.readouterr().out
    query = ["compose", "--objective", "path-gold-hazard-lever", "--environment", "grid8-1", "--json"]
    assert main([*query, *quiet, "strategy=tuned-worded"]) == 0
    assert json.loads(capsys.readouterr().out)["retrieval"] == "description>=0.6"


def test_recommend_keeps_the_wish_and_names_what_to_do_next(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = [*SMALL, "tracking=none"]
    assert main(["recommend", *quiet]) == 2
    assert "run `lever-ray tune` with the same tuning.study first" in capsys.readouterr().err
    assert main(["tune", *quiet]) == 0
    assert main(["recommend", *quiet, "--candidates", "1", "--name", "fast"]) == 0
    told = capsys.readouterr()
    assert "# asked for: at most 1 candidates" in told.out
    assert "use it with strategy=tuned-fast" in told.err
    assert "Replaced" not in told.err
    assert load_settings(["strategy=tuned-fast"]).strategy.operator
    assert main(["tune", *quiet, "tuning.study=other"]) == 0
    assert main(["recommend", *quiet, "tuning.study=other", "--candidates", "1", "--name", "fast"]) == 0
    told = capsys.readouterr()
    assert "Replaced tuned-fast, which was trial" in told.err
    assert "of study 's' on library 'small'" in told.err
    query = ["compose", "--objective", "path-gold-hazard-lever", "--environment", "grid8-1", "--json"]
    assert main([*query, *quiet, "strategy=tuned-fast"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["evaluated"] == 1
    for arguments, said in (
        (["--candidates", "0.5"], "closest is trial"),
        (["--milliseconds", "0"], "give a positive number"),
        (["--share", "2"], "no share of the best quality"),
        (["--name", "a/b"], "cannot name a strategy"),
    ):
        assert main(["recommend", *quiet, *arguments]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["tuning.limits.quality=0.999"], "tuning.limits.quality=0.999 is broken by 6 of 6. Closest is trial"),
        (["library.layouts=1"], "has 1 environment, too few to split"),
        (["tuning.space.operators=[]"], "tuning.space.operators is empty"),
        (["tuning.trials=0"], "tuning.trials is 0"),
        (["tuning.space.gammas=[0.5]"], "tuning.space.gammas has 0.5"),
    ],
)
def test_what_cannot_be_tuned_is_one_clear_line(
    changes: list[str], said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *SMALL, "tracking=none", "tuning.halving=false", *changes]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_study_is_not_begun_twice_with_another_question(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = [*SMALL, "tracking=none"]
    assert main(["tune", *quiet]) == 0
    assert main(["tune", *quiet, "tuning.trials=8"]) == 0
    told = capsys.readouterr().out
    assert "goes on after 6 finished trials" in told
    assert "Tuning s: 8/8" in told
    assert main(["tune", *quiet, "tuning.space.k=[2,4]"]) == 2
    assert "changed: space.k" in capsys.readouterr().err
    assert main(["tune", *quiet, "library.layouts=4"]) == 2
    told = capsys.readouterr()
    assert "changed: environments" in told.err
    assert told.out == ""  # nothing was opened, trained or started


def test_a_study_that_is_done_says_so_and_adds_no_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mlflow import MlflowClient

    assert main(["tune", *SMALL]) == 0
    told = capsys.readouterr().out
    for begun in ("Starting MLflow, kernels (", "preparing the study ...", "Measuring the held-out front"):
        assert begun in told
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("lever-ray").experiment_id
    runs = len(client.search_runs([experiment]))
    assert main(["tune", *SMALL]) == 0
    told = capsys.readouterr().out
    assert "has 6 trials of 6 already: nothing is left to tune" in told
    assert "Pareto front" in told
    assert len(client.search_runs([experiment])) == runs
