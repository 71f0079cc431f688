"""What ``lever-ray reproduce`` says: how long it will take, and what it has done."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from lever_ray.progress import duration
from lever_ray.reproduction.estimate import Estimate
from lever_ray.reproduction.run import Reproduced

_SHOWN = 5
"""Failures that are told one by one."""


def dry_run_lines(told: Estimate) -> Iterator[str]:
    """What would be run, and about how long it takes."""
    for each in told.families:
        done = f", {each.cells - each.missing:,} finished" if each.missing < each.cells else ""
        yield (
            f"{each.family}: {each.cells:,} cells{done}; {each.missing:,} in {each.batches:,} batches, "
            f"{duration(each.seconds)} of one core"
        )
    yield f"About {duration(told.seconds)} on {told.workers} core{'s' if told.workers != 1 else ''}"


def result_lines(found: Reproduced, folder: Path) -> Iterator[str]:
    """What was done, what it took, and what failed."""
    whole, tracking = (found.seconds[stage].wall for stage in ("all", "tracking"))
    cells = sum(each.cells for each in found.seconds.values())
    yield (
        f"{len(found.rows):,} rows; {cells:,} cells and trainings run, {found.kept:,} cells kept, in "
        f"{duration(whole)}; tracking took {100 * tracking / whole:.1f}% of it"
    )
    for name, error in islice(found.failures.items(), _SHOWN):
        yield f"failed: {name}: {error}"
    if len(found.failures) > _SHOWN:
        yield f"and {len(found.failures) - _SHOWN:,} more failed; rows.parquet has why, in column error"
    yield f"Rows, summary, break-even and report: {folder}"
