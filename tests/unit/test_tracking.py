"""Tracking: real runs in a real SQLite store, as the MLflow client sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run

from lever_ray.config import TrackingSettings
from lever_ray.errors import SettingsError
from lever_ray.experiment.cell import run_environment
from lever_ray.experiment.statistics import summarise
from lever_ray.library.store import PolicyLibrary
from lever_ray.tracking import Tracker, headline_rows, job_variables, log_cells, tracking_uri
from tests.unit.test_experiment import _plan


@pytest.fixture(scope="module")
def rows(small_library: Path) -> list[dict[str, Any]]:
    library, plan = PolicyLibrary.open(small_library), _plan(strategies=["targeted", "hybrid"])
    return [row for name in ("grid8-0", "grid8-2") for row in run_environment(name, library, plan)]


@pytest.fixture(scope="module")
def logged(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracker, list[Run]]:
    folder = tmp_path_factory.mktemp("store")
    patch = pytest.MonkeyPatch()
    patch.setenv("LEVER_RAY_HOME", str(folder))
    tracker = Tracker(TrackingSettings(uri=f"sqlite:///{folder}/mlflow.db", experiment="suite"))
    summary = summarise(rows, bootstrap=50)
    with tracker.run("demo", tags={"family": "grid8"}, parameters={"library.layouts": 2}) as run:
        log_cells(run, rows, summary, tags={"config": "abc"})
        run.table("summary", headline_rows(summary))
        run.figure("empty", Figure())
    patch.undo()
    return tracker, MlflowClient(tracker.uri).search_runs([tracker.experiment_id])


def _parent(runs: list[Run]) -> Run:
    return next(run for run in runs if run.info.run_name == "demo")


def test_a_parent_with_a_run_per_setup_strategy_ranker_and_gamma(logged: tuple[Tracker, list[Run]]) -> None:
    _, runs = logged
    parent = _parent(runs)
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(runs) - 1 == 2 * 2 * 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    tags = {"setup", "mode", "family", "gamma", "budget", "strategy", "operator", "ranker", "config"}
    assert all(tags <= set(run.data.tags) for run in children)
    assert parent.data.tags["commit"]
    assert parent.data.params["library.layouts"] == "2"


def test_metrics_are_histories_over_layouts_with_means_and_intervals(
    logged: tuple[Tracker, list[Run]], rows: list[dict[str, Any]]
) -> None:
    tracker, runs = logged
    child = next(
        run for run in runs if run.info.run_name == "targeted/offline-return/g0/sum/double/path-gold-hazard-lever"
    )
    client = MlflowClient(tracker.uri)
    history = client.get_metric_history(child.info.run_id, "return/composed")
    wanted = [
        (row["layout_seed"], row["return/composed"])
        for row in rows
        if (row["strategy"], row["ranker"], row["gamma"]) == ("targeted", "offline-return", 0.0)
    ]
    assert sorted((metric.step, metric.value) for metric in history) == wanted
    mean = sum(value for _, value in wanted) / 2
    assert child.data.metrics["return/composed/mean"] == pytest.approx(mean)
    assert child.data.metrics["return/composed/ci_low"] <= mean <= child.data.metrics["return/composed/ci_high"]


def test_the_parent_shows_curves_table_and_figure_of_its_own(logged: tuple[Tracker, list[Run]]) -> None:
    tracker, runs = logged
    parent = _parent(runs)
    assert "all-setups/quality/targeted-regressor-sum" in parent.data.metrics
    first = {min(run.data.metrics) for run in runs if run is not parent}
    assert min(parent.data.metrics) < min(first)
    artifacts = [item.path for item in MlflowClient(tracker.uri).list_artifacts(parent.info.run_id)]
    assert {"figures", "summary.json"} <= set(artifacts)


def test_the_link_opens_the_chart_view_of_the_experiment(logged: tuple[Tracker, list[Run]]) -> None:
    tracker, _ = logged
    expected = f"http://127.0.0.1:5000/#/experiments/{tracker.experiment_id}/runs?compareRunsMode=CHART"
    assert tracker.link() == expected


def test_a_run_whose_block_raises_is_marked_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="failing"))
    with pytest.raises(RuntimeError), tracker.run("broken", tags={}, parameters={}):
        raise RuntimeError("a node went away")
    (run,) = MlflowClient(tracker.uri).search_runs([tracker.experiment_id])
    assert run.info.status == "FAILED"


def test_where_runs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow's client sets it
    assert tracking_uri(TrackingSettings()) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5999")
    assert tracking_uri(TrackingSettings()) == "http://127.0.0.1:5999"
    assert tracking_uri(TrackingSettings(uri="sqlite:////elsewhere/mlflow.db")) == "sqlite:////elsewhere/mlflow.db"
    variables = job_variables(TrackingSettings(), tmp_path)
    assert variables["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5999"
    assert variables["LEVER_RAY_HOME"] == str(tmp_path)


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "mlruns", "./mlflow.db"])
def test_relative_stores_are_refused(uri: str) -> None:
    with pytest.raises(SettingsError, match="relative or has no scheme"):
        tracking_uri(TrackingSettings(uri=uri))


def test_an_unusable_store_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database")
    with pytest.raises(SettingsError, match="cannot be used"):
        Tracker(TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db"))


def test_environments_without_a_seed_are_logged_at_their_place_among_all(
    rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    names = {"grid8-0": ("zoo", None), "grid8-2": ("grid8-2", 2)}
    renamed = [row | dict(zip(("environment", "layout_seed"), names[row["environment"]], strict=True)) for row in rows]
    tracker = Tracker(TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="named"))
    with tracker.run("named", tags={}, parameters={}) as run:
        log_cells(run, renamed, summarise(renamed, bootstrap=10), tags={})
    client = MlflowClient(tracker.uri)
    child = next(each for each in client.search_runs([tracker.experiment_id]) if each.info.run_name != "named")
    steps = {metric.step for metric in client.get_metric_history(child.info.run_id, "ends/truncated")}
    assert steps == {1, 2}
