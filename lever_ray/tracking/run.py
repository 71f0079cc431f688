"""One MLflow run and what may be written to it; one that is gone on with takes only what it lacks."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import MlflowClient

from lever_ray.tracking.waiting import Patience

PART_TAG = "part"
"""Tag of a child run that tells it from all others below its parent."""
_PARENT_TAG = "mlflow.parentRunId"
_TABLES_TAG = "mlflow.loggedArtifacts"
"""Tag of a run: the tables that MLflow's page shows, JSON."""
_BLOCK = 1_000
"""Metrics per request."""
MOST_RUNS = 50_000
"""What MLflow finds at once."""

Row = dict[str, Any]


class TrackedRun:
    """One MLflow run and what may be written to it.

    Args:
        client: of the store.
        experiment_id: of the run.
        run: as the store has it.
        resumed: whether it was begun before; parameters, single metrics and finished children that it has are kept.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, run: Run, *, resumed: bool = False) -> None:
        self._client, self._experiment_id, self.id = client, experiment_id, str(run.info.run_id)
        self._params: dict[str, str] = dict(run.data.params) if resumed else {}
        self._metrics: dict[str, float] = dict(run.data.metrics) if resumed else {}
        self._tables: list[dict[str, str]] = json.loads(run.data.tags.get(_TABLES_TAG, "[]"))
        self._parts = self._children() if resumed else {}

    def _children(self) -> dict[str, Run]:
        """Child runs by their part."""
        found = self._client.search_runs(
            [self._experiment_id], filter_string=f"tags.{_PARENT_TAG} = '{self.id}'", max_results=MOST_RUNS
        )
        return {run.data.tags[PART_TAG]: run for run in found if PART_TAG in run.data.tags}

    def write(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        metrics: Sequence[tuple[str, float, int]] = (),
    ) -> None:
        """Log tags, parameters and metrics ``(name, value, step)``; NaN values are left out."""
        now = int(time.time() * 1000)
        entries = [
            Metric(name, float(value), now, step)
            for name, value, step in metrics
            if value == value and not (step == 0 and self._metrics.get(name) == value)
        ]
        run_tags = [RunTag(name, value) for name, value in (tags or {}).items()]
        params = [Param(name, str(value)) for name, value in (parameters or {}).items() if name not in self._params]
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
        """Log rows as a table that the UI shows, ``<name>.json``; one of that name is replaced."""
        columns = list(rows[0])
        data = [[_cell(row.get(column)) for column in columns] for row in rows]
        self._client.log_text(self.id, json.dumps({"columns": columns, "data": data}), f"{name}.json")
        entry = {"path": f"{name}.json", "type": "table"}
        if entry not in self._tables:
            self._tables.append(entry)
            self._client.set_tag(self.id, _TABLES_TAG, json.dumps(self._tables))

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
        """Log a finished run below this one; nothing where one of the same :data:`PART_TAG` was logged before."""
        before = self._parts.get(tags.get(PART_TAG, ""))
        if before is not None and before.info.status == "FINISHED":
            return
        nested = {_PARENT_TAG: self.id, **tags}
        run = before or self._client.create_run(self._experiment_id, run_name=name, tags=nested)
        child = TrackedRun(self._client, self._experiment_id, run)
        if before is not None:
            child._params, child._metrics = dict(before.data.params), dict(before.data.metrics)
        child.write(parameters=parameters, metrics=metrics)
        self._client.set_terminated(child.id)


def _cell(value: Any) -> Any:
    """A value as a table keeps it: null where it is no finite number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parent_of(run: Run) -> str | None:
    """The id of the run that a run stands below."""
    found = run.data.tags.get(_PARENT_TAG)
    return None if found is None else str(found)


@contextmanager
def system_metrics(run: str, uri: str, *, resumed: bool, patience: Patience) -> Iterator[None]:
    """Log the load of this machine to a run; what is left when the store was given up is dropped."""
    os.environ.setdefault("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "2")
    monitor = patience.call(lambda: SystemMetricsMonitor(run, resume_logging=resumed, tracking_uri=uri))
    monitor.start()
    try:
        yield
    finally:
        if not patience.spent:
            monitor.finish()
