"""``lever-ray report``: a finished experiment as Markdown tables."""

from __future__ import annotations

import argparse
import sys

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings alone."""
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the report, and print it."""
    from lever_ray.app import commands, settings
    from lever_ray.console import make_console
    from lever_ray.progress import working

    given = settings.load_settings(arguments.settings, about=(settings.EXPERIMENT,))
    with working(make_console(stderr=True), "Summing up", at_once=False):
        file = commands.report(given)
    sys.stdout.write(file.read_text(encoding="utf-8"))
    sys.stderr.write(f"Written to {file}\n")
    return OK
