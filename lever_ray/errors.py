"""Errors whose messages name the offending value and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import TypeVar

T = TypeVar("T")


class LeverError(Exception):
    """Base of every error that lever-ray raises on purpose; its message is meant for a person."""


class InvalidValue(LeverError, ValueError):
    """A setting or argument has a value outside its domain."""


class UnknownName(LeverError, LookupError):
    """A name is not among the known ones; the message lists them, if they are given, and the nearest match.

    Args:
        kind: what the name should have been, e.g. ``"objective"``.
        name: the name that was given.
        known: the names that would have been accepted.
        hint: one more sentence for the message.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str], *, hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        match = difflib.get_close_matches(str(name), self.known, n=1, cutoff=0.4)
        suggestion = f" Did you mean {match[0]!r}?" if match else ""
        more = f" and {len(self.known) - 12} more" if len(self.known) > 12 else ""
        listed = f" Known: {', '.join(self.known[:12])}{more}." if self.known else ""
        message = f"unknown {kind} {name!r}.{suggestion}{listed} {hint}"
        super().__init__(message.rstrip())

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore_unknown_name, (self.kind, self.name, self.known, str(self)))


def _restore_unknown_name(kind: str, name: object, known: tuple[str, ...], message: str) -> UnknownName:
    error = UnknownName(kind, name, known)
    error.args = (message,)
    return error


def check_known(kind: str, name: object, known: Iterable[str]) -> None:
    """Refuse a name that is not among the known ones.

    Raises:
        UnknownName: see there.
    """
    names = tuple(known)
    if name not in names:
        raise UnknownName(kind, name, names)


def check_whole(name: str, value: object, least: int, what: str) -> None:
    """Refuse what is no whole number, or too small.

    Args:
        name: of the parameter.
        value: given for it.
        least: smallest that is allowed.
        what: it counts, in words.

    Raises:
        InvalidValue: naming all of them.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InvalidValue(f"{name} is {value!r}; a whole number ({what}), at least {least}, is needed")


def look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    """What is known under a name.

    Raises:
        UnknownName: see there.
    """
    check_known(kind, name, known)
    return known[name]


class InvalidTask(InvalidValue):
    """A task breaks a rule of its family: things that overlap, moves out of range, rewards that are no numbers."""


class UnmatchedQuery(LeverError):
    """A query names no objective term clearly enough; the message says what came closest and how far it was."""


class UncoveredObjective(LeverError):
    """The library's objectives have no exact cover for the composite objective; the message names the terms."""


class LibraryError(LeverError):
    """A policy library is missing, damaged, of another schema version, or does not hold what was asked."""


class NothingToLearnFrom(LibraryError):
    """A library has too few other policies for a regressor."""


class SettingsError(LeverError):
    """A configuration key does not exist, has the wrong type, or contradicts another one."""
