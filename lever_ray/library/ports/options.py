"""What a person adds to a foreign file: layouts, values for all policies, the order of actions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lever_ray.errors import InvalidLayout, InvalidValue, LeverError, LibraryError, check_known
from lever_ray.tasks.gridworld.layout import Layout

ACTION_NAMES: tuple[str, ...] = ("right", "down", "left", "up")
"""Our actions 0 to 3."""
_COMPASS = {"east": "right", "south": "down", "west": "left", "north": "up"}

_KEYS: tuple[str, ...] = tuple(part.name for part in fields(Layout))

Layouts = Layout | Mapping[str, Layout]
"""One layout for all policies, or layouts by environment."""


@dataclass(frozen=True)
class ImportOptions:
    """What is said about a file beyond what it says itself; what is given here goes before its columns.

    Attributes:
        environment, description, objective, label, algorithm, gamma, episodes: of all policies.
        layouts: of their environments; plain data is read as :func:`layouts_of` does.
        actions: names of the file's actions, in its order.
        columns: column by field, where names alone do not tell.

    Raises:
        InvalidValue: ``layouts`` is neither a layout nor a mapping of environment names to layouts.
    """

    environment: str | None = None
    description: str | None = None
    objective: str | None = None
    label: str | None = None
    algorithm: str | None = None
    gamma: float | None = None
    episodes: int | None = None
    layouts: Layouts | None = None
    actions: Sequence[str] = ACTION_NAMES
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.layouts is not None:
            object.__setattr__(self, "layouts", layouts_of(self.layouts, what="layouts"))

    @property
    def permutation(self) -> list[int]:
        """For each of our actions its place among the file's.

        Raises:
            UnknownName: an action is not known.
            InvalidValue: not each of the four is named once.
        """
        names = [_COMPASS.get(name.strip().lower(), name.strip().lower()) for name in self.actions]
        for name in names:
            check_known("action", name, ACTION_NAMES)
        if sorted(names) != sorted(ACTION_NAMES):
            raise InvalidValue(
                f"--actions names {', '.join(names)}; name each of {', '.join(ACTION_NAMES)} once, in the file's order"
            )
        return [names.index(name) for name in ACTION_NAMES]


def read_layouts(file: str | Path) -> Layouts:
    """Layouts of a JSON file: one, or a mapping of environment names to layouts.

    Raises:
        LibraryError: the file cannot be read.
        InvalidLayout: a layout breaks a rule.
    """
    try:
        data = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LibraryError(f"layouts {file} cannot be read ({reason}); give a JSON file") from error
    return layouts_of(data, what=str(file))


def layouts_of(data: Any, *, what: str) -> Layouts:
    """A layout, or layouts by environment, from plain data, JSON text, or layouts.

    Raises:
        InvalidValue: it is neither; the message begins with ``what``.
    """
    try:
        given = json.loads(data) if isinstance(data, str) else data
        if isinstance(given, Mapping) and "size" not in given and given:
            return {str(name): _layout(each) for name, each in given.items()}
        return _layout(given)
    except InvalidLayout as error:
        raise InvalidValue(f"{what}: {error}") from error
    except (LeverError, ValueError, TypeError, RecursionError) as error:
        raise InvalidValue(f"{what}: {error}; give a layout, or a mapping of environment names to layouts") from error


def _layout(data: Any) -> Layout:
    if isinstance(data, Layout):
        return data
    layout = Layout.from_dict(data)
    unknown = [str(key) for key in data if key not in _KEYS]
    if unknown:
        raise InvalidLayout(
            f"layout has unknown keys {', '.join(map(repr, unknown))}; rename or drop them. Known: {', '.join(_KEYS)}"
        )
    return layout
