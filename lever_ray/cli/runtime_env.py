"""``lever-ray runtime-env``: the runtime environment of a submitted job."""

from __future__ import annotations

import argparse
import json
import sys

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings alone."""
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it as JSON."""
    from lever_ray.app.settings import load_settings
    from lever_ray.config import home
    from lever_ray.tracking import job_variables

    settings = load_settings(arguments.settings, about=())
    sys.stdout.write(json.dumps({"env_vars": job_variables(settings.tracking, home())}) + "\n")
    return OK
