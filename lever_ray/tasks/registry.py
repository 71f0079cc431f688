"""Families of environments by name: the only place where they are listed.

A family enters as one folder. Installed packages add theirs by an entry point of the group ``lever_ray.tasks`` that
names a :class:`~lever_ray.tasks.protocol.Family`; a program adds its own by :func:`register`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from lever_ray.errors import InvalidTask, InvalidValue, LeverError, UnknownName
from lever_ray.tasks.protocol import Environment, Family, Source

ENTRY_POINTS = "lever_ray.tasks"
_BUILT_IN: dict[str, str] = {"gridworld": "lever_ray.tasks.gridworld.family", "finite": "lever_ray.tasks.finite.family"}
"""Modules with a ``FAMILY``, by its name; the first is meant where a document names none."""
_REGISTERED: dict[str, Family] = {}


class UnknownFamily(UnknownName):
    """An environment is of a family that is not installed."""

    def __init__(self, name: object) -> None:
        hint = "Install the package that provides it, or register it with lever_ray.tasks.registry.register."
        super().__init__("task family", name, families(), hint=hint)


def register(family: Family) -> None:
    """Add a family of the program's own; registering it again is free.

    Raises:
        InvalidValue: another family has that name.
    """
    if family.name in _BUILT_IN or _REGISTERED.get(family.name, family) is not family:
        raise InvalidValue(f"a task family {family.name!r} exists already; give yours another name")
    _REGISTERED[family.name] = family


def families() -> tuple[str, ...]:
    """Names of all families."""
    return (*dict.fromkeys((*_BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINTS)), *_REGISTERED)),)


def family(name: str) -> Family:
    """The family of that name; its module is loaded when it is first asked for.

    Raises:
        UnknownFamily: it is not installed.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in _BUILT_IN:
        found: Family = import_module(_BUILT_IN[name]).FAMILY
    else:
        points = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
        if not points:
            raise UnknownFamily(name)
        found = points[0].load()
    return _REGISTERED.setdefault(name, found)


def decode(document: Mapping[str, Any]) -> Environment:
    """An environment from the plain data that its ``encode`` gave.

    Raises:
        UnknownFamily: its family is not installed.
        InvalidTask: it is no mapping, or no environment of its family.
    """
    if not isinstance(document, Mapping):
        raise InvalidTask(f"a task is {document!r}; give a mapping, as encode() does")
    return family(str(document.get("family", next(iter(_BUILT_IN))))).decode(document)


def read_text(text: str) -> Environment:
    """An environment from the text that people write it as: a map of the first family.

    Raises:
        InvalidTask: it draws none.
    """
    reader = family(next(iter(_BUILT_IN))).read_text
    if reader is None:
        raise InvalidTask("no family of tasks reads text; give plain data, as encode() does")
    return reader(text)


def usual_source() -> Source:
    """The first source of the first family: what stands where nothing else is said."""
    return next(iter(family(next(iter(_BUILT_IN))).sources.values()))


def source(name: str) -> Source:
    """Where the environments of a library are sampled from.

    Raises:
        UnknownName: naming the known sources and the nearest match.
    """
    known: list[str] = []
    for each in _sources():
        if name == each.name:
            return each
        known.append(each.name)
    raise UnknownName("source of environments", name, known)


def _sources() -> Iterator[Source]:
    for names in (lambda: tuple(_BUILT_IN), lambda: families()[len(_BUILT_IN) :]):  # packages are only then looked for
        for name in names():
            try:
                yield from family(name).sources.values()
            except (ImportError, LeverError):  # a package that is broken hides no other
                continue
