"""A policy library whose shards live in Ray actors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lever_ray.errors import InvalidValue, check_known
from lever_ray.library.format.manifest import read_manifest
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.reader import LibraryReader
from lever_ray.library.search.index import INDEXES
from lever_ray.library.search.text import TextEncoder, WordLlamaEncoder
from lever_ray.library.serving.nearest import INDEX
from lever_ray.ray_execution.executor import connect
from lever_ray.ray_execution.server import Common, dealt, start
from lever_ray.ray_execution.service import PATIENCE, ActorService


class ShardedLibrary(LibraryReader):
    """A library whose shards are held by Ray actors; it answers as ``PolicyLibrary`` does.

    It can be sent to tasks, which then ask the same actors, and be used by several threads. Use :meth:`open`.
    """

    _service: ActorService

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
            encoder: makes text vectors; :class:`~lever_ray.library.search.text.WordLlamaEncoder` by default.
            index: what searches all policies by text, one of :data:`~lever_ray.library.search.index.INDEXES`.

        Raises:
            UnknownName: there is no such index.
            InvalidValue: ``actors`` is below 1.
            LibraryError: see :meth:`lever_ray.library.library.PolicyLibrary.open`.
        """
        if actors < 1:
            raise InvalidValue(f"actors is {actors}; at least 1 is needed")
        check_known("index", index, INDEXES)
        folder, manifest = Path(path).resolve(), read_manifest(Path(path))
        common = Common(folder, encoder or WordLlamaEncoder(), index)
        connect()
        count = actors if shared else max(1, min(actors, len(manifest.shards)))
        names = [common.name(manifest, place, count) if shared else "" for place in range(count)]
        started = [start(common, part, name=name) for part, name in zip(dealt(manifest, count), names, strict=True)]
        opened = cls(folder, ActorService(common, manifest, started, shared=shared), common.encoder)
        opened.refresh()
        opened.spread()
        return opened

    def publish(self, environments: Iterable[str]) -> None:
        """Have actors put groups into the object store: tasks that find them there do not wait.

        Ray starts another worker for every task that waits. What is published last is remembered, 1,024 groups.
        """
        keys = [key for name in environments for key in self.keys(name) if key.objective]
        self.up_to_date(lambda: self._service.publish(keys))

    def vector_store(self) -> PolicyLibrary:
        """See :class:`LibraryReader`."""
        return PolicyLibrary.open(self.path, encoder=self.encoder)

    def nodes(self) -> list[str]:
        """Id of the node that each actor runs on."""
        return self._service.nodes()

    def spread(self, patience: float = PATIENCE) -> int:
        """Move actors from nodes with several to nodes with fewer; see :meth:`ActorService.spread`."""
        return self._service.spread(patience)
