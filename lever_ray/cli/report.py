"""``lever-ray report``: a finished experiment as tables, and as a page with figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.streams import tell
from lever_ray.cli.words import add_settings, show_example
from lever_ray.errors import InvalidValue, SettingsError

_EXAMPLE = """example:
  lever-ray report experiment=quick --html report.html"""
_BESIDE = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings, how much is shown, and where a page is wanted."""
    parser.add_argument("--all", action="store_true", help="show every table in a terminal, too")
    told = "also write one page with tables and figures, .html; without FILE beside report.md"
    parser.add_argument("--html", nargs="?", const=_BESIDE, metavar="FILE", help=told)
    add_settings(parser)
    show_example(parser, _EXAMPLE)


def run(arguments: argparse.Namespace) -> int:
    """Write the report, and show it: its headline in a terminal, all of it as Markdown on a pipe or on demand.

    A terminal that gets a page is told where it is.
    """
    page, words = _page_and_settings(arguments)
    from lever_ray.app import commands, settings
    from lever_ray.app.report_view import show_report
    from lever_ray.console import make_console
    from lever_ray.progress import working

    given = settings.load_settings(words, about=(settings.EXPERIMENT,))
    with working(make_console(stderr=True), "Summing up", at_once=False):
        made = commands.report(given, page=page)
    whole = arguments.all or not sys.stdout.isatty()
    if whole or page is None:
        show_report(made.text if whole else made.headline)
    for file in made.files[0 if whole else -1 :]:
        tell(f"Written to {file}")
    if not whole and page is None:
        tell("This is the headline: --all shows every table, --html FILE writes a page with figures")
    return OK


def _page_and_settings(arguments: argparse.Namespace) -> tuple[str | None, list[str]]:
    """Where the page goes, empty for its usual place, None where none is wanted; and the settings.

    Raises:
        InvalidValue: the file is no ``.html``.
        SettingsError: it cannot be written.
    """
    from lever_ray.app.keys import is_setting
    from lever_ray.config import unwritable

    given, words = arguments.html, list(arguments.settings)
    if given in (None, _BESIDE):
        return given, words
    if is_setting(given):
        return _BESIDE, [given, *words]
    if Path(given).suffix.lower() not in (".html", ".htm"):
        raise InvalidValue(
            f"--html is {given!r}; it must end in .html, or be left out for report.html beside report.md"
        )
    if why := unwritable(Path(given)):
        raise SettingsError(why)
    return given, words
