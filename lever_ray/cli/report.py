"""``lever-ray report``: a finished experiment as Markdown tables."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.streams import tell
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings alone."""
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the report, and print it."""
    from lever_ray.app import commands, settings
    from lever_ray.console import show_document

    file = commands.report(settings.load_settings(arguments.settings, about=(settings.EXPERIMENT,)))
    show_document(file.read_text(encoding="utf-8"))
    tell(f"Written to {file}")
    return OK
