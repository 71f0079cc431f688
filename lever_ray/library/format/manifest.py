"""The manifest of a library: which files it consists of, swapped atomically with every change."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lever_ray.errors import LibraryError
from lever_ray.library.format.files import flush_folder, write_atomically
from lever_ray.library.format.schema import EMBEDDING, MOST_ENTRIES, SCHEMA_VERSION
from lever_ray.order import in_natural_order
from lever_ray.tasks.canonical import CANONICAL_STATES

MANIFEST = "manifest.json"
FORMAT = "lever-ray policy library"
SHARD_KINDS: tuple[str, ...] = ("policies", "tables", "texts", "embeddings")
"""Kinds of a shard's files; the first two are always there."""
KINDS: tuple[str, ...] = (*SHARD_KINDS, "environments")
EMBEDDING_MODEL: dict[str, Any] = {
    "name": "psi",
    "version": 1,
    "dimension": EMBEDDING,
    "gamma": 0.99,
    "canonical_states": CANONICAL_STATES,
}
"""What Psi vectors are made by; raise the version whenever equal policies would get other vectors."""
_RESTORE = "restore it from a copy, or run `lever-ray library repair`"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}\.arrow")


class DamagedManifest(LibraryError):
    """There is a manifest, and it cannot be read for what it is; a new one can be made from the data files."""


class OtherVersion(LibraryError):
    """The library has another schema version than this code.

    Attributes:
        version: of the library.
    """

    def __init__(self, message: str, version: int) -> None:
        super().__init__(message, version)
        self.version = version

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class DataFile:
    """An entry of the manifest: one immutable Arrow IPC file.

    Attributes:
        name: file name, without folders.
        kind: one of :data:`KINDS`.
        rows: how many.
        bytes: file size.
        sha256: of the whole file, hexadecimal.
        environments: names of the environments in a file of that kind, in the order of its rows; else empty.
    """

    name: str
    kind: str
    rows: int
    bytes: int
    sha256: str
    environments: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShardEntry:
    """An entry of the manifest: policies over equally many observations, in files whose rows correspond.

    Attributes:
        id: of the shard, unique in the library.
        rows: policies.
        states: S, observations of their tasks.
        environments: names of their environments, ascending.
        files: at most one of every kind of :data:`SHARD_KINDS`; ``policies`` and ``tables`` always.
    """

    id: str
    rows: int
    states: int
    environments: tuple[str, ...]
    files: tuple[DataFile, ...]

    def file(self, kind: str) -> DataFile | None:
        """The file of some kind; None where the shard has none."""
        return next((file for file in self.files if file.kind == kind), None)

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(file.bytes for file in self.files)

    def having(self, *files: DataFile) -> ShardEntry:
        """The same shard with some files new or replaced."""
        kinds = {file.kind for file in files}
        kept = [file for file in self.files if file.kind not in kinds]
        return replace(self, files=tuple(sorted((*kept, *files), key=lambda file: SHARD_KINDS.index(file.kind))))

    def lacking(self, kind: str) -> ShardEntry:
        """The same shard without its file of some kind."""
        return replace(self, files=tuple(file for file in self.files if file.kind != kind))


@dataclass(frozen=True)
class Manifest:
    """All files of a library.

    Attributes:
        library: id of the library; every data file carries it too.
        generation: how often the library has been changed.
        state: drawn anew with every change; equal states are equal manifests.
        shards: of policies, oldest first.
        environments: files of environments, oldest first.
        text_model: name, version and dimension of what made the text vectors; empty before the first.
        embedding_model: what made the Psi vectors, see :data:`EMBEDDING_MODEL`.
    """

    library: str
    generation: int = 0
    state: str = field(default_factory=lambda: uuid.uuid4().hex)
    shards: tuple[ShardEntry, ...] = ()
    environments: tuple[DataFile, ...] = ()
    text_model: Mapping[str, Any] | None = None
    embedding_model: Mapping[str, Any] | None = None

    @classmethod
    def new(cls) -> Manifest:
        """The manifest of an empty library with an id of its own."""
        return cls(uuid.uuid4().hex, embedding_model=EMBEDDING_MODEL)

    def succeeded(self) -> Manifest:
        """The same content as the library's next state."""
        return replace(self, generation=self.generation + 1, state=uuid.uuid4().hex)

    @property
    def files(self) -> tuple[DataFile, ...]:
        """Every data file."""
        return (*(file for shard in self.shards for file in shard.files), *self.environments)

    @property
    def rows(self) -> int:
        """Policies."""
        return sum(shard.rows for shard in self.shards)

    @property
    def environment_names(self) -> tuple[str, ...]:
        """Names of the environments, in natural order."""
        return tuple(in_natural_order({name for file in self.environments for name in file.environments}))

    def part(self, shards: Sequence[ShardEntry]) -> Manifest:
        """What a process needs that serves some of the shards."""
        return replace(self, shards=tuple(shards))


def read_manifest(path: Path) -> Manifest:
    """Read and check a library's manifest.

    Raises:
        OtherVersion: its schema version is not the one of this code.
        DamagedManifest: it is damaged.
        LibraryError: there is no library.
    """
    file = path / MANIFEST
    content = read_document(path)
    _check_version(path, file, content)
    try:
        manifest = _read_content(content)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        raise DamagedManifest(f"manifest {file} is damaged ({reason}); {_RESTORE}") from error
    return manifest


def read_document(path: Path) -> dict[str, Any]:
    """The manifest of a library of any schema version, as it stands.

    Raises:
        DamagedManifest: it is damaged.
        LibraryError: there is none, or it is no manifest of a library.
    """
    file = path / MANIFEST
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise LibraryError(
            f"no policy library at {path}; build one with `lever-ray build`, or check the path"
        ) from None
    except OSError as error:
        raise LibraryError(f"manifest {file} cannot be read ({error.strerror}); check its permissions") from error
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedManifest(f"manifest {file} is damaged ({type(error).__name__}: {error}); {_RESTORE}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise LibraryError(f"{file} is not the manifest of a lever-ray policy library; check the path")
    return content


def _check_version(path: Path, file: Path, content: Mapping[str, Any]) -> None:
    version = content.get("schema_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise DamagedManifest(f"manifest {file} is damaged (schema version {str(version)[:30]}); {_RESTORE}")
    if version > SCHEMA_VERSION:
        told = f"this code reads up to {SCHEMA_VERSION}: upgrade lever-ray"
    else:
        told = f"run `lever-ray library migrate {path}` once to bring it to version {SCHEMA_VERSION}"
    if version != SCHEMA_VERSION:
        raise OtherVersion(f"library {path} has schema version {version}; {told}", version)


def _read_content(content: Mapping[str, Any]) -> Manifest:
    body = content.get("content")
    if not isinstance(body, dict) or content.get("checksum") != checksum_of(content["schema_version"], body):
        raise ValueError("its checksum does not match")
    manifest = _read_body(body)
    names = [entry.name for entry in manifest.files]
    ids = [shard.id for shard in manifest.shards]
    if len(set(names)) < len(names) or len(set(ids)) < len(ids):
        raise ValueError("it lists a file twice")
    return manifest


def _read_body(body: Mapping[str, Any]) -> Manifest:
    return Manifest(
        library=_word(body["library"]),
        generation=_count(body["generation"]),
        state=_word(body["state"]),
        shards=tuple(_read_shard(entry) for entry in body["shards"]),
        environments=tuple(_read_file(entry, ("environments",)) for entry in body["environments"]),
        text_model=_model(body["text_model"]),
        embedding_model=_model(body["embedding_model"]),
    )


def _read_shard(entry: Mapping[str, Any]) -> ShardEntry:
    files = tuple(_read_file(file, SHARD_KINDS) for file in entry["files"])
    kinds = [file.kind for file in files]
    shard = ShardEntry(
        _word(entry["id"]), _count(entry["rows"]), _count(entry["states"]), _texts(entry["environments"]), files
    )
    if not shard.rows or not 1 <= shard.states <= MOST_ENTRIES:
        raise ValueError(f"shard {shard.id} has {shard.rows} policies over {shard.states} observations")
    if len(set(kinds)) < len(kinds) or not {"policies", "tables"} <= set(kinds):
        raise ValueError(f"shard {shard.id} has files of kinds {kinds}")
    if any(file.rows != shard.rows for file in files if file.kind != "texts"):
        raise ValueError(f"the files of shard {shard.id} have differing rows")
    return shard


def _read_file(entry: Mapping[str, Any], kinds: Sequence[str]) -> DataFile:
    file = DataFile(
        _word(entry["name"]),
        _word(entry["kind"]),
        _count(entry["rows"]),
        _count(entry["bytes"]),
        _word(entry["sha256"]),
        _texts(entry["environments"]),
    )
    if not _NAME.fullmatch(file.name) or file.kind not in kinds:
        raise ValueError(f"it names file {file.name[:80]!r} of kind {file.kind!r}")
    if file.kind == "environments" and len(file.environments) != file.rows:
        raise ValueError(f"file {file.name!r} has {file.rows} rows and {len(file.environments)} environments")
    return file


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 48:
        raise ValueError(f"{str(value)[:60]} is no count")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 1000 or not value.isprintable():
        raise ValueError(f"{str(value)[:60]!r} is no name")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{str(values)[:60]} is no list of names")
    return tuple(values)


def _model(value: Any) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{str(value)[:60]} describes no model")
    return value


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest atomically and durably; data files that it lists are made durable before."""
    body = asdict(manifest)
    content = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "checksum": checksum_of(SCHEMA_VERSION, body)}
    data = json.dumps(content | {"content": body}, separators=(",", ":")).encode()
    flush_folder(path)
    write_atomically(path / MANIFEST, data)
    flush_folder(path)


def listed(path: Path, names: Iterable[str]) -> set[str]:
    """Those of some file names that the manifest on disk mentions, of whatever version it is; none where it is gone."""
    try:
        text = (path / MANIFEST).read_bytes()
    except FileNotFoundError:
        return set()
    return {name for name in names if f'"{name}"'.encode() in text}


def checksum_of(version: int, body: Any) -> str:
    """SHA-256 of a manifest's version and content, hexadecimal."""
    return hashlib.sha256(json.dumps([version, body], sort_keys=True).encode()).hexdigest()
