"""Views of MLflow's chart page: which charts a link opens on, of which runs, in which order.

MLflow (3.17) reads a view from a tag of the experiment, where the link names the tag's key and carries no filter of its
own. A page holds the first :data:`PAGE` runs; what lies beyond is drawn after a click on *Load more* alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lever_ray.errors import InvalidValue
from lever_ray.tasks.style import PALETTE

PAGE = 100
"""Runs that MLflow's page of runs loads at once."""
VIEW_TAG = "view"
"""Tag of runs: the view that shows them."""
STATE_TAG = "mlflow.sharedViewState."
"""Tag of the experiment, followed by the view's key."""
COLOURS: tuple[str, ...] = (*PALETTE, "#332288", "#882255", "#999933", "#117733", "#888888")
"""Of runs."""
LONGEST = 20_000
"""Characters that MLflow takes in a tag of an experiment."""
_SECTION = "trade-off"
_NAME_COLUMN = "attributes.`Run Name`"
_LAST_SECTIONS = ("Model metrics", "System metrics")
"""Where the page puts metrics without a slash, and those of the machine."""

Chart = dict[str, Any]


def scatter(x: str, y: str) -> Chart:
    """A point per run that has both metrics, in the run's colour."""
    axes = {name: {"key": key, "type": "METRIC"} for name, key in (("xaxis", x), ("yaxis", y))}
    return {"type": "SCATTER", "runsCountToCompare": PAGE, **axes}


def bars(metrics: Sequence[str]) -> Chart:
    """A bar per metric, side by side for every run that has any of them."""
    return {
        "type": "BAR",
        "runsCountToCompare": PAGE,
        "metricKey": metrics[0],
        "selectedMetricKeys": list(metrics),
        "displayName": metrics[0],
    }


def line(metrics: Sequence[str], *, against: str = "") -> Chart:
    """A line per run and metric through all that was logged of it, over its steps or over another metric."""
    return {
        "type": "LINE",
        "runsCountToCompare": PAGE,
        "metricKey": metrics[0],
        "selectedMetricKeys": list(metrics),
        "displayName": metrics[0],
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "metric" if against else "step",
        "selectedXAxisMetricKey": against,
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "displayPoints": True,
        "ignoreOutliers": False,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
    }


def view_key(name: str) -> str:
    """A name as it can stand in links and filters; names that differ in other characters get different keys."""
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)
    return plain if plain == name.replace(" ", "-") else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def view_name(value: str) -> str:
    """The name that the value of an experiment's tag gives a view; empty where it is of a shared link, without one."""
    try:
        return str(json.loads(value)["name"])
    except (ValueError, TypeError, KeyError):
        return ""


@dataclass(frozen=True)
class View:
    """What the chart page shows.

    Attributes:
        name: as the menu *Views* of the page lists it.
        charts: in reading order, see :func:`scatter`, :func:`bars` and :func:`line`.
        tags: that the runs shown have.
        metrics: all that these runs have; those without a chart above get one each in folded sections.
        order: tag by which runs are listed, ascending.
        group: tag whose values are listed and drawn in place of runs, with means of what their runs have; runs
            without it are left out.
        values: of that tag; their runs are folded away.
        listed: metrics that are columns of the page's table.
        columns: charts side by side.
    """

    name: str
    charts: Sequence[Chart]
    tags: dict[str, str]
    metrics: Iterable[str] = ()
    order: str = "mlflow.runName"
    group: str = ""
    values: Sequence[str] = ()
    listed: Sequence[str] = ()
    columns: int = 2

    @property
    def key(self) -> str:
        """Names the view in links; equal names replace each other."""
        return view_key(self.name)

    def state(self) -> dict[str, Any]:
        """The state of the page, as its own *Save view* writes it."""
        sections = [_section(_SECTION, shown=True) | {"columns": self.columns, "cardHeight": 400}]
        folded = {name.rpartition("/")[0] for name in self.metrics} - {"", "system"}
        sections += [_section(name, shown=False) for name in (*sorted(folded), *_LAST_SECTIONS)]
        told = [f"tags.{name} = '{value}'" for name, value in self.tags.items()]
        told += [f"tags.{self.group} LIKE '%'"] if self.group else []
        columns = [f"metrics.`{name}`" for name in self.listed]
        grouped = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": self.group}]}
        return {
            "searchFilter": " and ".join(told),
            "orderByKey": f"tags.`{self.order}`",
            "orderByAsc": True,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": columns,
            "columnOrder": [_NAME_COLUMN, *columns],
            "columnWidths": {_NAME_COLUMN: 260},
            "runsHiddenMode": "SHOW_ALL",
            "compareRunCharts": [_placed(chart, f"{_SECTION}-{place}") for place, chart in enumerate(self.charts)],
            "compareRunSections": sections,
            "isAccordionReordered": True,
            "viewMaximized": False,
            "runListHidden": False,
            "useGroupedValuesInCharts": bool(self.group),
            "hideEmptyCharts": True,
            "groupBy": grouped if self.group else None,
            "groupsExpanded": {f"tag.{self.group}.{value}": False for value in self.values},
        }

    def tag(self) -> tuple[str, str]:
        """Key and value of the experiment's tag.

        Raises:
            InvalidValue: the charts name more metrics than a tag has room for.
        """
        now = int(time.time() * 1000)
        packed = base64.b64encode(zlib.compress(json.dumps(self.state()).encode())).decode()
        value = json.dumps({"name": self.name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"})
        if len(value) > LONGEST:
            raise InvalidValue(
                f"view {self.name!r} takes {len(value)} characters, more than the {LONGEST} of a tag; show fewer charts"
            )
        return f"{STATE_TAG}{self.key}", value


def _section(name: str, *, shown: bool) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": shown, "isReordered": False, "deleted": False, "isGenerated": True}


def _placed(chart: Chart, name: str) -> Chart:
    return {"uuid": name, "metricSectionId": _SECTION, "deleted": False, "isGenerated": False, **chart}
