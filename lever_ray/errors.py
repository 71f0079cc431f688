"""Errors whose messages name the offending value and what to do about it."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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


class StorageError(LeverError):
    """A disk or a store takes nothing more, or what works beside us does not start, by no fault of the input.

    Args:
        why: what takes nothing, and why.
        remedy: what to do about it.
        kept: what is kept, as a clause of its own; empty where nothing is known to be.
    """

    def __init__(self, why: str, remedy: str, kept: str = "") -> None:
        super().__init__(why, remedy, kept)
        self.why, self.remedy, self.kept = why, remedy, kept

    def __str__(self) -> str:
        """What the console shows."""
        return "; ".join(part for part in (self.why, self.kept, self.remedy) if part)


_SPACE, _WRITABLE = "free space", "make it take files"
_FULL: Mapping[str, tuple[str, str]] = {
    "no space left on device": ("no space is left for {place}", _SPACE),
    "database or disk is full": ("no space is left for {place}", _SPACE),
    "local disk's utilization is over capacity": ("no space is left for objects that Ray holds on disk", _SPACE),
    "disk quota exceeded": ("the disk quota leaves no space for {place}", _SPACE),
    "read-only file system": ("the file system of {place} is read-only", _WRITABLE),
    "attempt to write a readonly database": ("{place} is read-only", _WRITABLE),
    "disk i/o error": ("the disk of {place} fails or is full", _SPACE),
}
"""Why and remedy by what databases and Arrow say."""
_NUMBERS: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: _FULL["no space left on device"],
    errno.EDQUOT: _FULL["disk quota exceeded"],
    errno.EROFS: _FULL["read-only file system"],
    errno.EFBIG: ("a file below {place} would be larger than this process may write", "raise that limit"),
}
"""Why and remedy by error number of the operating system."""
_LOCKED = {
    "database is locked": ("{place} stays locked by another process", "end what holds it"),
    "database table is locked": ("{place} stays locked by another process", "end what holds it"),
}
_SILENT = {"max retries exceeded with url": ("{place} does not answer", "see that it does")}


def is_locked(error: BaseException) -> bool:
    """Whether a database refused because another process has it locked, which passes."""
    return any(_told(each, _LOCKED) for each in _chain(error))


def is_unanswered(error: BaseException) -> bool:
    """Whether a lock or a silent server is what it was raised from, which cost much time."""
    return any(_told(each, {**_LOCKED, **_SILENT}) for each in _chain(error))


def is_full(error: BaseException) -> bool:
    """Whether a disk without space, a quota or a limit of file sizes is what it was raised from."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return any(isinstance(each, OSError) and each.errno in numbers for each in _chain(error))


def storage_error(error: BaseException, place: object) -> StorageError | None:
    """What a full or read-only disk, a locked database or a silent server raised, in one line; None for all else.

    Args:
        error: of whatever library; what it was raised from is looked at, too.
        place: what was written to, where the error does not say.
    """
    for each in _chain(error):
        if isinstance(each, StorageError):
            return each
        number = each.errno if isinstance(each, OSError) else None
        if found := _NUMBERS.get(number or 0) or _told(each, {**_FULL, **_LOCKED, **_SILENT}):
            why, remedy = found
            return StorageError(why.format(place=_file_of(each) or place), f"{remedy}, then run the same command again")
    return None


@contextmanager
def keeping(place: object, kept: Callable[[], str]) -> Iterator[None]:
    """Let a full disk or a locked store end the block in one error that says what is kept.

    Args:
        place: what is written to, where an error does not say.
        kept: says it, once it is asked for.

    Raises:
        StorageError: see there.
    """
    try:
        yield
    except Exception as error:
        own = isinstance(error, LeverError) and not isinstance(error, StorageError)
        found = None if own else storage_error(error, place)
        if found is None:
            raise
        raise StorageError(found.why, found.remedy, found.kept or kept()) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from or instead of."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _told(error: BaseException, known: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    """What is known of the first of some phrases that an error's message has."""
    message = str(error).lower()
    return next((found for phrase, found in known.items() if phrase in message), None)


def _file_of(error: BaseException) -> str:
    """The file that an error of the operating system names; of a copy, the one that is written."""
    if not isinstance(error, OSError):
        return ""
    return str(error.filename2 or error.filename or "")
