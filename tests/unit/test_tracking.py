"""Tracking: real runs in a real SQLite store, as the MLflow client sees them."""

from __future__ import annotations

import base64
import json
import re
import zlib
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
from lever_ray.library.library import PolicyLibrary
from lever_ray.tracking import (
    StudyLog,
    Tracker,
    View,
    headline_rows,
    job_variables,
    layout_rows,
    log_cells,
    tracking_uri,
)
from tests.unit.test_experiment import _plan
from tests.unit.test_tuning_front import TRIALS
from tests.unit.test_tuning_front import rows as front_rows


@pytest.fixture(scope="module")
def rows(small_library: Path) -> list[dict[str, Any]]:
    library, plan = PolicyLibrary.open(small_library), _plan(strategies=["targeted", "hybrid"])
    return [row for name in ("grid8-0", "grid8-2") for row in run_environment(name, library, plan)]


def of_six_layouts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of two layouts three times, so that there are as many as an interval takes."""
    return [row | {"environment": f"{row['environment']}-{copy}"} for copy in range(3) for row in rows]


@pytest.fixture(scope="module")
def logged(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracker, list[Run]]:
    folder = tmp_path_factory.mktemp("store")
    patch = pytest.MonkeyPatch()
    patch.setenv("LEVER_RAY_HOME", str(folder))
    tracker = Tracker(TrackingSettings(uri=f"sqlite:///{folder}/mlflow.db", experiment="suite"))
    summary = summarise(of_six_layouts(rows), bootstrap=50)
    with tracker.run("demo", tags={"family": "grid8"}, parameters={"library.layouts": 2}) as run:
        tracker.publish("experiment", *log_cells(run, "demo", rows, summary, tags={"config": "abc"}))
        run.table("summary", headline_rows(summary))
        run.table("layouts", layout_rows(rows))
        run.figure("empty", Figure())
    patch.undo()
    return tracker, MlflowClient(tracker.uri).search_runs([tracker.experiment_id])


def state_of(tag: str) -> dict[str, Any]:
    """What MLflow's page reads out of a view's tag."""
    packed = json.loads(tag)["state"].removeprefix("deflate;")
    return json.loads(zlib.decompress(base64.b64decode(packed)))


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


def test_metrics_are_single_means_with_intervals_and_controls(
    logged: tuple[Tracker, list[Run]], rows: list[dict[str, Any]]
) -> None:
    tracker, runs = logged
    told = "targeted, offline-return, gamma 0, double, path-gold-hazard-lever"
    child = next(run for run in runs if run.info.run_name.endswith(told))
    values = [
        row for row in rows if (row["strategy"], row["ranker"], row["gamma"]) == ("targeted", "offline-return", 0.0)
    ]
    metrics = child.data.metrics
    assert metrics["return"] == pytest.approx(sum(row["return/composed"] for row in values) / 2)
    assert metrics["quality"] == pytest.approx(sum(row["quality/normalised"] for row in values) / 2)
    assert metrics["quality/ci_low"] <= metrics["quality"] <= metrics["quality/ci_high"]
    assert {"speedup", "scratch", "best single", "random Q", "regret", "seconds/rank"} <= set(metrics)
    client = MlflowClient(tracker.uri)
    for name in metrics:
        (only,) = client.get_metric_history(child.info.run_id, name)
        assert only.step == 0


def test_names_of_runs_sort_as_tables_do_and_colours_tell_strategies_apart(logged: tuple[Tracker, list[Run]]) -> None:
    _, runs = logged
    parent = _parent(runs)
    children = sorted((run for run in runs if run is not parent), key=lambda run: run.info.run_name)
    told = [(float(run.data.tags["gamma"]), run.data.tags["way"], run.data.tags["ranker"]) for run in children]
    ways = [(way, ranker) for way in ("targeted", "hybrid-3") for ranker in ("offline-return", "regressor")]
    assert told == [(gamma, *way) for gamma in (0.0, 0.99) for way in ways]
    assert children[0].info.run_name == "1 targeted, offline-return, gamma 0, double, path-gold-hazard-lever"
    colours = {(run.data.tags["way"], run.data.tags["mlflow.runColor"]) for run in children}
    assert len(colours) == len({colour for _, colour in colours}) == 2


def test_the_parent_has_bars_a_description_tables_and_a_figure(logged: tuple[Tracker, list[Run]]) -> None:
    tracker, runs = logged
    parent = _parent(runs)
    bars = {name for name in parent.data.metrics if not name.startswith("system/")}
    names = ("scratch", "best single", "random Q", "targeted", "hybrid-3")
    assert bars == {f"{gamma}/{name}" for gamma in ("g0", "g0.99") for name in names}
    assert parent.data.tags["mlflow.note.content"].count("\n| ") == 8
    artifacts = [item.path for item in MlflowClient(tracker.uri).list_artifacts(parent.info.run_id)]
    assert {"figures", "summary.json", "layouts.json"} <= set(artifacts)


def test_a_description_has_as_many_lines_as_there_is_room_for(
    rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    long = [row | {"setup": row["setup"] + "x" * 2000} for row in rows]
    tracker = Tracker(TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="long"))
    with tracker.run("long", tags={}, parameters={}) as run:
        log_cells(run, "long", long, summarise(long, bootstrap=5), tags={})
    note = MlflowClient(tracker.uri).get_run(run.id).data.tags["mlflow.note.content"]
    assert "3 of 8 lines" in note
    assert len(note) < 8000


def test_the_link_names_a_view_and_carries_nothing_that_overrules_it(logged: tuple[Tracker, list[Run]]) -> None:
    tracker, _ = logged
    page = f"http://127.0.0.1:5000/#/experiments/{tracker.experiment_id}/runs?compareRunsMode=CHART"
    assert tracker.link() == page
    assert tracker.links() == {"experiment": f"{page}&viewStateShareKey=demo"}
    again = Tracker(TrackingSettings(uri=tracker.uri, experiment="suite"))
    assert again.links(5001) == {"experiment": f"{page.replace('5000', '5001')}&viewStateShareKey=demo"}


def test_the_views_of_an_experiment_find_its_runs_and_metrics(logged: tuple[Tracker, list[Run]]) -> None:
    tracker, runs = logged
    client = MlflowClient(tracker.uri)
    tags = client.get_experiment(tracker.experiment_id).tags
    for key, count in (("demo", 9), ("demo-by-strategy", 8)):
        state = state_of(tags[f"mlflow.sharedViewState.{key}"])
        order = f"{state['orderByKey']} ASC"
        found = client.search_runs([tracker.experiment_id], state["searchFilter"], order_by=[order])
        assert len(found) == count
        assert [run.info.run_name for run in found] == sorted(run.info.run_name for run in found)
        metrics = {name for run in runs for name in run.data.metrics}
        sections = {section["name"] for section in state["compareRunSections"]}
        assert {name.rpartition("/")[0] for name in metrics if "/" in name} - {"system"} <= sections | {"g0", "g0.99"}
        for chart in state["compareRunCharts"]:
            named = chart.get("selectedMetricKeys") or [chart[axis]["key"] for axis in ("xaxis", "yaxis")]
            assert set(named) <= metrics


def test_a_store_without_views_has_a_plain_link(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="empty"))
    assert tracker.links() == {"runs": tracker.link()}
    tracker.publish("experiment", View("first", [], {}))
    tracker.publish("experiment", View("a name, with 'marks'", [], {}))
    (link,) = Tracker(TrackingSettings(uri=tracker.uri, experiment="empty")).links().values()
    assert re.fullmatch(r"a-name-with-marks--[0-9a-f]{6}", link.partition("viewStateShareKey=")[2])


def test_a_study_that_goes_on_shows_all_trials_and_its_last_parent(tmp_path: Path) -> None:
    tracker = Tracker(TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="studies"))
    for before, new in (([], TRIALS[:4]), (TRIALS[:4], TRIALS[4:])):
        with tracker.run("tune s", tags={}, parameters={}) as run:
            log = StudyLog(tracker, run, "tune s", study="s", cost="candidates", before=before)
            for trial in new:
                log.add(trial)
            rows = front_rows() if before else front_rows()[:1]
            log.finish(rows, rows[0], "tuned-s")
    client = MlflowClient(tracker.uri)
    state = state_of(client.get_experiment(tracker.experiment_id).tags["mlflow.sharedViewState.tune-s"])
    order = f"{state['orderByKey']} ASC"
    found = client.search_runs([tracker.experiment_id], state["searchFilter"], order_by=[order])
    assert [run.info.run_id for run in found if run.info.run_name == "tune s"] == [run.id]
    assert [each.data.tags.get("trial") for each in found[:3]] == ["0", "2", "1"]
    assert sorted(int(each.data.tags["trial"]) for each in found if "trial" in each.data.tags) == list(range(7))
    parent = next(each for each in found if each.info.run_id == run.id)
    assert "| 0, recommended |" in parent.data.tags["mlflow.note.content"]
    line = [metric.value for metric in client.get_metric_history(run.id, "front/quality")]
    assert line == [0.5, 0.6, 0.8]
    with tracker.run("tune s", tags={}, parameters={}) as run:
        StudyLog(tracker, run, "tune s", study="s", cost="candidates", before=[]).add(TRIALS[0])
    again = client.search_runs([tracker.experiment_id], state["searchFilter"])
    assert [each.data.tags.get("trial") for each in again] == ["0", None], "a new study of that name"


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
