"""``lever-ray benchmark export``: the files that others score on."""

from __future__ import annotations

import argparse
from pathlib import Path

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.streams import tell
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two folders, and settings."""
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="new folder for what is published")
    kept = (
        "folder for the answers to a private split, which the keeper alone may have; without it there is no such split"
    )
    parser.add_argument("--answers", type=Path, metavar="FOLDER", help=kept)
    add_settings(parser, "settings, e.g. families=[grid8] layouts=20 private=10")


def run(arguments: argparse.Namespace) -> int:
    """Write them."""
    from lever_ray.app import benchmark_commands, session, settings
    from lever_ray.console import make_console
    from lever_ray.scoring.export import check_places

    check_places(arguments.to, arguments.answers)
    chosen = benchmark_commands.benchmark_settings(arguments.settings)
    given = settings.load_settings(about=())
    with session.session(given, tracked=False, console=make_console(stderr=True)) as parts:
        told = benchmark_commands.export(parts, chosen, arguments.to, arguments.answers)
    tell(told)
    return OK
