"""Running an experiment: environments fan out over an executor, rows come back, finished ones are kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from lever_ray.errors import SettingsError
from lever_ray.executor import Executor
from lever_ray.experiment.case import Row
from lever_ray.experiment.cell import run_environment
from lever_ray.experiment.plan import ALL_GAMMAS, ExperimentPlan, check_all_answer
from lever_ray.experiment.statistics import order_rows
from lever_ray.library.reader import LibraryReader
from lever_ray.query.ranking import open_for_ranking

_FINISHED = "finished"
"""Folder of the rows of finished environments, within an experiment's."""


@dataclass(frozen=True)
class Failure:
    """An environment whose cells failed; failures are data, and the job's exit code says so."""

    environment: str
    error: str


@dataclass(frozen=True)
class ExperimentRows:
    """What an experiment gave.

    Attributes:
        rows: one per environment, setup, gamma, strategy and ranker, in the order of their cells.
        failures: environments without rows.
        resumed: environments whose rows came from an interrupted run.
    """

    rows: list[Row]
    failures: list[Failure]
    resumed: int


def plan_digest(plan: ExperimentPlan, environments: Sequence[str], library: str) -> str:
    """Hash of everything that decides the rows: the settings, the environments and the library's content."""
    content = json.dumps([asdict(plan), list(environments), library], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def run_experiment(
    plan: ExperimentPlan,
    library: LibraryReader,
    environments: Sequence[str],
    *,
    executor: Executor,
    folder: Path,
    resume: bool = True,
    watch: Callable[[str], None] | None = None,
    kept_before: Callable[[int], None] | None = None,
    keep_finished: bool = False,
) -> ExperimentRows:
    """Run every cell of every environment.

    Args:
        plan: what to run.
        library: where policies come from; it must survive being sent to the executor's workers.
        environments: their names.
        executor: where environments run.
        folder: for ``rows.parquet``, ``failures.parquet`` where an environment failed, and the rows of finished
            environments, from which a run that was interrupted goes on.
        resume: False starts anew.
        watch: called with the name of every environment as it finishes.
        kept_before: called first with how many environments an interrupted run finished, where it finished some.
        keep_finished: True leaves the rows of finished environments where they are, for the next run to go on from,
            until :func:`drop_finished`.

    Raises:
        UnknownName: the library has no environment of that name.
        InvalidValue: an operator cannot answer an environment, see
            :func:`~lever_ray.experiment.plan.check_all_answer`.
    """
    for name in environments:
        check_all_answer(plan.operators, library.environment(name).task)
    finished = folder / _FINISHED
    if not resume:
        shutil.rmtree(finished, ignore_errors=True)
    finished.mkdir(parents=True, exist_ok=True)
    files = {name: finished / f"{quote(name, safe='')}.parquet" for name in environments}
    kept = {name: read_rows(file) for name, file in files.items() if file.exists()}
    missing = [name for name in environments if name not in kept]
    if kept and kept_before is not None:
        kept_before(len(kept))
    rows, failures = [row for part in kept.values() for row in part], []
    if missing:
        gammas = [gamma for gamma in plan.member_gammas if gamma != ALL_GAMMAS]
        recipes = [recipe for gamma in gammas for recipe in plan.recipes_at(gamma)]
        open_for_ranking(library, recipes, [setup.objective for setup in plan.setups], missing[0])
        library.publish(missing)
    for outcome in executor.map(run_environment, missing, shared=(library, plan)):
        name = missing[outcome.index]
        if outcome.error is None:
            rows += outcome.value
            write_rows(files[name], outcome.value)
        else:
            failures.append(Failure(name, f"{type(outcome.error).__name__}: {outcome.error}"))
        if watch is not None:
            watch(name)
    ordered = order_rows(rows)
    if ordered:
        write_rows(folder / "rows.parquet", ordered)
    if failures:
        write_rows(folder / "failures.parquet", [asdict(failure) for failure in failures])
    else:
        (folder / "failures.parquet").unlink(missing_ok=True)
        if not keep_finished:
            drop_finished(folder)
    return ExperimentRows(ordered, sorted(failures, key=lambda failure: failure.environment), len(kept))


def was_begun(folder: Path) -> bool:
    """Whether a run in a folder was begun that is not done, whatever it has finished."""
    return (folder / _FINISHED).is_dir()


def finished_environments(folder: Path) -> int:
    """How many environments a run in a folder finished that was not done."""
    return sum(not file.name.startswith(".") for file in (folder / _FINISHED).glob("*.parquet"))


def finished_told(folder: Path) -> str:
    """What the folder of an experiment keeps of finished environments, as a clause."""
    count = finished_environments(folder)
    return f"rows of {count} finished environments are kept in {folder / _FINISHED}" if count else "no rows to keep yet"


def drop_finished(folder: Path) -> None:
    """Let the next run of the experiment in a folder start anew."""
    shutil.rmtree(folder / _FINISHED, ignore_errors=True)


@contextmanager
def held_alone(file: Path, refusal: str) -> Iterator[None]:
    """Hold a file's lock for as long as the block runs; a kill frees it.

    Args:
        file: made where it is missing.
        refusal: message, where another process holds it.

    Raises:
        SettingsError: another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(refusal) from error
        yield


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as Parquet, atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as handle:
            pq.write_table(pa.Table.from_pylist(list(rows)), handle)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read_rows(path: Path) -> list[Row]:
    """Rows of a Parquet file."""
    with path.open("rb") as handle:
        return pq.read_table(handle).to_pylist()
