"""What a browser draws where a printed link is opened: MLflow's own page over runs that were logged as ever."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from lever_ray.composition.recipe import Recipe
from lever_ray.config import TrackingSettings
from lever_ray.experiment.statistics import summarise
from lever_ray.tracking import StudyLog, Tracker, log_cells, ui_command
from lever_ray.tuning.front import front_of
from tests.browser import Browser, browser, end
from tests.unit.test_overview import ROWS
from tests.unit.test_tuning_front import TRIALS
from tests.unit.test_tuning_front import rows as front_rows

pytestmark = pytest.mark.skipif(browser() is None, reason="needs Chromium")

DRAWN = """[...document.querySelectorAll('.js-plotly-plot')].map(plot => {
  const seen = chosen => [...plot.querySelectorAll(chosen)].filter(mark => {
    const box = mark.getBoundingClientRect();
    return (chosen.includes('line') ? Math.max : Math.min)(box.width, box.height) > 1;
  });
  const text = chosen => (plot.querySelector(chosen) || {textContent: ''}).textContent;
  return {
    kind: plot.data[0].type + (plot.data[0].mode || ''),
    points: seen('.scatterlayer path.point').length,
    colours: [...new Set(seen('.scatterlayer path.point').map(mark => mark.style.fill))],
    bars: seen('.barlayer .point path').length,
    lines: new Set(seen('.scatterlayer path.js-line').map(mark => mark.getAttribute('d'))).size,
    legend: plot.data.map(trace => trace.name),
    axes: [text('.xtitle'), text('.ytitle')],
    width: plot.getBoundingClientRect().width,
  };
})"""


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """A store with an experiment of eight runs and a study of seven trials."""
    folder = tmp_path_factory.mktemp("charts")
    patch = pytest.MonkeyPatch()
    patch.setenv("LEVER_RAY_HOME", str(folder))
    tracker = Tracker(TrackingSettings(uri=f"sqlite:///{folder}/mlflow.db", experiment="charts"))
    with tracker.run("demo", tags={}, parameters={}) as run:
        tracker.publish("experiment", *log_cells(run, "demo", ROWS, summarise(ROWS, bootstrap=20), tags={}))
    with tracker.run("tune s", tags={}, parameters={}) as run:
        log = StudyLog(tracker, run, "tune s", study="s", cost="candidates", before=[])
        for trial in TRIALS:
            targeted = Recipe(ranker="offline-return", gamma=0.99)
            log.add(trial if trial.number else replace(trial, choice=targeted))
        front = front_rows()
        assert len(front) == len(front_of(TRIALS)) == 3
        log.finish(front, front[0], "tuned-s")
    patch.undo()
    return tracker


@pytest.fixture(scope="module")
def port(tracker: Tracker) -> Iterator[int]:
    """Of a server over the store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    settings = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(ui_command(tracker, port=port), start_new_session=True, env=settings, **quiet)
    try:
        until = time.monotonic() + 60
        while not _answers(port):
            assert server.poll() is None
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.2)
        yield port
    finally:
        end(server)


def _answers(port: int) -> bool:
    try:
        return urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200
    except (URLError, OSError):
        return False


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def _drawn(page: Browser, url: str, kinds: list[str]) -> list[dict[str, Any]]:
    """Charts of a page, once so many are there that show anything."""

    def complete(charts: list[dict[str, Any]]) -> bool:
        shown = [chart["kind"] for chart in charts if chart["points"] or chart["bars"]]
        return sorted(shown) == sorted(kinds)

    charts = page.watch(url, DRAWN, complete, seconds=40)
    assert complete(charts), charts
    return charts


def test_the_link_of_an_experiment_draws_quality_against_speedup_and_bars_with_controls(
    tracker: Tracker, port: int, page: Browser
) -> None:
    tradeoff, *bars = _drawn(page, tracker.links(port)["experiment"], ["scattermarkers", "bar", "bar"])
    assert tradeoff["axes"] == ["speedup", "quality"]
    assert tradeoff["points"] == 8
    assert len(tradeoff["colours"]) == 2, "a colour per strategy"
    for chart, gamma in zip(bars, ("g0", "g0.99"), strict=True):
        assert chart["legend"] == [
            f"{gamma}/{name}" for name in ("scratch", "best single", "random Q", "targeted", "options exhaustive")
        ]
        assert chart["bars"] == 5
        assert chart["width"] > 200


def test_the_view_by_strategy_draws_a_point_per_strategy_and_its_controls(
    tracker: Tracker, port: int, page: Browser
) -> None:
    url = tracker.link(port, view="demo-by-strategy")
    tradeoff, bars = _drawn(page, url, ["scattermarkers", "bar"])
    assert (tradeoff["points"], tradeoff["axes"]) == (2, ["speedup", "quality"])
    assert bars["legend"] == ["quality", "scratch", "best single", "random Q"]
    assert bars["bars"] == 8


def test_the_link_of_a_study_draws_its_trials_and_its_front(tracker: Tracker, port: int, page: Browser) -> None:
    kinds = ["scattermarkers", "scatterlines+markers", "scatterlines+markers", "bar"]
    trials, front, growth, recommended = _drawn(page, tracker.links(port)["tuning"], kinds)
    assert trials["axes"] == ["log10 candidates", "quality"]
    assert trials["points"] == len(TRIALS)
    assert len(trials["colours"]) == 2, "a colour per strategy"
    assert front["axes"][0] == "front/log10 candidates"
    assert front["lines"] == 2, "as tuned, and as held out"
    assert growth["lines"] == 1
    assert recommended["bars"] == 2
