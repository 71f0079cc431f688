"""A policy library in this process: a folder of immutable Arrow files and a manifest that is swapped atomically."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lever_ray.errors import LibraryError, UnknownName, check_known
from lever_ray.library.format.files import MissingFile
from lever_ray.library.format.limits import check_storable
from lever_ray.library.format.manifest import EMBEDDING_MODEL, MANIFEST, Manifest, read_manifest, write_manifest
from lever_ray.library.format.policies import ID_LENGTH
from lever_ray.library.format.rows import descriptions_of, embeddings_table, encoded, texts_table
from lever_ray.library.reader import LibraryReader
from lever_ray.library.record import EnvironmentRecord, PolicyRecord
from lever_ray.library.search.index import INDEXES
from lever_ray.library.search.text import TextEncoder, WordLlamaEncoder, model_of
from lever_ray.library.serving.ids import id_order, places_of
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.serving.nearest import INDEX
from lever_ray.library.serving.service import LocalService
from lever_ray.library.serving.shard import Shard
from lever_ray.library.writing.append import distinct, environment_updates, write_environments, write_shards
from lever_ray.library.writing.change import Change, change
from lever_ray.library.writing.lock import LOCK, write_lock
from lever_ray.watching import Watch

if TYPE_CHECKING:
    from lever_ray.library.repair.checking import Damage


def _left_behind(file: Path) -> bool:
    """Whether a file is what an attempt to create a library leaves behind when it is killed."""
    return file.name == LOCK or (file.name.startswith(f".{MANIFEST}") and file.suffix == ".tmp")


class PolicyLibrary(LibraryReader):
    """A library read in this process. Use :meth:`create` or :meth:`open`.

    Opening reads and checks the manifest; a data file is checked when it is first touched.
    """

    _service: LocalService

    def __init__(self, path: Path, manifest: Manifest, encoder: TextEncoder, *, index: str = INDEX) -> None:
        super().__init__(path, LocalService(path, manifest, encoder, index=index), encoder)

    @classmethod
    def create(cls, path: str | Path, *, encoder: TextEncoder | None = None) -> PolicyLibrary:
        """Make an empty library in a new or empty folder.

        Args:
            path: of the folder.
            encoder: makes text vectors; :class:`~lever_ray.library.search.text.WordLlamaEncoder` by default.

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
            encoder: makes text vectors; :class:`~lever_ray.library.search.text.WordLlamaEncoder` by default.
            index: what searches all policies by text, one of :data:`~lever_ray.library.search.index.INDEXES`.

        Raises:
            UnknownName: there is no such index.
            LibraryError: it is missing, its manifest is damaged, or it has another schema version than this code.
        """
        check_known("index", index, INDEXES)
        folder = Path(path)
        return cls(folder, read_manifest(folder), encoder or WordLlamaEncoder(), index=index)

    @property
    def _shard(self) -> Shard:
        return self._service.shard

    @property
    def _mapped(self) -> list[MappedShard]:
        return self._service.shard.mapped

    def vector_store(self) -> PolicyLibrary:
        """See :class:`LibraryReader`."""
        return self

    @property
    def bytes(self) -> int:
        """Size of all data files."""
        return sum(file.bytes for file in self.manifest.files)

    @property
    def digest(self) -> str:
        """Hash of the ids of all policies: equal for equal policies, however they are stored."""
        return self.up_to_date(self._digest)

    def _digest(self) -> str:
        ids = np.concatenate([np.zeros(0, f"S{ID_LENGTH}"), *(mapped.ids for mapped in self._mapped)])
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
        place = self._service.shard.holding.places.find(identity)
        if place is None:
            raise UnknownName("policy id", identity, (), hint="`lever-ray library search` lists ids.")
        mapped, row = place
        values: np.ndarray = mapped.tables.q[row]
        if not np.isfinite(values.sum(dtype=np.float64)):
            mapped.sound(row, row + 1)
        return values

    def __contains__(self, identity: object) -> bool:
        """Whether the library has a policy of some id."""
        return (
            isinstance(identity, str)
            and self.up_to_date(lambda: self._service.shard.holding.places.find(identity)) is not None
        )

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
            if begun.manifest.state != self.manifest.state:
                self._service.adopt(begun.manifest)
            environments = environment_updates(list(given.values()), self._known.environments.get)
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
        self._service.adopt(begun.commit(manifest))

    def restate(self, environments: Sequence[EnvironmentRecord]) -> None:
        """Write what is said of some environments anew, e.g. the seed that a task was sampled with.

        Args:
            environments: records that take the place of those of the same names, whose tasks are equal.
        """
        with change(self.path) as begun:
            if begun.manifest.state != self.manifest.state:
                self._service.adopt(begun.manifest)
            files = write_environments(begun, environments)
            held = begun.manifest
            self._service.adopt(begun.commit(replace(held, environments=(*held.environments, *files))))

    def _unknown(self, given: Mapping[str, PolicyRecord]) -> list[str]:
        """Those of some ids that the library does not have; only shards with their environments are looked at."""
        ids, names = list(given), {record.environment for record in given.values()}
        known: set[int] = set()
        for mapped in self._mapped:
            if names.intersection(mapped.entry.environments):
                known.update(places_of(mapped.ids, ids)[0].tolist())
        return [identity for place, identity in enumerate(ids) if place not in known]

    def delete(self, ids: Sequence[str], watch: Watch | None = None) -> int:
        """Take policies out; see :func:`lever_ray.library.writing.delete.delete`."""
        from lever_ray.library.writing.delete import delete

        count = delete(self.path, ids, encoder=self.encoder, watch=watch)
        self.refresh()
        return count

    def compact(self) -> tuple[int, int]:
        """Merge small shards; see :func:`lever_ray.library.writing.compact.compact`."""
        from lever_ray.library.writing.compact import compact

        counts = compact(self.path, encoder=self.encoder)
        self.refresh()
        return counts

    def verify(
        self, watch: Callable[[int, int], None] | None = None, *, tell: Callable[[str], None] | None = None
    ) -> list[Damage]:
        """Check every file and row; see :func:`lever_ray.library.repair.checking.verify`."""
        from lever_ray.library.repair.checking import verify

        return verify(self.path, watch, tell=tell)

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
            self._service.adopt(begun.commit(replace(held, shards=shards, embedding_model=EMBEDDING_MODEL)))

    def store_missing_texts(self) -> None:
        """Encode the descriptions of all shards that lack their vectors, or of all where another model made them."""
        ours = self.manifest.text_model == model_of(self.encoder)
        if ours and all(shard.file("texts") is not None for shard in self.manifest.shards):
            return
        with change(self.path) as begun:
            held = begun.manifest
            ours = held.text_model == model_of(self.encoder)
            shards = []
            for shard in held.shards:
                if not ours or shard.file("texts") is None:
                    mapped = MappedShard(self.path, held.library, shard)
                    descriptions = descriptions_of(mapped.policies)
                    table = texts_table(descriptions, encoded(descriptions, self.encoder.encode))
                    shard = shard.having(begun.write("texts", table, shard=shard.id))
                shards.append(shard)
            self._service.adopt(begun.commit(replace(held, shards=tuple(shards), text_model=model_of(self.encoder))))
