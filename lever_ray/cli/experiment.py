"""``lever-ray experiment``: run an experiment."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import FAILED, OK
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings alone."""
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train the library where it is missing, and run the experiment; exit code 1 if an environment failed."""
    from lever_ray.app.main_job import main_job

    return OK if main_job(arguments.settings, experiment=True, tuning=False) else FAILED
