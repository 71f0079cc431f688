"""Shards of a library that Ray actors hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock
from time import monotonic, sleep
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray
from ray.exceptions import ObjectLostError, OwnerDiedError

from lever_ray.library.format.environments import Environments
from lever_ray.library.format.files import MissingFile
from lever_ray.library.format.manifest import Manifest, read_manifest
from lever_ray.library.search.wording import Wording
from lever_ray.library.serving.service import Near
from lever_ray.library.serving.shard import Shard
from lever_ray.policies.group import GroupKey, PolicyGroup
from lever_ray.ray_execution.server import Common, dealt, got, start

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")

_LOOK_AROUND = 10.0
"""Seconds between looks for new nodes."""
PATIENCE, _MOVE_AGAIN = 10.0, 0.5
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

    def holders(self, near: Near) -> list[Any]:
        """The actors with policies of some environments; all, if None."""
        if near is None:
            return self.actors
        return [self.actors[place] for place in sorted({p for name in near for p in self.places.get(name, ())})]


class ActorService:
    """Shards that actors hold; see :class:`~lever_ray.library.serving.service.ShardService`.

    Groups are published to the object store when they are first asked for; from then on a worker reads them from its
    node's shared memory. It can be sent to tasks, which then ask the same actors, and be used by several threads.

    Args:
        common: what all actors have in common.
        manifest: what they serve.
        actors: one per part of it.
        shared: drivers that ask for equally many actors with an equal index use the same ones, which outlive them.
    """

    def __init__(self, common: Common, manifest: Manifest, actors: list[Any], *, shared: bool) -> None:
        self._common, self.served, self._shared = common, _Served(manifest, actors), shared
        self._lock, self._looked, self._nodes_seen = RLock(), monotonic(), 0
        self._opened_here = True

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"} | {"_opened_here": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_lock": RLock()}

    @property
    def manifest(self) -> Manifest:
        """See :class:`ShardService`."""
        return self.served.manifest

    def environments(self) -> Environments:
        """See :class:`ShardService`."""
        manifest = self.served.manifest
        return Environments(self._common.path, manifest.library, manifest.environments)

    def apply(
        self, near: Near, function: Callable[Concatenate[Shard, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[T]:
        """See :class:`ShardService`."""
        self.look_around()
        served = self.served
        state = served.manifest.state
        return list(got([actor.ask.remote(state, function, *args, **kwargs) for actor in served.holders(near)]))

    def each(self, function: Callable[[Shard, A], T], wanted: Sequence[Sequence[A]], /) -> Iterator[tuple[A, T]]:
        """See :class:`ShardService`: every actor does one after the other."""
        actors = self.served.actors
        waiting = {actor: list(part) for actor, part in zip(actors, wanted, strict=True)}
        running: dict[ray.ObjectRef, tuple[Any, A]] = {}

        def begin(actor: Any) -> None:
            if waiting[actor]:
                one = waiting[actor].pop()
                running[actor.give.remote(function, one)] = (actor, one)

        for actor in actors:
            begin(actor)
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            actor, one = running.pop(ready)
            begin(actor)
            yield one, got(ready)

    def refresh(self) -> bool:
        """See :class:`ShardService`; also brings actors up to date that were started again."""
        with self._lock:
            new, actors = read_manifest(self._common.path), self.served.actors
            parts = dealt(new, len(actors))
            stale = [state != new.state for state in got([actor.state.remote() for actor in actors])]
            if new.state == self.served.manifest.state and not any(stale):
                return False
            late = [place for place, behind in enumerate(stale) if behind]
            got([actors[place].load.remote(parts[place]) for place in late])
            self.served = _Served(new, actors)
            return True

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording]) -> list[list[PolicyGroup | None]]:
        """See :class:`ShardService`; read from the object store."""
        self.look_around()
        return self._read(list(zip(keys, wordings, strict=True)) if wordings else [(key, None) for key in keys])

    def publish(self, keys: Sequence[GroupKey]) -> None:
        """Have actors put groups into the object store: what is published last is remembered, 1,024 groups."""
        self._published(self.served, [(key, None) for key in keys[-_KEPT:]])

    def _read(self, asked: Sequence[_Asked]) -> list[list[PolicyGroup | None]]:
        """Groups from where they were published; published again where the object store or their actor lost them."""
        for _ in range(_LOST):
            served = self.served
            try:
                places = self._published(served, asked)
                parts = iter(got([reference for each in asked for reference in places[each]]))
                return [[next(parts) for _ in places[each]] for each in asked]
            except (ObjectLostError, OwnerDiedError):
                served.published = {}
        raise MissingFile(
            f"groups of library {self._common.path} were lost {_LOST} times while they were read; ask again"
        )

    def _published(self, served: _Served, asked: Sequence[_Asked]) -> dict[_Asked, list[ray.ObjectRef]]:
        """Where the members of groups lie in the object store."""
        places = {each: found for each in asked if (found := served.published.get(each)) is not None}
        missing = [each for each in asked if each not in places]
        if missing:
            wordings = [wording for _, wording in missing if wording is not None]
            keys, holders = [key for key, _ in missing], served.holders({key.environment for key, _ in missing})
            state = served.manifest.state
            answers = got([actor.published.remote(state, keys, wordings) for actor in holders])
            for position, each in enumerate(missing):
                places[each] = [answer[position] for answer in answers if answer[position] is not None]
            kept = list(served.published.items())[-_KEPT + len(missing) :]
            served.published = dict(kept) | {each: places[each] for each in missing}
        return places

    def nodes(self) -> list[str]:
        """Id of the node that each actor runs on."""
        return list(got([actor.node.remote() for actor in self.served.actors]))

    def look_around(self) -> None:
        """Now and then, in the process that opened the library: use nodes that have joined."""
        if not self._opened_here or self._shared or monotonic() - self._looked < _LOOK_AROUND:
            return
        self._looked, alive = monotonic(), sum(node["Alive"] for node in ray.nodes())
        if alive != self._nodes_seen:
            self.spread(0.0)

    def spread(self, patience: float = PATIENCE) -> int:
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
        served = self.served
        new = start(self._common, dealt(served.manifest, len(served.actors))[place], node=node)
        if got(new.node.remote()) != node:
            ray.kill(new)
            return False
        self.served = _Served(served.manifest, [*served.actors[:place], new, *served.actors[place + 1 :]])
        return True

    def close(self) -> None:
        """End the actors, unless several drivers share them; these are ended by ``lever-ray library release``."""
        if not self._shared:
            for actor in self.served.actors:
                ray.kill(actor)
