"""Layouts: where start, exit, golds, blocks, hazards and the lever of a grid lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from lever_ray.errors import InvalidTask, InvalidValue, look_up
from lever_ray.tasks.gridworld.compile import compile_layout, dynamics_of, has_what_it_takes
from lever_ray.tasks.gridworld.features import feature_tables
from lever_ray.tasks.gridworld.terrain import ACTION_NAMES, ACTIONS, TERMS, Terrain, build_terrain
from lever_ray.tasks.gridworld.words import WORDS
from lever_ray.tasks.kernel import CompiledTask, Dynamics
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import FeatureTables, Hooks, Words

Cell = tuple[int, int]
MAX_GOLDS = 64
"""Golds are tracked as bits of one unsigned 64-bit word."""
MAX_REJECTIONS = 200


@dataclass(frozen=True)
class LayoutFamily:
    """How many cells of each kind a sampled layout has."""

    name: str
    size: int
    golds: int
    blocks: int
    hazards: int


FAMILIES: dict[str, LayoutFamily] = {
    family.name: family
    for family in (
        LayoutFamily("grid8", 8, 6, 4, 4),
        LayoutFamily("grid16", 16, 24, 16, 16),
        LayoutFamily("grid16-dense", 16, 25, 15, 15),
        LayoutFamily("grid32", 32, 25, 15, 15),
    )
}
"""The layout families of the experiments, by name."""


def layout_family(name: str) -> LayoutFamily:
    """The family called ``name``.

    Raises:
        UnknownName: naming the known families and the nearest match.
    """
    return look_up("layout family", name, FAMILIES)


@dataclass(frozen=True)
class Layout:
    """An N x N grid. Cells are ``(row, col)``; the state index of a cell is ``row * N + col``.

    Attributes:
        size: N, at least 2.
        start: where episodes begin.
        exit: the terminal goal.
        golds, blocks, hazards: cells, in the order given (bit i of a gold mask is ``golds[i]``).
        lever: the lever's cell, or None.
        name: what people call it, e.g. ``grid8-3``; not part of its identity, nor is the next.
        seed: that it was sampled with; None where it was not.

    It is also the :class:`~lever_ray.tasks.protocol.Environment` of its grid: an observation is a cell's index, the
    memory are the golds left and the lever, and the evaluation discount is 1.

    Raises:
        InvalidTask: on construction, for cells outside the grid or used twice, more than 64 golds, or size < 2.
    """

    size: int
    start: Cell
    exit: Cell
    golds: tuple[Cell, ...] = ()
    blocks: tuple[Cell, ...] = ()
    hazards: tuple[Cell, ...] = ()
    lever: Cell | None = None
    name: str = field(default="", compare=False)
    seed: int | None = field(default=None, compare=False)

    family: ClassVar[str] = "gridworld"
    actions: ClassVar[int] = ACTIONS
    terms: ClassVar[tuple[str, ...]] = TERMS
    ends: ClassVar[tuple[str, ...]] = ("exit", "hazard")
    discount: ClassVar[float] = 1.0
    warnings: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        self._normalise()
        if self.size < 2:
            raise InvalidTask(f"layout size is {self.size}; it must be at least 2")
        if len(self.golds) > MAX_GOLDS:
            raise InvalidTask(f"layout has {len(self.golds)} golds; at most {MAX_GOLDS} are supported")
        seen: dict[Cell, str] = {}
        for kind, cell in self._cells():
            self._check_cell(kind, cell)
            if cell in seen:
                raise InvalidTask(f"{kind} at {cell} overlaps the {seen[cell]}; every cell may hold one thing")
            seen[cell] = kind

    def _normalise(self) -> None:
        """Cells become tuples of plain integers, so that equal layouts compare and hash alike."""
        object.__setattr__(self, "size", _whole_number("size", self.size))
        for name in ("start", "exit"):
            object.__setattr__(self, name, _read_cell(name, getattr(self, name)))
        for name in ("golds", "blocks", "hazards"):
            object.__setattr__(self, name, _read_cells(name, getattr(self, name)))
        if self.lever is not None:
            object.__setattr__(self, "lever", _read_cell("lever", self.lever))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Of what is compared; kept, since much is remembered by layout."""
        return hash(self.digest)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: arrays built from them are built anew where the layout arrives."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def _cells(self) -> Iterable[tuple[str, Cell]]:
        yield "start", self.start
        yield "exit", self.exit
        for kind, cells in (("gold", self.golds), ("block", self.blocks), ("hazard", self.hazards)):
            for cell in cells:
                yield kind, cell
        if self.lever is not None:
            yield "lever", self.lever

    def _check_cell(self, kind: str, cell: Cell) -> None:
        if not all(0 <= coordinate < self.size for coordinate in cell):
            limit = self.size - 1
            raise InvalidTask(
                f"{kind} at {cell} lies outside the {self.size} x {self.size} grid; use rows and columns 0 to {limit}"
            )

    @property
    def states(self) -> int:
        """S = N^2."""
        return self.size * self.size

    @property
    def observations(self) -> int:
        """S, one per cell."""
        return self.states

    @property
    def horizon(self) -> int:
        """Steps after which an episode is cut, N^2."""
        return self.states

    @cached_property
    def dynamics(self) -> Dynamics:
        """See :class:`~lever_ray.tasks.protocol.Environment`."""
        return dynamics_of(self)

    @property
    def hooks(self) -> Hooks:
        """See :class:`~lever_ray.tasks.protocol.Environment`."""
        from lever_ray.tasks.gridworld.hooks import HOOKS

        return HOOKS

    def admits(self, objective: Objective) -> bool:
        """Whether it has the golds and lever that are asked for; weights below 0 give gold shaping no meaning."""
        known = all(term in TERMS for term in objective.terms)
        return known and min(objective.weights) >= 0 and has_what_it_takes(self, objective)

    def compile(self, objective: Objective | str, *, shaping: float = 1.0) -> CompiledTask:
        """See :func:`lever_ray.tasks.gridworld.compile.compile_layout`."""
        return compile_layout(self, objective, shaping=shaping)

    def features(self) -> FeatureTables:
        """See :mod:`lever_ray.tasks.gridworld.features`."""
        return feature_tables(self)

    def describe(self) -> Words:
        """See :mod:`lever_ray.tasks.gridworld.words`."""
        return WORDS

    def label(self, observation: int) -> Cell:
        """The cell of an observation."""
        return self.cell(observation)

    def action_label(self, action: int) -> str:
        """``right``, ``down``, ``left`` or ``up``."""
        return ACTION_NAMES[action]

    def text(self, path: Iterable[Hashable] = ()) -> str:
        """See :func:`lever_ray.tasks.gridworld.text.text_of`."""
        from lever_ray.tasks.gridworld.text import text_of

        return text_of(self, path)

    def draw(self, axes: Any, path: Iterable[Hashable] = (), *, label: str = "") -> None:
        """See :func:`lever_ray.tasks.gridworld.picture.draw_layout`."""
        from lever_ray.tasks.gridworld.picture import draw_layout

        draw_layout(axes, self, path, label=label)

    def encode(self) -> dict[str, Any]:
        """:meth:`to_dict`, with the seed where there is one."""
        return self.to_dict() | ({} if self.seed is None else {"seed": self.seed})

    def index(self, cell: Cell) -> int:
        """State index of a cell."""
        return cell[0] * self.size + cell[1]

    def cell(self, state: int) -> Cell:
        """Cell of a state index."""
        return divmod(int(state), self.size)

    @cached_property
    def terrain(self) -> Terrain:
        """The arrays that the compiled kernels read; built once."""
        return build_terrain(self)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON form: equal layouts have equal digests, whatever they are called."""
        content = {key: value for key, value in self.to_dict().items() if key != "name"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def trivial(self) -> bool:
        """True where the exit lies within 3 steps of the start; such layouts are reported apart."""
        return int(self.terrain.exit_distance[self.index(self.start)]) <= 3

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, readable by :meth:`from_dict` and JSON."""
        return {
            "name": self.name,
            "size": self.size,
            "start": list(self.start),
            "exit": list(self.exit),
            "golds": [list(cell) for cell in self.golds],
            "blocks": [list(cell) for cell in self.blocks],
            "hazards": [list(cell) for cell in self.hazards],
            "lever": None if self.lever is None else list(self.lever),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Layout:
        """Build a layout from plain data; the inverse of :meth:`to_dict`.

        Args:
            data: ``size``, ``start`` and ``exit``; optionally ``golds``, ``blocks``, ``hazards``, ``lever``, ``name``,
                ``seed``. Unknown keys are ignored.

        Raises:
            InvalidTask: a key is missing, a cell is not a pair of whole numbers, or a rule of the grid is broken.
        """
        if not isinstance(data, Mapping):
            raise InvalidTask(f"layout is {data!r}; it must be a mapping with size, start and exit")
        missing = [key for key in ("size", "start", "exit") if key not in data]
        if missing:
            raise InvalidTask(f"layout lacks {', '.join(missing)}; needed are size, start and exit")
        given = {part.name: data[part.name] for part in fields(cls) if part.name in data}
        return cls(**given | {"name": str(data.get("name", ""))})

    def __str__(self) -> str:
        """The grid as text, without name and legend; read by :meth:`from_text`."""
        from lever_ray.tasks.gridworld.text import as_text

        return as_text(self)

    @classmethod
    def from_text(cls, text: str, *, name: str = "") -> Layout:
        """Build a layout from a map, the text that ``str`` and ``lever-ray compose`` print; its horizon is N^2.

        Golds, blocks and hazards are listed in reading order, so a layout that lists them in another one reads back as
        the same world with another :attr:`digest`.

        Args:
            text: a line for each row, of ``S E $ # x L`` and ``.``, ``*`` or ``@`` for empty cells. Blanks between
                cells, blank lines and the legend do not matter.
            name: what people call it.

        Raises:
            InvalidTask: the map is no square grid with one start and one exit; line, column and character are named.
        """
        from lever_ray.tasks.gridworld.text import layout_of

        return layout_of(text, name=name)

    @classmethod
    def sample(cls, family: str | LayoutFamily, *, seed: int) -> Layout:
        """Draw a layout uniformly among the solvable ones of a family.

        Start, exit, hazards, golds, blocks and lever are drawn in this order without replacement from
        ``numpy.random.default_rng(seed)`` until exit and lever are reachable from the start, and the exit from the
        lever, around blocks and hazards.

        Raises:
            UnknownName: no family has that name.
            InvalidValue: the seed is negative or not a whole number.
            InvalidTask: 200 draws in a row were rejected, or the family does not fit its grid.
        """
        chosen = layout_family(family) if isinstance(family, str) else family
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise InvalidValue(f"layout seed is {seed!r}; it must be a whole number >= 0")
        rng = np.random.default_rng(int(seed))
        for _ in range(MAX_REJECTIONS):
            layout = _draw(chosen, rng, seed=int(seed))
            if layout.solvable:
                return layout
        raise InvalidTask(
            f"no solvable layout in {MAX_REJECTIONS} draws of {chosen.name} "
            f"({chosen.golds} golds, {chosen.blocks} blocks, {chosen.hazards} hazards on {chosen.size} x "
            f"{chosen.size}); use fewer blocks and hazards"
        )

    @property
    def solvable(self) -> bool:
        """Exit and lever are reachable from the start, and the exit from the lever."""
        terrain, start = self.terrain, self.index(self.start)
        if terrain.exit_distance[start] >= self.states:
            return False
        if self.lever is None:
            return True
        lever = self.index(self.lever)
        return bool(terrain.lever_distance[start] < self.states and terrain.exit_distance[lever] < self.states)


def _draw(family: LayoutFamily, rng: np.random.Generator, *, seed: int) -> Layout:
    needed = 3 + family.hazards + family.golds + family.blocks
    if needed > family.size**2:
        raise InvalidTask(
            f"{family.name} places {needed} things on {family.size**2} cells; use fewer golds, blocks or hazards"
        )
    drawn = rng.choice(family.size**2, size=needed, replace=False)
    cells = [divmod(int(state), family.size) for state in drawn]
    bounds = np.cumsum([2, family.hazards, family.golds, family.blocks])
    return Layout(
        size=family.size,
        start=cells[0],
        exit=cells[1],
        hazards=tuple(cells[bounds[0] : bounds[1]]),
        golds=tuple(cells[bounds[1] : bounds[2]]),
        blocks=tuple(cells[bounds[2] : bounds[3]]),
        lever=cells[bounds[3]],
        name=f"{family.name}-{seed}",
        seed=seed,
    )


def _whole_number(what: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidTask(f"{what} is {value!r}; it must be a whole number")
    return int(value)


def _read_cell(what: str, value: Any) -> Cell:
    if not isinstance(value, tuple | list | np.ndarray) or len(value) != 2:
        raise InvalidTask(f"{what} holds {value!r}; a cell is [row, column]")
    return _whole_number(what, value[0]), _whole_number(what, value[1])


def _read_cells(what: str, values: Any) -> tuple[Cell, ...]:
    if not isinstance(values, tuple | list | np.ndarray):
        raise InvalidTask(f"{what} is {values!r}; it must be a list of [row, column]")
    return tuple(_read_cell(what, value) for value in values)
