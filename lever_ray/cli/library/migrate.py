"""``lever-ray library migrate``: an older schema version becomes today's."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.places import place_of
from lever_ray.cli.words import add_place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The library."""
    add_place(parser, needed=True)


def run(arguments: argparse.Namespace) -> int:
    """Bring the library to today's schema version."""
    from lever_ray.app import library_commands

    library_commands.migrate(place_of(arguments.place))
    return OK
