"""``lever-ray doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import argparse
from contextlib import closing

from lever_ray.cli.exit_codes import FAILED, OK
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether Ray is tried, and settings."""
    parser.add_argument("--ray", action="store_true", help="start or join a Ray cluster, too, and run tasks on it")
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check every part, and print what was found as it is found; exit code 1 if something is wrong."""
    from lever_ray.app.conf import checked_overrides
    from lever_ray.app.doctor import PARTS, examine, versions
    from lever_ray.config import home
    from lever_ray.console import finding_line, make_console

    checked_overrides(arguments.settings, home())
    console, first = make_console(), versions()
    console.print(finding_line(first), soft_wrap=not console.is_terminal)
    from lever_ray.app.settings import load_settings
    from lever_ray.progress import working

    sound, settings = first.sound, load_settings(arguments.settings, about=())
    with closing(examine(settings, ray=arguments.ray)) as findings:
        for part in PARTS.values():
            with working(make_console(stderr=True), f"Checking {part}", at_once=False):
                finding = next(findings)
            console.print(finding_line(finding), soft_wrap=not console.is_terminal)
            sound = sound and finding.sound
    return OK if sound else FAILED
