"""Single values of foreign files, as fields need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lever_ray.errors import InvalidValue
from lever_ray.library.ports.fields import BY_NAME
from lever_ray.library.ports.options import Layouts, layouts_of
from lever_ray.tasks.protocol import Environment


def all_tasks(given: Layouts | list[Layouts] | None) -> list[Environment]:
    """Every task that is given."""
    if isinstance(given, list):
        return [task for each in given for task in all_tasks(each)]
    if isinstance(given, Mapping):
        return list(given.values())
    return [] if given is None else [given]


def remembered(known: dict[Any, Layouts], value: Any, what: str) -> Layouts:
    """Tasks from what a column says, read once for equal texts."""
    key = value if isinstance(value, str) else id(value)
    if key not in known:
        known[key] = layouts_of(value, what=what)
    return known[key]


def plain(value: Any, name: str, what: str, missing: Any = None) -> Any:
    """A value as its field needs it.

    Raises:
        InvalidValue: it is of another type, or missing.
    """
    kind = BY_NAME[name].kind
    if value is None:
        if missing is None:
            raise InvalidValue(f"{what} is empty; fill it in, or give {BY_NAME[name].option or 'it'}")
        return missing
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if kind == "text" and isinstance(value, str):
        return value
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if kind == "number" and number:
        return float(value)
    least = {"count": 0, "integer": -(1 << 63)}.get(kind)
    if least is not None and number and float(value).is_integer() and least <= value < 1 << 63:
        return int(value)
    raise InvalidValue(f"{what} holds {value!r}; it must be {_WANTED[kind]}")


_WANTED = {
    "text": "text",
    "number": "a number",
    "count": "a whole number, 0 or more",
    "integer": "a whole number of at most 64 bits",
}
