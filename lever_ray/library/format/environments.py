"""The environments of a library, read from their files row by row as they are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lever_ray.errors import LeverError, LibraryError
from lever_ray.library.format.files import read_table
from lever_ray.library.format.manifest import DataFile
from lever_ray.library.format.schema import REPAIR
from lever_ray.library.format.sealed import AnyEnvironment, ForeignFamily, SealedEnvironment
from lever_ray.library.record import EnvironmentRecord
from lever_ray.tasks import registry
from lever_ray.tasks.canonical import CanonicalStates
from lever_ray.tasks.protocol import Environment

_UNREADABLE = (LeverError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
"""What reading a row may raise, the decoding of its task included."""


class Environments:
    """Environments by name. A file is checked when it is first touched, a row when it is first read.

    Args:
        path: folder of the library.
        library: its id.
        files: the files of environments, oldest first; of several rows with one name the latest counts.
        held: environments that lie in memory.
    """

    def __init__(
        self,
        path: Path,
        library: str,
        files: Sequence[DataFile],
        held: Sequence[EnvironmentRecord] = (),
    ) -> None:
        self._path, self._library = path, library
        self._places = {name: (file, row) for file in files for row, name in enumerate(file.environments)}
        self._tables: dict[str, pa.Table] = {}
        self._records: dict[str, AnyEnvironment] = {record.name: record for record in held}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tables": {}}

    @property
    def names(self) -> list[str]:
        """Names of all environments, ascending."""
        return sorted(self._places.keys() | self._records.keys())

    def any(self, name: str) -> AnyEnvironment:
        """An environment, whether or not its family is installed.

        Raises:
            LibraryError: it is missing, or its file or its row is damaged.
        """
        if name not in self._records:
            if name not in self._places:
                raise LibraryError(
                    f"library {self._path} has policies of environment {name!r}, which it lacks; {REPAIR}"
                )
            file, _ = self._places[name]
            self._records[name] = read_environment(self._row(name), name, self._path / file.name)
        return self._records[name]

    def get(self, name: str) -> EnvironmentRecord | None:
        """What an environment's policies share; None where there is none of that name.

        Raises:
            ForeignFamily: its family is not installed.
            LibraryError: its file or its row is damaged.
        """
        return self[name] if name in self._records or name in self._places else None

    def __getitem__(self, name: str) -> EnvironmentRecord:
        found = self.any(name)
        if isinstance(found, SealedEnvironment):
            raise ForeignFamily(_not_installed(found, self._path), found.family)
        return found

    def foreign(self) -> dict[str, str]:
        """The family of every environment whose family is not installed."""
        found = (self.any(name) for name in self.names)
        return {each.name: each.family for each in found if isinstance(each, SealedEnvironment)}

    def features(self, name: str) -> int:
        """How many features are stored of an environment, over all observations; nothing is decoded."""
        return int(self._row(name)["features"].chunk(0).value_lengths()[0].as_py())

    def _row(self, name: str) -> pa.Table:
        file, row = self._places[name]
        if file.name not in self._tables:
            self._tables[file.name] = read_table(self._path, file, library=self._library)
        return self._tables[file.name].slice(row, 1)


def _not_installed(environment: SealedEnvironment, location: Path) -> str:
    known = ", ".join(registry.families())
    return (
        f"environment {environment.name!r} of library {location} is of task family {environment.family!r}, which is "
        f"not installed (installed: {known}); install the package that provides it, or register it"
    )


def read_environment(row: pa.Table, name: str, location: Path) -> AnyEnvironment:
    """One row of an environments table, checked; sealed where its family is not installed.

    Raises:
        LibraryError: it cannot be an environment of that name.
    """
    try:
        return _read_row(row.to_pylist()[0], name)
    except _UNREADABLE as error:
        raise LibraryError(f"environment {name!r} in {location} cannot be read ({error}); {REPAIR}") from error


def _read_row(row: Mapping[str, Any], name: str) -> AnyEnvironment:
    if row["name"] != name:
        raise ValueError(f"it is called {row['name']!r} there")
    if not len(row["canonical_cells"]) == len(row["canonical_golds"]) == len(row["canonical_levers"]) > 0:
        raise ValueError("its canonical states are missing or of differing lengths")
    document = json.loads(row["layout"])
    if not isinstance(document, dict):
        raise ValueError(f"its task is {str(document)[:40]}, and no mapping")
    try:
        task = registry.decode(document)
    except (registry.UnknownFamily, ImportError):
        return SealedEnvironment(name, str(document.get("family")), dict(row))
    return _checked(name, task, row)


def _checked(name: str, task: Environment, row: Mapping[str, Any]) -> EnvironmentRecord:
    """An environment whose transitions and canonical states are those of its task."""
    successors = np.array(row["successors"], np.int32).reshape(task.observations, task.actions)
    dynamics = task.dynamics
    if (successors != np.where(successors < 0, -1, dynamics.moves)).any():
        raise ValueError("its recorded transitions contradict its task")
    observations = np.array(row["canonical_cells"], np.int32)
    items, switches = (np.array(row[f"canonical_{name}"], np.uint64) for name in ("golds", "levers"))
    outside = (observations < 0) | (observations >= task.observations)
    outside |= (items & ~np.uint64(dynamics.memory[0]) > 0) | (switches > 1)
    if outside.any():
        raise ValueError("its canonical states lie outside its task")
    return EnvironmentRecord(name, task, successors, CanonicalStates(observations, np.stack([items, switches], axis=1)))
