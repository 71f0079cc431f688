"""MLflow: the only module that writes runs. Only the driver has a tracker; it creates the store before all else."""

from __future__ import annotations

import logging
import math
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from lever_ray.config import HOME_VARIABLE, TrackingSettings, default_store, home, unwritable
from lever_ray.errors import SettingsError
from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.statistics import CARRIED_COLUMNS, CELL_COLUMNS, RATIOS, ends_of, metrics_of

URI_VARIABLE = "MLFLOW_TRACKING_URI"
COMMIT_VARIABLE = "LEVER_RAY_COMMIT"
UI_PORT = 5000
_BLOCK = 1_000
"""Metrics per request."""

Row = dict[str, Any]


def tracking_uri(settings: TrackingSettings) -> str:
    """Where runs go: the settings, else ``MLFLOW_TRACKING_URI``, else :func:`lever_ray.config.default_store`.

    Raises:
        SettingsError: the URI is a relative path, which would mean another place in every working directory, or holds
            bytes that are not UTF-8.
    """
    uri = settings.uri or os.environ.get(URI_VARIABLE, "") or f"sqlite:///{default_store()}"
    relative_file = uri.startswith("sqlite:///") and not uri.startswith("sqlite:////")
    if relative_file or "://" not in uri:
        raise SettingsError(
            f"tracking URI {uri!r} is relative or has no scheme; use e.g. sqlite:////absolute/mlflow.db or http://127.0.0.1:5000"
        )
    try:
        uri.encode()
    except UnicodeEncodeError:
        raise SettingsError(
            f"tracking URI {uri!r} holds bytes that are not UTF-8; set {URI_VARIABLE} to another place"
        ) from None
    return uri


def _check_reachable(uri: str) -> None:
    """Fail at once where a file or a tracking server is out of reach; the client itself would try for minutes."""
    file = _sqlite_file(uri)
    if file is not None:
        _check_writable(file)
    place = urlparse(uri)
    if place.scheme not in ("http", "https") or place.hostname is None:
        return
    try:
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname, port), timeout=5).close()
    except OSError as error:
        raise SettingsError(
            f"no MLflow server answers at {uri} ({error}); start it, or unset tracking.uri and {URI_VARIABLE} "
            "for a local file"
        ) from error


def _check_writable(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"MLflow store {file} cannot be written ({error.strerror}); set tracking.uri or {URI_VARIABLE} to another "
            "place, or use tracking=none"
        ) from error
    why = unwritable(file) or ("" if not file.exists() or os.access(file, os.W_OK) else f"{file} takes no writing")
    if why:
        raise SettingsError(f"MLflow store {why}; or use tracking.uri, {URI_VARIABLE} or tracking=none")


def job_variables(settings: TrackingSettings, folder: Path) -> dict[str, str]:
    """Environment variables that a submitted job needs; the submitter's own do not reach it."""
    return {
        HOME_VARIABLE: str(folder),
        URI_VARIABLE: tracking_uri(settings),
        COMMIT_VARIABLE: _commit(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }


class Tracker:
    """Writes experiments to one MLflow experiment.

    Args:
        settings: where to.

    Raises:
        SettingsError: the store cannot be reached or created; the message names the URI.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.uri = tracking_uri(settings)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(self.uri)
        _check_reachable(self.uri)
        try:
            self._client = MlflowClient(self.uri)
            self.experiment_id = self._experiment(settings.experiment)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise SettingsError(
                f"MLflow store {self.uri} cannot be used ({reason}); check tracking.uri or {URI_VARIABLE}"
            ) from error

    def _experiment(self, name: str) -> str:
        file = _sqlite_file(self.uri)
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if file is None else (home() / "artifacts" / name).as_uri()
        created = self._client.create_experiment(name, artifact_location=location)
        if file is not None:
            _write_ahead_log(file)
        return str(created)

    def link(self, port: int = UI_PORT) -> str:
        """Deep link to the experiment's chart view: of the tracking server, else of ``make ui`` on that port."""
        address = self.uri.rstrip("/") if self.uri.startswith("http") else f"http://127.0.0.1:{port}"
        return f"{address}/#/experiments/{self.experiment_id}/runs?compareRunsMode=CHART"

    def end_killed(self, name: str) -> None:
        """Mark runs of that name as killed that nobody writes to any more; only where nobody else can be at it."""
        running = self._client.search_runs([self.experiment_id], filter_string="attributes.status = 'RUNNING'")
        for run in (each for each in running if each.info.run_name == name):
            self._client.set_terminated(run.info.run_id, status="KILLED")

    @contextmanager
    def run(self, name: str, *, tags: Mapping[str, str], parameters: Mapping[str, Any]) -> Iterator[TrackedRun]:
        """A parent run with system metrics; it is marked failed where the block raises."""
        os.environ.setdefault("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "2")
        with mlflow.start_run(experiment_id=self.experiment_id, run_name=name, log_system_metrics=True) as run:
            tracked = TrackedRun(self._client, self.experiment_id, run.info.run_id)
            tracked.write(tags={**tags, "commit": _commit()}, parameters=parameters)
            yield tracked


class TrackedRun:
    """One MLflow run and what may be written to it."""

    def __init__(self, client: MlflowClient, experiment_id: str, run_id: str) -> None:
        self._client, self._experiment_id, self.id = client, experiment_id, run_id

    def write(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        metrics: Sequence[tuple[str, float, int]] = (),
    ) -> None:
        """Log tags, parameters and metrics ``(name, value, step)``; NaN values are left out."""
        now = int(time.time() * 1000)
        entries = [Metric(name, float(value), now, step) for name, value, step in metrics if value == value]
        run_tags = [RunTag(name, value) for name, value in (tags or {}).items()]
        params = [Param(name, str(value)) for name, value in (parameters or {}).items()]
        self._client.log_batch(self.id, metrics=entries[:_BLOCK], params=params, tags=run_tags)
        for first in range(_BLOCK, len(entries), _BLOCK):
            self._client.log_batch(self.id, metrics=entries[first : first + _BLOCK])

    def figure(self, name: str, figure: Any) -> None:
        """Log a matplotlib figure as ``figures/<name>.png``."""
        self._client.log_figure(self.id, figure, f"figures/{name}.png")

    def table(self, name: str, rows: Sequence[Row]) -> None:
        """Log rows as a table that the UI shows, ``<name>.json``."""
        columns = {column: [row.get(column) for row in rows] for column in rows[0]}
        self._client.log_table(self.id, data=columns, artifact_file=f"{name}.json")

    def file(self, path: Path) -> None:
        """Log a file."""
        self._client.log_artifact(self.id, str(path))

    def child(
        self,
        name: str,
        *,
        tags: Mapping[str, str],
        parameters: Mapping[str, Any],
        metrics: Sequence[tuple[str, float, int]],
    ) -> None:
        """Log a finished run below this one."""
        nested = {"mlflow.parentRunId": self.id, **tags}
        created = self._client.create_run(self._experiment_id, run_name=name, tags=nested)
        TrackedRun(self._client, self._experiment_id, created.info.run_id).write(parameters=parameters, metrics=metrics)
        self._client.set_terminated(created.info.run_id)


def ui_command(tracker: Tracker, *, port: int) -> list[str]:
    """Command line of an MLflow server on 127.0.0.1 over the tracker's store, with as few processes as it can have.

    Raises:
        SettingsError: the store is a tracking server, which has a UI of its own.
    """
    if tracker.uri.startswith("http"):
        raise SettingsError(
            f"runs are kept by the tracking server {tracker.uri}; open it in a browser: {tracker.link()}"
        )
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        tracker.uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]


HEADLINES: tuple[str, ...] = (
    *CELL_COLUMNS,
    "return/composed",
    "return/composed/ci_low",
    "return/composed/ci_high",
    "return/scratch",
    "return/scratch_best_gamma",
    "return/best_single",
    "return/best_single_oracle",
    "return/random_q",
    "return/random",
    "return/optimum",
    "quality/normalised",
    "quality/ratio",
    "regret",
    "rank_correlation",
    "coverage/on_policy",
    "candidates/evaluated",
    "segments/simulated",
    "seconds/query",
    "seconds/scratch",
    "speedup/seconds",
    "layouts",
    "tier",
)
"""Columns of the summary table in the UI; the Parquet file has all."""
PER_LAYOUT: tuple[str, ...] = (
    *(f"return/{name}" for name in ("composed", "scratch", "optimum", "best_single", "random", "random_q")),
    "quality/normalised",
    "quality/ratio",
    "regret",
    "rank_correlation",
    "coverage/library",
    "coverage/on_policy",
    "coverage/value",
    *(f"gap/{term}" for term in ("coverage", "memory", "operator", "selection")),
    "candidates/evaluated",
    "segments/simulated",
    *(f"seconds/{stage}" for stage in ("retrieve", "rank", "compose", "scratch")),
    "speedup/seconds",
    "environment_steps/saved",
)
"""Metrics with a value per layout, beside how episodes end; of the others the mean is logged."""
INTERVALS: tuple[str, ...] = (
    *(f"return/{name}" for name in ("composed", "scratch", "best_single", "random_q")),
    "quality/normalised",
    "quality/over_controls",
    "quality/ratio",
    "regret",
    "speedup/seconds",
)
"""Metrics whose 95% bootstrap interval is logged; the Parquet summary has all."""
_PARENT_SECTION = "all-setups"
"""First in the alphabet: the UI opens on the first section, and shows parents alone until they are unfolded."""
_PARENT_CURVES = {"quality": "quality/normalised", "speedup": "speedup/seconds", "regret": "regret"}


def headline_rows(summary: Sequence[Row]) -> list[Row]:
    """The summary's most telling columns, rounded to what a table can show."""
    return [
        {name: _rounded(line[name]) for name in HEADLINES} | {"gamma": gamma_told(line["gamma"])} for line in summary
    ]


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def log_cells(run: TrackedRun, rows: Sequence[Row], summary: Sequence[Row], *, tags: Mapping[str, str]) -> None:
    """Log a child run per line of the summary: metrics per layout, then means and intervals.

    The step of a layout is its seed; without one its place among the names of all environments. The parent gets the
    strategies' mean quality and speed-up per layout, so that its own charts say something.
    """
    steps = _steps(rows)
    by_line: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        by_line.setdefault(tuple(row[name] for name in CELL_COLUMNS), []).append(row)
    for line in summary:
        cells = by_line[tuple(line[name] for name in CELL_COLUMNS)]
        labels = {name: str(line[name]) for name in (*CELL_COLUMNS, *CARRIED_COLUMNS) if name in line}
        run.child(
            f"{line['strategy']}/{line['ranker']}/g{gamma_told(line['gamma'])}/{line['operator']}/{line['mode']}/{line['setup']}",
            tags={**tags, **labels},
            parameters=labels | {"layouts": line["layouts"]},
            metrics=[*_per_layout(cells, steps), *_summarised(line)],
        )
    run.write(metrics=_parent_curves(rows, steps))


def _steps(rows: Sequence[Row]) -> dict[str, int]:
    """The step of every environment."""
    seeds = {row["environment"]: row["layout_seed"] for row in rows}
    return {name: place if seeds[name] is None else seeds[name] for place, name in enumerate(sorted(seeds))}


def _per_layout(cells: Sequence[Row], steps: Mapping[str, int]) -> list[tuple[str, float, int]]:
    names = (*PER_LAYOUT, *ends_of(cells))
    values = [(name, cell[name], steps[cell["environment"]]) for cell in cells for name in names]
    return [value for value in values if not math.isnan(value[1])]


def _summarised(line: Row) -> list[tuple[str, float, int]]:
    means = [(f"{name}/mean", line[name], 0) for name in (*metrics_of([line]), *RATIOS)]
    bounds = [(f"{name}/{bound}", line[f"{name}/{bound}"], 0) for name in INTERVALS for bound in ("ci_low", "ci_high")]
    return means + bounds


def _parent_curves(rows: Sequence[Row], steps: Mapping[str, int]) -> list[tuple[str, float, int]]:
    sums: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        for short, metric in _PARENT_CURVES.items():
            name = f"{_PARENT_SECTION}/{short}/{row['strategy']}-{row['ranker']}-{row['operator']}"
            sums.setdefault((name, steps[row["environment"]]), []).append(row[metric])
    return [(name, sum(values) / len(values), step) for (name, step), values in sums.items()]


def _sqlite_file(uri: str) -> Path | None:
    return Path("/", unquote(urlparse(uri).path).lstrip("/")) if uri.startswith("sqlite:") else None


def _write_ahead_log(file: Path) -> None:
    """Let the UI read while a run writes."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _commit() -> str:
    """The code's commit: ``LEVER_RAY_COMMIT`` (set for submitted jobs), else git's, else ``unknown``."""
    if given := os.environ.get(COMMIT_VARIABLE):
        return given
    here = Path(__file__).resolve().parent
    found = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
