"""How long the pieces of the study take: ``python -m benchmarks.study_pace HOME`` writes what its estimates are from.

HOME is one where the study was run (``LEVER_RAY_HOME``). Do it on a machine that does nothing else, with that run's own
pace: the calibration and the training of policies are measured now.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time

from lever_ray.building.build import train_environment
from lever_ray.executor import SerialExecutor
from lever_ray.query.warm import warm_up
from lever_ray.reproduction import pace
from lever_ray.reproduction.merge import Results, merged_rows
from lever_ray.reproduction.run import summaries
from lever_ray.reproduction.sizes import FAMILIES, SIZES, STUDY, Part, StudyPlan
from lever_ray.reproduction.store import CellStore

LAYOUTS = 2
"""Layouts of each part whose policies are trained, and whose rows are merged."""


def others(store: CellStore, plan: StudyPlan) -> Iterator[tuple[pace.Like, float]]:
    """CPU seconds of what is no cell."""
    yield (pace.CALIBRATION,), pace.calibration(process_time)
    for family in FAMILIES:
        for budget in ("X1", "X5", "X10"):
            settings = plan.library(Part(family, budget, LAYOUTS))
            begun = process_time()
            for seed in range(LAYOUTS):
                train_environment(seed, settings)
            yield (pace.POLICIES, family, budget), (process_time() - begun) / LAYOUTS
    begun = process_time()
    lines = summaries(plan, merged_rows(plan, Results(store, {})), SerialExecutor())
    yield (pace.AFTER,), (process_time() - begun) / len(lines)


def main(home: Path) -> None:
    """Write the reference beside the package's modules."""
    warm_up()
    store = CellStore(home / STUDY / "cells")
    plan = SIZES["quick"]
    plan = replace(plan, parts=tuple(replace(part, layouts=min(part.layouts, LAYOUTS)) for part in plan.parts))
    text = pace.reference_text(store.results(), dict(others(store, plan)))
    Path(pace.__file__).with_name(pace.REFERENCE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
