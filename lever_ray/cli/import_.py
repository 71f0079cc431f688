"""``lever-ray import``: policies of other code, from npz or Parquet."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.places import place_of
from lever_ray.cli.words import show_example
from lever_ray.errors import InvalidValue, SettingsError

if TYPE_CHECKING:
    from lever_ray.library.ports.options import ImportOptions

_EXAMPLE = """example:
  lever-ray import tables.npz --to runs/libraries/theirs --layout maze.json --environment maze --gamma 0.9
  docs/import-export.md lists the names and shapes of columns that are understood"""
_FOR_ALL: tuple[str, ...] = ("environment", "objective", "description", "label", "algorithm", "gamma", "episodes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The first word is the file, the others say which library; options say what the file does not."""
    add = parser.add_argument
    add("source", type=Path, help="an .npz or .parquet file")
    add("place", nargs="*", metavar="library=NAME", help="the library that the policies join; or --to")
    add("--to", type=Path, metavar="PATH", help="folder of the library, made if it is not there")
    add("--layout", type=Path, metavar="FILE.json", help="the layout, or a mapping of environment names to layouts")
    _add_values(parser)
    add("--actions", metavar="NAMES", help="order of the file's actions (default: that of the environment)")
    told = "what a column is, where its name does not tell"
    add("--column", action="append", default=[], metavar="FIELD=NAME", help=told)
    told = "store the objective that a description is understood as, where a policy has no other"
    add("--understand", action="store_true", help=told)
    add("--dry-run", action="store_true", help="say what was understood; change nothing")
    show_example(parser, _EXAMPLE)


def _add_values(parser: argparse.ArgumentParser) -> None:
    for name, about in (
        ("environment", "name of the environment"),
        ("objective", "what they were trained for: its terms, joined with hyphens"),
        ("description", "what they do, in words"),
        ("label", "a word of your own"),
        ("algorithm", "what trained them"),
    ):
        parser.add_argument(f"--{name}", metavar="TEXT", help=f"{about}, of all policies")
    parser.add_argument("--gamma", type=float, metavar="NUMBER", help="discount of all policies")
    parser.add_argument("--episodes", type=int, metavar="NUMBER", help="training budget of all policies")


def run(arguments: argparse.Namespace) -> int:
    """Show what the file was understood to hold, and add its policies."""
    from lever_ray.app import library_commands

    path, options = _target(arguments), _options(arguments)
    dry_run, understand = arguments.dry_run, arguments.understand
    library_commands.import_policies(arguments.source, path, options, dry_run=dry_run, store_meanings=understand)
    return OK


def _target(arguments: argparse.Namespace) -> Path | None:
    """Folder of the library that policies join; None where none is given. A library of a new name is made."""
    if arguments.to is not None and arguments.place:
        raise SettingsError(f"both --to {arguments.to} and {' '.join(arguments.place)} are given; give one of them")
    if arguments.to is not None or not arguments.place:
        return arguments.to
    from lever_ray.config import conf_folder

    known = {file.stem for file in (conf_folder() / "library").glob("*.yaml")}
    return place_of([_named(word, known) for word in arguments.place])


def _named(word: str, known: set[str]) -> str:
    key, _, name = word.partition("=")
    return f"library.name={name}" if key == "library" and name not in known else word


def _options(arguments: argparse.Namespace) -> ImportOptions:
    """What the options say of the file."""
    from lever_ray.library.ports.options import ImportOptions, read_layouts

    given: dict[str, Any] = {name: getattr(arguments, name) for name in _FOR_ALL}
    given["columns"] = _columns(arguments.column)
    if arguments.actions is not None:
        given["actions"] = tuple(arguments.actions.split(","))
    return ImportOptions(layouts=None if arguments.layout is None else read_layouts(arguments.layout), **given)


def _columns(given: list[str]) -> dict[str, str]:
    for each in given:
        if "=" not in each:
            raise InvalidValue(f"--column {each!r} has no '='; write --column FIELD=NAME, e.g. --column q=my_tables")
    return dict(each.split("=", 1) for each in given)
