"""``lever-ray library verify``: is every file and row sound?."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import FAILED, OK
from lever_ray.cli.places import place_of
from lever_ray.cli.words import add_place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The library."""
    add_place(parser, needed=True)


def run(arguments: argparse.Namespace) -> int:
    """Read everything; exit code 1 if something is broken."""
    from lever_ray.app import library_commands

    return OK if library_commands.verify(place_of(arguments.place)) else FAILED
