"""``lever-ray export``: a library, or a part of it, as one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.places import place_of
from lever_ray.cli.words import add_filters, add_place, filters_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The first word is the file, the others say which library."""
    parser.add_argument("target", type=Path, help="file that ends in .npz or .parquet")
    add_place(parser)
    add_filters(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    from lever_ray.app import library_commands

    place, filters = place_of(arguments.place), filters_of(arguments)
    library_commands.export_policies(place, arguments.target, overwrite=arguments.overwrite, **filters)
    return OK
