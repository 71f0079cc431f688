"""The actors that hold shards of a policy library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import ray
from ray.exceptions import ActorDiedError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lever_ray.errors import LibraryError
from lever_ray.library.format.files import MissingFile
from lever_ray.library.format.manifest import Manifest, ShardEntry
from lever_ray.library.search.text import TextEncoder
from lever_ray.library.search.wording import Wording
from lever_ray.library.serving.shard import Shard
from lever_ray.policies.group import GroupKey
from lever_ray.ray_execution.executor import configure_worker_logging, task_error

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")

NAMESPACE = "lever_ray"
"""Of actors that several drivers share."""


@dataclass(frozen=True)
class Common:
    """What the actors of one library have in common.

    Attributes:
        path: folder of the library.
        encoder: of texts.
        index: what searches all policies by text.
    """

    path: Path
    encoder: TextEncoder
    index: str

    def name(self, manifest: Manifest, place: int, count: int) -> str:
        """What drivers that share actors find one by."""
        return f"{manifest.library}/{self.encoder.name}/{self.index}/{place + 1}-of-{count}"


class ShardServer:
    """Serves a part of a library from an actor; its groups lie in the object store, where workers read them in place.

    Args:
        common: what all actors of the library have in common.
        manifest: the library's files, with the shards that this actor serves.
    """

    def __init__(self, common: Common, manifest: Manifest) -> None:
        configure_worker_logging()
        self._common = common
        self.load(manifest)

    def load(self, manifest: Manifest) -> None:
        """Serve another state of the library; what was read of files that stay is kept."""
        before = getattr(self, "_shard", None)
        self._state, common = manifest.state, self._common
        self._shard = Shard(common.path, manifest, encoder=common.encoder, index=common.index)
        if before is not None:
            self._shard.take_over(before)

    def ask(self, state: str, function: Callable[Concatenate[Shard, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What a function gives of the :class:`Shard`.

        Raises:
            MissingFile: the actor serves another state of the library, as one does that was started again.
        """
        if state != self._state:
            raise MissingFile(
                f"an actor serves another state of library {self._common.path} than was asked about; open it again"
            )
        return function(self._shard, *args, **kwargs)

    def give(self, function: Callable[[Shard, A], T], one: A, /) -> T:
        """The same in whatever state is served."""
        return function(self._shard, one)

    def published(
        self, state: str, keys: Sequence[GroupKey], wordings: Sequence[Wording] = ()
    ) -> list[ray.ObjectRef | None]:
        """A reference to the members of each group; None where it has none. For errors see :meth:`ask`."""
        groups = self.ask(state, Shard.groups, keys, wordings)
        return [None if group is None else ray.put(group) for group in groups]

    def state(self) -> str:
        """The state of the library that is served."""
        return self._state

    def node(self) -> str:
        """Id of the node that the actor runs on."""
        return str(ray.get_runtime_context().get_node_id())


ShardActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")(ShardServer)
"""An actor that is lost reads its files again where it is restarted."""


def start(common: Common, part: Manifest, *, name: str = "", node: str = "") -> Any:
    """Start an actor, or find the one of that name.

    Args:
        common: what all actors of the library have in common.
        part: what it serves.
        name: of an actor that outlives this driver and that others share.
        node: where it should run, if it can.
    """
    options: dict[str, Any] = {}
    if name:
        options |= {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    if node:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id=node, soft=True)
    return ShardActor.options(**options).remote(common, part)


def got(references: Any) -> Any:
    """What tasks returned; raises what they raised, without Ray's wrapping.

    Raises:
        LibraryError: an actor was ended for good.
    """
    try:
        return ray.get(references)
    except RayTaskError as error:
        raise task_error(error) from None
    except ActorDiedError as error:
        raise LibraryError("an actor that held shards of the library was ended; open the library again") from error


def end_shared(library: str) -> int:
    """End the actors of a library that several drivers share; how many there were.

    Args:
        library: its id.
    """
    names = [
        found["name"]
        for found in ray.util.list_named_actors(all_namespaces=True)
        if found["namespace"] == NAMESPACE and found["name"].startswith(f"{library}/")
    ]
    for name in names:
        ray.kill(ray.get_actor(name, namespace=NAMESPACE))
    return len(names)


def dealt(manifest: Manifest, count: int) -> list[Manifest]:
    """The parts of ``count`` actors, the same ones in whatever process: each shard to who has least to hold so far.

    Shards are dealt oldest first, so that an append moves none of those before it.
    """
    parts: list[list[ShardEntry]] = [[] for _ in range(count)]
    held = [0] * count
    for shard in manifest.shards:
        least = held.index(min(held))
        parts[least].append(shard)
        held[least] += shard.rows * shard.states
    return [manifest.part(part) for part in parts]
