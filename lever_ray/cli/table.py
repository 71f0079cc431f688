"""Tables of commands: a name, the module that does it, one line of help; a module is imported when it is called."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol, cast

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.streams import folded, show
from lever_ray.errors import InvalidValue, look_up

_WIDEST = 100
"""Columns of a terminal that help takes at most."""


class Command(Protocol):
    """What a command's module has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add its options, and its words; what they do not tell is told in the parser's usage and epilog."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; the exit code."""


class Entry(NamedTuple):
    """One line of a table.

    Attributes:
        module: has what :class:`Command` says, or is a group: then it has a ``TABLE`` of its own.
        about: one line of help.
    """

    module: str
    about: str


class Table(NamedTuple):
    """Commands under one name.

    Attributes:
        name: as it is typed, e.g. ``lever-ray library``.
        about: what the commands are for.
        commands: by name, in the order in which help lists them.
        example: the end of the help.
    """

    name: str
    about: str
    commands: Mapping[str, Entry]
    example: str

    def run(self, words: Sequence[str]) -> int:
        """Run the command that the first word names with the others; its module alone is imported.

        Raises:
            InvalidValue: there is no word.
            UnknownName: the first one is no command.
            SystemExit: help was asked for, or the command's arguments are wrong.
        """
        if not words:
            raise InvalidValue(f"no command is given; `{self.name} --help` lists {len(self.commands)} of them")
        first, *others = words
        if first in ("-h", "--help"):
            show(self.help())
            sys.exit(OK)
        entry = look_up("command", first, self.commands)
        module = import_module(entry.module)
        group: Table | None = getattr(module, "TABLE", None)
        if group is not None:
            return group.run(others)
        return _run(cast(Command, module), others, name=f"{self.name} {first}", about=entry.about)

    def help(self) -> str:
        """All commands, a paragraph each."""
        usage = f"usage: {self.name} COMMAND ...\n       {self.name} COMMAND --help"
        width = min(shutil.get_terminal_size().columns, _WIDEST) - 2
        margin = max(len(name) for name in self.commands) + 4
        told = [_paragraph(name, entry.about, margin, width) for name, entry in self.commands.items()]
        return folded("\n".join([usage, "", self.about, "", "commands:", *told, "", self.example, ""]), width + 2)


def _paragraph(name: str, about: str, margin: int, width: int) -> str:
    first = f"  {name}".ljust(margin)
    return textwrap.fill(about, max(width, margin + 12), initial_indent=first, subsequent_indent=" " * margin)


class _Once(argparse.Action):
    """Stores what an option says; the option is said once."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        """Store it.

        Raises:
            InvalidValue: the option was given before.
        """
        if option is not None and self in (said := cast(_Parser, parser).said):
            raise InvalidValue(f"{option} is given twice, with {said[self]} and {values}; give it once")
        cast(_Parser, parser).said[self] = values
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """A parser that writes nothing wider than the terminal, usage and examples that are given as they are included.

    An option that is no list is given once: which of two values is meant cannot be told.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("action", None, _Once)
        self.said: dict[argparse.Action, Any] = {}

    def format_help(self) -> str:
        return folded(super().format_help(), _width())

    def format_usage(self) -> str:
        return folded(super().format_usage(), _width())

    def print_help(self, file: Any = None) -> None:
        show(self.format_help(), file)  # argparse keeps to itself that nobody takes it

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, message and folded(message, _width()))


def _width() -> int:
    return shutil.get_terminal_size().columns


def _run(command: Command, words: Sequence[str], *, name: str, about: str) -> int:
    """Run a command; its options and words may stand in any order."""
    parser = _Parser(prog=name, description=about)
    command.add_arguments(parser)
    given = parser.parse_intermixed_args(_marked(words))
    for key, value in vars(given).items():
        setattr(given, key, [_plain(each) for each in value] if isinstance(value, list) else _plain(value))
    return command.run(given)


_MARK = "\0"
"""Before a word after ``--``; no word of a command line has one. Python 3.11 would take ``-x`` there for an option."""


def _marked(words: Sequence[str]) -> list[str]:
    end = words.index("--") + 1 if "--" in words else len(words)
    return [*words[:end], *(f"{_MARK}{word}" for word in words[end:])]


def _plain(value: Any) -> Any:
    return type(value)(str(value).removeprefix(_MARK)) if isinstance(value, str | Path) else value
