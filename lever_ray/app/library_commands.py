"""Console commands that move libraries in and out, and keep them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lever_ray.app import library_tables as tables
from lever_ray.config import Settings, library_path
from lever_ray.console import make_console
from lever_ray.errors import InvalidValue, LibraryError, SettingsError, UnknownName
from lever_ray.library import maintenance, recovery
from lever_ray.library.checking import verify as verify_library
from lever_ray.library.manifest import MANIFEST, DamagedManifest
from lever_ray.library.migrate import migrate as migrate_library
from lever_ray.library.ports.exporting import export
from lever_ray.library.ports.importing import records
from lever_ray.library.ports.options import ImportOptions, read_layouts
from lever_ray.library.ports.understanding import Understanding, understand
from lever_ray.library.store import PolicyLibrary
from lever_ray.tasks.protocol import Environment

OK, FAILED = 0, 1


def place_of(given: Sequence[str]) -> Path:
    """Folder of the library that arguments name, as a path or as settings; those are read only where they are needed.

    Raises:
        SettingsError: several paths.
        UnknownName, SettingsError, InvalidValue: see :func:`~lever_ray.app.settings.load_settings`.
    """
    paths = _paths(given)
    if len(paths) > 1:
        raise SettingsError(f"{len(paths)} folders are given ({', '.join(paths)}); give one, or library=NAME")
    if len(paths) == len(given) == 1:
        return Path(paths[0])
    settings = _settings_of(given)
    return Path(paths[0]) if paths else library_path(settings.library)


def _paths(given: Sequence[str]) -> list[str]:
    return [each for each in given if "=" not in each or Path(each).exists()]


def _settings_of(given: Sequence[str]) -> Settings:
    from lever_ray.app.settings import load_settings

    paths = _paths(given)
    return load_settings([each for each in given if each not in paths], about=())


# In and out.


def import_policies(arguments: argparse.Namespace) -> int:
    """Show what a foreign file was understood to hold, and add its policies to a library."""
    path = _target(arguments)
    with all_or_nothing(path):
        return _import(arguments, path)


def _import(arguments: argparse.Namespace, path: Path | None) -> int:
    library = PolicyLibrary.open(path) if path is not None and (path / MANIFEST).exists() else None
    console = make_console()
    understood = _understood(arguments, path, library)
    if understood.missing:
        console.print(tables.understanding_table(understood))
    found = records(understood)
    console.print(tables.understanding_table(understood))
    if path is None or arguments.dry_run:
        new = len({record.id for record in found if library is None or record.id not in library})
        _say(
            console, f"Nothing was changed; {new} of {len(found)} policies would be new{f' in {path}' if path else ''}"
        )
        return OK
    library = library if library is not None else PolicyLibrary.create(path)
    new = library.add(found)
    _say(console, f"{new} of {len(found)} policies are new in {path}, which now holds {len(library)}")
    return OK


def _understood(arguments: argparse.Namespace, path: Path | None, library: PolicyLibrary | None) -> Understanding:
    """What the file holds, with what its descriptions mean."""
    from lever_ray.app.meanings import with_meanings

    understood = understand(arguments.source, _options(arguments), held=_held(library))
    if path is None and not arguments.dry_run:
        understood = replace(understood, missing=(*understood.missing, "the library: library=NAME or --to PATH"))
    return with_meanings(understood, store=arguments.understand)


@contextmanager
def all_or_nothing(path: Path | None) -> Iterator[None]:
    """An import that fails, or is interrupted, leaves no empty library, and says what became of its policies."""
    new = path is not None and not (path / MANIFEST).exists()
    before = 0 if path is None or new else len(PolicyLibrary.open(path))
    try:
        yield
    except BaseException as error:
        if path is not None and new:
            maintenance.remove_empty(path)
        if isinstance(error, KeyboardInterrupt):
            added = path is not None and (path / MANIFEST).exists() and len(PolicyLibrary.open(path)) > before
            raise KeyboardInterrupt(f"{'everything' if added else 'nothing'} was added") from error
        raise


def _target(arguments: argparse.Namespace) -> Path | None:
    """Folder of the library that policies join; None where none is given. A library of a new name is made."""
    if arguments.to is not None and arguments.overrides:
        raise SettingsError(f"both --to {arguments.to} and {' '.join(arguments.overrides)} are given; give one of them")
    if arguments.to is not None or not arguments.overrides:
        return arguments.to
    from lever_ray.app.settings import conf_folder

    known = {file.stem for file in (conf_folder() / "library").glob("*.yaml")}
    return place_of([_named(each, known) for each in arguments.overrides])


def _named(override: str, known: set[str]) -> str:
    key, _, name = override.partition("=")
    return f"library.name={name}" if key == "library" and name not in known else override


def _options(arguments: argparse.Namespace) -> ImportOptions:
    wrong = [each for each in arguments.column if "=" not in each]
    if wrong:
        raise InvalidValue(f"--column {wrong[0]!r} has no '='; write --column FIELD=NAME, e.g. --column q=my_tables")
    given: dict[str, Any] = {name: getattr(arguments, name) for name in _FOR_ALL}
    if arguments.actions is not None:
        given["actions"] = tuple(arguments.actions.split(","))
    return ImportOptions(
        layouts=None if arguments.layout is None else read_layouts(arguments.layout),
        columns=dict(each.split("=", 1) for each in arguments.column),
        **given,
    )


_FOR_ALL: tuple[str, ...] = ("environment", "objective", "description", "label", "algorithm", "gamma", "episodes")


def _held(library: PolicyLibrary | None) -> Callable[[str], Environment | None]:
    """Gives the environments that a library has."""

    def task(name: str) -> Environment | None:
        return library.environment(name).task if library is not None and name in library.environments else None

    return task


def export_policies(arguments: argparse.Namespace) -> int:
    """Write a library, or a part of it, to one file."""
    library = PolicyLibrary.open(place_of(arguments.overrides))
    target: Path = arguments.target
    filters = {name: getattr(arguments, name) for name in ("environment", "objective", "gamma")}
    if target.exists() and not arguments.overwrite:
        raise LibraryError(f"{target} exists; choose another name, or add --overwrite")
    try:
        count = export(library, target, overwrite=arguments.overwrite, **filters)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("nothing was written") from error
    _say(make_console(), f"{count} policies, {tables.in_bytes(target.stat().st_size)}, {target}")
    return OK


def inspect(arguments: argparse.Namespace) -> int:
    """Show what a library holds."""
    if arguments.rows < 1:
        raise InvalidValue(f"--rows is {arguments.rows}; at least 1 is needed")
    library = PolicyLibrary.open(place_of(arguments.overrides))
    console = make_console()
    console.print(tables.library_table(library, rows=arguments.rows))
    for line in tables.library_lines(library):
        _say(console, line)
    return OK


# Keeping.


def verify(arguments: argparse.Namespace) -> int:
    """Read every file and row; exit code 1 where something is broken."""
    path, console = place_of(arguments.overrides), make_console()
    unknown: list[str] = []
    with counted(console, "Shards checked") as watch:
        damages = verify_library(path, watch, tell=unknown.append)
    for line in unknown:
        _say(console, line)
    if not damages:
        _say(console, f"{path} is sound: {PolicyLibrary.open(path).manifest.rows} policies, every file and row")
        return OK
    console.print(tables.damage_table(damages))
    _say(console, "`lever-ray library repair` drops what is broken and keeps the rest")
    return FAILED


def repair(arguments: argparse.Namespace) -> int:
    """Drop what is broken, with --yes; without, say what that would be."""
    path, console = place_of(arguments.overrides), make_console()
    _restore_lost(path, console, sure=arguments.yes)
    damages = verify_library(path)
    if damages:
        console.print(tables.damage_table(damages))
    if damages and not arguments.yes:
        dropped = sum(damage.policies for damage in damages)
        raise SettingsError(f"nothing was changed; add --yes to repair {path}, which drops {dropped} policies")
    if not arguments.yes:
        _say(console, f"{path} is sound; nothing to repair")
        return OK
    report = maintenance.repair(path)
    _say(console, f"{path}: {report.policies} policies dropped, {report.orphans} files of unfinished changes removed")
    return OK


def _restore_lost(path: Path, console: Console, *, sure: bool) -> None:
    """Write a new manifest where it is lost.

    Raises:
        SettingsError: it is lost, and nobody is sure.
    """
    lost = _lost_manifest(path)
    if lost and not sure:
        raise SettingsError(f"{lost}. Nothing was changed; add --yes to write a new manifest from the data files")
    if lost:
        restored = recovery.restore_manifest(path, tell=lambda others: _tell_others(console, others))
        _say(console, f"A new manifest was written from the data files: {restored.rows} policies")


def _lost_manifest(path: Path) -> str:
    """What is wrong with the manifest, where a new one can be written from the data files; empty otherwise."""
    try:
        PolicyLibrary.open(path)
    except LibraryError as error:
        gone = not (path / MANIFEST).exists() and any(path.glob("*.arrow"))
        if gone or isinstance(error, DamagedManifest):
            return str(error).split(";")[0]
        raise
    return ""


def restore(arguments: argparse.Namespace) -> int:
    """Write a new manifest from the data files."""
    path, console = place_of(arguments.overrides), make_console()
    manifest = recovery.restore_manifest(path, tell=lambda others: _tell_others(console, others))
    shards = tables.counted_as(len(manifest.shards), "shard")
    _say(console, f"{path}: {manifest.rows} policies in {shards}; now verify, then embed")
    return OK


def _tell_others(console: Console, others: Mapping[str, int]) -> None:
    for library, files in others.items():
        _say(
            console,
            f"left out: {files} files of another library, {library or 'of no name'}; they were left as they are. "
            "Move them to a folder of their own, and restore that",
        )


def compact(arguments: argparse.Namespace) -> int:
    """Merge small shards."""
    path = place_of(arguments.overrides)
    before, after = maintenance.compact(path)
    _say(make_console(), f"{path}: {tables.counted_as(before, 'shard')} before, {after} now")
    return OK


def migrate(arguments: argparse.Namespace) -> int:
    """Bring an older library to today's schema version."""
    path = place_of(arguments.overrides)
    count = migrate_library(path)
    _say(make_console(), f"{path}: {count} policies migrated" if count else f"{path} is of today's version already")
    return OK


def delete(arguments: argparse.Namespace) -> int:
    """Take policies out, by id or by filter."""
    library = PolicyLibrary.open(place_of(arguments.overrides))
    ids = _chosen(library, arguments)
    if not arguments.yes:
        raise SettingsError(
            f"nothing was deleted; add --yes to delete {len(ids)} of {len(library)} policies from {library.path}"
        )
    _say(make_console(), f"{library.delete(ids)} policies deleted, {len(library)} left in {library.path}")
    return OK


def _chosen(library: PolicyLibrary, arguments: argparse.Namespace) -> list[str]:
    """Ids that are named, or that match the filters."""
    filters = {name: getattr(arguments, name) for name in ("environment", "objective", "gamma")}
    filtered = any(value is not None for value in filters.values())
    if filtered == bool(arguments.ids):
        raise SettingsError("give either --id, or a filter: --environment, --objective, --gamma")
    if arguments.ids:
        for identity in arguments.ids:
            if identity not in library:
                raise UnknownName("policy id", identity, (), hint="Nothing was deleted.")
        return list(dict.fromkeys(arguments.ids))
    if arguments.environment is not None:
        library.environment(arguments.environment)
    found = [record.id for record in library.select(**filters)]
    if not found:
        raise LibraryError(f"no policy of {library.path} matches; `lever-ray inspect` shows what it holds")
    return found


def embed(arguments: argparse.Namespace) -> int:
    """Compute vectors that are missing; those of many policies in Ray actors."""
    from lever_ray.app import commands
    from lever_ray.app.session import session

    path, settings = place_of(arguments.overrides), _settings_of(arguments.overrides)
    PolicyLibrary.open(path)
    with session(settings, tracked=False) as parts:
        done = commands.embed(parts, path)
    _say(parts.console, f"{path}: Psi of {done} policies computed" if done else f"{path} lacks no vectors")
    if left := PolicyLibrary.open(path).without_features():
        _say(parts.console, f"{left} policies are of environments without the features that Psi is made of")
    return OK


def release(arguments: argparse.Namespace) -> int:
    """End the actors that several drivers share."""
    from lever_ray.ray_execution import connect, disconnect, end_shared

    path, settings = place_of(arguments.overrides), _settings_of(arguments.overrides)
    library = PolicyLibrary.open(path).manifest.library
    joined = connect(settings.cluster.address)
    ended = end_shared(library)
    if joined:
        disconnect()
    _say(make_console(), f"{path}: {ended} shared actors ended")
    return OK


def search(arguments: argparse.Namespace) -> int:
    """The policies whose descriptions are nearest to some words."""
    library = PolicyLibrary.open(place_of(arguments.overrides))
    where = {"environment": arguments.environment, "gamma": arguments.gamma}
    (matches,) = library.search([arguments.words], arguments.k, **where)
    if not matches:
        raise LibraryError(f"no policy of {library.path} matches; `lever-ray inspect` shows what it holds")
    make_console().print(tables.matches_table(matches, library.policies([match.id for match in matches])))
    return OK


def _say(console: Console, line: str) -> None:
    console.print(escape(line), soft_wrap=True)


@contextmanager
def counted(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that tells how much of how much is done; on a pipe a plain line every tenth of the way."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    told = 0

    def watch(done: int, total: int) -> None:
        nonlocal told
        if done * 10 // total > told:
            told = done * 10 // total
            console.print(f"{title}: {done}/{total}")

    yield watch
