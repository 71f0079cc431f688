"""What the console does to libraries: move them in and out, show, check, tidy and search them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from lever_ray.app import library_tables as tables
from lever_ray.config import Settings
from lever_ray.console import explained, make_console, say
from lever_ray.errors import LibraryError, SettingsError, UnknownName
from lever_ray.glossary import LIBRARY
from lever_ray.library.format.manifest import MANIFEST, DamagedManifest, Manifest
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.ports.exporting import export
from lever_ray.library.ports.importing import records
from lever_ray.library.ports.options import ImportOptions
from lever_ray.library.ports.understanding import Understanding, understand
from lever_ray.library.record import PolicyRecord
from lever_ray.library.repair import recovery
from lever_ray.library.repair.checking import verify as verify_library
from lever_ray.library.repair.mending import repair as repair_library
from lever_ray.library.writing.compact import compact as compact_library
from lever_ray.library.writing.delete import remove_empty
from lever_ray.library.writing.migrate import migrate as migrate_library
from lever_ray.progress import Count, working
from lever_ray.tasks.protocol import Environment

# In and out.


def import_policies(
    source: Path, path: Path | None, options: ImportOptions, *, dry_run: bool, store_meanings: bool
) -> None:
    """Show what a foreign file was understood to hold, and add its policies to a library.

    Args:
        source: the file.
        path: folder of the library, made if it is not there; None where none was given, which only a dry run allows.
        options: what is said about the file beyond what it says itself.
        dry_run: show what was understood; change nothing.
        store_meanings: store the objective that a description is understood as, where a policy has no other.

    Raises:
        LeverError: the file cannot be read, lacks something, or holds what is no policy; or the library is damaged.
    """
    with all_or_nothing(path):
        library = PolicyLibrary.open(path) if path is not None and (path / MANIFEST).exists() else None
        with _waiting(f"Reading {source}"):
            understood = understand(source, options, held=_held(library))
        if path is None and not dry_run:
            lacks = "the library: library=NAME or --to PATH"
            understood = replace(understood, missing=(*understood.missing, lacks))
        found = _shown(understood, store_meanings=store_meanings)
        if path is None or dry_run:
            _tell_new(found, path, library)
        else:
            _add(found, path, library)


def _shown(understood: Understanding, *, store_meanings: bool) -> list[PolicyRecord]:
    """The records of a file, after the table that says how they were understood."""
    from lever_ray.app.meanings import with_meanings

    console, understood = make_console(), with_meanings(understood, store=store_meanings)
    if understood.missing:
        console.print(tables.understanding_table(understood))
    with _waiting(f"Importing {understood.source}") as watch:
        found = records(understood, watch)
    console.print(tables.understanding_table(understood))
    return found


def _tell_new(found: Sequence[PolicyRecord], path: Path | None, library: PolicyLibrary | None) -> None:
    new = len({record.id for record in found if library is None or record.id not in library})
    where = f" in {path}" if path else ""
    say(make_console(), f"Nothing was changed; {new} of {len(found)} policies would be new{where}")


def _add(found: Sequence[PolicyRecord], path: Path, library: PolicyLibrary | None) -> None:
    library = library if library is not None else PolicyLibrary.create(path)
    with _waiting(f"Adding to {path}") as watch:
        new = library.add(found, watch)
    say(make_console(), f"{new} of {len(found)} policies are new in {path}, which now holds {len(library)}")


@contextmanager
def all_or_nothing(path: Path | None) -> Iterator[None]:
    """An import that fails, or is interrupted, leaves no empty library, and says what became of its policies."""
    new = path is not None and not (path / MANIFEST).exists()
    before = 0 if path is None or new else len(PolicyLibrary.open(path))
    try:
        yield
    except BaseException as error:
        if path is not None and new:
            remove_empty(path)
        if isinstance(error, KeyboardInterrupt):
            added = path is not None and (path / MANIFEST).exists() and len(PolicyLibrary.open(path)) > before
            raise KeyboardInterrupt(f"{'everything' if added else 'nothing'} was added") from error
        raise


def _held(library: PolicyLibrary | None) -> Callable[[str], Environment | None]:
    """Gives the environments that a library has."""

    def task(name: str) -> Environment | None:
        return library.environment(name).task if library is not None and name in library.environments else None

    return task


def export_policies(path: Path, target: Path, *, overwrite: bool, **filters: Any) -> None:
    """Write a library, or the part of it that filters pick, to one file.

    Raises:
        LibraryError: the file exists and is not to be overwritten, or no policy matches.
        LeverError: see :func:`~lever_ray.library.ports.exporting.export`.
    """
    library = PolicyLibrary.open(path)
    if target.exists() and not overwrite:
        raise LibraryError(f"{target} exists; choose another name, or add --overwrite")
    try:
        with _waiting(f"Exporting to {target}") as watch:
            count = export(library, target, overwrite=overwrite, watch=watch, **filters)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("nothing was written") from error
    say(make_console(), f"{count} policies, {tables.in_bytes(target.stat().st_size)}, {target}")


def inspect(path: Path, *, rows: int) -> None:
    """Show what a library holds, with at most so many environments."""
    library, console = PolicyLibrary.open(path), make_console()
    console.print(tables.library_table(library, rows=rows))
    lines = list(tables.library_lines(library))
    for line in ("", *lines, ""):
        say(console, line)
    console.print(explained(LIBRARY, *lines))


# Keeping.


def verify(path: Path) -> bool:
    """Read every file and row, and say what is broken; whether nothing is."""
    console, unknown = make_console(), list[str]()
    with _waiting(f"Checking the shards of {path}") as watch:
        damages = verify_library(path, watch, tell=unknown.append)
    for line in unknown:
        say(console, line)
    if not damages:
        say(console, f"{path} is sound: {PolicyLibrary.open(path).manifest.rows} policies, every file and row")
        return True
    console.print(tables.damage_table(damages))
    say(console, "`lever-ray library repair` drops what is broken and keeps the rest")
    return False


def repair(path: Path, *, sure: bool) -> None:
    """Drop what is broken.

    Raises:
        SettingsError: nobody is sure; the message says what would be dropped.
        LibraryError: there is no library, or it cannot be repaired.
    """
    console = make_console()
    _restore_lost(path, console, sure=sure)
    with _waiting(f"Checking the shards of {path}") as watch:
        damages = verify_library(path, watch)
    if damages:
        console.print(tables.damage_table(damages))
    if damages and not sure:
        dropped = sum(damage.policies for damage in damages)
        raise SettingsError(f"nothing was changed; add --yes to repair {path}, which drops {dropped} policies")
    if not sure:
        say(console, f"{path} is sound; nothing to repair")
        return
    with _waiting(f"Repairing {path}") as watch:
        report = repair_library(path, watch=watch)
    say(console, f"{path}: {report.policies} policies dropped, {report.orphans} files of unfinished changes removed")


def _restore_lost(path: Path, console: Console, *, sure: bool) -> None:
    """Write a new manifest where it is lost.

    Raises:
        SettingsError: it is lost, and nobody is sure.
    """
    lost = _lost_manifest(path)
    if lost and not sure:
        raise SettingsError(f"{lost}. Nothing was changed; add --yes to write a new manifest from the data files")
    if lost:
        restored = _restored(path, console)
        say(console, f"A new manifest was written from the data files: {restored.rows} policies")


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


def restore(path: Path) -> None:
    """Write a new manifest from the data files."""
    console = make_console()
    manifest = _restored(path, console)
    shards = tables.counted_as(len(manifest.shards), "shard")
    say(console, f"{path}: {manifest.rows} policies in {shards}; now verify, then embed")


def _restored(path: Path, console: Console) -> Manifest:
    """The new manifest, once it is said what was left out of it."""
    others: dict[str, int] = {}
    with _waiting(f"Reading the data files of {path}") as watch:
        manifest = recovery.restore_manifest(path, tell=others.update, watch=watch)
    for library, files in others.items():
        say(
            console,
            f"left out: {files} files of another library, {library or 'of no name'}; they were left as they are. "
            "Move them to a folder of their own, and restore that",
        )
    return manifest


def compact(path: Path) -> None:
    """Merge small shards."""
    with _waiting(f"Merging shards of {path}") as watch:
        before, after = compact_library(path, watch=watch)
    say(make_console(), f"{path}: {tables.counted_as(before, 'shard')} before, {after} now")


def migrate(path: Path) -> None:
    """Bring an older library to today's schema version."""
    with _waiting(f"Migrating {path}") as watch:
        count = migrate_library(path, watch=watch)
    say(make_console(), f"{path}: {count} policies migrated" if count else f"{path} is of today's version already")


def delete(path: Path, *, ids: Sequence[str], filters: Mapping[str, Any], sure: bool) -> None:
    """Take policies out, by id or by filter.

    Raises:
        SettingsError: nobody is sure, or both or neither of ids and filters are given.
        UnknownName, LibraryError: no policy has such an id, or matches.
    """
    library = PolicyLibrary.open(path)
    ids = _chosen(library, ids, filters)
    if not sure:
        raise SettingsError(
            f"nothing was deleted; add --yes to delete {len(ids)} of {len(library)} policies from {library.path}"
        )
    with _waiting(f"Deleting from {library.path}") as watch:
        count = library.delete(ids, watch)
    say(make_console(), f"{count} policies deleted, {len(library)} left in {library.path}")


def _chosen(library: PolicyLibrary, ids: Sequence[str], filters: Mapping[str, Any]) -> list[str]:
    """Ids that are named, or that match the filters."""
    filtered = any(value is not None for value in filters.values())
    if filtered == bool(ids):
        raise SettingsError("give either --id, or a filter: --environment, --objective, --gamma")
    if ids:
        for identity in ids:
            if identity not in library:
                raise UnknownName("policy id", identity, (), hint="Nothing was deleted.")
        return list(dict.fromkeys(ids))
    if filters["environment"] is not None:
        library.environment(filters["environment"])
    found = [record.id for record in library.select(**filters)]
    if not found:
        raise LibraryError(f"no policy of {library.path} matches; `lever-ray inspect` shows what it holds")
    return found


def embed(path: Path, settings: Settings) -> None:
    """Compute vectors that are missing; those of many policies in Ray actors."""
    from lever_ray.app import commands
    from lever_ray.app.session import session
    from lever_ray.behaviour.psi import without_features

    PolicyLibrary.open(path)
    with session(settings, tracked=False) as parts:
        done = commands.embed(parts, path)
    say(parts.console, f"{path}: Psi of {done} policies computed" if done else f"{path} lacks no vectors")
    if left := without_features(PolicyLibrary.open(path)):
        say(parts.console, f"{left} policies are of environments without the features that Psi is made of")


def release(path: Path, settings: Settings) -> None:
    """End the actors that several drivers share."""
    from lever_ray.ray_execution import connect, disconnect, end_shared

    library = PolicyLibrary.open(path).manifest.library
    joined = connect(settings.cluster.address)
    ended = end_shared(library)
    if joined:
        disconnect()
    say(make_console(), f"{path}: {ended} shared actors ended")


def search(path: Path, words: str, k: int, *, environment: str | None, gamma: float | None) -> None:
    """Show the policies whose descriptions are nearest to some words, of one environment or discount if they are given.

    Policies without a description are left out: they are as near to one text as to another.

    Raises:
        LibraryError: no policy matches, or none of those that are nearest has a description.
        InvalidValue: the words are blank, or k is below 1.
        UnknownName: there is no such environment.
    """
    library = PolicyLibrary.open(path)
    (matches,) = library.search([words], k, environment=environment, gamma=gamma)
    if not matches:
        raise LibraryError(f"no policy of {library.path} matches; `lever-ray inspect` shows what it holds")
    found = zip(matches, library.policies([match.id for match in matches]), strict=True)
    described = [(match, record) for match, record in found if record.description.strip()]
    if not described:
        raise LibraryError(
            f"no policy of {library.path} that is looked at has a description that is like {words!r}, and a search "
            "goes by nothing else; import policies with a column 'description' (or --description TEXT) into a library "
            "of their own, or let `lever-ray inspect` list objectives"
        )
    make_console().print(tables.matches_table(*zip(*described, strict=True)))


def _waiting(what: str) -> AbstractContextManager[Count]:
    """Say on standard error what is being done, where it takes more than a few seconds; results go to the other one."""
    return working(make_console(stderr=True), what, at_once=False)
