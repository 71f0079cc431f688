"""What people give as a finite task, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lever_ray.errors import InvalidTask
from lever_ray.tasks.kernel import check_size
from lever_ray.tasks.objective import TERM


def read_successors(value: Any) -> np.ndarray:
    """int32[S, A], a copy that is not to be written to.

    Raises:
        InvalidTask: it is no such array, too large, or leads out of range.
    """
    moves = _array("successors", value)
    if moves.ndim != 2 or not np.issubdtype(moves.dtype, np.integer):
        raise InvalidTask(
            f"successors have shape {moves.shape} and dtype {moves.dtype}; give whole numbers [observations, actions]"
        )
    check_size(*moves.shape)
    outside = np.argwhere((moves < 0) | (moves >= len(moves)))
    if len(outside):
        state, action = outside[0].tolist()
        raise InvalidTask(
            f"successors lead from observation {state} by action {action} to {moves[state, action]}; observations are "
            f"0 to {len(moves) - 1}"
        )
    return frozen(moves, np.int32)


def read_rewards(value: Any, terms: Sequence[str] | None, shape: tuple[int, int]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the terms, and float32[K, S, A].

    Raises:
        InvalidTask: names are missing, no names or given twice, shapes differ, or rewards are not finite as float32.
    """
    if isinstance(value, Mapping):
        if terms is not None and tuple(terms) != tuple(value):
            raise InvalidTask(f"terms are {list(terms)}, and rewards name {list(value)}; leave terms out")
        names, arrays = tuple(value), [_array(f"rewards of {name!r}", each) for name, each in value.items()]
    else:
        if terms is None:
            raise InvalidTask("rewards are an array without names; give terms=[...], or rewards={term: array}")
        given = _array("rewards", value)
        if isinstance(terms, str) or not isinstance(terms, Iterable) or not given.ndim:
            raise InvalidTask(f"terms are {terms!r} and rewards {value!r}; give a list of names, and a row for each")
        names, arrays = tuple(terms), list(given)
    _check_terms(names)
    if len(arrays) != len(names):
        raise InvalidTask(
            f"rewards have {len(arrays)} rows, and there are {len(names)} terms {list(names)}; match them"
        )
    return names, _stacked(names, arrays, shape)


def _check_terms(names: tuple[str, ...]) -> None:
    if not names:
        raise InvalidTask("rewards name no term; give at least one, e.g. rewards={'time': array}")
    for name in names:
        if not isinstance(name, str) or not TERM.fullmatch(name):
            raise InvalidTask(
                f"reward term {name!r} is no name; use small letters, digits and _, beginning with a letter"
            )
        if names.count(name) > 1:
            raise InvalidTask(f"reward term {name!r} is given {names.count(name)} times; name each once")


def _stacked(names: tuple[str, ...], arrays: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    stacked = np.empty((len(names), *shape), np.float32)
    for row, (name, array) in enumerate(zip(names, arrays, strict=True)):
        if array.shape != shape:
            raise InvalidTask(
                f"rewards of {name!r} have shape {array.shape}, successors {shape}; give one reward per observation "
                "and action"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            stacked[row] = _numbers(f"rewards of {name!r}", array)
        wrong = np.argwhere(~np.isfinite(stacked[row]))
        if len(wrong):
            state, action = wrong[0].tolist()
            raise InvalidTask(
                f"reward {array[state, action]} of {name!r} in observation {state} for action {action} is no finite "
                "float32; give a finite number"
            )
    stacked.setflags(write=False)
    return stacked


def read_terminal(value: Any, observations: int) -> np.ndarray:
    """bool[S] of such an array or of a list of observations.

    Raises:
        InvalidTask: it is neither.
    """
    given = _array("terminal", () if value is None else value)
    if given.dtype == bool:
        if given.shape != (observations,):
            raise InvalidTask(f"terminal has shape {given.shape}; give bool[{observations}] or a list of observations")
        return frozen(given, bool)
    terminal = np.zeros(observations, bool)
    terminal[_indices("terminal", given.ravel(), observations)] = True
    return frozen(terminal, bool)


def read_start(value: Any, observations: int) -> np.ndarray:
    """float64[S]: how likely each observation is the first.

    Args:
        value: an observation, a list of equally likely ones, a mapping from observation to probability, or float[S].
        observations: S.

    Raises:
        InvalidTask: it is none of these, out of range, or probabilities are negative or do not add up to 1.
    """
    if isinstance(value, Mapping):
        places, weights = np.array(list(value)), _numbers("start", _array("start", list(value.values())))
    else:
        given = _array("start", value)
        if np.issubdtype(given.dtype, np.floating) and given.size:
            if given.shape != (observations,):
                raise InvalidTask(
                    f"start has shape {given.shape}; give an observation, a list of them, a mapping from observation "
                    f"to probability, or float[{observations}]"
                )
            places, weights = np.arange(observations), given.astype(np.float64)
        else:
            places = given.ravel()
            weights = np.full(len(places), 1 / max(1, len(places)))
    distribution = np.zeros(observations)
    named = _indices("start", places, observations)
    distribution[named] = _probabilities(weights)
    return frozen(distribution, np.float64)


def _probabilities(weights: np.ndarray) -> np.ndarray:
    for weight in weights[~((weights >= 0) & (weights <= 1 + 1e-9))]:
        raise InvalidTask(f"start has probability {weight:g}; use 0 to 1, which add up to 1")
    if abs(weights.sum() - 1) > 1e-9:
        raise InvalidTask(f"probabilities of start add up to {weights.sum():.9g}; divide them by that")
    return weights


def _indices(what: str, places: np.ndarray, observations: int) -> np.ndarray:
    if what == "start" and not len(places):
        raise InvalidTask("start names no observation; give at least one")
    if len(places) and not np.issubdtype(places.dtype, np.integer):
        raise InvalidTask(f"{what} holds {places[0]!r}; name observations by whole numbers")
    outside = places[(places < 0) | (places >= observations)]
    if len(outside):
        raise InvalidTask(f"{what} names observation {outside[0]}; observations are 0 to {observations - 1}")
    if len(np.unique(places)) < len(places):
        twice = next(place for place in places.tolist() if (places == place).sum() > 1)
        raise InvalidTask(f"{what} names observation {twice} twice; name it once")
    return places.astype(np.int64)


def read_rows(what: str, value: Any, observations: int, dtype: type, columns: int | None = None) -> np.ndarray | None:
    """``dtype[S, D]`` of an array with one row per observation, or None where there is none.

    Raises:
        InvalidTask: naming what it is and its shape, or a number that is not finite or not whole.
    """
    if value is None:
        return None
    given, wide = _numbers(what, _array(what, value)), f"{columns or 'D'}"
    if (
        given.ndim != 2
        or len(given) != observations
        or not given.shape[1]
        or given.shape[1] != (columns or given.shape[1])
    ):
        raise InvalidTask(f"{what} have shape {given.shape}; give one row per observation, [{observations}, {wide}]")
    with np.errstate(over="ignore", invalid="ignore"):
        rows: np.ndarray = given.astype(dtype)
    wrong = ~np.isfinite(rows) if dtype is np.float32 else rows != given
    if wrong.any():
        state = int(np.argwhere(wrong)[0, 0])
        kind = "finite float32" if dtype is np.float32 else "whole numbers"
        raise InvalidTask(f"{what} of observation {state} are {given[state].tolist()}; give {kind}")
    return frozen(rows, dtype)


def read_names(what: str, value: Any, count: int) -> tuple[str, ...] | None:
    """One name for each of ``count`` things, or None where there are none.

    Raises:
        InvalidTask: they are too few or too many, no strings, or two are equal.
    """
    if value is None:
        return None
    names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise InvalidTask(f"{what} are {value!r}; give {count} names".replace("\n", " "))
    if len(set(names)) < count:
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidTask(f"{what} have {twice!r} more than once; give different names")
    return names


def read_words(what: str, value: Mapping[str, Any] | None, terms: tuple[str, ...]) -> dict[str, Any]:
    """By term, in the order of the terms: a text, or a tuple of them.

    Raises:
        InvalidTask: it is no mapping, names another term, or holds anything but texts.
    """
    if not isinstance(value, Mapping | None):
        raise InvalidTask(f"{what} are {value!r}; give a mapping from term")
    given = dict(value or {})
    for term, text in given.items():
        if term not in terms:
            raise InvalidTask(f"{what} name term {term!r}, and rewards name {list(terms)}; drop it")
        several = isinstance(text, Iterable) and not isinstance(text, str)
        texts = (text,) if what == "descriptions" else tuple(text) if several else ()
        if not texts or not all(isinstance(each, str) and each.strip() for each in texts):
            kind = "a sentence" if what == "descriptions" else "a list of phrases"
            raise InvalidTask(f"{what} of {term!r} are {text!r}; give {kind}")
        given[term] = texts[0] if what == "descriptions" else texts
    return {term: given[term] for term in terms if term in given}


def read_seed(value: Any) -> int | None:
    """A whole number that is not negative, or None.

    Raises:
        InvalidTask: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise InvalidTask(f"seed is {value!r}; use a whole number from 0 on, or None")
    return int(value)


def read_discount(value: Any) -> float:
    """A number above 0, at most 1.

    Raises:
        InvalidTask: it is another.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value <= 1:
        raise InvalidTask(f"discount is {value!r}; use a number above 0, at most 1")
    return float(value)


MOST_STEPS = (1 << 31) - 1


def read_horizon(value: Any) -> int:
    """A whole number of steps, at least 1.

    Raises:
        InvalidTask: it is another.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= MOST_STEPS:
        raise InvalidTask(f"horizon is {value!r}; use a whole number of steps, 1 to {MOST_STEPS}")
    return int(value)


def frozen(array: np.ndarray, dtype: Any) -> np.ndarray:
    """A copy that is not to be written to."""
    copy = np.array(array, dtype, order="C")
    copy.setflags(write=False)
    return copy


def _array(what: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:
        raise InvalidTask(f"{what} have rows of different lengths; give one number everywhere") from None


def _numbers(what: str, array: np.ndarray) -> np.ndarray:
    if np.iscomplexobj(array) or not (array.dtype == bool or np.issubdtype(array.dtype, np.number)):
        raise InvalidTask(f"{what} have dtype {array.dtype}; give real numbers")
    return array.astype(np.float64)
