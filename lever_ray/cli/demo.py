"""``lever-ray demo``: library, experiment and tuning."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import FAILED, OK
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings alone."""
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Library, experiment and tuning study; exit code 1 if an environment failed."""
    from lever_ray.app.main_job import main_job

    return OK if main_job(arguments.settings, experiment=True, tuning=True) else FAILED
