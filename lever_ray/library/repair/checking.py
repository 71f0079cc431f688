"""Every file and every row of a library, checked: what is broken, and what is lost by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lever_ray.errors import LibraryError
from lever_ray.library.format.environments import Environments
from lever_ray.library.format.files import read_table
from lever_ray.library.format.manifest import DataFile, Manifest, ShardEntry, read_manifest
from lever_ray.library.format.rows import features_of
from lever_ray.library.format.schema import REPAIR
from lever_ray.library.format.sealed import AnyEnvironment, SealedEnvironment
from lever_ray.library.record import EnvironmentRecord
from lever_ray.library.repair.salvage import salvage
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.order import in_natural_order


@dataclass(frozen=True)
class Damage:
    """Something broken.

    Attributes:
        what: in words, with the file.
        shard: id of the shard; empty for environments.
        kind: of the file; ``rows`` where the files can be read and some of their rows are broken.
        lost: ids of the policies that `repair` leaves out, as far as they can be read; empty where nothing is lost but
            what can be computed again.
        policies: how many they are.
    """

    what: str
    shard: str
    kind: str
    lost: tuple[str, ...] = ()
    policies: int = 0


def verify(
    path: str | Path, watch: Callable[[int, int], None] | None = None, *, tell: Callable[[str], None] | None = None
) -> list[Damage]:
    """Read and check every file and every row of a library.

    Args:
        path: folder of the library.
        watch: told how many of how many shards are done.
        tell: told of every family of tasks that is not installed: the policies of its environments are checked by their
            checksums, for numbers that are none and for their support, but not decoded. Nothing of them is broken.

    Returns:
        What is broken; empty for a sound library.

    Raises:
        LibraryError: its manifest is missing or damaged.
    """
    folder = Path(path)
    manifest, environments, found = _environments_now(folder)
    for line in _not_decoded(environments):
        if tell is not None:
            tell(line)
    for done, shard in enumerate(manifest.shards, 1):
        found += check_shard(folder, manifest, shard, environments)
        if watch is not None:
            watch(done, len(manifest.shards))
    return _still_there(folder, manifest, found)


def _not_decoded(environments: Mapping[str, AnyEnvironment]) -> Iterator[str]:
    """A line for every family that is not installed."""
    sealed: dict[str, list[str]] = {}
    for each in environments.values():
        if isinstance(each, SealedEnvironment):
            sealed.setdefault(each.family, []).append(each.name)
    for family, names in sorted(sealed.items()):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield (
            f"environments {', '.join(in_natural_order(names)[:3])}{more} are of task family {family!r}, which is not "
            "installed: their policies were checked by their checksums, and not decoded; install the family to check "
            "the rest"
        )


def _environments_now(folder: Path) -> tuple[Manifest, dict[str, AnyEnvironment], list[Damage]]:
    """The manifest, and its environments as :func:`check_environments` finds them; again if they changed meanwhile."""
    while True:
        manifest = read_manifest(folder)
        environments, found = check_environments(folder, manifest)
        if not found or read_manifest(folder).environments == manifest.environments:
            return manifest, environments, found


def _still_there(folder: Path, manifest: Manifest, found: list[Damage]) -> list[Damage]:
    """Damages of files that the library has now: of others, a change in the meantime has taken the files away."""
    if not found:
        return []
    now = read_manifest(folder)
    kept = {shard.id for shard in set(manifest.shards) & set(now.shards)}
    return [damage for damage in found if damage.shard in kept or damage.shard == ""]


def check_environments(path: Path, manifest: Manifest) -> tuple[dict[str, AnyEnvironment], list[Damage]]:
    """The environments that can be read, each from its newest sound row, and what is broken.

    Those whose family is not installed are given as they stand.
    """
    found: list[Damage] = []
    sound: dict[str, AnyEnvironment] = {}
    for file in manifest.environments:
        try:
            features = read_table(path, file, library=manifest.library)["features"]
        except LibraryError as error:
            found.append(Damage(str(error), "", "environments"))
            continue
        held = Environments(path, manifest.library, [file])
        for row, name in enumerate(file.environments):
            try:
                sound[name] = environment = held.any(name)
                if isinstance(environment, EnvironmentRecord):
                    _check_features(path, file, environment, features[row].as_py())
            except LibraryError as error:
                found.append(Damage(str(error), "", "environments"))
    return sound, found


def _check_features(path: Path, file: DataFile, environment: EnvironmentRecord, mapped: list[float] | None) -> None:
    if mapped is None or not np.array_equal(np.array(mapped, np.float32), features_of(environment.task)):
        raise LibraryError(
            f"environment {environment.name!r} in {path / file.name} has features of another task; {REPAIR}"
        )


def check_shard(
    path: Path, manifest: Manifest, shard: ShardEntry, environments: Mapping[str, AnyEnvironment]
) -> Iterator[Damage]:
    """What is broken in a shard; the first file that hides all others ends the search."""
    mapped, kind = MappedShard(path, manifest.library, shard), "policies"
    try:
        _ = mapped.runs
        ids, kind = [identity.decode() for identity in mapped.ids.tolist()], "tables"
        rows = set(mapped.broken_rows(0, shard.rows).tolist())
    except LibraryError as error:
        left = salvage(path, shard, environments)
        said = f"{error}; {len(left.records)} of its {shard.rows} policies can be kept"
        yield Damage(said, shard.id, kind, left.lost, shard.rows - len(left.records))
        return
    rows |= _unreadable(mapped, environments, rows)
    if rows:
        lost, where = tuple(ids[row] for row in sorted(rows)), " and ".join(file.name for file in shard.files[:2])
        what = (
            f"policies {list(lost[:3])} in {where} of {path} cannot be read, hold NaN or infinite values, or are not "
            "what their ids say; `lever-ray library repair` leaves them out"
        )
        yield Damage(what, shard.id, "rows", lost, len(lost))
    yield from _check_vectors(mapped)


def _check_vectors(mapped: MappedShard) -> Iterator[Damage]:
    for kind, name in (("texts", "texts"), ("embeddings", "psi")):
        try:
            getattr(mapped, name)
        except LibraryError as error:
            yield Damage(str(error), mapped.entry.id, kind)


def _unreadable(mapped: MappedShard, environments: Mapping[str, AnyEnvironment], broken: set[int]) -> set[int]:
    """Rows that are no policies of their environment, beyond those whose arrays are broken."""
    found: set[int] = set()
    for key, run in mapped.runs.items():
        rows = [row for row in range(*run) if row not in broken]
        if key.environment not in environments:
            found |= set(rows)
        elif not _readable(mapped, rows, environments):
            found |= {row for row in rows if not _readable(mapped, [row], environments)}
    return found


def _readable(mapped: MappedShard, rows: list[int], environments: Mapping[str, AnyEnvironment]) -> bool:
    """Whether all of some rows are policies, of the content that their ids say."""
    try:
        for _ in mapped.kept(np.array(rows, np.int64), environments.__getitem__):
            pass
    except LibraryError:
        return False
    return True
