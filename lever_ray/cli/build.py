"""``lever-ray build``: train a policy library."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings alone."""
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train what the library of the settings lacks."""
    from lever_ray.app import commands, session, settings

    with session.session(settings.load_settings(arguments.settings, about=()), tracked=False) as parts:
        commands.build(parts)
    return OK
