"""A policy library whose shards live in Ray actors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import RLock
from time import monotonic, sleep
from typing import Any

import ray
from ray.exceptions import ObjectLostError, OwnerDiedError

from lever_ray.composition.groups import PolicyGroup
from lever_ray.errors import InvalidValue, check_known
from lever_ray.library.files import MissingFile
from lever_ray.library.index import INDEXES
from lever_ray.library.manifest import Manifest, read_manifest
from lever_ray.library.reader import LibraryReader
from lever_ray.library.shard import INDEX
from lever_ray.library.store import PolicyLibrary
from lever_ray.library.stored import GroupKey
from lever_ray.library.text import TextEncoder, WordLlamaEncoder
from lever_ray.library.wording import Wording
from lever_ray.ray_execution.executor import connect
from lever_ray.ray_execution.server import Service, dealt, got, start

_LOOK_AROUND = 10.0
"""Seconds between looks for new nodes."""
_PATIENCE, _MOVE_AGAIN = 10.0, 0.5
"""Seconds for which moves are tried, and in between: Ray learns of a new node's resources a while after its name."""
_LOST = 3
"""Times that groups are asked for anew because what was published was lost."""
_KEPT = 1_024
"""Groups whose place in the object store is remembered."""

_Asked = tuple[GroupKey, Wording | None]
"""A group, and how its members are found where that is not by their own objective."""


@dataclass
class _Served:
    """What is served by which actors: replaced as a whole, so that a question sees one state of the library.

    Attributes:
        manifest: the state.
        actors: one per part of it.
        published: where the members of groups lie in the object store.
    """

    manifest: Manifest
    actors: list[Any]
    published: dict[_Asked, list[ray.ObjectRef]] = field(default_factory=dict)

    @cached_property
    def places(self) -> dict[str, set[int]]:
        """Actors by environment, as the manifest says."""
        found: dict[str, set[int]] = {}
        for place, part in enumerate(dealt(self.manifest, len(self.actors))):
            for name in {name for shard in part.shards for name in shard.environments}:
                found.setdefault(name, set()).add(place)
        return found

    def holders(self, near: Collection[str] | None) -> list[Any]:
        """The actors with policies of some environments; all, if None."""
        if near is None:
            return self.actors
        return [self.actors[place] for place in sorted({p for name in near for p in self.places.get(name, ())})]

    def call(self, near: Collection[str] | None, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Ask the actors concerned about this state; MissingFile where one serves another."""
        asked = [getattr(actor, method).remote(self.manifest.state, *args, **kwargs) for actor in self.holders(near)]
        return list(got(asked))


class ShardedLibrary(LibraryReader):
    """A library whose shards are held by Ray actors; it answers as ``PolicyLibrary`` does.

    Groups are published to the object store when they are first asked for; from then on a worker reads them from its
    node's shared memory. The library can be sent to tasks, which then ask the same actors, and be used by several
    threads. Use :meth:`open`.
    """

    def __init__(self, path: Path, served: _Served, service: Service, *, shared: bool) -> None:
        super().__init__(path, served.manifest, service.encoder)
        self._served, self._service, self._shared = served, service, shared
        self._lock, self._looked, self._nodes_seen = RLock(), monotonic(), 0
        self._opened_here = True

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
            actors: how many; at most one per shard is started, unless they are shared.
            shared: drivers that ask for equally many actors with an equal index use the same ones, which outlive them.
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
        folder, manifest = Path(path).resolve(), read_manifest(Path(path))
        service = Service(folder, encoder or WordLlamaEncoder(), index)
        connect()
        count = actors if shared else max(1, min(actors, len(manifest.shards)))
        names = [service.name(manifest, place, count) if shared else "" for place in range(count)]
        started = [start(service, part, name=name) for part, name in zip(dealt(manifest, count), names, strict=True)]
        opened = cls(folder, _Served(manifest, started), service, shared=shared)
        opened.refresh()
        opened.spread()
        return opened

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {"_opened_here": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_lock": RLock()}

    def _ask_shards(self, method: str, *args: Any, near: Collection[str] | None, **kwargs: Any) -> list[Any]:
        self._look_around()
        return self._served.call(near, "ask", method, *args, **kwargs)

    def refresh(self) -> bool:
        """See :class:`LibraryReader`; also brings actors up to date that were started again."""
        with self._lock:
            new, actors = read_manifest(self.path), self._served.actors
            parts = dealt(new, len(actors))
            stale = [state != new.state for state in got([actor.state.remote() for actor in actors])]
            if new.state == self._served.manifest.state and not any(stale):
                return False
            late = [place for place, behind in enumerate(stale) if behind]
            got([actors[place].load.remote(parts[place]) for place in late])
            self._manifest, self._served = new, _Served(new, actors)
            self._forget()
            return True

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()) -> list[PolicyGroup]:
        """See :meth:`LibraryReader.groups`; read from the object store."""
        asked: list[_Asked] = list(zip(keys, wordings, strict=True)) if wordings else [(key, None) for key in keys]
        self._look_around()
        return self._up_to_date(lambda: self._read(asked))

    def publish(self, environments: Iterable[str]) -> None:
        """Have actors put groups into the object store: tasks that find them there do not wait.

        Ray starts another worker for every task that waits. What is published last is remembered, 1,024 groups.
        """
        keys = [key for name in environments for key in self.keys(name) if key.objective]
        asked: list[_Asked] = [(key, None) for key in keys[-_KEPT:]]
        self._up_to_date(lambda: self._published(self._served, asked))

    def _read(self, asked: Sequence[_Asked]) -> list[PolicyGroup]:
        """Groups from where they were published; published again where the object store or their actor lost them."""
        for _ in range(_LOST):
            served = self._served
            try:
                places = self._published(served, asked)
                parts = iter(got([reference for each in asked for reference in places[each]]))
                return [self._merged(key, [next(parts) for _ in places[key, said]], said) for key, said in asked]
            except (ObjectLostError, OwnerDiedError):
                served.published = {}
        raise MissingFile(f"groups of library {self.path} were lost {_LOST} times while they were read; ask again")

    def _published(self, served: _Served, asked: Sequence[_Asked]) -> dict[_Asked, list[ray.ObjectRef]]:
        """Where the members of groups lie in the object store."""
        places = {each: found for each in asked if (found := served.published.get(each)) is not None}
        missing = [each for each in asked if each not in places]
        if missing:
            wordings = [wording for _, wording in missing if wording is not None]
            near = {key.environment for key, _ in missing}
            answers = served.call(near, "published", [key for key, _ in missing], wordings)
            for position, each in enumerate(missing):
                places[each] = [answer[position] for answer in answers if answer[position] is not None]
            kept = list(served.published.items())[-_KEPT + len(missing) :]
            served.published = dict(kept) | {each: places[each] for each in missing}
        return places

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
        actors = self._served.actors
        waiting = {actor: list(shards) for actor, shards in zip(actors, lacking, strict=True)}
        running: dict[ray.ObjectRef, tuple[Any, str]] = {}

        def begin(actor: Any) -> None:
            if waiting[actor]:
                shard = waiting[actor].pop()
                running[actor.psi_of.remote(shard)] = (actor, shard)

        for actor in actors:
            begin(actor)
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            actor, shard = running.pop(ready)
            begin(actor)
            psi = got(ready)
            writer.store_psi({shard: psi})
            yield len(psi)

    def nodes(self) -> list[str]:
        """Id of the node that each actor runs on."""
        return list(got([actor.node.remote() for actor in self._served.actors]))

    def _look_around(self) -> None:
        """Now and then, in the process that opened the library: use nodes that have joined."""
        if not self._opened_here or self._shared or monotonic() - self._looked < _LOOK_AROUND:
            return
        self._looked, alive = monotonic(), sum(node["Alive"] for node in ray.nodes())
        if alive != self._nodes_seen:
            self.spread(0.0)

    def spread(self, patience: float = _PATIENCE) -> int:
        """Move actors from nodes with several to nodes with fewer, such as have joined; how many were moved.

        An actor that others still ask goes on until they let go of it. Actors that several drivers share stay.

        Args:
            patience: seconds for which moves are tried that Ray does not make yet; questions try them again later.
        """
        if self._shared:
            return 0
        moved, until = 0, monotonic() + patience
        with self._lock:
            while True:
                places = self.nodes()
                held = {node["NodeID"]: places.count(node["NodeID"]) for node in ray.nodes() if node["Alive"]}
                most, least = max(sorted(held), key=held.__getitem__), min(sorted(held), key=held.__getitem__)
                self._looked = monotonic()
                if held[most] - held[least] < 2:
                    self._nodes_seen = len(held)
                    return moved
                if self._move(places.index(most), least):
                    moved += 1
                elif monotonic() >= until:
                    return moved
                else:
                    sleep(_MOVE_AGAIN)

    def _move(self, place: int, node: str) -> bool:
        """Put another actor in the place of one; False where Ray did not start it on the node."""
        served = self._served
        new = start(self._service, dealt(served.manifest, len(served.actors))[place], node=node)
        if got(new.node.remote()) != node:
            ray.kill(new)
            return False
        self._served = _Served(served.manifest, [*served.actors[:place], new, *served.actors[place + 1 :]])
        return True

    def close(self) -> None:
        """End the actors, unless several drivers share them; these are ended by ``lever-ray library release``."""
        if not self._shared:
            for actor in self._served.actors:
                ray.kill(actor)
