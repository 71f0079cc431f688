"""What schema version 2 holds: refused before anything is written."""

from __future__ import annotations

import json

from lever_ray.errors import LeverError, LibraryError
from lever_ray.library.format.schema import MOST_ACTIONS, MOST_ENTRIES, SCHEMA_VERSION
from lever_ray.library.record import EnvironmentRecord
from lever_ray.tasks import registry
from lever_ray.tasks.protocol import Environment

_ELSEWHERE = "keep its policies in memory: lever_ray.MemoryLibrary"


def check_storable(environment: EnvironmentRecord) -> None:
    """Refuse an environment that a library on disk cannot hold, or could not read again.

    Raises:
        LibraryError: its task has too many actions or observations, or a memory that there is no room for, or what it
            encodes is not what its family decodes.
    """
    task, whose = environment.task, f"task of environment {environment.name!r}"
    if task.actions > MOST_ACTIONS:
        raise LibraryError(
            f"schema {SCHEMA_VERSION} holds up to {MOST_ACTIONS} actions per observation; {whose} has {task.actions}; "
            f"{_ELSEWHERE}"
        )
    tables = task.features()
    width = max(task.actions, 0 if tables is None else tables.dimension)
    if task.observations * width > MOST_ENTRIES:
        raise LibraryError(
            f"schema {SCHEMA_VERSION} holds lists of up to {MOST_ENTRIES} entries; {whose} has {task.observations} "
            f"observations of {width} actions or features; {_ELSEWHERE}"
        )
    second = int(environment.canonical.memories[:, 1].max())
    if second > 1:
        raise LibraryError(
            f"schema {SCHEMA_VERSION} holds memories whose second word is 0 or 1; {whose} has {second}; {_ELSEWHERE}"
        )
    _check_document(whose, task)


def _check_document(whose: str, task: Environment) -> None:
    """Refuse a task that does not come back from JSON as it is."""
    try:
        again = registry.decode(json.loads(json.dumps(task.encode())))
    except (LeverError, ImportError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise LibraryError(
            f"{whose} is of family {task.family!r} and cannot be read again ({error}); register its family with "
            "lever_ray.tasks.registry.register, and let encode() give plain data"
        ) from error
    if again.digest != task.digest:
        raise LibraryError(
            f"{whose} is of family {task.family!r}, and another one is read from what it encodes; let encode() give "
            "everything that its digest depends on, with its family"
        )
