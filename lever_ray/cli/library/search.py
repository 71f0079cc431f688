"""``lever-ray library search``: policies whose descriptions are nearest to some words."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.library import EXAMPLE
from lever_ray.cli.places import place_of
from lever_ray.cli.words import add_place, show_example


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The first word is what is looked for, the others say which library."""
    parser.add_argument("words", help="what is looked for")
    add_place(parser)
    parser.add_argument("--environment", metavar="NAME", help="look only at its policies")
    parser.add_argument("--gamma", type=float, metavar="NUMBER", help="look only at policies with this discount")
    parser.add_argument("-k", type=int, default=10, help="how many (default 10)")
    show_example(parser, EXAMPLE)


def run(arguments: argparse.Namespace) -> int:
    """Print them as a table, the nearest first."""
    from lever_ray.app import library_commands

    where = {"environment": arguments.environment, "gamma": arguments.gamma}
    library_commands.search(place_of(arguments.place), arguments.words, arguments.k, **where)
    return OK
