"""``lever-ray library repair``: drop what is broken."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.places import place_of
from lever_ray.cli.words import add_place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The library, and whether it is sure."""
    add_place(parser, needed=True)
    parser.add_argument("--yes", action="store_true", help="drop what is broken")


def run(arguments: argparse.Namespace) -> int:
    """Drop it, if that is sure; otherwise say what it would be."""
    from lever_ray.app import library_commands

    library_commands.repair(place_of(arguments.place), sure=arguments.yes)
    return OK
