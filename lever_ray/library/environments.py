"""The environments of a library, read from their files row by row as they are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lever_ray.embedding.canonical import CanonicalStates
from lever_ray.errors import LeverError, LibraryError
from lever_ray.library.files import REPAIR, read_table
from lever_ray.library.manifest import DataFile
from lever_ray.library.record import EnvironmentRecord
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import ACTIONS


class Environments:
    """Environments by name. A file is checked when it is first touched, a row when it is first read.

    Args:
        path: folder of the library.
        library: its id.
        files: the files of environments, oldest first; of several rows with one name the latest counts.
    """

    def __init__(self, path: Path, library: str, files: Sequence[DataFile]) -> None:
        self._path, self._library = path, library
        self._places = {name: (file, row) for file in files for row, name in enumerate(file.environments)}
        self._tables: dict[str, pa.Table] = {}
        self._records: dict[str, EnvironmentRecord] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tables": {}}

    @property
    def names(self) -> list[str]:
        """Names of all environments, ascending."""
        return sorted(self._places)

    def get(self, name: str) -> EnvironmentRecord | None:
        """What an environment's policies share; None where there is none of that name.

        Raises:
            LibraryError: its file or its row is damaged.
        """
        if name not in self._records and name in self._places:
            file, row = self._places[name]
            self._records[name] = read_environment(self._table(file).slice(row, 1), name, self._path / file.name)
        return self._records.get(name)

    def __getitem__(self, name: str) -> EnvironmentRecord:
        found = self.get(name)
        if found is None:
            raise LibraryError(f"library {self._path} has policies of environment {name!r}, which it lacks; {REPAIR}")
        return found

    def _table(self, file: DataFile) -> pa.Table:
        if file.name not in self._tables:
            self._tables[file.name] = read_table(self._path, file, library=self._library)
        return self._tables[file.name]


def read_environment(row: pa.Table, name: str, location: Path) -> EnvironmentRecord:
    """One row of an environments table, checked.

    Raises:
        LibraryError: it cannot be an environment of that name.
    """
    try:
        return _read_row(row.to_pylist()[0], name)
    except (LeverError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise LibraryError(f"environment {name!r} in {location} cannot be read ({error}); {REPAIR}") from error


def _read_row(row: Mapping[str, Any], name: str) -> EnvironmentRecord:
    if row["name"] != name:
        raise ValueError(f"it is called {row['name']!r} there")
    layout = Layout.from_dict(json.loads(row["layout"]))
    successors = np.array(row["successors"], np.int32).reshape(layout.states, ACTIONS)
    if (successors != np.where(successors < 0, -1, layout.terrain.moves)).any():
        raise ValueError("its recorded transitions contradict its layout")
    cells = np.array(row["canonical_cells"], np.int32)
    golds = np.array(row["canonical_golds"], np.uint64)
    levers = np.array(row["canonical_levers"], np.uint8)
    if not len(cells) == len(golds) == len(levers) > 0:
        raise ValueError("its canonical states are missing or of differing lengths")
    outside = (cells < 0) | (cells >= layout.states) | (golds & ~layout.terrain.all_golds > 0) | (levers > 1)
    if outside.any():
        raise ValueError("its canonical states lie outside its layout")
    return EnvironmentRecord(name, layout, successors, CanonicalStates(cells, golds, levers))
