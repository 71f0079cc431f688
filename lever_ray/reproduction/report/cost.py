"""When a library pays: seconds that it saves, by what an environment step costs and how many queries are asked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lever_ray.experiment.statistics import Row, layout_means
from lever_ray.reproduction.report.data import Sample

STEP_COSTS: tuple[float, ...] = tuple(np.linspace(0.0, 0.01, 41).tolist())
"""Seconds that an environment step takes beside our own computing."""
QUERIES: tuple[float, ...] = tuple(np.logspace(0, 4, 49).tolist())


@dataclass(frozen=True)
class Costs:
    """What a library and training from scratch cost, means over layouts; one library answers queries of one world.

    Attributes:
        library_steps: environment steps that training the library's members took.
        library_seconds: computing time of that (``seconds/library`` where rows have it, else at the speed of the
            trainer in the same run) and of fitting a ranker.
        scratch_steps, scratch_seconds: of training one policy for a query.
        query_seconds: of answering it from the library, ``seconds/end_to_end`` where rows have it; it takes no
            environment step.
    """

    library_steps: float
    library_seconds: float
    scratch_steps: float
    scratch_seconds: float
    query_seconds: float

    @classmethod
    def of(cls, sample: Sample, rows: Iterable[Row]) -> Costs:
        """Of some rows of a sample."""
        held = list(rows)

        def mean(name: str) -> float:
            return float(np.nanmean(layout_means(held, name, sample.layouts)))

        steps, scratch, seconds = (mean(name) for name in _COLUMNS)
        trained = mean("seconds/library") if "seconds/library" in held[0] else steps * seconds / scratch
        query = mean("seconds/end_to_end" if "seconds/end_to_end" in held[0] else "seconds/query")
        return cls(steps, trained + mean("seconds/fit"), scratch, seconds, query)

    def saved(self, step_cost: float, queries: float) -> float:
        """Seconds that the library saves over training for every query; negative before it is paid back."""
        gained = self.scratch_seconds + self.scratch_steps * step_cost - self.query_seconds
        return queries * gained - self.library_seconds - self.library_steps * step_cost

    def break_even(self, step_cost: float) -> float:
        """Queries after which the library is paid back; infinity where a query saves nothing."""
        gained = self.scratch_seconds + self.scratch_steps * step_cost - self.query_seconds
        return (self.library_seconds + self.library_steps * step_cost) / gained if gained > 0 else math.inf


_COLUMNS = ("environment_steps/library", "environment_steps/saved", "seconds/scratch")
