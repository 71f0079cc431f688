"""``lever-ray ui``: the MLflow UI on 127.0.0.1."""

from __future__ import annotations

import argparse
import os
import sys

from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its port, and settings."""
    parser.add_argument("--port", type=int, default=5000)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the links that open on what was logged last, and become the server."""
    from lever_ray.app.settings import load_settings
    from lever_ray.tracking import Tracker, ui_command

    tracker = Tracker(load_settings(arguments.settings, about=()).tracking)
    command = ui_command(tracker, port=arguments.port)
    for kind, link in tracker.links(arguments.port).items():
        sys.stdout.write(f"{kind.capitalize()}: {link}\n")  # whole: a link that is broken over lines leads nowhere
    sys.stdout.flush()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execv(command[0], command)
