"""Single values of foreign files, as fields need them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lever_ray.errors import InvalidValue
from lever_ray.gridworld.layout import Layout
from lever_ray.library.ports.fields import BY_NAME
from lever_ray.library.ports.options import Layouts, layouts_of


def all_layouts(given: Layouts | list[Layouts] | None) -> list[Layout]:
    """Every layout that is given."""
    if isinstance(given, list):
        return [layout for each in given for layout in all_layouts(each)]
    if isinstance(given, Layout):
        return [given]
    return list(given.values()) if given else []


def remembered(known: dict[Any, Layouts], value: Any, what: str) -> Layouts:
    """A layout from what a column says, read once for equal texts."""
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
    if kind == "count" and number and float(value).is_integer() and 0 <= value < 1 << 63:
        return int(value)
    wanted = {"text": "text", "number": "a number", "count": "a whole number, 0 or more"}[kind]
    raise InvalidValue(f"{what} holds {value!r}; it must be {wanted}")
