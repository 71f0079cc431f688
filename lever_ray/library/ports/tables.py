"""Arrays over observations and actions, in the shapes that other code gives them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lever_ray.errors import InvalidValue

_SHAPES = "[n, S, A], [S, A], [n, N, M, A] or [n, S * A], with S = N * M observations and A actions"


class Rows(NamedTuple):
    """One array per policy, each in its own dtype; None where a policy has none.

    Attributes:
        rows: the arrays, [S, A] each.
        told: what was converted, in words.
    """

    rows: list[np.ndarray | None]
    told: str


class Expected(NamedTuple):
    """What is known of Q-tables before they are read.

    Attributes:
        policies: how many other columns tell of; None where they do not say.
        shapes: (S, A) of the tasks that are known; empty where none is.
        usual: A where no task is known, as a rule.
        padded: whether tables may have more rows than their tasks have observations.
    """

    policies: int | None
    shapes: Collection[tuple[int, int]]
    usual: int
    padded: bool = False


def read_q(values: np.ndarray, *, what: str, expected: Expected) -> Rows:
    """Q-tables of all policies from one array.

    Args:
        values: as :attr:`~lever_ray.library.ports.source.Source.read` gives them.
        what: the column, for errors.
        expected: what is known of them.

    Raises:
        InvalidValue: the shape is none of those known, or these are no numbers.
    """
    array = numeric(values, what)
    fitting = [shape for shape in _readings(array.shape, expected) if shape[0] > 0 and shape[1] > 0]
    for wanted in (
        [each for each in fitting if each[0] == expected.policies],
        [each for each in fitting if each[1] in {states for states, _ in expected.shapes}],
    ):
        fitting = wanted or fitting
    if not fitting or not _is_expected(fitting[0], expected):
        known = f"; (S, A) of the tasks: {sorted(expected.shapes)}" if expected.shapes else ""
        raise InvalidValue(f"{what} has shape {array.shape}; needed is {_SHAPES}{known}")
    told = "" if array.shape == fitting[0] else f"shape {array.shape} read as {fitting[0]}"
    return Rows(list(array.reshape(fitting[0])), told)


def _is_expected(shape: tuple[int, int, int], expected: Expected) -> bool:
    """Whether a reading has the observations of a known task, or more where tables are padded."""
    sizes = [states for states, _ in expected.shapes]
    return not sizes or shape[1] in sizes or (expected.padded and shape[1] >= max(sizes))


def _readings(shape: tuple[int, ...], expected: Expected) -> Iterator[tuple[int, int, int]]:
    """Policies, observations and actions that a shape may stand for, the likeliest first."""
    known = sorted({actions for _, actions in expected.shapes}, reverse=True)
    for actions in known or dict.fromkeys((expected.usual, *shape[-1:])):
        if len(shape) == 4 and shape[3] == actions:
            yield shape[0], shape[1] * shape[2], actions
        elif len(shape) == 3 and shape[2] == actions:
            yield shape[0], shape[1], actions
            yield 1, shape[0] * shape[1], actions
        elif len(shape) == 2 and shape[1] == actions:
            yield 1, shape[0], actions
        elif len(shape) == 2 and actions and shape[1] % actions == 0:
            yield shape[0], shape[1] // actions, actions


def read_tables(values: Any, *, what: str, like: Sequence[np.ndarray]) -> Rows:
    """Another array over observations and actions, shaped as the policies' Q-tables.

    Raises:
        InvalidValue: it cannot be, or these are no numbers.
    """
    if isinstance(values, list):
        widths = [table.shape[1] for table in like] + [like[0].shape[1]] * len(values)
        pairs = zip(values, widths, strict=False)
        return Rows(
            [
                None if row is None else shaped(row, actions, f"{what}, policy {place}")
                for place, (row, actions) in enumerate(pairs)
            ],
            "",
        )
    array, first = numeric(values, what), like[0]
    if array.size != len(like) * first.size or (array.shape[-1] != first.shape[1] and array.ndim != 2):
        raise InvalidValue(f"{what} has shape {array.shape}; q has {len(like)} tables {first.shape}, give as many")
    return Rows(list(array.reshape(len(like), *first.shape)), "")


def shaped(row: Any, actions: int, what: str) -> np.ndarray:
    """One policy's table [S, A] from [S, A], [N, M, A] or [S * A].

    Raises:
        InvalidValue: it is of none of these shapes, or these are no numbers.
    """
    array = numeric(row, what)
    if array.size == 0 or array.size % actions or (array.ndim > 1 and array.shape[-1] != actions):
        raise InvalidValue(
            f"{what} has shape {array.shape}; needed is [S, A], [N, M, A] or [S * A], with A = {actions} actions"
        )
    return array.reshape(-1, actions)


def numeric(values: Any, what: str) -> np.ndarray:
    """The values as an array of numbers.

    Raises:
        InvalidValue: they are missing, or no numbers.
    """
    if values is None:
        raise InvalidValue(f"{what} is missing; fill it in, or leave the policy out")
    array = np.asarray(values)
    array = array.astype(np.uint8) if array.dtype.kind == "b" else array
    if array.dtype.kind not in "iuf":
        raise InvalidValue(f"{what} has dtype {array.dtype}; give numbers")
    return array


def whole(values: np.ndarray, what: str, *, low: int, high: int) -> np.ndarray:
    """int64 of whole numbers of any dtype.

    Raises:
        InvalidValue: one is fractional, not finite, or outside [low, high]; the message names it.
    """
    with np.errstate(invalid="ignore"):
        wrong = ~((values >= low) & (values <= high) & (np.floor(values) == values))
    if wrong.any():
        raise InvalidValue(f"{what} holds {values[wrong].ravel()[0]}; it must hold whole numbers from {low} to {high}")
    return values.astype(np.int64)


def successors_of(rows: np.ndarray, shape: tuple[int, int], what: str) -> np.ndarray:
    """int32[S, A] from (state, action, next state) rows int[m, 3]; -1 where none is recorded. Repetitions may be.

    Raises:
        InvalidValue: a row lies outside the task, or two rows contradict each other.
    """
    states, actions = shape
    for column, (name, limit) in enumerate((("state", states), ("action", actions), ("next state", states))):
        whole(rows[:, column], f"{what}, column {name},", low=0, high=limit - 1)
    state, action, after = rows.astype(np.int64).T
    table = np.full(shape, -1, np.int32)
    table[state, action] = after
    against = np.flatnonzero(table[state, action] != after)
    if len(against):
        at = (int(state[against[0]]), int(action[against[0]]))
        raise InvalidValue(f"{what} lead from (state, action) {at} to several states; moves are deterministic here")
    return table
