"""Finite deterministic tasks: which observation follows on each action, and what every term pays for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np

from lever_ray.errors import InvalidTask, InvalidValue
from lever_ray.tasks.finite import reading
from lever_ray.tasks.finite.kernels import paying_cycle, steps_from
from lever_ray.tasks.kernel import GOAL, CompiledTask, Dynamics, Rules, compiled_task
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import FeatureTables, Hooks, Slots, Words, check_admitted

NO_MEMORY = (np.uint64(0), np.uint64(0))


@dataclass(frozen=True, eq=False, init=False, repr=False)
class FiniteTask:
    """A deterministic task given by its arrays, which are copied and not to be written to.

    It is a :class:`~lever_ray.tasks.protocol.Environment` without memory: what follows depends on the observation
    alone. Two tasks are equal where their digests are; name, seed and words are no part of it.

    Attributes:
        successors: int32[S, A], the observation that follows on each action.
        rewards: float32[K, S, A], what each term pays for it, in reward units.
        terms: K names, the order of the family's objectives.
        terminal: bool[S], where episodes end; successors and rewards of such observations mean nothing.
        start: float64[S], how likely each observation is the first.
        horizon: steps after which an episode is truncated.
        discount: of evaluation.
        name: what people call it.
        seed: that it was drawn with; None where it was not.
        descriptions: by term, a sentence; where one is missing, one is made up of the term.
        synonyms: by term, phrases that ask for it.
        table: float32[S, D], features of the observations; None where it has none.
        coordinates: int32[S, 2], row and column of each observation in pictures; None where it has none.
        labels: what people call the observations; None: their coordinates where these differ, else their numbers.
        action_names: what people call the actions; None: their numbers.
        warnings: what is allowed and perhaps not meant, in sentences.
    """

    successors: np.ndarray
    rewards: np.ndarray
    terms: tuple[str, ...]
    terminal: np.ndarray
    start: np.ndarray
    horizon: int
    discount: float
    name: str
    seed: int | None
    descriptions: Mapping[str, str]
    synonyms: Mapping[str, tuple[str, ...]]
    table: np.ndarray | None
    coordinates: np.ndarray | None
    labels: tuple[str, ...] | None
    action_names: tuple[str, ...] | None

    family: ClassVar[str] = "finite"
    ends: ClassVar[tuple[str, ...]] = ("terminal",)
    trivial: ClassVar[bool] = False

    def __init__(
        self,
        successors: Any,
        rewards: Any,
        terminal: Any = (),
        *,
        terms: Sequence[str] | None = None,
        start: Any = 0,
        horizon: int | None = None,
        discount: float = 0.99,
        name: str = "",
        seed: int | None = None,
        descriptions: Mapping[str, str] | None = None,
        synonyms: Mapping[str, Sequence[str]] | None = None,
        features: Any = None,
        coordinates: Any = None,
        labels: Sequence[str] | None = None,
        action_names: Sequence[str] | None = None,
    ) -> None:
        """Check the arrays and copy them.

        Args:
            successors: int[S, A].
            rewards: by term, float[S, A]; or float[K, S, A] with ``terms``.
            terminal: bool[S], or a list of observations.
            terms: names of the rows of ``rewards``.
            start: an observation, a list of equally likely ones, a mapping from observation to probability, or
                float[S].
            horizon: S by default; at discount 1 only where no term earns anything by going in a circle.
            discount: of evaluation, above 0, at most 1.
            name: what people call it.
            seed: that it was drawn with.
            descriptions: by term, a sentence that says what it wants.
            synonyms: by term, phrases that ask for it.
            features: float[S, D], features of the observations; without them ``psi`` is off.
            coordinates: int[S, 2], row and column of each observation.
            labels: S different names.
            action_names: A different names.

        Raises:
            InvalidTask: naming what is wrong, where, and what to do.
        """
        moves = reading.read_successors(successors)
        (observations, actions), put = moves.shape, lambda **values: self.__dict__.update(values)
        named, paid = reading.read_rewards(rewards, terms, (observations, actions))
        put(successors=moves, rewards=paid, terms=named, terminal=reading.read_terminal(terminal, observations))
        put(start=reading.read_start(start, observations), discount=reading.read_discount(discount))
        put(name=str(name), seed=reading.read_seed(seed))
        put(descriptions=reading.read_words("descriptions", descriptions, named))
        put(synonyms=reading.read_words("synonyms", synonyms, named))
        put(table=reading.read_rows("features", features, observations, np.float32))
        put(coordinates=reading.read_rows("coordinates", coordinates, observations, np.int32, 2))
        put(labels=reading.read_names("labels", labels, observations))
        put(action_names=reading.read_names("action_names", action_names, actions))
        self._check_starts()
        if horizon is None and self.discount == 1:
            self._check_cycles()
        put(horizon=observations if horizon is None else reading.read_horizon(horizon))

    def _check_starts(self) -> None:
        ended = np.flatnonzero(self.terminal & (self.start > 0))
        if len(ended):
            raise InvalidTask(f"start is observation {ended[0]}, which is terminal; begin where a move can be made")

    def _check_cycles(self) -> None:
        live = (self._steps >= 0) & ~self.terminal
        for term, rewards in zip(self.terms, self.rewards, strict=True):
            pays = np.where(live[:, None], rewards, -np.inf).astype(np.float64)
            state, action, total = paying_cycle(self.dynamics.moves, pays)
            if state >= 0:
                raise InvalidTask(
                    f"discount is 1, no horizon is given, and term {term!r} earns {total:g} in a circle through "
                    f"observation {state} by action {action}; give a horizon, or a discount below 1"
                )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FiniteTask) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        size = f"{self.observations} observations, {self.actions} actions"
        return f"FiniteTask({self.name!r}, {size}, terms {', '.join(self.terms)})"

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is built from them is built anew where the task arrives."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for value in state.values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
        self.__dict__.update(state)

    @property
    def observations(self) -> int:
        """S."""
        return len(self.successors)

    @property
    def actions(self) -> int:
        """A."""
        return int(self.successors.shape[1])

    @cached_property
    def dynamics(self) -> Dynamics:
        """See :class:`~lever_ray.tasks.protocol.Environment`."""
        starts = np.flatnonzero(self.start).astype(np.int32)
        flags = np.where(self.terminal, GOAL, 0).astype(np.int32)
        return Dynamics(self.successors.copy(), flags, starts, self.start[starts], NO_MEMORY)

    @property
    def hooks(self) -> Hooks:
        """See :class:`~lever_ray.tasks.protocol.Environment`."""
        from lever_ray.tasks.finite.hooks import HOOKS

        return HOOKS

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what it is, name, seed and words left out."""
        arrays = {
            "successors": self.successors,
            "rewards": self.rewards,
            "terminal": self.terminal,
            "start": self.start,
            "features": self.table,
            "coordinates": self.coordinates,
        }
        shapes = {key: None if array is None else list(array.shape) for key, array in arrays.items()}
        facts = {"family": self.family, "terms": self.terms, "horizon": self.horizon, "discount": self.discount}
        called = {"labels": self.labels, "action_names": self.action_names}
        content = hashlib.sha256(json.dumps(facts | called | {"shapes": shapes}, sort_keys=True).encode())
        for array in arrays.values():
            if array is not None:
                content.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return content.hexdigest()

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and perhaps not meant, in sentences."""
        reached = self._steps[self.terminal]
        if ((reached >= 0) & (reached <= self.horizon)).any():
            return ()
        return (
            f"no terminal observation can be reached from a start within the horizon of {self.horizon} steps: every "
            "episode is truncated",
        )

    @cached_property
    def _steps(self) -> np.ndarray:
        """int32[S], fewest steps from a start; -1 where there is no way."""
        return steps_from(self.dynamics.moves, self.dynamics.flags > 0, self.dynamics.starts)

    def admits(self, objective: Objective) -> bool:
        """Whether it has the terms; weights may be of any sign."""
        return all(term in self.terms for term in objective.terms)

    def compile(self, objective: Objective | str, *, shaping: float = 1.0) -> CompiledTask:
        """The arrays of the task under an objective; cached, so asking again costs nothing.

        Args:
            objective: a name such as ``"treasure-time"`` or an :class:`Objective` with weights of any sign.
            shaping: not heeded, for its rewards are not shaped.

        Raises:
            UnknownName: an objective term does not exist.
            InvalidTask: weighted rewards are beyond float64.
            InvalidValue: shaping is negative or not finite.
        """
        if not (np.isfinite(shaping) and shaping >= 0):
            raise InvalidValue(f"shaping is {shaping}; use 1 or 0, which are the same here")
        return _compile(self, Objective.of(objective).resolved(self.terms))

    def features(self) -> FeatureTables | None:
        """The features given; None where there are none."""
        return self._feature_tables

    @cached_property
    def _feature_tables(self) -> FeatureTables | None:
        if self.table is None:
            return None
        nothing = np.empty((self.observations, 0), np.int32)
        vectors = np.empty((self.observations, 0, 3), np.float32)
        slots = Slots(0, 0, 0, 0, first_item=int(self.table.shape[1]))
        return FeatureTables(self.table.copy(), nothing, vectors, nothing, nothing.astype(np.float32), slots)

    def describe(self) -> Words:
        """Descriptions and synonyms as they were given; the term itself where they were not. Always the same object."""
        return self._words

    @cached_property
    def _words(self) -> Words:
        return words_of(self.terms, self.descriptions, self.synonyms)

    def label(self, observation: int) -> Hashable:
        """What people call an observation: its label, else its ``(row, column)``, else its number."""
        return self._labels[observation]

    @cached_property
    def _labels(self) -> Sequence[Hashable]:
        if self.labels is not None:
            return self.labels
        if self.coordinates is None:
            return range(self.observations)
        cells = [(row, column) for row, column in self.coordinates.tolist()]
        return cells if len(set(cells)) == len(cells) else range(self.observations)

    def action_label(self, action: int) -> str:
        """What people call an action."""
        return str(action) if self.action_names is None else self.action_names[action]

    def text(self, path: Iterable[Hashable] = ()) -> str:
        """See :func:`lever_ray.tasks.finite.pictures.as_text`."""
        from lever_ray.tasks.finite.pictures import as_text

        return as_text(self, self._observed(path))

    def draw(self, axes: Any, path: Iterable[Hashable] = (), *, label: str = "") -> None:
        """See :func:`lever_ray.tasks.finite.pictures.draw`."""
        from lever_ray.tasks.finite.pictures import draw

        draw(axes, self, self._observed(path), label=label)

    def _observed(self, path: Iterable[Hashable]) -> list[int]:
        """Numbers of labels."""
        numbers = {label: number for number, label in enumerate(self._labels)}
        visited = list(path)
        for label in visited:
            if label not in numbers:
                raise InvalidValue(f"route visits {label!r}, which this task does not have; use its own labels")
        return [numbers[label] for label in visited]

    def encode(self) -> dict[str, Any]:
        """Lists, numbers and texts, readable by :meth:`decode` and JSON."""
        from lever_ray.tasks.finite.documents import encode

        return encode(self)

    @classmethod
    def decode(cls, document: Mapping[str, Any]) -> FiniteTask:
        """A task from what :meth:`encode` gave; arrays may also be plain lists.

        Raises:
            InvalidTask: it is no such mapping, or a rule of the family is broken.
        """
        from lever_ray.tasks.finite.documents import arguments

        return cls(**arguments(document))


@lru_cache(maxsize=64)
def _compile(task: FiniteTask, objective: Objective) -> CompiledTask:
    check_admitted(task, objective)
    rewards = np.zeros((1, task.observations, task.actions))
    for term, weight in zip(objective.terms, objective.weights, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by name
            rewards[0] += weight * task.rewards[task.terms.index(term)].astype(np.float64)
    rules = Rules(
        task.horizon, task.discount, NO_MEMORY, stay_reward=float(rewards[0][~task.terminal].min(initial=0.0))
    )
    return compiled_task(task.dynamics, rewards, rules)


def words_of(terms: Sequence[str], descriptions: Mapping[str, str], synonyms: Mapping[str, tuple[str, ...]]) -> Words:
    """What terms are called, where some of them have no words of their own."""
    names = {term: term.replace("_", " ") for term in terms}
    said = {term: descriptions.get(term, f"Earn as much {name} as possible.") for term, name in names.items()}
    return Words(said, {term: synonyms.get(term, (name,)) for term, name in names.items()})
