"""The MLflow store: where it is, experiments and runs, and the server that shows them."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlparse

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from lever_ray.config import HOME_VARIABLE, TrackingSettings, default_store, home, unwritable
from lever_ray.errors import SettingsError
from lever_ray.kernel_cache import INSTALLATION_VARIABLE, LOCATORS, PACKAGE
from lever_ray.tracking.views import VIEW_TAG, View

URI_VARIABLE = "MLFLOW_TRACKING_URI"
COMMIT_VARIABLE = "LEVER_RAY_COMMIT"
UI_PORT = 5000
COLOUR_TAG = "mlflow.runColor"
"""Tag of a run: its colour in charts, ``#rrggbb``."""
NOTE_TAG = "mlflow.note.content"
"""Tag of a run: its description, Markdown."""
LATEST_TAG = "lever_ray.view."
"""Tag of the experiment, followed by a kind of runs: key of the latest view of them."""
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of the experiment that keeps the page from asking what it is for."""
_BLOCK = 1_000
"""Metrics per request."""
_MOST_RUNS = 50_000
"""What MLflow finds at once."""

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
        "NUMBA_CACHE_LOCATOR_CLASSES": LOCATORS,
        INSTALLATION_VARIABLE: str(PACKAGE),
    }


def store_told(settings: TrackingSettings) -> str:
    """Where runs go, in words, once it is known that they can; a file that does not exist yet is not made.

    Raises:
        SettingsError: see :class:`Tracker`; or the file cannot be made.
    """
    uri = tracking_uri(settings)
    file = _sqlite_file(uri)
    if file is not None and not file.exists() and file.parent.is_dir():
        if why := unwritable(file):
            raise SettingsError(why)
        return f"store {uri}, which the first run makes"
    tracker = Tracker(settings)
    return f"store {uri}, experiment {tracker.experiment_id}"


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
            self.published: dict[str, str] = {}
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
        created = self._client.create_experiment(name, artifact_location=location, tags=_KIND)
        if file is not None:
            _write_ahead_log(file)
        return str(created)

    def link(self, port: int = UI_PORT, *, view: str = "") -> str:
        """Deep link to the chart page: of the tracking server, else of ``make ui`` on that port.

        Args:
            port: of ``make ui``.
            view: key of a published view; the page's own charts if empty.
        """
        address = self.uri.rstrip("/") if self.uri.startswith("http") else f"http://127.0.0.1:{port}"
        shared = f"&viewStateShareKey={quote(view)}" if view else ""
        return f"{address}/#/experiments/{self.experiment_id}/runs?compareRunsMode=CHART{shared}"

    def publish(self, kind: str, *views: View) -> None:
        """Keep views, so that links open on them and the page's menu lists them; those of their names are replaced.

        Args:
            kind: of runs that they show, e.g. ``experiment``; the latest first view of each kind is remembered.
            views: what to show.
        """
        for key, value in [view.tag() for view in views]:
            self._client.set_experiment_tag(self.experiment_id, key, value)
        self._client.set_experiment_tag(self.experiment_id, f"{LATEST_TAG}{kind}", views[0].key)
        self.published[kind] = views[0].key

    def views(self) -> dict[str, str]:
        """Keys of the views that this tracker published, else of the latest in the store, by kind."""
        if self.published:
            return dict(self.published)
        tags = self._client.get_experiment(self.experiment_id).tags
        return {name.removeprefix(LATEST_TAG): key for name, key in tags.items() if name.startswith(LATEST_TAG)}

    def links(self, port: int = UI_PORT) -> dict[str, str]:
        """A link by kind for each of :meth:`views`; the plain one, named ``runs``, where there is none."""
        return {kind: self.link(port, view=key) for kind, key in self.views().items()} or {"runs": self.link(port)}

    def end_killed(self, name: str) -> None:
        """Mark runs of that name as killed that nobody writes to any more; only where nobody else can be at it."""
        running = self._client.search_runs([self.experiment_id], filter_string="attributes.status = 'RUNNING'")
        for run in (each for each in running if each.info.run_name == name):
            self._client.set_terminated(run.info.run_id, status="KILLED")

    def leave_view(self, view: str, *, by: str, kept: Collection[str]) -> None:
        """Take runs out of a view, but those whose tag ``by`` says one of the values that are kept."""
        for run in (each for each in self._shown(view) if each.data.tags.get(by) not in kept):
            self._client.delete_tag(run.info.run_id, VIEW_TAG)

    def retag(self, view: str, tag: str, values: Mapping[str, str], *, by: str) -> None:
        """Give runs of a view a tag, and take it from all others of that view.

        Args:
            view: that shows them.
            tag: its name.
            values: its value by what the run's tag ``by`` says.
            by: tag that tells the runs apart.
        """
        for run in self._shown(view):
            found, wanted = run.data.tags.get(tag), values.get(run.data.tags.get(by, ""))
            if wanted is not None and found != wanted:
                self._client.set_tag(run.info.run_id, tag, wanted)
            elif wanted is None and found is not None:
                self._client.delete_tag(run.info.run_id, tag)

    def _shown(self, view: str) -> list[Run]:
        told = f"tags.{VIEW_TAG} = '{view}'"
        return list(self._client.search_runs([self.experiment_id], filter_string=told, max_results=_MOST_RUNS))

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

    def picture(self, name: str, png: bytes) -> None:
        """Log a drawn figure as ``figures/<name>.png``."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.png"
            file.write_bytes(png)
            self._client.log_artifact(self.id, str(file), "figures")

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


def _sqlite_file(uri: str) -> Path | None:
    return Path("/", unquote(urlparse(uri).path).lstrip("/")) if uri.startswith("sqlite:") else None


def _write_ahead_log(file: Path) -> None:
    """Let the UI read while a run writes."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


@event.listens_for(Engine, "connect")
def _sync_seldom(connection: Any, _record: Any) -> None:
    """Under a write-ahead log, leave syncing to its checkpoints: a loss of power may undo what was logged last."""
    if isinstance(connection, sqlite3.Connection):
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            connection.execute("PRAGMA synchronous=NORMAL")


def _commit() -> str:
    """The code's commit: ``LEVER_RAY_COMMIT`` (set for submitted jobs), else git's, else ``unknown``."""
    if given := os.environ.get(COMMIT_VARIABLE):
        return given
    here = Path(__file__).resolve().parent
    found = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
