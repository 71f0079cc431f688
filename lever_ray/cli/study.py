"""``lever-ray study``: a study that trains what it needs."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.streams import tell
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The first word names the study, every other one is a setting of it."""
    parser.add_argument("name", help="boundary, chain, coverage, defaults, options, rankers, search or shaping")
    add_settings(parser, "its settings, e.g. layouts=20 gammas=[0]")


def run(arguments: argparse.Namespace) -> int:
    """Run the study, and print its report."""
    from lever_ray.app import commands, session, settings
    from lever_ray.app.report_view import show_report
    from lever_ray.console import make_console

    chosen = commands.settings_of_study(arguments.name, arguments.settings)
    given = settings.load_settings(about=())
    with session.session(given, tracked=False, console=make_console(stderr=True)) as parts:
        folder = commands.study(parts, arguments.name, chosen)
    show_report((folder / "report.md").read_text(encoding="utf-8"))
    tell(f"Rows and report: {folder}")
    return OK
