"""One shard on disk: files that are mapped and checked when they are first touched."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from lever_ray.errors import LeverError, LibraryError
from lever_ray.library.files import REPAIR, read_table
from lever_ray.library.manifest import SHARD_KINDS, Shard
from lever_ray.library.record import SUPPORT_SOURCES, EnvironmentRecord, PolicyRecord
from lever_ray.library.rows import PLAIN, checksum_of_row, descriptions_of
from lever_ray.tasks.gridworld.terrain import ACTIONS
from lever_ray.tasks.objective import Objective, objective_of

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


class GroupKey(NamedTuple):
    """What the members of a group have in common; the objective is empty where only their descriptions tell it."""

    environment: str
    objective: str
    gamma: float
    episodes: int


@dataclass(frozen=True, eq=False)
class Tables:
    """Arrays of a shard's policies; views of the mapped file.

    Attributes:
        q: float32[n, S, A], action values in reward units.
        support: uint8[n, S], bit ``a`` says that action ``a`` was taken in training.
        visits: uint32[n, S, A], how often; None where nobody counted.
        mean_rewards: float32[n, S, A]; None where they are unknown.
        crc32: uint32[n], see :func:`~lever_ray.library.rows.checksum_of_row`.
    """

    q: np.ndarray
    support: np.ndarray
    visits: np.ndarray | None
    mean_rewards: np.ndarray | None
    crc32: np.ndarray

    @classmethod
    def of(cls, table: pa.Table, states: int, location: Path) -> Tables:
        """Views of a tables file.

        Raises:
            LibraryError: a column lacks values.
        """
        wide = states, ACTIONS
        shapes = {"q": wide, "support": (states,), "visits": wide, "mean_rewards": wide}
        held = {name: _array(table, name, shapes[name], location) for name in table.schema.names if name in shapes}
        if table["crc32"].null_count:
            raise LibraryError(f"column 'crc32' of {location} lacks values; {REPAIR}")
        checksums = table["crc32"].to_numpy()
        return cls(held["q"], held["support"], held.get("visits"), held.get("mean_rewards"), checksums)

    def cut(self, first: int, stop: int) -> Tables:
        """Some of the rows."""
        visits = None if self.visits is None else self.visits[first:stop]
        rewards = None if self.mean_rewards is None else self.mean_rewards[first:stop]
        return Tables(self.q[first:stop], self.support[first:stop], visits, rewards, self.crc32[first:stop])

    def checksums(self, values: Iterable[Mapping[str, Any]]) -> Iterator[int]:
        """What column ``crc32`` should be, from the rows of the policies table."""
        arrays = [part for part in (self.q, self.support, self.visits, self.mean_rewards) if part is not None]
        for place, row in enumerate(values):
            yield checksum_of_row(list(row.values()), [array[place] for array in arrays])


class StoredShard:
    """The policies of one shard.

    Args:
        path: folder of the library.
        library: its id.
        shard: the manifest's entry.
    """

    def __init__(self, path: Path, library: str, shard: Shard) -> None:
        self.path, self.library, self.entry = path, library, shard
        self._made: dict[Hashable, Any] = {}

    def take_over(self, before: StoredShard, *, made: bool = True) -> None:
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
        gammas = table["gamma"].to_numpy()
        if not ((gammas >= 0) & (gammas <= 1)).all():
            raise LibraryError(f"{location} has values of gamma outside of [0, 1]; {REPAIR}")
        for objective in table["objective"].unique().to_pylist():
            _check_objective(objective, location)
        unknown = set(table["support_source"].unique().to_pylist()) - set(SUPPORT_SOURCES)
        elsewhere = set(table["environment"].unique().to_pylist()) - set(self.entry.environments)
        if unknown or elsewhere:
            raise LibraryError(f"{location} has rows of {sorted(unknown | elsewhere)[:3]}, unknown here; {REPAIR}")
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
        return np.asarray(self.policies[column].chunks[0].indices.to_numpy())

    def numbers(self, column: str) -> np.ndarray:
        """float64[n] or int64[n]: a column of numbers."""
        return np.asarray(self.policies[column].to_numpy())

    @cached_property
    def runs(self) -> dict[GroupKey, tuple[int, int]]:
        """First row, and the row after the last, of every group.

        Raises:
            LibraryError: rows are not in order.
        """
        table = self.policies
        columns = [self.codes("environment"), self.codes("objective"), self.numbers("gamma"), self.numbers("episodes")]
        new = np.ones(len(table), bool)
        new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        starts = np.flatnonzero(new)
        stops = [*starts[1:].tolist(), len(table)]
        heads = zip(*(table[name].take(starts).to_pylist() for name in GroupKey._fields), strict=True)
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
        wrong |= (tables.support[first:stop] >> ACTIONS).any(axis=1)
        return first + np.flatnonzero(wrong)

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
        return self._finite("texts", _array(table, "embedding", (-1,), self._location("texts")))

    @cached_property
    def psi(self) -> np.ndarray | None:
        """float32[n, 73]: Psi of every policy; None where it is not made yet.

        Raises:
            LibraryError: the file is damaged.
        """
        table = self._read("embeddings")
        if table is None:
            return None
        return self._finite("embeddings", _array(table, "psi", (-1,), self._location("embeddings")))

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
        table = self.policies.take(pa.array(rows, pa.int64())).to_pylist()
        for row, values in zip(rows.tolist(), table, strict=True):
            tables = self.sound(row, row + 1)
            record = read_policy(values, tables, environments[values["environment"]])
            if (record.id, record.support_source) != (values["id"], values["support_source"]):
                raise LibraryError(
                    f"policy {values['id']!r} in {self.path} has other content than its id says; {REPAIR}"
                )
            if list(tables.checksums([values])) != tables.crc32.tolist():
                raise LibraryError(
                    f"policy {values['id']!r} in {self.path} has other content than its checksum says; {REPAIR}"
                )
            yield record


ID_LENGTH = 20
"""Hexadecimal digits of a policy's id."""


def _lacks_values(column: pa.ChunkedArray) -> bool:
    """Whether a column has nulls, or refers to one in its dictionary."""
    named = [chunk.dictionary for chunk in column.chunks if pa.types.is_dictionary(column.type)]
    return bool(column.null_count or any(names.null_count for names in named))


def _hexadecimal(letters: np.ndarray) -> bool:
    return bool((((letters >= 48) & (letters <= 57)) | ((letters >= 97) & (letters <= 102))).all())


def _array(table: pa.Table, name: str, shape: tuple[int, ...], location: Path) -> np.ndarray:
    """A column of fixed-size lists as an array [n, *shape]; a view."""
    column = table[name]
    (chunk,) = column.chunks
    if column.null_count or chunk.flatten().null_count:
        raise LibraryError(f"column {name!r} of {location} lacks values; {REPAIR}")
    whole = chunk.flatten().to_numpy().reshape(len(table), column.type.list_size)
    return whole if shape == (-1,) else whole.reshape(len(table), *shape)


def _check_objective(name: str, location: Path) -> None:
    if not name:
        return
    try:
        if "-".join(objective_of(name).terms) != name.partition("[")[0]:
            raise ValueError("its terms are not in order")
    except (LeverError, ValueError) as error:
        raise LibraryError(f"{location} holds a policy for objective {name!r} ({error}); {REPAIR}") from error


def read_policy(row: dict[str, Any], tables: Tables, environment: EnvironmentRecord) -> PolicyRecord:
    """A record from a row of the policies table, its arrays [1, ...] and its environment.

    Raises:
        LibraryError: the row cannot be a policy of that environment.
    """
    terms = row["objective"].partition("[")[0].split("-")
    known = ((tables.support[0][:, None] >> np.arange(ACTIONS)) & 1).astype(bool)
    try:
        recorded = np.where(known, environment.layout.terrain.moves, -1)
        return PolicyRecord(
            layout=environment.layout,
            objective=Objective.of(terms, weights=dict(zip(terms, row["weights"], strict=True)))
            if row["objective"]
            else None,
            q=tables.q[0],
            visits=tables.visits[0] if tables.visits is not None else None,
            successors=None if row["support_source"] == "unknown" else recorded,
            mean_rewards=None if tables.mean_rewards is None else tables.mean_rewards[0],
            **{name: row[name] for name in PLAIN},
        )
    except (LeverError, ValueError, TypeError) as error:
        raise LibraryError(f"policy {row['id']!r} cannot be read ({error}); {REPAIR}") from error
