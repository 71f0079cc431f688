"""``lever-ray library compact``: merge small shards."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.places import place_of
from lever_ray.cli.words import add_place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The library."""
    add_place(parser, needed=True)


def run(arguments: argparse.Namespace) -> int:
    """Merge them, and remove files of changes that were never finished."""
    from lever_ray.app import library_commands

    library_commands.compact(place_of(arguments.place))
    return OK
