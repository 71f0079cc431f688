"""``lever-ray recommend``: a strategy from a finished study's front, kept under a name."""

from __future__ import annotations

import argparse

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.streams import show, tell
from lever_ray.cli.words import add_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is wished, and settings, which name the study."""
    add = parser.add_argument
    add("--milliseconds", type=float, help="at most so many milliseconds per query")
    add("--candidates", type=float, help="at most so many candidates evaluated per query")
    add("--share", type=float, help="the cheapest that has this share of the best quality, e.g. 0.95")
    add("--name", default="", help="of the strategy; default: the study's")
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the strategy, and print it; without a wish it keeps the share that the settings name."""
    from lever_ray.app import settings, tuning_commands
    from lever_ray.tuning.recommendation import Wish

    limited = (arguments.milliseconds, arguments.candidates, arguments.share) != (None, None, None)
    given = settings.load_settings(arguments.settings, about=(settings.TUNING,))
    seconds = None if arguments.milliseconds is None else arguments.milliseconds / 1e3
    share = arguments.share if limited else given.tuning.share
    wish = Wish(seconds, arguments.candidates, share)
    _, file, replaced = tuning_commands.recommend_strategy(given, wish, name=arguments.name)
    if replaced:
        tell(f"Replaced {file.stem}, which was {replaced}")
    show(file.read_text(encoding="utf-8"))
    tell(f"Written to {file}; use it with strategy={file.stem}")
    return OK
