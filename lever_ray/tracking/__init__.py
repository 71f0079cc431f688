"""MLflow: the only package that writes runs. Only the driver has a tracker; it creates the store before all else."""

from lever_ray.tracking.cells import experiments_among, headline_rows, layout_rows, log_cells
from lever_ray.tracking.run import TrackedRun
from lever_ray.tracking.store import (
    URI_VARIABLE,
    Tracker,
    job_variables,
    store_told,
    tracking_uri,
    ui_command,
)
from lever_ray.tracking.trials import StudyLog
from lever_ray.tracking.views import View, bars, line, scatter

__all__ = [
    "URI_VARIABLE",
    "StudyLog",
    "TrackedRun",
    "Tracker",
    "View",
    "bars",
    "experiments_among",
    "headline_rows",
    "job_variables",
    "layout_rows",
    "line",
    "log_cells",
    "scatter",
    "store_told",
    "tracking_uri",
    "ui_command",
]
