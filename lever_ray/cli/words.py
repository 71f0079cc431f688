"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

_FILTERS: tuple[str, ...] = ("environment", "objective", "gamma")


def add_settings(
    parser: argparse.ArgumentParser, about: str = "settings, e.g. library.layouts=5 strategy=hybrid; see conf/"
) -> None:
    """Add the words that are settings: all that no earlier positional argument has taken, wherever they stand."""
    parser.add_argument("settings", nargs="*", metavar="key=value", help=about)


def add_place(parser: argparse.ArgumentParser, *, needed: bool = False) -> None:
    """Add the words that :func:`lever_ray.cli.places.place_of` reads."""
    about = "folder of the library, or its name as in conf/library"
    parser.add_argument("place", nargs="+" if needed else "*", metavar="PATH|library=NAME", help=about)


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that pick policies."""
    parser.add_argument("--environment", metavar="NAME", help="only policies of this environment")
    parser.add_argument("--objective", metavar="NAME", help="only policies trained for it")
    parser.add_argument("--gamma", type=float, metavar="NUMBER", help="only policies with this discount")


def filters_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_filters` read, by name; None where an option was not given."""
    return {name: getattr(arguments, name) for name in _FILTERS}


def show_example(parser: argparse.ArgumentParser, text: str) -> None:
    """End the help with lines as they are written, where they are indented; others are broken at the width."""
    parser.epilog, parser.formatter_class = text, _KeepsExamples


class _KeepsExamples(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n".join(line if line[:1] == " " else fill(line, width, indent) for line in text.splitlines())
