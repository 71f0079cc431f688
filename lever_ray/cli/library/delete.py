"""``lever-ray library delete``: take policies out."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.places import place_of
from lever_ray.cli.words import add_filters, add_place, filters_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The library, the policies by id or by filter, and whether it is sure."""
    add_filters(parser)
    id_help = "an id, as search and export list them; may be repeated"
    parser.add_argument("--id", dest="ids", action="append", default=[], metavar="ID", help=id_help)
    parser.add_argument("--yes", action="store_true", help="delete them")
    add_place(parser, needed=True)


def run(arguments: argparse.Namespace) -> int:
    """Delete them, if that is sure; otherwise say how many they are."""
    from lever_ray.app import library_commands

    place, filters = place_of(arguments.place), filters_of(arguments)
    library_commands.delete(place, ids=arguments.ids, filters=filters, sure=arguments.yes)
    return OK
