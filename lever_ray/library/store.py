"""A policy library in this process: a folder of immutable Arrow files and a manifest that is swapped atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lever_ray.errors import LibraryError, UnknownName, check_known
from lever_ray.library.files import MissingFile
from lever_ray.library.ids import IdIndex, id_order, places_of
from lever_ray.library.index import INDEXES
from lever_ray.library.limits import check_storable
from lever_ray.library.lock import LOCK, write_lock
from lever_ray.library.manifest import EMBEDDING_MODEL, MANIFEST, Manifest, read_manifest, write_manifest
from lever_ray.library.reader import LibraryReader
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.rows import descriptions_of, embeddings_table, encoded, texts_table
from lever_ray.library.shard import INDEX, LibraryShard
from lever_ray.library.stored import ID_LENGTH, StoredShard
from lever_ray.library.text import TextEncoder, WordLlamaEncoder, model_of
from lever_ray.library.writing import (
    Change,
    change,
    distinct,
    environment_updates,
    write_environments,
    write_shards,
)
from lever_ray.watching import Watch

if TYPE_CHECKING:
    from lever_ray.library.checking import Damage

_EMBEDDED_AT_ONCE = 4096
"""Policies whose Psi is computed before it is stored."""


def _left_behind(file: Path) -> bool:
    """Whether a file is what an attempt to create a library leaves behind when it is killed."""
    return file.name == LOCK or (file.name.startswith(f".{MANIFEST}") and file.suffix == ".tmp")


class _Ids(NamedTuple):
    """Where policies lie.

    Attributes:
        places: of the ids of stored shards that can be read.
        stored: those shards, in its order.
        broken: why another cannot be read; None where all can.
    """

    places: IdIndex
    stored: list[StoredShard]
    broken: LibraryError | None

    @classmethod
    def of(cls, stored: Iterable[StoredShard]) -> _Ids:
        """Read the ids of every shard that can be read."""
        sound: list[StoredShard] = []
        broken: LibraryError | None = None
        for each in stored:
            try:
                _ = each.ids
                sound.append(each)
            except LibraryError as error:
                broken = broken if isinstance(broken, MissingFile) else error
        return cls(IdIndex([each.ids for each in sound]), sound, broken)


class PolicyLibrary(LibraryReader):
    """A library read in this process. Use :meth:`create` or :meth:`open`.

    Opening reads and checks the manifest; a data file is checked when it is first touched.
    """

    def __init__(self, path: Path, manifest: Manifest, encoder: TextEncoder, *, index: str = INDEX) -> None:
        super().__init__(path, manifest, encoder)
        self._index = index

    @classmethod
    def create(cls, path: str | Path, *, encoder: TextEncoder | None = None) -> PolicyLibrary:
        """Make an empty library in a new or empty folder.

        Args:
            path: of the folder.
            encoder: makes text vectors; :class:`~lever_ray.library.text.WordLlamaEncoder` by default.

        Raises:
            LibraryError: the folder holds a library or anything else.
        """
        folder, manifest = Path(path), Manifest.new()
        if (folder / MANIFEST).exists():
            raise LibraryError(
                f"{folder} holds a policy library already; open it to add to it, or choose another folder"
            )
        if folder.exists() and (not folder.is_dir() or any(not _left_behind(file) for file in folder.iterdir())):
            raise LibraryError(f"{folder} exists and is not an empty folder; choose another one")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error
        with write_lock(folder) as lock:
            if (folder / MANIFEST).exists():
                raise LibraryError(f"{folder} was made into a library by another process just now; open it")
            write_manifest(folder, manifest)
            lock.remember(manifest.library, manifest.generation)
        return cls(folder, manifest, encoder or WordLlamaEncoder())

    @classmethod
    def open(cls, path: str | Path, *, encoder: TextEncoder | None = None, index: str = INDEX) -> PolicyLibrary:
        """Open a library.

        Args:
            path: of its folder.
            encoder: makes text vectors; :class:`~lever_ray.library.text.WordLlamaEncoder` by default.
            index: what searches all policies by text, one of :data:`~lever_ray.library.index.INDEXES`.

        Raises:
            UnknownName: there is no such index.
            LibraryError: it is missing, its manifest is damaged, or it has another schema version than this code.
        """
        check_known("index", index, INDEXES)
        folder = Path(path)
        return cls(folder, read_manifest(folder), encoder or WordLlamaEncoder(), index=index)

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: it maps the files itself, and keeps what regressors learn from."""
        mapped = ("_shard", "_stored", "_ids")
        return {name: value for name, value in self.__dict__.items() if name not in mapped}

    @cached_property
    def _shard(self) -> LibraryShard:
        return LibraryShard(self.path, self._manifest, encoder=self.encoder, index=self._index)

    @cached_property
    def _stored(self) -> list[StoredShard]:
        return self._shard.stored

    @cached_property
    def _ids(self) -> _Ids:
        return _Ids.of(self._stored)

    def _ask_shards(self, method: str, *args: Any, near: Collection[str] | None, **kwargs: Any) -> list[Any]:  # noqa: ARG002 - there is one shard
        return [getattr(self._shard, method)(*args, **kwargs)]

    def refresh(self) -> bool:
        """See :class:`LibraryReader`."""
        new = read_manifest(self.path)
        changed = new.state != self._manifest.state
        if changed:
            self._adopt(new)
        return changed

    def _adopt(self, manifest: Manifest) -> None:
        """Go on with another manifest; what was read of shards that it has, too, stays read."""
        before = self.__dict__.get("_shard")
        for name in ("_shard", "_stored", "_ids"):
            self.__dict__.pop(name, None)
        same, self._manifest = manifest.library == self._manifest.library, manifest
        if before is not None and same:
            self._shard.take_over(before)
        self._forget()

    @property
    def bytes(self) -> int:
        """Size of all data files."""
        return sum(file.bytes for file in self._manifest.files)

    @property
    def digest(self) -> str:
        """Hash of the ids of all policies: equal for equal policies, however they are stored."""
        return self._up_to_date(self._digest)

    def _digest(self) -> str:
        ids = np.concatenate([np.zeros(0, f"S{ID_LENGTH}"), *(stored.ids for stored in self._stored)])
        return hashlib.sha256(ids[id_order(ids)].tobytes()).hexdigest()

    def q(self, identity: str) -> np.ndarray:
        """float32[S, A]: one policy's action values; a read-only view of the mapped file.

        Raises:
            UnknownName: the library has no policy of that id.
            LibraryError: its file is damaged, or it holds NaN or infinite values.
        """
        while True:
            try:
                return self._q(identity)
            except MissingFile:
                if not self.refresh():
                    raise

    def _q(self, identity: str) -> np.ndarray:
        place = self._place(identity)
        if place is None:
            raise UnknownName("policy id", identity, (), hint="`lever-ray library search` lists ids.")
        stored, row = place
        values: np.ndarray = stored.tables.q[row]
        if not np.isfinite(values.sum(dtype=np.float64)):
            stored.sound(row, row + 1)
        return values

    def _place(self, identity: str) -> tuple[StoredShard, int] | None:
        """Where a policy lies; None where there is none of that id.

        Raises:
            LibraryError: it is not found, and a shard that may have it cannot be read; that is tried anew next time.
        """
        ids = self._ids
        place = ids.places.find(identity)
        if place is not None:
            return ids.stored[place[0]], place[1]
        if ids.broken is not None:
            del self._ids
            raise ids.broken
        return None

    def __contains__(self, identity: object) -> bool:
        """Whether the library has a policy of some id."""
        return isinstance(identity, str) and self._up_to_date(lambda: self._place(identity)) is not None

    def add(self, records: Iterable[PolicyRecord], watch: Watch | None = None) -> int:
        """Append policies; those that the library has already are left out.

        Nothing changes on disk unless every record is sound: new data files are written first, then the manifest is
        swapped atomically under the library's write lock.

        Args:
            records: the policies.
            watch: told how many of those that are new are written.

        Returns:
            How many policies were new.

        Raises:
            InvalidValue: something is no policy.
            LibraryError: an environment's name is taken by another task, schema version 2 cannot hold its task (more
                than 8 actions, or a family that is not registered), or the disk is full.
        """
        given = {record.id: record for record in distinct(records)}
        with change(self.path) as begun:
            if begun.manifest.state != self._manifest.state:
                self._adopt(begun.manifest)
            environments = environment_updates(list(given.values()), self._environments.get)
            held = set(begun.manifest.environment_names)
            for environment in environments:
                if environment.name not in held:
                    check_storable(environment)
            new = [given[identity] for identity in self._unknown(given)]
            if new:
                self._commit_new(begun, new, environments, watch)
        return len(new)

    def _commit_new(
        self,
        begun: Change,
        new: Sequence[PolicyRecord],
        environments: Sequence[EnvironmentRecord],
        watch: Watch | None,
    ) -> None:
        held = begun.manifest
        shards = write_shards(begun, new, self.encoder, watch=watch)
        files = write_environments(begun, environments)
        manifest = replace(
            held,
            shards=(*held.shards, *shards),
            environments=(*held.environments, *files),
            text_model=held.text_model or model_of(self.encoder),
        )
        self._adopt(begun.commit(manifest))

    def restate(self, environments: Sequence[EnvironmentRecord]) -> None:
        """Write what is said of some environments anew, e.g. the seed that a task was sampled with.

        Args:
            environments: records that take the place of those of the same names, whose tasks are equal.
        """
        with change(self.path) as begun:
            if begun.manifest.state != self._manifest.state:
                self._adopt(begun.manifest)
            files = write_environments(begun, environments)
            held = begun.manifest
            self._adopt(begun.commit(replace(held, environments=(*held.environments, *files))))

    def _unknown(self, given: Mapping[str, PolicyRecord]) -> list[str]:
        """Those of some ids that the library does not have; only shards with their environments are looked at."""
        ids, names = list(given), {record.environment for record in given.values()}
        known: set[int] = set()
        for stored in self._stored:
            if names.intersection(stored.entry.environments):
                known.update(places_of(stored.ids, ids)[0].tolist())
        return [identity for place, identity in enumerate(ids) if place not in known]

    def delete(self, ids: Sequence[str], watch: Watch | None = None) -> int:
        """Take policies out; see :func:`lever_ray.library.maintenance.delete`."""
        from lever_ray.library import maintenance

        count = maintenance.delete(self.path, ids, encoder=self.encoder, watch=watch)
        self.refresh()
        return count

    def compact(self) -> tuple[int, int]:
        """Merge small shards; see :func:`lever_ray.library.maintenance.compact`."""
        from lever_ray.library import maintenance

        counts = maintenance.compact(self.path, encoder=self.encoder)
        self.refresh()
        return counts

    def verify(
        self, watch: Callable[[int, int], None] | None = None, *, tell: Callable[[str], None] | None = None
    ) -> list[Damage]:
        """Check every file and row; see :func:`lever_ray.library.checking.verify`."""
        from lever_ray.library.checking import verify

        return verify(self.path, watch, tell=tell)

    # Vectors that are not stored yet.

    def embed(self, watch: Callable[[int], None] | None = None) -> int:
        """Compute and store what is missing: Psi of policies, vectors of descriptions; also those of older models.

        Policies of environments without the features that Psi is made of are left out; :meth:`without_features` tells
        how many they are.

        Args:
            watch: told of how many more policies Psi is done.

        Returns:
            For how many policies Psi was computed.
        """
        self.refresh()
        self.store_missing_texts()
        done = 0
        while wanted := self._shard.without_psi():
            try:
                found = self._psi_of_some(wanted)
            except MissingFile:
                if not self.refresh():
                    raise
                continue
            self.store_psi(found)
            done += sum(map(len, found.values()))
            if watch is not None:
                watch(sum(map(len, found.values())))
        return done

    def _psi_of_some(self, shards: Sequence[str]) -> dict[str, np.ndarray]:
        """Psi of the first of some shards, as many as are stored at once."""
        found: dict[str, np.ndarray] = {}
        for shard in shards:
            found[shard] = self._shard.psi_of(shard)
            if sum(map(len, found.values())) >= _EMBEDDED_AT_ONCE:
                break
        return found

    def store_psi(self, found: Mapping[str, np.ndarray]) -> None:
        """Write Psi of some shards, float32[n, 73] by id; shards that the library has no more are left out."""
        with change(self.path) as begun:
            held = begun.manifest
            shards = held.shards
            if held.embedding_model != EMBEDDING_MODEL:
                shards = tuple(shard.lacking("embeddings") for shard in shards)
            new = {
                shard.id: shard.having(begun.write("embeddings", embeddings_table(found[shard.id]), shard=shard.id))
                for shard in shards
                if shard.id in found
            }
            shards = tuple(new.get(shard.id, shard) for shard in shards)
            self._adopt(begun.commit(replace(held, shards=shards, embedding_model=EMBEDDING_MODEL)))

    def store_missing_texts(self) -> None:
        """Encode the descriptions of all shards that lack their vectors, or of all where another model made them."""
        ours = self._manifest.text_model == model_of(self.encoder)
        if ours and all(shard.file("texts") is not None for shard in self._manifest.shards):
            return
        with change(self.path) as begun:
            held = begun.manifest
            ours = held.text_model == model_of(self.encoder)
            shards = []
            for shard in held.shards:
                if not ours or shard.file("texts") is None:
                    stored = StoredShard(self.path, held.library, shard)
                    descriptions = descriptions_of(stored.policies)
                    table = texts_table(descriptions, encoded(descriptions, self.encoder.encode))
                    shard = shard.having(begun.write("texts", table, shard=shard.id))
                shards.append(shard)
            self._adopt(begun.commit(replace(held, shards=tuple(shards), text_model=model_of(self.encoder))))
