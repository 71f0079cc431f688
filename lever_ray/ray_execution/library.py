"""A policy library whose shards live in Ray actors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import ray
from ray.exceptions import ObjectLostError, OwnerDiedError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lever_ray.composition.groups import PolicyGroup
from lever_ray.errors import InvalidValue, check_known
from lever_ray.library.files import MissingFile
from lever_ray.library.index import INDEXES
from lever_ray.library.manifest import Manifest, Shard, read_manifest
from lever_ray.library.reader import LibraryReader
from lever_ray.library.retrieval import Wording
from lever_ray.library.shard import INDEX, LibraryShard
from lever_ray.library.store import PolicyLibrary
from lever_ray.library.stored import GroupKey
from lever_ray.library.text import TextEncoder, WordLlamaEncoder
from lever_ray.ray_execution.executor import configure_worker_logging, connect, task_error

NAMESPACE = "lever_ray"
"""Of actors that several drivers share."""
_LOOK_AROUND = 10.0
"""Seconds between looks for new nodes."""
_MOVES, _MOVE_AGAIN = 8, 0.5
"""How often a move is tried, and seconds in between: Ray learns of a new node's resources a moment after its name."""


class ShardServer:
    """Serves a part of a library from an actor; its groups lie in the object store, where workers read them in place.

    Args:
        path: folder of the library.
        manifest: its files, with the shards that this actor serves.
        encoder: of texts.
        index: what searches all policies by text.
    """

    def __init__(self, path: Path, manifest: Manifest, encoder: TextEncoder, index: str) -> None:
        configure_worker_logging()
        self._path, self._encoder, self._index = path, encoder, index
        self.load(manifest)

    def load(self, manifest: Manifest) -> None:
        """Serve another state of the library; what was read of files that stay is kept."""
        before = getattr(self, "_shard", None)
        self._generation = manifest.generation
        self._shard = LibraryShard(self._path, manifest, encoder=self._encoder, index=self._index)
        if before is not None:
            self._shard.take_over(before)

    def ask(self, generation: int, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the :class:`LibraryShard`.

        Raises:
            MissingFile: the actor serves another state of the library, as one does that was started again.
        """
        if generation != self._generation:
            raise MissingFile(f"an actor serves state {self._generation} of library {self._path}, not {generation}")
        return getattr(self._shard, method)(*args, **kwargs)

    def published(
        self, generation: int, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()
    ) -> list[ray.ObjectRef | None]:
        """A reference to the members of each group; None where it has none. For errors see :meth:`ask`."""
        groups = self.ask(generation, "groups", keys, wordings)
        return [None if group is None else ray.put(group) for group in groups]

    def generation(self) -> int:
        """The state of the library that is served."""
        return self._generation

    def psi_of(self, shard: str) -> Any:
        """See :meth:`LibraryShard.psi_of`."""
        return self._shard.psi_of(shard)

    def node(self) -> str:
        """Id of the node that the actor runs on."""
        return str(ray.get_runtime_context().get_node_id())


ShardActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")(ShardServer)
"""An actor that is lost reads its files again where it is restarted."""

_Asked = tuple[GroupKey, Wording | None]
"""A group, and how its members are found where that is not by their own objective."""


class ShardedLibrary(LibraryReader):
    """A library whose shards are held by Ray actors; it answers as ``PolicyLibrary`` does.

    Groups are published to the object store when they are first asked for; from then on a worker reads them from its
    node's shared memory. The library can be sent to tasks, which then ask the same actors. Use :meth:`open`.
    """

    def __init__(
        self, path: Path, manifest: Manifest, encoder: TextEncoder, index: str, actors: list[Any], *, shared: bool
    ) -> None:
        super().__init__(path, manifest, encoder)
        self._index, self._actors, self._shared = index, actors, shared
        self._published: dict[_Asked, list[ray.ObjectRef]] = {}
        self._opened_here, self._looked = True, monotonic()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        actors: int = 4,
        shared: bool = False,
        encoder: TextEncoder | None = None,
        index: str = INDEX,
    ) -> ShardedLibrary:
        """Start actors, spread over the nodes, and give each its share of the library's shards.

        Args:
            path: folder of the library, visible to every node.
            actors: how many; at most one per shard is started.
            shared: several drivers use the same actors, which outlive them; :meth:`close` ends them for all.
            encoder: makes text vectors; :class:`~lever_ray.library.text.WordLlamaEncoder` by default.
            index: what searches all policies by text, one of :data:`~lever_ray.library.index.INDEXES`.

        Raises:
            UnknownName: there is no such index.
            InvalidValue: ``actors`` is below 1.
            LibraryError: see :meth:`lever_ray.library.store.PolicyLibrary.open`.
        """
        if actors < 1:
            raise InvalidValue(f"actors is {actors}; at least 1 is needed")
        check_known("index", index, INDEXES)
        folder, encode = Path(path).resolve(), encoder or WordLlamaEncoder()
        manifest = read_manifest(folder)
        connect()
        count = max(1, min(actors, len(manifest.shards)))
        started = [
            _start(folder, part, encode, index, name=f"{manifest.library}-{count}-{place}" if shared else "")
            for place, part in enumerate(_parts(manifest, count))
        ]
        opened = cls(folder, manifest, encode, index, started, shared=shared)
        if shared:
            opened.refresh()
        opened.spread()
        return opened

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened_here": False}

    def _ask_shards(self, method: str, *args: Any, near: Collection[str] | None, **kwargs: Any) -> list[Any]:
        self._look_around()
        return self._call(near, "ask", method, *args, **kwargs)

    def _call(self, near: Collection[str] | None, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        generation = self._manifest.generation
        asked = [getattr(actor, method).remote(generation, *args, **kwargs) for actor in self._holders(near)]
        return list(_got(asked))

    def _holders(self, near: Collection[str] | None) -> list[Any]:
        """The actors with policies of some environments; all, if None."""
        if near is None:
            return self._actors
        places = sorted({place for name in near for place in self._places.get(name, ())})
        return [self._actors[place] for place in places]

    @cached_property
    def _places(self) -> dict[str, set[int]]:
        """Actors by environment, as the manifest says."""
        found: dict[str, set[int]] = {}
        for place, share in enumerate(shares(self._manifest, len(self._actors))):
            for shard in share:
                for name in shard.environments:
                    found.setdefault(name, set()).add(place)
        return found

    def refresh(self) -> bool:
        """See :class:`LibraryReader`; also brings actors up to date that were started again."""
        new = read_manifest(self.path)
        changed = new.generation != self._manifest.generation
        stale = [generation != new.generation for generation in ray.get([a.generation.remote() for a in self._actors])]
        if not changed and not any(stale):
            return False
        self._manifest = new
        self._published.clear()
        self.__dict__.pop("_places", None)
        self._forget()
        parts = _parts(new, len(self._actors))
        ray.get([actor.load.remote(part) for actor, part in zip(self._actors, parts, strict=True)])
        return True

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()) -> list[PolicyGroup]:
        """See :meth:`LibraryReader.groups`; read from the object store."""
        asked: list[_Asked] = list(zip(keys, wordings, strict=True)) if wordings else [(key, None) for key in keys]
        try:
            return self._read(asked)
        except (ObjectLostError, OwnerDiedError):
            self._published.clear()
        except MissingFile:
            if not self.refresh():
                raise
        return self._read(asked)

    def _read(self, asked: Sequence[_Asked]) -> list[PolicyGroup]:
        self._look_around()
        missing = [each for each in asked if each not in self._published]
        if missing:
            wordings = [wording for _, wording in missing if wording is not None]
            near = {key.environment for key, _ in missing}
            answers = self._call(near, "published", [key for key, _ in missing], wordings)
            for position, each in enumerate(missing):
                self._published[each] = [answer[position] for answer in answers if answer[position] is not None]
        parts = iter(ray.get([reference for each in asked for reference in self._published[each]]))
        return [self._merged(each[0], [next(parts) for _ in self._published[each]], each[1]) for each in asked]

    def embed(self, watch: Callable[[int], None] | None = None) -> int:
        """See :meth:`lever_ray.library.store.PolicyLibrary.embed`; computed in the actors, a shard at a time each."""
        writer, done = PolicyLibrary.open(self.path, encoder=self.encoder), 0
        writer.store_missing_texts()
        self.refresh()
        while any(lacking := self._ask("without_psi")):
            try:
                for count in self._embedded(writer, lacking):
                    done += count
                    if watch is not None:
                        watch(count)
            except MissingFile:
                if not self.refresh():
                    raise
            self.refresh()
        return done

    def _embedded(self, writer: PolicyLibrary, lacking: Sequence[Sequence[str]]) -> Iterator[int]:
        """Have every actor compute Psi of its shards, one after the other, and store it; rows of each."""
        waiting = {actor: list(shards) for actor, shards in zip(self._actors, lacking, strict=True)}
        running: dict[ray.ObjectRef, tuple[Any, str]] = {}

        def begin(actor: Any) -> None:
            if waiting[actor]:
                shard = waiting[actor].pop()
                running[actor.psi_of.remote(shard)] = (actor, shard)

        for actor in self._actors:
            begin(actor)
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            actor, shard = running.pop(ready)
            begin(actor)
            psi = _got(ready)
            writer.store_psi({shard: psi})
            yield len(psi)

    def nodes(self) -> list[str]:
        """Id of the node that each actor runs on."""
        return list(ray.get([actor.node.remote() for actor in self._actors]))

    def _look_around(self) -> None:
        """Now and then, in the process that opened the library: use nodes that have joined."""
        if self._opened_here and not self._shared and monotonic() - self._looked > _LOOK_AROUND:
            self.spread()

    def spread(self) -> int:
        """Move actors from nodes with several to nodes with fewer, such as have joined; how many were moved.

        Actors that several drivers share stay where they are.
        """
        self._looked = monotonic()
        moved, failed = 0, 0
        while not self._shared and failed < _MOVES:
            places = self.nodes()
            held = {node["NodeID"]: places.count(node["NodeID"]) for node in ray.nodes() if node["Alive"]}
            most, least = max(sorted(held), key=held.__getitem__), min(sorted(held), key=held.__getitem__)
            if held[most] - held[least] < 2:
                break
            if self._move(places.index(most), least):
                moved += 1
            else:
                failed += 1
                sleep(_MOVE_AGAIN)
        return moved

    def _move(self, place: int, node: str) -> bool:
        """Put another actor in the place of one; False where Ray did not start it on the node."""
        part = _parts(self._manifest, len(self._actors))[place]
        moved = _start(self.path, part, self.encoder, self._index, node=node)
        if ray.get(moved.node.remote()) != node:
            ray.kill(moved)
            return False
        ray.kill(self._actors[place])
        self._actors[place] = moved
        return True

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            ray.kill(actor)


def _got(references: Any) -> Any:
    """What tasks returned; raises what they raised, without Ray's wrapping."""
    try:
        return ray.get(references)
    except RayTaskError as error:
        raise task_error(error) from None


def _start(path: Path, part: Manifest, encoder: TextEncoder, index: str, *, name: str = "", node: str = "") -> Any:
    options: dict[str, Any] = {}
    if name:
        options |= {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    if node:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id=node, soft=True)
    return ShardActor.options(**options).remote(path, part, encoder, index)


def _parts(manifest: Manifest, count: int) -> list[Manifest]:
    return [manifest.part(share) for share in shares(manifest, count)]


def shares(manifest: Manifest, count: int) -> list[list[Shard]]:
    """Shards dealt to ``count`` actors, largest first, each to the one with least bytes so far."""
    dealt: list[list[Shard]] = [[] for _ in range(count)]
    held = [0] * count
    for shard in sorted(manifest.shards, key=lambda shard: (-shard.bytes, shard.id)):
        least = held.index(min(held))
        dealt[least].append(shard)
        held[least] += shard.bytes
    return dealt
