"""What a foreign file is understood to hold, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lever_ray.errors import InvalidValue
from lever_ray.library.ports.fields import FIELDS, match_columns, purpose_asked, same_field
from lever_ray.library.ports.options import ImportOptions, Layouts, action_names, layouts_of, usual_actions
from lever_ray.library.ports.plain import all_tasks, plain, remembered
from lever_ray.library.ports.source import Source, open_source
from lever_ray.library.ports.tables import Expected, Rows, numeric, read_q, read_tables, shaped, successors_of, whole
from lever_ray.library.ports.understood import Taken as Taken
from lever_ray.library.ports.understood import Understanding as Understanding
from lever_ray.order import in_natural_order
from lever_ray.tasks.protocol import Environment

Held = Callable[[str], Environment | None]
"""Task of an environment that a library holds already; None where it holds none of that name."""

_DEFAULTS: Mapping[str, Any] = {
    "description": "",
    "objective": "",
    "label": "",
    "algorithm": "imported",
    "episodes": 0,
    "snapshot": 0,
    "seed": 0,
    "environment_steps": 0,
    "seconds": 0.0,
    "total": float("nan"),
}
_OPTIONAL_TOLD: Mapping[str, str] = {
    "episodes": "the training budget is unknown, kept as 0 (--episodes NUMBER)",
    "total": "own returns are unknown: regressors do not learn from these policies",
}
_LISTED = 12
"""Actions that are named."""
_DTYPES: Mapping[str, str] = {"q": "float32", "visits": "uint32", "mean_rewards": "float32", "successors": "int32"}


def understand(
    source: str | Path | Mapping[str, Any], options: ImportOptions | None = None, *, held: Held = lambda _: None
) -> Understanding:
    """Find out what a file, or a mapping of columns, holds; nothing is changed.

    Args:
        source: an npz or Parquet file, or a mapping of columns to arrays and lists. ``docs/import-export.md`` has the
            names and shapes that are understood.
        options: what a person adds.
        held: gives the tasks of environments that a library has already.

    Raises:
        LibraryError: the file cannot be read; see :func:`~lever_ray.library.ports.source.open_source`.
        InvalidValue: a column has a wrong type, shape or length, or an option is wrong.
        UnknownName: an option names a column, field or action that is not known.
    """
    return _Reading(open_source(source), options or ImportOptions(), held).understood()


class _Reading:
    """One file while it is read."""

    def __init__(self, source: Source, options: ImportOptions, held: Held) -> None:
        self.source, self.options, self.held = source, options, held
        self.columns = match_columns(source.kinds, options.columns)
        self.taken: list[Taken] = []
        self.missing: list[str] = []
        self.notes: list[str] = []
        self.values: dict[str, list[Any]] = {}
        self.tasks: list[Environment | None] = []

    def understood(self) -> Understanding:
        if "q" not in self.columns:
            held = ", ".join(self.source.kinds) or "none"
            self.missing.append(f"Q-tables: --column q=COLUMN (columns: {held})")
        else:
            self._read_all()
        ignored = [(name, self._why_ignored(name)) for name in self.source.kinds if name not in self._used]
        order = [each.name for each in FIELDS]
        taken = sorted(self.taken, key=lambda each: order.index(each.field))
        return Understanding(
            self.source.name,
            len(self.values.get("q", ())),
            tuple(taken),
            tuple(self.missing),
            tuple(self.notes),
            tuple(ignored),
            self.values,
            self.options,
        )

    @property
    def _used(self) -> set[str]:
        return {each.column for each in self.taken}

    def _why_ignored(self, name: str) -> str:
        meant = next((field for field, column in self.columns.items() if column == name), None)
        if meant == "id":
            return "ids are computed from what policies hold"
        rival = same_field(name)
        if meant is None and rival in self.columns:
            taken = self.columns[rival]
            return f"another {rival}: {taken!r} is taken, --column {rival}={name} takes this one"
        if meant is None or "q" not in self.columns:
            return "not understood; --column FIELD=" + name + " says what it is"
        return f"--{meant} goes before it" if self._is_given(meant) else f"as {meant} it is not needed"

    def _is_given(self, name: str) -> bool:
        return getattr(self.options, "layouts" if name == "layout" else name, None) is not None

    def _what(self, name: str) -> str:
        return f"column {self.columns[name]!r} of {self.source.name}"

    def _take(self, name: str, told: str = "") -> Any:
        """A field's column, noted as taken."""
        column = self.columns[name]
        self.taken.append(Taken(name, column, self.source.kinds[column], told))
        return self.source.read(column)

    def _note(self, name: str, told: str) -> None:
        """Say what was done with a field's column."""
        self.taken = [each._replace(told=told) if each.field == name else each for each in self.taken]

    def _read_all(self) -> None:
        self._read_q()
        for each in FIELDS:
            if each.name in _DEFAULTS or each.name in ("gamma", "environment", "support_source", "states"):
                self._read_plain(each.name)
        self._read_layouts(self._given_layouts)
        self._shape_q()
        self._read_weights()
        self._read_recorded()
        self._check_purpose()
        self._read_actions()

    def _read_q(self) -> None:
        """Before all else; other columns are asked only where the shape of q does not tell how many policies it has."""
        values, what = self._take("q"), self._what("q")
        if isinstance(values, list):
            q = Rows([numeric(row, f"{what}, policy {place}") for place, row in enumerate(values)], "")
        else:
            q = read_q(values, what=what, expected=self._expected())
        if not q.rows:
            raise InvalidValue(f"{self.source.name} holds no policy")
        self.values["q"], self._one_by_one = q.rows, isinstance(values, list)
        self._note("q", q.told)

    def _expected(self) -> Expected:
        """What tasks and other columns tell of Q-tables in one array."""
        tasks = all_tasks(self._given_layouts) or self._held_tasks()
        shapes = {(task.observations, task.actions) for task in tasks}
        return Expected(self._counted(), shapes, len(usual_actions()), "states" in self.columns)

    def _held_tasks(self) -> list[Environment]:
        """The tasks that the library has of environments that are named."""
        given = self.options.environment
        names = [] if "environment" not in self.columns or given else self.source.read(self.columns["environment"])
        named = [given] if given else list(np.atleast_1d(np.asarray(names, object)).tolist())
        found = (self.held(name) for name in dict.fromkeys(named) if isinstance(name, str))
        return [task for task in found if task is not None]

    def _shape_q(self) -> None:
        """Give Q-tables that came one by one the shapes of their tasks, and say what becomes of the values."""
        rows, usual = self.values["q"], len(usual_actions())
        for place, (row, task) in enumerate(zip(rows, self.tasks, strict=True)):
            if self._one_by_one:
                unknown = row.shape[-1] if row.ndim > 1 else usual if row.size % usual == 0 else 1
                width = unknown if task is None else task.actions
                rows[place] = shaped(row, width, f"{self._what('q')}, policy {place}")
        told = next(each.told for each in self.taken if each.field == "q")
        self._note("q", self._conversion("q", Rows(rows, told)))

    def _read_actions(self) -> None:
        """Say which order of actions is taken.

        Raises:
            UnknownName, InvalidValue: see :meth:`~lever_ray.library.ports.options.ImportOptions.permutation`.
        """
        known = {task.digest: action_names(task) for task in self.tasks if task is not None}
        for ours in known.values():
            self.options.permutation(ours)
        ours = next(iter(known.values()), usual_actions())
        theirs = tuple(self.options.actions) or ours
        told = "; --actions NAMES if the file has another" if theirs == ours else ", and put into ours"
        listed = ", ".join(theirs[:_LISTED]) + (f" and {len(theirs) - _LISTED} more" if len(theirs) > _LISTED else "")
        self.notes.append(f"actions are taken to be in the order {listed}{told}")

    def _counted(self) -> int | None:
        """How many policies columns with one value each tell of; None where there is none."""
        for name in ("environment", "objective", "description", "gamma", "label", "episodes"):
            values = self.source.read(self.columns[name]) if name in self.columns else None
            if isinstance(values, np.ndarray) and values.ndim == 1 and len(values) > 1:
                return len(values)
            if isinstance(values, list) and len(values) > 1:
                return len(values)
        return None

    @property
    def policies(self) -> int:
        return len(self.values["q"])

    def _conversion(self, name: str, found: Rows) -> str:
        """What becomes of the values of a column."""
        rows = [row for row in found.rows if row is not None]
        dtypes = sorted({str(row.dtype) for row in rows} - {_DTYPES[name]})
        parts = [found.told] if found.told else []
        if dtypes:
            parts.append(f"{', '.join(dtypes)} -> {_DTYPES[name]}")
        if name == "q" and dtypes:
            with np.errstate(over="ignore", invalid="ignore"):
                lost = max(float(np.abs(row - row.astype(np.float32)).max()) for row in rows)
            parts.append(f"no value changes by more than {lost:.1e}" if lost else "exactly")
        return ", ".join(parts)

    def _read_plain(self, name: str) -> None:
        given = getattr(self.options, name, None)
        if given is not None:
            self.values[name] = [plain(given, name, f"--{name}")] * self.policies
            self.taken.append(Taken(name, "", "option", f"{given!r} for all policies"))
        elif name in self.columns:
            spread = self._spread(self._take(name), self._what(name))
            self.values[name] = [
                plain(value, name, f"{self._what(name)}, row {row},", _DEFAULTS.get(name))
                for row, value in enumerate(spread)
            ]
        elif name in _DEFAULTS:
            self.values[name] = [_DEFAULTS[name]] * self.policies
            if name in _OPTIONAL_TOLD:
                self.notes.append(f"no {name}: {_OPTIONAL_TOLD[name]}")
        elif name == "gamma":
            self.missing.append("the discount: --gamma NUMBER")

    def _spread(self, values: Any, what: str) -> list[Any]:
        """One value per policy; a single value is that of all."""
        flat = list(np.atleast_1d(values).tolist()) if isinstance(values, np.ndarray) else values
        flat = flat if isinstance(flat, list) else [flat]
        if len(flat) not in (1, self.policies):
            raise InvalidValue(f"{what} has {len(flat)} rows, q has {self.policies}; give one per policy")
        return flat if len(flat) == self.policies else flat * self.policies

    def _read_weights(self) -> None:
        self.values["weights"] = [None] * self.policies
        if "weights" not in self.columns or "objective" not in self.columns or self.options.objective is not None:
            return
        terms = [() if task is None else task.terms for task in self.tasks]
        most = max(terms, key=len)
        given = self._take("weights", f"one per term: {', '.join(most)}" if most else "one per term")
        each = zip(given, terms, strict=False)
        if len(given) != self.policies or not all(_is_weights(row, len(own), len(most)) for row, own in each):
            what = self._what("weights")
            raise InvalidValue(f"{what} must have a row of {len(most)} numbers for each of {self.policies} policies")
        self.values["weights"] = [np.asarray(row, np.float64) for row in given]

    # Tasks: on the grid, layouts.

    @cached_property
    def _given_layouts(self) -> Layouts | list[Layouts] | None:
        """What the options or the file say of layouts; a list with one entry per policy where it says so for each."""
        if self.options.layouts is not None:
            return self.options.layouts
        if "layout" not in self.columns:
            return None
        values, what = self._take("layout"), self._what("layout")
        if isinstance(values, np.ndarray) and values.dtype.kind == "U":
            values = values.tolist()
        if not isinstance(values, list) or len(values) == 1:
            return layouts_of(values[0] if isinstance(values, list) else values, what=what)
        known: dict[Any, Layouts] = {}
        return [remembered(known, each, f"{what}, row {row}") for row, each in enumerate(values)]

    def _read_layouts(self, given: Layouts | list[Layouts] | None) -> None:
        if isinstance(given, list) and len(given) != self.policies:
            raise InvalidValue(f"{self._what('layout')} has {len(given)} rows, q has {self.policies}")
        per_row: Sequence[Layouts | None] = given if isinstance(given, list) else [given] * self.policies
        self.tasks = [None if isinstance(each, Mapping) else each for each in per_row]
        if "environment" not in self.values:
            names = ["" if each is None or isinstance(each, Mapping) else _name_of(each) for each in per_row]
            if not all(names):
                self.missing.append("the environment's name: --environment NAME")
                self._ask_for_layouts([] if given is not None else [""])
                return
            self.values["environment"] = names
            self.taken.append(Taken("environment", "", "layout", "the layout's own name"))
        self._assign(given, per_row)

    def _assign(self, given: Layouts | list[Layouts] | None, per_row: Sequence[Layouts | None]) -> None:
        names = self.values["environment"]
        if given is not None and not isinstance(given, list | Mapping) and len(set(names)) > 1:
            raise InvalidValue(
                f"{self.source.name} has environments {in_natural_order(set(names))[:4]} and one layout for all; "
                "give a mapping of environment names to layouts"
            )
        stored = {name: self.held(name) for name in set(names)}
        found = [
            (each or {}).get(name) or stored[name] if each is None or isinstance(each, Mapping) else each
            for name, each in zip(names, per_row, strict=True)
        ]
        self._ask_for_layouts(in_natural_order({name for name, each in zip(names, found, strict=True) if each is None}))
        self.values["layout"] = self.tasks = found
        if given is None and not self.missing and all(each is not None for each in found):
            self.taken.append(Taken("layout", "", "library", "as the library holds them"))
        elif self.options.layouts is not None:
            self.taken.append(Taken("layout", "", "option"))

    def _ask_for_layouts(self, names: Sequence[str]) -> None:
        if names:
            told = f" of {', '.join(map(repr, names[:4]))}" if any(names) else ""
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            self.missing.append(f"the layout{told}{more}: --layout FILE")

    # What was recorded in training.

    def _read_recorded(self) -> None:
        for name in ("visits", "mean_rewards"):
            self.values[name] = [None] * self.policies
            if name in self.columns:
                found = read_tables(self._take(name), what=self._what(name), like=self.values["q"])
                self._note(name, self._conversion(name, found))
                self.values[name] = self._per_policy(found.rows, name)
        self.values["successors"] = [None] * self.policies
        if "successors" in self.columns:
            self.values["successors"] = self._per_policy(self._successors(), "successors")
        self._tell_support()

    def _per_policy(self, rows: list[Any], name: str) -> list[Any]:
        if len(rows) != self.policies:
            raise InvalidValue(f"{self._what(name)} has {len(rows)} rows, q has {self.policies}; give one per policy")
        return rows

    def _tell_support(self) -> None:
        if "visits" not in self.columns and "support_source" not in self.values:
            given = "successors" in self.columns
            derived, unknown = ": support is derived from transitions", ", no transitions: support is unknown, "
            self.notes.append("no visits" + (derived if given else unknown + "every action counts as taken"))

    def _successors(self) -> list[Any]:
        """Per policy a table of observations [S, A], or None."""
        values, what, q = self._take("successors"), self._what("successors"), self.values["q"]
        if isinstance(values, np.ndarray) and values.ndim == 2 and self._is_list_of_rows(values, q):
            self._note("successors", "(state, action, next state) rows")
            return self._dealt(values, what)
        if isinstance(values, list) and any(row is not None and np.shape(row)[1:] == (3,) for row in values):
            self._note("successors", "(state, action, next state) rows")
            pairs = zip(values, q, strict=False)
            return [None if row is None else successors_of(row, table.shape, what) for row, table in pairs]
        found = read_tables(values, what=what, like=q)
        self._note("successors", self._conversion("successors", found))
        return found.rows

    def _is_list_of_rows(self, values: np.ndarray, q: Sequence[np.ndarray]) -> bool:
        return values.shape[1] == 3 or (values.shape[1] == 4 and not (len(q) == 1 and values.shape == q[0].shape))

    def _dealt(self, values: np.ndarray, what: str) -> list[Any]:
        """Rows of all policies in one list; a policy's place stands in front, or in a column of its own."""
        if values.shape[1] == 4:
            places, rows = values[:, 0], values[:, 1:]
        elif "transition_policies" in self.columns:
            places, rows = np.asarray(self._take("transition_policies")), values
        elif self.policies == 1:
            places, rows = np.zeros(len(values), np.int64), values
        else:
            raise InvalidValue(
                f"{what} does not say which of {self.policies} policies its rows belong to; add an array "
                "transition_policies, or put the policy's place in front of each row"
            )
        if len(places) != len(rows):
            raise InvalidValue(f"transition_policies has {len(places)} entries for {len(rows)} transitions")
        places = whole(places, f"{what}, policies", low=0, high=self.policies - 1)
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], np.arange(self.policies + 1))
        parts = [rows[order[first:stop]] for first, stop in pairwise(bounds)]
        return [successors_of(part, q.shape, what) for part, q in zip(parts, self.values["q"], strict=True)]

    def _check_purpose(self) -> None:
        if not any(self.values["objective"]) and not any(map(str.strip, self.values["description"])):
            self.missing.append(f"what the policies were trained for: {purpose_asked(self.policies)}")


def _name_of(task: Environment) -> str:
    """What a task calls itself; empty where it has no name of its own."""
    return str(getattr(task, "name", ""))


def _is_weights(row: Any, terms: int, most: int) -> bool:
    """Whether a row has one number per term; where other tasks have more terms, 0 stands for these."""
    if np.ndim(row) != 1 or (most and len(row) not in (terms, most)):
        return False
    return not np.any(np.asarray(row, np.float64)[terms or len(row) :])
