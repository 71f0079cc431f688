"""``lever-ray library embed``: vectors that are missing."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.places import place_of, settings_of
from lever_ray.cli.words import add_place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The library."""
    add_place(parser, needed=True)


def run(arguments: argparse.Namespace) -> int:
    """Compute them, in Ray actors unless ``cluster=serial``."""
    from lever_ray.app import library_commands

    library_commands.embed(place_of(arguments.place), settings_of(arguments.place))
    return OK
