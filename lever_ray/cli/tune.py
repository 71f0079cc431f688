"""``lever-ray tune``: search for good candidate budgets."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import FAILED, OK
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings alone."""
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train the library where it is missing, and begin or go on with the tuning study."""
    from lever_ray.app.main_job import main_job

    return OK if main_job(arguments.settings, experiment=False, tuning=True) else FAILED
