"""The MLflow store: where it is, experiments and runs, and the server that shows them."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlparse

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")  # a minute in all
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from sqlalchemy.exc import SQLAlchemyError

from lever_ray.config import HOME_VARIABLE, TrackingSettings, default_store, home, unwritable
from lever_ray.errors import SettingsError, StorageError
from lever_ray.kernel_cache import INSTALLATION_VARIABLE, LOCATORS, PACKAGE
from lever_ray.order import in_natural_order
from lever_ray.tracking.run import MOST_RUNS, TrackedRun, parent_of, system_metrics
from lever_ray.tracking.sqlite import checkpoint, sqlite_file, why_no_database, write_ahead_log
from lever_ray.tracking.views import STATE_TAG, VIEW_TAG, View, view_key, view_name
from lever_ray.tracking.waiting import Patience, Tell, patient

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
_LEVELS = {"mlflow": logging.CRITICAL, "alembic": logging.WARNING, "urllib3.connectionpool": logging.ERROR}
"""Of loggers that would write between the lines of a command."""


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
    file = sqlite_file(uri)
    if file is not None:
        _check_writable(file)
        if why := why_no_database(file):
            raise _unusable(uri, why)
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


def _unusable(uri: str, why: str) -> SettingsError:
    return SettingsError(f"MLflow store {uri} cannot be used ({why}); check tracking.uri or {URI_VARIABLE}")


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
    file = sqlite_file(uri)
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
        tell: shows a line to a person, where the store does not answer.

    Raises:
        SettingsError: the store cannot be reached or created; the message names the URI.
        StorageError: its disk is full, or it stays locked; so in everything that writes.
    """

    def __init__(self, settings: TrackingSettings, tell: Tell | None = None) -> None:
        self.uri = tracking_uri(settings)
        _quieten()
        mlflow.set_tracking_uri(self.uri)
        _check_reachable(self.uri)
        try:
            self._patience = Patience(self.uri, tell)
            self._client = patient(MlflowClient(self.uri), self._patience)
            self.experiment_id = self._experiment(settings.experiment)
            self.published: dict[str, str] = {}
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise _unusable(self.uri, str(error).splitlines()[0]) from error

    def _experiment(self, name: str) -> str:
        file = sqlite_file(self.uri)
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if file is None else (home() / "artifacts" / name).as_uri()
        created = self._client.create_experiment(name, artifact_location=location, tags=_KIND)
        if file is not None:
            write_ahead_log(file)
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

    def view_names(self) -> list[str]:
        """Names of all views that were published, in natural order."""
        tags = self._client.get_experiment(self.experiment_id).tags
        found = (view_name(value) for key, value in tags.items() if key.startswith(STATE_TAG))
        return in_natural_order(name for name in found if name)

    def point(self, kind: str, name: str) -> None:
        """Let the link of a kind open on a view that was published before, by its name."""
        self.published[kind] = view_key(name)

    def links(self, port: int = UI_PORT) -> dict[str, str]:
        """A link by kind for each of :meth:`views`; the plain one, named ``runs``, where there is none."""
        return {kind: self.link(port, view=key) for kind, key in self.views().items()} or {"runs": self.link(port)}

    def end_killed(self, name: str) -> None:
        """Mark runs of that name as killed that nobody writes to any more; only where nobody else can be at it."""
        running = self._client.search_runs([self.experiment_id], filter_string="attributes.status = 'RUNNING'")
        for run in (each for each in running if each.info.run_name == name):
            self._client.set_terminated(run.info.run_id, status="KILLED")

    def has_finished(self, run: str) -> bool:
        """Whether the experiment has a run of that id that is finished and was not deleted."""
        try:
            found = self._client.get_run(run)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return False
        here = str(found.info.experiment_id) == self.experiment_id and found.info.lifecycle_stage == "active"
        return here and found.info.status == "FINISHED"

    def last_finished(self, name: str) -> str:
        """Id of the latest run of that name; empty where it is not finished, or there is none."""
        quote_of = '"' if "'" in name else "'"
        found = self._client.search_runs(
            [self.experiment_id],
            filter_string=f"attributes.run_name = {quote_of}{name}{quote_of}",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return next((str(run.info.run_id) for run in found if run.info.status == "FINISHED"), "")

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
        return list(self._client.search_runs([self.experiment_id], filter_string=told, max_results=MOST_RUNS))

    @contextmanager
    def run(
        self,
        name: str,
        *,
        tags: Mapping[str, str],
        parameters: Mapping[str, Any],
        again: str = "",
        resume: bool = True,
    ) -> Iterator[TrackedRun]:
        """A parent run with system metrics; it is marked failed where the block raises.

        Args:
            name: of the run.
            tags: of the run.
            parameters: of the run.
            again: a tag; where the latest parent with its value did not finish and has no other parameters, that one is
                gone on with; one with others that is still said to run is marked failed. Only where nobody else can be
                at it.
            resume: False marks it as failed in any case.
        """
        before = self._unfinished(again, tags[again], parameters if resume else None) if again else None
        resumed = before is not None
        run = before or self._client.create_run(self.experiment_id, run_name=name, tags=resolve_tags(tags))
        tracked = TrackedRun(self._client, self.experiment_id, run, resumed=resumed)
        if resumed:
            self._client.update_run(tracked.id, status="RUNNING")
        with system_metrics(tracked.id, self.uri, resumed=resumed, patience=self._patience):
            try:
                tracked.write(tags={**tags, "commit": _commit()}, parameters=parameters)
                yield tracked
            except BaseException:
                if not self._patience.spent:
                    self._fail(tracked.id)
                raise
            self._client.set_terminated(tracked.id, "FINISHED")

    def _fail(self, run: str) -> None:
        """Mark a run failed, where the store takes it; a full disk may have room in what is not checkpointed yet."""
        for make_room in (lambda: None, partial(checkpoint, sqlite_file(self.uri))):
            with suppress(MlflowException, SQLAlchemyError, OSError, StorageError, sqlite3.Error):
                make_room()
                self._client.set_terminated(run, "FAILED")
                return

    def _unfinished(self, tag: str, value: str, parameters: Mapping[str, Any] | None) -> Run | None:
        """The latest parent with that tag, where it did not finish and has no other parameters; None for any others."""
        told = f"tags.{tag} = '{value}'"
        found = self._client.search_runs(
            [self.experiment_id], filter_string=told, max_results=MOST_RUNS, order_by=["attributes.start_time DESC"]
        )
        latest = next((run for run in found if parent_of(run) is None), None)
        if latest is None or latest.info.status == "FINISHED":
            return None
        kept = latest.data.params.items()
        if parameters is not None and all(str(parameters.get(name)) == given for name, given in kept):
            return latest
        if latest.info.status == "RUNNING":
            self._client.set_terminated(latest.info.run_id, "FAILED")
        return None


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


def _quieten() -> None:
    """Keep to ourselves what libraries say of a store; what goes wrong is raised as well."""
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)


def _commit() -> str:
    """The code's commit: ``LEVER_RAY_COMMIT`` (set for submitted jobs), else git's, else ``unknown``."""
    if given := os.environ.get(COMMIT_VARIABLE):
        return given
    here = Path(__file__).resolve().parent
    found = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
