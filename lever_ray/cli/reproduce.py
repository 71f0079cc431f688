"""``lever-ray reproduce``: the published study and more, from nothing to a report."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import FAILED, OK
from lever_ray.cli.words import add_settings, show_example

_EXAMPLE = """example:
  lever-ray reproduce size=smoke
  lever-ray reproduce size=full families=[grid16] layouts=10 --dry-run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings, and whether only the time is told."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would be run, and for how long")
    add_settings(parser, "size=smoke, quick or full, and what differs from it, e.g. families=[grid8] layouts=5")
    show_example(parser, _EXAMPLE)


def run(arguments: argparse.Namespace) -> int:
    """Run what is not finished yet, and report all; exit code 1 if a cell failed."""
    from lever_ray.app import reproduce_command
    from lever_ray.app.reproduce_view import dry_run_lines, result_lines
    from lever_ray.app.session import session
    from lever_ray.console import make_console, say

    plan, settings = reproduce_command.asked(arguments.settings)
    if getattr(arguments, "dry_run", False):
        console = make_console()
        for line in dry_run_lines(reproduce_command.expected(plan, settings)):
            say(console, line)
        return OK
    with session(settings) as parts:
        found, folder = reproduce_command.reproduce(parts, plan)
        for line in (*result_lines(found, folder), *parts.where_to_look()):
            say(parts.console, line)
    return FAILED if found.failures else OK
