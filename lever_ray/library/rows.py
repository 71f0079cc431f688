"""Between records and the rows of Arrow files. Files may be damaged: rows are checked before they are used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lever_ray.embedding.canonical import CanonicalStates
from lever_ray.errors import LeverError, LibraryError
from lever_ray.gridworld.layout import Layout
from lever_ray.gridworld.objective import Objective
from lever_ray.gridworld.terrain import ACTIONS
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.schema import ENVIRONMENT_SCHEMA, POLICY_SCHEMA, DataFile, read_table

_PLAIN = ("environment", "description", "label", "gamma", "algorithm", "episodes", "snapshot", "seed")
_PLAIN_COSTS = ("environment_steps", "seconds", "total")
_REMEDY = "restore the file from a copy, or build the library again in another folder"


def policy_table(records: Sequence[PolicyRecord]) -> pa.Table:
    """Policies as a table of :data:`~lever_ray.library.schema.POLICY_SCHEMA`, sorted by group and id."""
    ordered = sorted(records, key=lambda record: (*_group_of(record), record.id))
    columns: dict[str, Any] = {
        name: [getattr(record, name) for record in ordered] for name in ("id", *_PLAIN, *_PLAIN_COSTS)
    }
    columns["objective"] = [record.objective.id for record in ordered]
    columns["weights"] = [list(record.objective.weights) for record in ordered]
    for name in ("q", "support", "visits"):
        columns[name] = [getattr(record, name).ravel() for record in ordered]
    rewards = [record.mean_rewards for record in ordered]
    columns["mean_rewards"] = [None if mean is None else mean.ravel() for mean in rewards]
    arrays = {field.name: pa.array(columns[field.name], field.type) for field in POLICY_SCHEMA}
    return pa.table(arrays, schema=POLICY_SCHEMA)


def _group_of(record: PolicyRecord) -> tuple[str, float, int, str]:
    return record.environment, record.gamma, record.episodes, record.objective.id


def environment_table(environments: Sequence[EnvironmentRecord]) -> pa.Table:
    """Environments as a table of :data:`~lever_ray.library.schema.ENVIRONMENT_SCHEMA`."""
    rows = [
        {
            "name": environment.name,
            "layout": json.dumps(environment.layout.to_dict()),
            "successors": environment.successors.ravel(),
            "canonical_cells": environment.canonical.cells,
            "canonical_golds": environment.canonical.golds,
            "canonical_levers": environment.canonical.levers,
        }
        for environment in environments
    ]
    return pa.Table.from_pylist(rows, schema=ENVIRONMENT_SCHEMA)


def read_environments(path: Path, files: Sequence[DataFile]) -> dict[str, EnvironmentRecord]:
    """The environments of some files, by name; later rows replace earlier ones.

    Raises:
        LibraryError: a file or a row is damaged; the message names it.
    """
    found = {}
    for file in files:
        for row in read_table(path, file).to_pylist():
            try:
                found[str(row["name"])] = _read_environment(row)
            except (LeverError, ValueError, TypeError, OverflowError) as error:
                place = f"environment {row['name']!r} in {path / file.name}"
                raise LibraryError(f"{place} cannot be read ({error}); {_REMEDY}") from error
    return found


def _read_environment(row: Mapping[str, Any]) -> EnvironmentRecord:
    layout = Layout.from_dict(json.loads(row["layout"]))
    successors = np.array(row["successors"], np.int32).reshape(layout.states, ACTIONS)
    if (successors != np.where(successors < 0, -1, layout.terrain.moves)).any():
        raise ValueError("its recorded transitions contradict its layout")
    cells = np.array(row["canonical_cells"], np.int32)
    golds = np.array(row["canonical_golds"], np.uint64)
    levers = np.array(row["canonical_levers"], np.uint8)
    if not len(cells) == len(golds) == len(levers) > 0:
        raise ValueError("its canonical states are missing or of differing lengths")
    if (cells < 0).any() or (cells >= layout.states).any() or (golds & ~layout.terrain.all_golds).any():
        raise ValueError("its canonical states lie outside its layout")
    return EnvironmentRecord(str(row["name"]), layout, successors, CanonicalStates(cells, golds, levers))


def read_policies(path: Path, file: DataFile, states: Mapping[str, int]) -> pa.Table:
    """The policy table of a file, checked as a whole: shapes, finite values, known environments, readable objectives.

    Args:
        path: folder of the library.
        file: the data file.
        states: S of every environment of the library.

    Raises:
        LibraryError: naming the file and the first rows that are wrong.
    """
    table = read_table(path, file)
    location = path / file.name
    for name in ("id", "environment", "objective", "weights", "gamma", "episodes", "q", "support", "visits"):
        if table[name].null_count:
            raise LibraryError(f"{location} lacks values of column {name!r}; {_REMEDY}")
    unknown = sorted(set(table["environment"].unique().to_pylist()) - set(states))
    if unknown:
        raise LibraryError(
            f"{location} holds policies of environments {unknown[:3]}, which the library lacks; {_REMEDY}"
        )
    size = np.array([states[name] for name in table["environment"].to_pylist()], np.int64)
    for name, width in (("q", ACTIONS), ("visits", ACTIONS), ("support", 1)):
        wrong = pc.list_value_length(table[name]).to_numpy() != size * width
        _refuse(table, wrong, f"column {name!r} does not have the shape of their layout", location)
    _refuse(table, ~_finite_rows(table, "q"), "hold NaN or infinite Q-values", location)
    for objective in table["objective"].unique().to_pylist():
        _check_objective(objective, location)
    return table


def _finite_rows(table: pa.Table, column: str) -> np.ndarray:
    """bool[rows]: whether every value of a list column is finite and not null."""
    values = table[column].combine_chunks()
    lengths = pc.list_value_length(values).to_numpy()
    bad = ~np.isfinite(values.flatten().to_numpy(zero_copy_only=False))
    if not bad.any():
        return np.ones(len(lengths), bool)
    return np.bincount(np.repeat(np.arange(len(lengths)), lengths), weights=bad, minlength=len(lengths)) == 0


def _refuse(table: pa.Table, wrong: np.ndarray, what: str, location: Path) -> None:
    if wrong.any():
        ids = table["id"].take(np.flatnonzero(wrong)[:3]).to_pylist()
        raise LibraryError(f"policies {ids} in {location}: {what}; delete those policies, or {_REMEDY}")


def _check_objective(name: str, location: Path) -> None:
    try:
        Objective.of(name.partition("[")[0])
    except LeverError as error:
        raise LibraryError(f"{location} holds a policy for objective {name!r} ({error}); {_REMEDY}") from error


def read_policy(row: Mapping[str, Any], environment: EnvironmentRecord) -> PolicyRecord:
    """One row of a policy table as a record."""
    shape = (environment.layout.states, ACTIONS)
    visits = np.array(row["visits"], np.uint32).reshape(shape)
    terms = row["objective"].partition("[")[0].split("-")
    rewards = row["mean_rewards"]
    return PolicyRecord(
        layout=environment.layout,
        objective=Objective.of(terms, weights=dict(zip(terms, row["weights"], strict=True))),
        q=np.array(row["q"], np.float32).reshape(shape),
        visits=visits,
        successors=np.where(visits > 0, environment.successors, -1),
        mean_rewards=None if rewards is None else np.array(rewards, np.float32).reshape(shape),
        **{name: row[name] for name in (*_PLAIN, *_PLAIN_COSTS)},
    )
