"""Finite tasks as plain data: lists, numbers and texts; arrays as base64 of little-endian numbers."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lever_ray.errors import InvalidTask

if TYPE_CHECKING:
    from lever_ray.tasks.finite.task import FiniteTask

_TYPES = ("<i4", "<f4", "<f8", "|b1")
"""Types that arrays of documents may have."""
_NEEDED = ("successors", "rewards", "terms")
_FURTHER = (
    "terminal", "start", "horizon", "discount", "name", "seed", "descriptions", "synonyms", "features", "coordinates",
    "labels", "action_names",
)  # fmt: skip


def encode(task: FiniteTask) -> dict[str, Any]:
    """A task as plain data; what it does not have is left out."""
    document = {
        "family": task.family,
        "name": task.name,
        "terms": list(task.terms),
        "horizon": task.horizon,
        "discount": task.discount,
        "successors": _encode(task.successors),
        "rewards": _encode(task.rewards),
        "terminal": _encode(task.terminal),
        "start": _encode(task.start),
        "descriptions": dict(task.descriptions),
        "synonyms": {term: list(phrases) for term, phrases in task.synonyms.items()},
        "seed": task.seed,
        "features": None if task.table is None else _encode(task.table),
        "coordinates": None if task.coordinates is None else _encode(task.coordinates),
        "labels": None if task.labels is None else list(task.labels),
        "action_names": None if task.action_names is None else list(task.action_names),
    }
    return {key: value for key, value in document.items() if value is not None}


def arguments(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a task is made with, of a document; unknown keys are ignored.

    Raises:
        InvalidTask: it is no mapping, a key is missing, or an array is not what it says.
    """
    if not isinstance(document, Mapping):
        raise InvalidTask(f"finite task is {document!r}; it must be a mapping with {', '.join(_NEEDED)}")
    missing = [key for key in _NEEDED if key not in document]
    if missing:
        raise InvalidTask(f"finite task lacks {', '.join(missing)}; needed are {', '.join(_NEEDED)}")
    given = {key: document[key] for key in (*_NEEDED, *_FURTHER) if key in document}
    return {key: _decode(key, value) if _is_array(value) else value for key, value in given.items()}


def _encode(array: np.ndarray) -> dict[str, Any]:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    data = base64.b64encode(little.tobytes()).decode("ascii")
    return {"dtype": little.dtype.str, "shape": list(array.shape), "data": data}


def _is_array(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"dtype", "shape", "data"}


def _decode(key: str, value: Mapping[str, Any]) -> np.ndarray:
    if value["dtype"] not in _TYPES:
        raise InvalidTask(f"{key} have dtype {value['dtype']!r}; use one of {', '.join(_TYPES)}")
    shape = value["shape"]
    if not isinstance(shape, list | tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise InvalidTask(f"{key} have shape {shape!r}; it must be a list of whole numbers")
    try:
        data = base64.b64decode(value["data"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InvalidTask(f"{key} hold data that is no base64; encode the task again") from None
    dtype = np.dtype(value["dtype"])
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise InvalidTask(f"{key} hold {len(data)} bytes, and shape {list(shape)} of {dtype.str} needs another number")
    return np.frombuffer(data, dtype).reshape(shape)
