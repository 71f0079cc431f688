"""``lever-ray inspect``: what a library holds."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.places import place_of
from lever_ray.cli.words import add_place
from lever_ray.errors import InvalidValue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The library, and how much of it to list."""
    add_place(parser)
    parser.add_argument("--rows", type=int, default=20, help="environments to list (default 20)")


def run(arguments: argparse.Namespace) -> int:
    """Print a table of its environments, and what else is to be said of it."""
    if arguments.rows < 1:
        raise InvalidValue(f"--rows is {arguments.rows}; at least 1 is needed")
    from lever_ray.app import library_commands

    library_commands.inspect(place_of(arguments.place), rows=arguments.rows)
    return OK
