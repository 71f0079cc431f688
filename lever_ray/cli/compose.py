"""``lever-ray compose``: one query answered from a library."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
    add("--library", metavar="NAME", help="the library, as the setting library=NAME")
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Answer the query, and print the result."""
    query, words = _query_and_settings(arguments)
    if arguments.picture is not None:
        _check_picture(arguments.picture)
    with _minding(query):
        task, result = _answer(arguments, query, words)
    if arguments.picture is not None:
        _save_picture(task, result, arguments.picture)
    _print(task, result, result.compare() if arguments.compare else result.rivals, as_json=arguments.json)
    return OK


def _answer(
    arguments: argparse.Namespace, query: str | None, words: Sequence[str]
) -> tuple[Environment, CompositionResult]:
    from lever_ray.app.conf import settings_for_answers
    from lever_ray.config import library_path
    from lever_ray.library.store import PolicyLibrary
    from lever_ray.query.compose import compose

    settings = settings_for_answers(words)
    library = PolicyLibrary.open(library_path(settings.library))
    result = compose(
        library,
        query,
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
    from lever_ray.console import make_console, result_table

    if as_json:
        sys.stdout.write(json.dumps(result.to_dict() | {"beside": beside.to_dict()}) + "\n")
    else:
        make_console().print(result_table(task, result, beside))


# What the words are: decided by their places alone.


def _query_and_settings(arguments: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The query, None where ``--objective`` stands for it, and the settings.

    Raises:
        SettingsError: a word stands where a setting should, and is none; or the library is named twice.
    """
    query, words = arguments.query, list(arguments.settings)
    if arguments.objective is not None and query is not None:
        query, words = None, [query, *words]
    for word in words:
        _check_setting(word, objective=arguments.objective)
    if arguments.library is not None:
        words.insert(0, _named_library(arguments.library, words))
    return query, words


def _named_library(name: str, words: Sequence[str]) -> str:
    """The setting that ``--library`` stands for."""
    if twice := [word for word in words if word.startswith("library=")]:
        raise SettingsError(f"both --library {name} and {twice[0]} are given; give one of them")
    if Path(name).name != name:
        raise SettingsError(f"--library is {name!r}; {_BY_NAME}")
    return f"library={name}"


def _check_setting(word: str, *, objective: str | None) -> None:
    """Refuse a word that can be no setting; keys that do not exist are refused where settings are read."""
    from lever_ray.app.keys import is_setting

    if not is_setting(word) and _is_folder(word):
        raise SettingsError(f"{word!r} is a folder; {_BY_NAME}")
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


_BY_NAME = "compose takes a library by name: --library NAME or library=NAME of LEVER_RAY_HOME/libraries"


def _is_folder(word: str) -> bool:
    from lever_ray.library.manifest import MANIFEST

    return is_there(Path(word) / MANIFEST) or (os.sep in word and is_there(Path(word)) and Path(word).is_dir())


@contextmanager
def _minding(query: str | None) -> Iterator[None]:
    """What is refused is told with what the words were taken as, where one of them looks like something else."""
    try:
        yield
    except LeverError as error:
        hint = "" if query is None else _mistaken(query)
        if not hint and isinstance(error, UnknownName) and error.kind == "configuration key":
            hint = _WITHOUT_QUERY if query is None else _BESIDE_QUERY
        if hint:
            error.args = (f"{str(error).rstrip('.')}; {hint}",)
        raise


_WITHOUT_QUERY = "--objective stands for the query, so every word is a setting"
_BESIDE_QUERY = "only the first word is the query, and it must be quoted; every other one is a setting"


def _mistaken(query: str) -> str:
    """What to do about a query that looks like a setting or a folder; empty where it looks like text."""
    from lever_ray.app.keys import is_setting

    taken = f"{query!r} was taken as the query, since it is the first word"
    if is_setting(query):
        return f"{taken}; put the query before it, or use --objective, which does without one"
    return f"{taken}; {_BY_NAME}" if _is_folder(query) else ""


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
