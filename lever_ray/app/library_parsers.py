"""Arguments of the console commands that move and keep libraries; light, since every command builds them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_IMPORT = """example:
  lever-ray import tables.npz --to runs/libraries/theirs --layout maze.json --environment maze --gamma 0.9
  docs/import-export.md lists the names and shapes of columns that are understood"""
_LIBRARY = """example: lever-ray library verify library=NAME
         lever-ray library search "what is wanted" runs/libraries/theirs -k 5"""
_PLACE = {"metavar": "PATH|library=NAME", "help": "folder of the library, or its name as in conf/library"}


def add_library_parsers(commands: Any) -> None:
    """Add ``import``, ``export``, ``inspect`` and the group ``library``."""
    _add_import(
        _command(commands, "import", "import_policies", "Add policies of other code, from npz or Parquet.", _IMPORT)
    )
    _add_export(_command(commands, "export", "export_policies", "Write a library to an npz or Parquet file."))
    inspect = _command(commands, "inspect", "inspect", "Show what a library holds.")
    inspect.add_argument("overrides", nargs="*", default=[], **_PLACE)  # type: ignore[arg-type]
    inspect.add_argument("--rows", type=int, default=20, help="environments to list (default 20)")
    about = "Check, repair, tidy, search and embed a library."
    group = commands.add_parser("library", help=about, description=about, **_epilog(_LIBRARY))
    _add_keeping(group.add_subparsers(title="commands", required=True, metavar="command"))


def _add_keeping(commands: Any) -> None:
    for name, about in (
        ("verify", "Read every file and row, and say what is broken; exit code 1 if anything is."),
        ("repair", "Say what is broken and would be dropped; drop it with --yes."),
        ("compact", "Merge small shards, and remove files of changes that were never finished."),
        ("migrate", "Bring a library of an older schema version to today's."),
        ("restore", "Write a new manifest from the data files, where it is lost or damaged."),
        ("release", "End the actors of a Ray cluster that hold the library for several drivers (library.shared=true)."),
        ("embed", "Compute text vectors and Psi where they are missing; in Ray actors unless cluster=serial."),
    ):
        parser = _command(commands, name, name, about)
        parser.add_argument("overrides", nargs="+", **_PLACE)  # type: ignore[arg-type]
        if name == "repair":
            parser.add_argument("--yes", action="store_true", help="drop what is broken")
    delete = _command(commands, "delete", "delete", "Take policies out, by id or by filter; needs --yes.")
    _add_filters(delete)
    id_help = "an id, as search and export list them; may be repeated"
    delete.add_argument("--id", dest="ids", action="append", default=[], metavar="ID", help=id_help)
    delete.add_argument("--yes", action="store_true", help="delete them")
    delete.add_argument("overrides", nargs="+", **_PLACE)  # type: ignore[arg-type]
    search = _command(
        commands, "search", "search", "The policies whose descriptions are nearest to some words.", _LIBRARY
    )
    search.add_argument("words", help="what is looked for")
    search.add_argument("overrides", nargs="*", default=[], **_PLACE)  # type: ignore[arg-type]
    search.add_argument("--environment", metavar="NAME", help="look only at its policies")
    search.add_argument("--gamma", type=float, metavar="NUMBER", help="look only at policies with this discount")
    search.add_argument("-k", type=int, default=10, help="how many (default 10)")


def _add_import(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", type=Path, help="an .npz or .parquet file")
    add("overrides", nargs="*", metavar="library=NAME", help="the library that the policies join; or --to")
    add("--to", type=Path, metavar="PATH", help="folder of the library, made if it is not there")
    add("--layout", type=Path, metavar="FILE.json", help="the layout, or a mapping of environment names to layouts")
    for name, about in (
        ("environment", "name of the environment"),
        ("objective", "what they were trained for: its terms, joined with hyphens"),
        ("description", "what they do, in words"),
        ("label", "a word of your own"),
        ("algorithm", "what trained them"),
    ):
        add(f"--{name}", metavar="TEXT", help=f"{about}, of all policies")
    add("--gamma", type=float, metavar="NUMBER", help="discount of all policies")
    add("--episodes", type=int, metavar="NUMBER", help="training budget of all policies")
    add(
        "--actions",
        metavar="NAMES",
        help="order of the file's actions (default: that of the environment)",
    )
    add(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=NAME",
        help="what a column is, where its name does not tell",
    )
    add(
        "--understand",
        action="store_true",
        help="store the objective that a description is understood as, where a policy has no other",
    )
    add("--dry-run", action="store_true", help="say what was understood; change nothing")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, help="file that ends in .npz or .parquet")
    parser.add_argument("overrides", nargs="*", default=[], **_PLACE)  # type: ignore[arg-type]
    _add_filters(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--environment", metavar="NAME", help="only policies of this environment")
    parser.add_argument("--objective", metavar="NAME", help="only policies trained for it")
    parser.add_argument("--gamma", type=float, metavar="NUMBER", help="only policies with this discount")


def _command(commands: Any, name: str, function: str, about: str, epilog: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about, **_epilog(epilog))
    parser.set_defaults(run=_later(function))
    return parser


def _epilog(text: str) -> dict[str, Any]:
    return {"epilog": text, "formatter_class": argparse.RawDescriptionHelpFormatter} if text else {}


def _later(function: str) -> Callable[[argparse.Namespace], int]:
    """A command of ``library_commands``, which is imported when it runs."""

    def run(arguments: argparse.Namespace) -> int:
        command: Callable[[argparse.Namespace], int] = getattr(
            import_module("lever_ray.app.library_commands"), function
        )
        return command(arguments)

    return run
