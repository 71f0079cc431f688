"""``lever-ray compose``: one query answered from a library."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lever_ray.cli.exit_codes import OK
from lever_ray.cli.places import is_there
from lever_ray.cli.recipe_options import add_recipe_options, recipe_of_options
from lever_ray.cli.words import add_settings
from lever_ray.errors import InvalidValue, LeverError, SettingsError, UnknownName

if TYPE_CHECKING:
    from lever_ray.query.result import CompositionResult
    from lever_ray.query.rivals import Rivals
    from lever_ray.tasks.protocol import Environment

_USAGE = """%(prog)s QUERY --environment NAME [options] [key=value ...]
       %(prog)s --objective NAME --environment NAME [options] [key=value ...]"""
_EXAMPLE = "defaults: docs/answering.md; example: lever-ray compose 'what is wanted' --environment NAME --gamma 0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The first word is the query, unless ``--objective`` stands for it; every other word is a setting."""
    parser.usage, parser.epilog = _USAGE, _EXAMPLE
    add = parser.add_argument
    add("query", nargs="?", help="what is wanted, in words")
    add("--environment", required=True, metavar="NAME", help="name of the environment in the library")
    add("--objective", help="composite objective instead of words, e.g. path-gold, or path-gold[1,2.5] with weights")
    add("--groups", metavar="A,B", help="sub-objectives to take policies from; default: the smallest exact cover")
    add("--factors", metavar="A=X,B=Y", help="factors on the action values of groups, e.g. gold=2")
    add("--tier", metavar="I1", help="the most that the answer may know: I1 (successors), I2 (rewards seen), I3, I4")
    add_recipe_options(parser)
    add("--compare", action="store_true", help="also train from scratch and look for the best known return")
    add("--picture", type=Path, metavar="FILE", help="write a picture of the route, PNG")
    add("--json", action="store_true", help="print the result as JSON")
    add("--library", metavar="NAME", help="the library: its folder, or as the setting library=NAME")
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Answer the query, and print the result."""
    words = _words_of(arguments)
    if arguments.picture is not None:
        _check_picture(arguments.picture)
    with _minding(words.query):
        task, result = _answer(arguments, words)
    if arguments.picture is not None:
        _save_picture(task, result, arguments.picture)
    _print(task, result, result.compare() if arguments.compare else result.rivals, as_json=arguments.json)
    return OK


def _answer(arguments: argparse.Namespace, words: _Words) -> tuple[Environment, CompositionResult]:
    from lever_ray.app.conf import settings_for_answers
    from lever_ray.config import library_path
    from lever_ray.library.library import PolicyLibrary
    from lever_ray.query.compose import compose

    settings = settings_for_answers(words.settings)
    library = PolicyLibrary.open(words.folder or library_path(settings.library))
    result = compose(
        library,
        words.query,
        environment=arguments.environment,
        objective=arguments.objective,
        groups=None if arguments.groups is None else arguments.groups.split(","),
        factors=None if arguments.factors is None else _factors(arguments.factors),
        tier=arguments.tier,
        **recipe_of_options(arguments, settings.strategy),
    )
    return library.environment(arguments.environment).task, result


def _factors(given: str) -> dict[str, float]:
    """Numbers by group, of a text such as ``gold=2,path-hazard=0.5``."""
    try:
        pairs = [part.split("=") for part in given.split(",")]
        found = {name.strip(): float(number) for name, number in pairs}
        if len(found) < len(pairs):
            raise ValueError
        return found
    except ValueError:
        raise InvalidValue(f"--factors is {given!r}; write GROUP=NUMBER,..., each once, e.g. gold=2,path=0.5") from None


def _print(task: Environment, result: CompositionResult, beside: Rivals, *, as_json: bool) -> None:
    from lever_ray.cli.remedies import on_console
    from lever_ray.console import make_console, result_table

    if as_json:
        sys.stdout.write(json.dumps(result.to_dict() | {"beside": beside.to_dict()}) + "\n")
    else:
        told = replace(result, why=on_console(result.why), warnings=tuple(map(on_console, result.warnings)))
        make_console().print(result_table(task, told, beside))


# What the words are: decided by their places alone.


class _Words(NamedTuple):
    """What the words of a command line are.

    Attributes:
        query: None where ``--objective`` stands for it.
        folder: of the library; None where settings name it.
        settings: the others.
    """

    query: str | None
    folder: Path | None
    settings: list[str]


def _words_of(arguments: argparse.Namespace) -> _Words:
    """The query, the library and the settings.

    Raises:
        SettingsError: a word stands where a setting or a library should, and is none; or the library is named twice.
    """
    query, words = arguments.query, list(arguments.settings)
    if arguments.objective is not None and query is not None:
        query, words = None, [query, *words]
    folders = [word for word in words if _is_library(word)]
    settings = [word for word in words if word not in folders]
    for word in settings:
        _check_setting(word, objective=arguments.objective)
    named = [word for word in settings if word.startswith("library=")]
    given = [] if arguments.library is None else [f"--library {arguments.library}"]
    if len([*folders, *named, *given]) > 1:
        raise SettingsError(f"{' and '.join([*given, *named, *folders])} are given; give one library")
    if arguments.library is not None and _is_library(arguments.library):
        folders.append(arguments.library)
    elif arguments.library is not None:
        _check_name(arguments.library)
        settings.insert(0, f"library={arguments.library}")
    return _Words(query, Path(folders[0]) if folders else None, settings)


def _check_name(library: str) -> None:
    if Path(library).name != library:
        raise SettingsError(f"--library is {library!r}, and no policy library is there; {_BY_NAME}")


def _check_setting(word: str, *, objective: str | None) -> None:
    """Refuse a word that can be no setting; keys that do not exist are refused where settings are read."""
    from lever_ray.app.keys import is_setting

    if not is_setting(word) and is_there(Path(word)) and os.sep in word:
        raise SettingsError(f"{word!r} holds no policy library; {_BY_NAME}")
    if "=" in word:
        return
    if objective is not None:
        raise SettingsError(
            f"{word!r} is no setting, and --objective {objective} stands for the query: leave out one of the two, or "
            "write key=value"
        )
    raise SettingsError(
        f"{word!r} is no setting: only the first word is the query. Write key=value, or quote the query: "
        "lever-ray compose 'what is wanted, in words' ..."
    )


_BY_NAME = "give its folder, or --library NAME or library=NAME of LEVER_RAY_HOME/libraries"


def _is_library(word: str) -> bool:
    """Whether a word is the folder of a library; one that sets a known key never is."""
    from lever_ray.app.keys import is_setting
    from lever_ray.library.format.manifest import MANIFEST

    return not is_setting(word) and is_there(Path(word) / MANIFEST)


@contextmanager
def _minding(query: str | None) -> Iterator[None]:
    """What is refused is told with options in place of keywords, and with what the words were taken as."""
    try:
        yield
    except LeverError as error:
        hint = "" if query is None else _mistaken(query)
        if not hint and isinstance(error, UnknownName) and error.kind == "configuration key":
            hint = _WITHOUT_QUERY if query is None else _BESIDE_QUERY
        from lever_ray.cli.remedies import on_console

        told = on_console(str(error))
        error.args = (f"{told.rstrip('.')}; {hint}" if hint else told,)
        raise


_WITHOUT_QUERY = "--objective stands for the query, so every word is a setting or a library's folder"
_BESIDE_QUERY = "only the first word is the query, and it must be quoted; others are settings or a library's folder"


def _mistaken(query: str) -> str:
    """What to do about a query that looks like a setting or a library; empty where it looks like text."""
    from lever_ray.app.keys import is_setting

    if not is_setting(query) and not _is_library(query):
        return ""
    return (
        f"{query!r} was taken as the query, since it is the first word; put the query before it, or use --objective, "
        "which does without one"
    )


def _check_picture(picture: Path) -> None:
    """Refuse a picture that cannot be written, before the work that leads to it."""
    from lever_ray.config import unwritable

    if picture.suffix.lower() != ".png":
        raise InvalidValue(f"--picture is {str(picture)!r}; it must end in .png")
    if why := unwritable(picture):
        raise SettingsError(why)


def _save_picture(task: Environment, result: CompositionResult, picture: Path) -> None:
    from lever_ray import plot

    try:
        plot.save(plot.options(task, result) if result.options else plot.path(task, result), picture)
    except OSError as error:
        raise SettingsError(f"{picture} cannot be written ({error.strerror}); choose another place") from error
