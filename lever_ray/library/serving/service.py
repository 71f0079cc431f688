"""Who holds the shards of a library, asked in the same words: this process, or actors in others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from lever_ray.library.format.environments import Environments
from lever_ray.library.format.manifest import Manifest, read_manifest
from lever_ray.library.search.text import TextEncoder
from lever_ray.library.search.wording import Wording
from lever_ray.library.serving.holding import Held
from lever_ray.library.serving.nearest import INDEX
from lever_ray.library.serving.shard import Shard
from lever_ray.policies.group import GroupKey, PolicyGroup

P = ParamSpec("P")
A = TypeVar("A")
T = TypeVar("T")
Near = Collection[str] | None
"""Environments that a question is about: shards without policies of them may be left out. None for all."""


class ShardService(Protocol):
    """Holds the shards of a library, and answers for one state of it: that of its manifest."""

    @property
    def manifest(self) -> Manifest:
        """The files of the library as they are served; another object whenever something else is served."""

    def environments(self) -> Environments:
        """The environments of that state."""

    def apply(
        self, near: Near, function: Callable[Concatenate[Shard, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[T]:
        """What a function gives of every :class:`Shard` that is held, in their order: it is sent to where they are.

        Args:
            near: which environments it is about.
            function: a method of :class:`Shard`, or a function of a module, with the shard as its first argument.
            args: more of its arguments.
            kwargs: likewise.

        Raises:
            MissingFile: the library has changed since this state.
        """

    def each(self, function: Callable[[Shard, A], T], wanted: Sequence[Sequence[A]], /) -> Iterator[tuple[A, T]]:
        """What a function gives of each of some arguments, as it is done, beside the argument.

        Args:
            function: as that of :meth:`apply`.
            wanted: arguments for every shard that is held, in their order.
        """

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording]) -> list[list[PolicyGroup | None]]:
        """For every group, the members that each shard has; see :meth:`Groups.get`."""

    def refresh(self) -> bool:
        """Read the manifest again; whether something else is served now."""

    def close(self) -> None:
        """Give back what is held."""


class LocalService:
    """Shards that this process holds itself; files are mapped when they are first asked for.

    Args:
        path: folder of the library.
        manifest: its files.
        encoder: of texts.
        index: what searches all policies by text.
        held: shards and environments that lie in memory, in place of the files; they never change.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        encoder: TextEncoder,
        *,
        index: str = INDEX,
        held: Held | None = None,
    ) -> None:
        self._path, self.manifest, self._encoder, self._index, self._held = path, manifest, encoder, index, held

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: it maps the files itself."""
        return {name: value for name, value in self.__dict__.items() if name != "shard"}

    @cached_property
    def shard(self) -> Shard:
        """All that is held."""
        return Shard(self._path, self.manifest, encoder=self._encoder, index=self._index, held=self._held)

    def environments(self) -> Environments:
        """See :class:`ShardService`."""
        if self._held is not None:
            return self._held[1]
        return Environments(self._path, self.manifest.library, self.manifest.environments)

    def apply(
        self, near: Near, function: Callable[Concatenate[Shard, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[T]:
        """See :class:`ShardService`."""
        del near  # there is one shard
        return [function(self.shard, *args, **kwargs)]

    def each(self, function: Callable[[Shard, A], T], wanted: Sequence[Sequence[A]], /) -> Iterator[tuple[A, T]]:
        """See :class:`ShardService`."""
        for one in (one for part in wanted for one in part):
            yield one, function(self.shard, one)

    def groups(self, keys: Sequence[GroupKey], wordings: Sequence[Wording]) -> list[list[PolicyGroup | None]]:
        """See :class:`ShardService`."""
        return [[group] for group in self.shard.groups(keys, wordings)]

    def refresh(self) -> bool:
        """See :class:`ShardService`."""
        if self._held is not None:
            return False
        new = read_manifest(self._path)
        changed = new.state != self.manifest.state
        if changed:
            self.adopt(new)
        return changed

    def adopt(self, manifest: Manifest) -> None:
        """Go on with another manifest; what was read of shards that it has, too, stays read."""
        before: Shard | None = self.__dict__.pop("shard", None)
        same, self.manifest = manifest.library == self.manifest.library, manifest
        if before is not None and same:
            self.shard.take_over(before)

    def close(self) -> None:
        """See :class:`ShardService`: nothing has to be given back."""
