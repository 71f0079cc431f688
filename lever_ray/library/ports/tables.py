"""Arrays over cells and actions, in the shapes that other code gives them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from lever_ray.errors import InvalidValue
from lever_ray.tasks.gridworld.terrain import ACTIONS

_SHAPES = "[n, S, 4], [S, 4], [n, N, N, 4] or [n, S * 4], with S = N * N cells"


class Rows(NamedTuple):
    """One array per policy, [S, 4] each in its own dtype; None where a policy has none.

    Attributes:
        rows: the arrays.
        told: what was converted, in words.
    """

    rows: list[np.ndarray | None]
    told: str


def read_q(values: Any, *, what: str, policies: int | None, sizes: Collection[int]) -> Rows:
    """Q-tables of all policies.

    Args:
        values: as :attr:`~lever_ray.library.ports.source.Source.read` gives them.
        what: the column, for errors.
        policies: how many the other columns tell of; None where they do not say.
        sizes: S of the layouts that are known; empty where none is.

    Raises:
        InvalidValue: the shape is none of those known, or these are no numbers.
    """
    if isinstance(values, list):
        return Rows([_flat(row, what, place) for place, row in enumerate(values)], "")
    array = _numeric(values, what)
    fitting = [
        (n, states)
        for n, states in _readings(array.shape)
        if math.isqrt(states) ** 2 == states and states > 1 and n > 0
    ]
    for wanted in ([each for each in fitting if each[0] == policies], [each for each in fitting if each[1] in sizes]):
        fitting = wanted or fitting
    if not fitting:
        raise InvalidValue(f"{what} has shape {array.shape}; needed is {_SHAPES}")
    n, states = fitting[0]
    told = "" if array.shape == (n, states, ACTIONS) else f"shape {array.shape} read as {(n, states, ACTIONS)}"
    return Rows(list(array.reshape(n, states, ACTIONS)), told)


def _readings(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Policies and cells that a shape may stand for, the likeliest first."""
    if len(shape) == 4 and shape[3] == ACTIONS and shape[1] == shape[2]:
        return [(shape[0], shape[1] * shape[2])]
    if len(shape) == 3 and shape[2] == ACTIONS:
        return [(shape[0], shape[1]), *([(1, shape[0] * shape[1])] if shape[0] == shape[1] else [])]
    if len(shape) == 2 and shape[1] == ACTIONS:
        return [(1, shape[0])]
    if len(shape) == 2 and shape[1] % ACTIONS == 0:
        return [(shape[0], shape[1] // ACTIONS)]
    return []


def read_tables(values: Any, *, what: str, like: Sequence[np.ndarray | None]) -> Rows:
    """Another array over cells and actions, shaped as the policies' Q-tables.

    Raises:
        InvalidValue: it cannot be, or these are no numbers.
    """
    if isinstance(values, list):
        return Rows([None if row is None else _flat(row, what, place) for place, row in enumerate(values)], "")
    array = _numeric(values, what)
    first = like[0]
    assert first is not None
    if array.size != len(like) * first.size or (array.shape[-1] != ACTIONS and array.ndim != 2):
        raise InvalidValue(f"{what} has shape {array.shape}; q has {len(like)} tables {first.shape}, give as many")
    return Rows(list(array.reshape(len(like), *first.shape)), "")


def _flat(row: Any, what: str, place: int) -> np.ndarray:
    array = _numeric(row, f"{what}, policy {place}")
    if array.size == 0 or array.size % ACTIONS or (array.ndim > 1 and array.shape[-1] != ACTIONS):
        raise InvalidValue(f"{what}, policy {place} has shape {array.shape}; needed is [S, 4], [N, N, 4] or [S * 4]")
    return array.reshape(-1, ACTIONS)


def _numeric(values: Any, what: str) -> np.ndarray:
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


def successors_of(rows: np.ndarray, states: int, what: str) -> np.ndarray:
    """int32[S, 4] from (state, action, next state) rows int[m, 3]; -1 where none is recorded. Repetitions may be.

    Raises:
        InvalidValue: a row lies outside the grid, or two rows contradict each other.
    """
    for column, (name, limit) in enumerate((("state", states), ("action", ACTIONS), ("next state", states))):
        whole(rows[:, column], f"{what}, column {name},", low=0, high=limit - 1)
    state, action, after = rows.astype(np.int64).T
    table = np.full((states, ACTIONS), -1, np.int32)
    table[state, action] = after
    against = np.flatnonzero(table[state, action] != after)
    if len(against):
        at = (int(state[against[0]]), int(action[against[0]]))
        raise InvalidValue(f"{what} lead from (state, action) {at} to several states; moves are deterministic here")
    return table
