"""``lever-ray doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import FAILED, OK
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings alone."""
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check every part, and print what was found; exit code 1 if something is wrong."""
    from lever_ray.app.doctor import examine
    from lever_ray.app.settings import load_settings
    from lever_ray.console import findings_table, make_console

    findings = examine(load_settings(arguments.settings, about=()))
    make_console().print(findings_table(findings))
    return OK if all(finding.sound for finding in findings) else FAILED
