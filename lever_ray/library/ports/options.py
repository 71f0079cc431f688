"""What a person adds to a foreign file: layouts, values for all policies, the order of actions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lever_ray.errors import InvalidTask, InvalidValue, LeverError, LibraryError, check_known
from lever_ray.tasks import registry
from lever_ray.tasks.protocol import Environment

_COMPASS = {"east": "right", "south": "down", "west": "left", "north": "up"}
_ALWAYS_KNOWN = ("name", "seed", "family")
"""Keys of a task's document that say what it is called."""

Layouts = Environment | Mapping[str, Environment]
"""One task for all policies, or tasks by environment; on the grid a task is a layout."""


def action_names(task: Environment) -> tuple[str, ...]:
    """What people call a task's actions, in their order."""
    return tuple(task.action_label(action) for action in range(task.actions))


def usual_actions() -> tuple[str, ...]:
    """What actions are called while no task is known."""
    return action_names(registry.family(registry.usual_source().family).example())


@dataclass(frozen=True)
class ImportOptions:
    """What is said about a file beyond what it says itself; what is given here goes before its columns.

    Attributes:
        environment, description, objective, label, algorithm, gamma, episodes: of all policies.
        layouts: the tasks of their environments; plain data is read as :func:`layouts_of` does.
        actions: names of the file's actions, in its order; empty where it is the tasks'.
        columns: column by field, where names alone do not tell.

    Raises:
        InvalidValue: ``layouts`` is neither a task nor a mapping of environment names to tasks.
    """

    environment: str | None = None
    description: str | None = None
    objective: str | None = None
    label: str | None = None
    algorithm: str | None = None
    gamma: float | None = None
    episodes: int | None = None
    layouts: Layouts | None = None
    actions: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.layouts is not None:
            object.__setattr__(self, "layouts", layouts_of(self.layouts, what="layouts"))

    def permutation(self, ours: Sequence[str]) -> list[int]:
        """For each of a task's actions its place among the file's.

        Args:
            ours: names of the task's actions, see :func:`action_names`.

        Raises:
            UnknownName: an action is not known.
            InvalidValue: not each of the task's is named once.
        """
        if not self.actions:
            return list(range(len(ours)))
        names = [_plain(name, ours) for name in self.actions]
        for name in names:
            check_known("action", name, ours)
        if sorted(names) != sorted(ours):
            raise InvalidValue(
                f"--actions names {', '.join(names)}; name each of {', '.join(ours)} once, in the file's order"
            )
        return [names.index(name) for name in ours]


def _plain(name: str, ours: Sequence[str]) -> str:
    """A name as the task has it: as it is written, else in small letters, else a direction of the compass in words."""
    given = name.strip()
    if given in ours:
        return given
    return given.lower() if given.lower() in ours else _COMPASS.get(given.lower(), given.lower())


def read_layouts(file: str | Path) -> Layouts:
    """Layouts of a file: JSON of one, or of a mapping of environment names to layouts; or a map drawn as text.

    Raises:
        LibraryError: the file cannot be read.
        InvalidValue: a layout breaks a rule.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
        data = json.loads(text) if _is_json(text) else text
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LibraryError(f"layouts {file} cannot be read ({reason}); give a JSON file or a map as text") from error
    return layouts_of(data, what=f"layouts {file}")


def _is_json(text: str) -> bool:
    """Whether a text is meant as JSON; a map of a task begins with a cell."""
    return text.lstrip().startswith(("{", "[", '"'))


def layouts_of(data: Any, *, what: str) -> Layouts:
    """A task, or tasks by environment, from plain data, JSON text, a map drawn as text, or tasks.

    Raises:
        InvalidValue: it is neither; the message begins with ``what``.
    """
    try:
        if isinstance(data, str) and not _is_json(data):
            return registry.read_text(data)
        given = json.loads(data) if isinstance(data, str) else data
        if _is_by_name(given):
            return {str(name): _task(each) for name, each in given.items()}
        return _task(given)
    except InvalidTask as error:
        raise InvalidValue(f"{what}: {error}") from error
    except (LeverError, ImportError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InvalidValue(f"{what}: {error}; give a layout, or a mapping of environment names to layouts") from error


def _is_by_name(given: Any) -> bool:
    """Whether plain data are tasks by environment: all of its values are tasks, and it is none itself."""
    if not isinstance(given, Mapping) or "family" in given or not given:
        return False
    return all(isinstance(each, Mapping) or is_task(each) for each in given.values())


def is_task(value: Any) -> bool:
    """Whether a value is an environment, and not data that describe one."""
    return all(hasattr(value, name) for name in ("dynamics", "digest", "terms"))


def _task(data: Any) -> Environment:
    if is_task(data):
        task: Environment = data
        return task
    if not isinstance(data, Mapping):
        raise InvalidTask(f"layout is {data!r}; it must be a mapping, as a task's encode() gives it")
    task = registry.decode(data)
    known = [*(key for key in task.encode() if key not in _ALWAYS_KNOWN), *_ALWAYS_KNOWN]
    unknown = [str(key) for key, value in data.items() if key not in known and value not in (None, "", [], {})]
    if unknown:
        raise InvalidTask(
            f"layout has unknown keys {', '.join(map(repr, unknown))}; rename or drop them. Known: {', '.join(known)}"
        )
    return task
