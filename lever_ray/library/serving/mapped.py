"""One shard on disk: files that are mapped and checked when they are first touched."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from lever_ray.errors import LeverError, LibraryError
from lever_ray.library.format.arrays import Tables, array_of, numbers_of
from lever_ray.library.format.files import read_table
from lever_ray.library.format.manifest import SHARD_KINDS, ShardEntry
from lever_ray.library.format.policies import ID_LENGTH, read_policy, sealed_policy
from lever_ray.library.format.rows import descriptions_of
from lever_ray.library.format.schema import REPAIR
from lever_ray.library.format.sealed import AnyPolicy, Lookup, SealedEnvironment
from lever_ray.library.record import SUPPORT_SOURCES, EnvironmentRecord, PolicyRecord
from lever_ray.order import in_natural_order
from lever_ray.policies.group import GroupKey
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.support import full_support

T = TypeVar("T")

_KEPT = 1_024
"""Things made of a shard that are kept."""
_READ: dict[str, set[str]] = {
    "policies": {"policies", "ids", "runs", "keys_of", "descriptions"},
    "tables": {"tables", "_checked"},
    "texts": {"texts"},
    "embeddings": {"psi"},
}
"""What is read of each file."""


class MappedShard:
    """The policies of one shard.

    Args:
        path: folder of the library.
        library: its id.
        shard: the manifest's entry.
    """

    def __init__(self, path: Path, library: str, shard: ShardEntry) -> None:
        self.path, self.library, self.entry = path, library, shard
        self._made: dict[Hashable, Any] = {}

    def take_over(self, before: MappedShard, *, made: bool = True) -> None:
        """Keep what was read, and made, of files that an earlier state of the shard had as well.

        Args:
            before: the shard in that state.
            made: whether what was made of those files still holds.
        """
        same = {kind for kind in SHARD_KINDS if self.entry.file(kind) == before.entry.file(kind)}
        if "policies" not in same:
            return
        for kind in same:
            for name in _READ[kind] & before.__dict__.keys():
                self.__dict__[name] = before.__dict__[name]
        if made and {"tables", "texts"} <= same:
            self._made = before._made

    def made(self, what: Hashable, make: Callable[[], T]) -> T:
        """Something made of policies, tables and texts: once, as long as it is among what was asked for last."""
        found: T | None = self._made.pop(what, None)
        if found is None:
            while len(self._made) >= _KEPT:
                self._made.pop(next(iter(self._made)))
            found = make()
        self._made[what] = found
        return found

    def _read(self, kind: str) -> pa.Table | None:
        file, entry = self.entry.file(kind), self.entry
        if file is None:
            return None
        return read_table(self.path, file, library=self.library, shard=entry.id, states=entry.states)

    def _location(self, kind: str) -> Path:
        file = self.entry.file(kind)
        assert file is not None
        return self.path / file.name

    @cached_property
    def policies(self) -> pa.Table:
        """What each policy is, in order of environment, gamma, episodes, objective and id.

        Raises:
            LibraryError: the file is damaged or its rows cannot be policies.
        """
        table = self._read("policies")
        assert table is not None
        location = self._location("policies")
        for name in table.schema.names:
            if _lacks_values(table[name]):
                raise LibraryError(f"{location} lacks values of column {name!r}; {REPAIR}")
        gammas = numbers_of(table["gamma"].chunks[0])
        if not ((gammas >= 0) & (gammas <= 1)).all():
            raise LibraryError(f"{location} has values of gamma outside of [0, 1]; {REPAIR}")
        for objective in sorted(_distinct(table["objective"])):
            _check_objective(objective, location)
        unknown = _distinct(table["support_source"]) - set(SUPPORT_SOURCES)
        elsewhere = _distinct(table["environment"]) - set(self.entry.environments)
        if unknown or elsewhere:
            raise LibraryError(
                f"{location} has rows of {in_natural_order(unknown | elsewhere)[:3]}, unknown here; {REPAIR}"
            )
        return table

    @cached_property
    def ids(self) -> np.ndarray:
        """bytes[n]: ids in the rows' order.

        Raises:
            LibraryError: an id is not 20 hexadecimal digits.
        """
        column = self.policies["id"].chunks[0]
        _, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
        right = bool((np.diff(ends) == ID_LENGTH).all())
        letters = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if right else np.zeros(0, np.uint8)
        if not right or not _hexadecimal(letters):
            raise LibraryError(f"{self._location('policies')} has ids that are none; {REPAIR}")
        return letters.view(f"S{ID_LENGTH}")

    def codes(self, column: str) -> np.ndarray:
        """int32[n]: codes of a dictionary column."""
        return numbers_of(self.policies[column].chunks[0].indices)

    def numbers(self, column: str) -> np.ndarray:
        """float64[n] or int64[n]: a column of numbers."""
        return numbers_of(self.policies[column].chunks[0])

    def names(self, column: str, rows: np.ndarray) -> list[str]:
        """What some rows, int64[n], have in a dictionary column."""
        known = self.policies[column].chunks[0].dictionary.to_pylist()
        return [known[code] for code in self.codes(column)[rows].tolist()]

    @cached_property
    def runs(self) -> dict[GroupKey, tuple[int, int]]:
        """First row, and the row after the last, of every group.

        Raises:
            LibraryError: rows are not in order.
        """
        columns = [self.codes("environment"), self.codes("objective"), self.numbers("gamma"), self.numbers("episodes")]
        new = np.ones(self.entry.rows, bool)
        new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        starts = np.flatnonzero(new)
        stops = [*starts[1:].tolist(), self.entry.rows]
        gammas, episodes = (column[starts].tolist() for column in columns[2:])
        heads = zip(self.names("environment", starts), self.names("objective", starts), gammas, episodes, strict=True)
        runs = {GroupKey(*head): run for head, run in zip(heads, zip(starts.tolist(), stops, strict=True), strict=True)}
        if len(runs) < len(starts) or (~new[1:] & (self.ids[1:] <= self.ids[:-1])).any():
            raise LibraryError(f"{self._location('policies')} does not have its rows in order; {REPAIR}")
        return runs

    @cached_property
    def keys_of(self) -> dict[str, list[GroupKey]]:
        """The groups of every environment."""
        found: dict[str, list[GroupKey]] = {}
        for key in self.runs:
            found.setdefault(key.environment, []).append(key)
        return found

    def rows_of(self, environment: str) -> tuple[int, int]:
        """First row, and the row after the last, of an environment; equal where it has none."""
        keys = self.keys_of.get(environment)
        return (self.runs[keys[0]][0], self.runs[keys[-1]][1]) if keys else (0, 0)

    @cached_property
    def tables(self) -> Tables:
        """The arrays of all policies.

        Raises:
            LibraryError: the file is damaged.
        """
        table = self._read("tables")
        assert table is not None
        return Tables.of(table, self.entry.states, self._location("tables"))

    def sound(self, first: int, stop: int) -> Tables:
        """Arrays of some rows, checked when they are first asked for.

        Raises:
            LibraryError: naming policies whose values are NaN or infinite, or whose support is no set of actions.
        """
        cut = self.tables.cut(first, stop)
        if not self._checked[first:stop].all():
            rows = self.broken_rows(first, stop)
            if len(rows):
                ids = [identity.decode() for identity in self.ids[rows[:3]]]
                raise LibraryError(
                    f"policies {ids} in {self._location('tables')} hold NaN or infinite values, or a support that is "
                    "none; `lever-ray library repair` leaves them out"
                )
            self._checked[first:stop] = True
        return cut

    @cached_property
    def _checked(self) -> np.ndarray:
        """bool[n]: rows whose arrays are known to be sound."""
        return np.zeros(len(self.tables.support), bool)

    def broken_rows(self, first: int, stop: int) -> np.ndarray:
        """Rows between two whose arrays hold NaN, infinity, or bits of actions that do not exist."""
        tables, wrong = self.tables, np.zeros(stop - first, bool)
        for values in (tables.q, tables.mean_rewards):
            if values is not None:
                wrong |= ~np.isfinite(values[first:stop]).all(axis=(1, 2))
        wrong |= (tables.support[first:stop] & self._impossible).any(axis=(1, 2))
        return first + np.flatnonzero(wrong)

    @cached_property
    def _impossible(self) -> np.ndarray:
        """uint8[S, B]: bits of actions that do not exist."""
        return np.asarray(~full_support(*self.tables.shape))

    @cached_property
    def descriptions(self) -> list[str]:
        """Distinct descriptions, in the order of the codes of column ``description``."""
        return descriptions_of(self.policies)

    @cached_property
    def texts(self) -> np.ndarray | None:
        """float32[t, 256]: unit vectors of ``descriptions``; None where they are not made yet.

        Raises:
            LibraryError: the file is damaged, or is not that of these descriptions.
        """
        table = self._read("texts")
        if table is None:
            return None
        if table["description"].to_pylist() != self.descriptions:
            raise LibraryError(f"{self._location('texts')} has vectors of other descriptions; {REPAIR}")
        return self._finite("texts", array_of(table, "embedding", self._location("texts")))

    @cached_property
    def psi(self) -> np.ndarray | None:
        """float32[n, 73]: Psi of every policy; None where it is not made yet.

        Raises:
            LibraryError: the file is damaged.
        """
        table = self._read("embeddings")
        if table is None:
            return None
        return self._finite("embeddings", array_of(table, "psi", self._location("embeddings")))

    def _finite(self, kind: str, values: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).all():
            raise LibraryError(f"{self._location(kind)} holds NaN or infinite values; {REPAIR}")
        return values

    def records(self, rows: np.ndarray, environments: Any) -> Iterator[PolicyRecord]:
        """Full records of some rows.

        Args:
            rows: int64[n].
            environments: gives an :class:`EnvironmentRecord` by name.

        Raises:
            LibraryError: see :meth:`sound`; or a policy is not what its id or its checksum says.
        """
        for values, tables in self._sound_rows(rows):
            yield self._record(values, tables, environments[values["environment"]])

    def kept(self, rows: np.ndarray, lookup: Lookup) -> Iterator[AnyPolicy]:
        """The same, whether or not families are installed: what is to be written again.

        Raises:
            LibraryError: see :meth:`records`.
        """
        for values, tables in self._sound_rows(rows):
            environment = lookup(values["environment"])
            if isinstance(environment, SealedEnvironment):
                self._check_sum(values, tables)
                yield sealed_policy(values, tables)
            else:
                yield self._record(values, tables, environment)

    def _sound_rows(self, rows: np.ndarray) -> Iterator[tuple[dict[str, Any], Tables]]:
        table = self.policies.take(pa.array(rows, pa.int64())).to_pylist()
        for row, values in zip(rows.tolist(), table, strict=True):
            yield values, self.sound(row, row + 1)

    def _record(self, values: dict[str, Any], tables: Tables, environment: EnvironmentRecord) -> PolicyRecord:
        record = read_policy(values, tables, environment)
        if (record.id, record.support_source) != (values["id"], values["support_source"]):
            raise LibraryError(f"policy {values['id']!r} in {self.path} has other content than its id says; {REPAIR}")
        self._check_sum(values, tables)
        return record

    def _check_sum(self, values: dict[str, Any], tables: Tables) -> None:
        if list(tables.checksums([values])) != tables.crc32.tolist():
            raise LibraryError(
                f"policy {values['id']!r} in {self.path} has other content than its checksum says; {REPAIR}"
            )

    def check_task(self, key: GroupKey, environment: EnvironmentRecord) -> None:
        """Refuse a group whose tables or objective are not of its environment's task.

        Raises:
            LibraryError: naming both.
        """
        task, wanted = environment.task, self.tables.shape
        if (task.observations, task.actions) != wanted:
            raise LibraryError(
                f"shard {self.entry.id} of library {self.path} has tables {wanted}, environment {environment.name!r} "
                f"{(task.observations, task.actions)}; {REPAIR}"
            )
        if key.objective:
            try:
                _check_order(Objective.of(key.objective), task.terms)
            except (LeverError, ValueError) as error:
                raise _wrong_objective(key.objective, self._location("policies"), error) from error


def _lacks_values(column: pa.ChunkedArray) -> bool:
    """Whether a column has nulls, or refers to one in its dictionary."""
    named = [chunk.dictionary for chunk in column.chunks if pa.types.is_dictionary(column.type)]
    return bool(column.null_count or any(names.null_count for names in named))


def _distinct(column: pa.ChunkedArray) -> set[str]:
    """What a dictionary column without nulls holds."""
    (chunk,) = column.chunks
    names = chunk.dictionary.to_pylist()
    return {names[code] for code in np.unique(numbers_of(chunk.indices)).tolist()}


def _hexadecimal(letters: np.ndarray) -> bool:
    return bool((((letters >= 48) & (letters <= 57)) | ((letters >= 97) & (letters <= 102))).all())


def _check_objective(name: str, location: Path) -> None:
    """Refuse what cannot be an objective of any task."""
    if not name:
        return
    try:
        if Objective.of(name).name != name.partition("[")[0]:
            raise ValueError("its terms are not as they are written")
    except (LeverError, ValueError) as error:
        raise _wrong_objective(name, location, error) from error


def _check_order(objective: Objective, terms: Sequence[str]) -> None:
    if objective.resolved(terms).terms != objective.terms:
        raise ValueError("its terms are not in order")


def _wrong_objective(name: str, location: Path, error: Exception) -> LibraryError:
    return LibraryError(f"{location} holds a policy for objective {name!r} ({error}); {REPAIR}")
