"""Taking policies, or an empty library, away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lever_ray.errors import UnknownName
from lever_ray.library.format.environments import Environments
from lever_ray.library.format.manifest import MANIFEST, ShardEntry, read_manifest
from lever_ray.library.search.text import TextEncoder, WordLlamaEncoder, model_of
from lever_ray.library.serving.ids import places_of
from lever_ray.library.serving.mapped import MappedShard
from lever_ray.library.writing.append import rewritten
from lever_ray.library.writing.change import change
from lever_ray.library.writing.lock import write_lock
from lever_ray.watching import Watch, watched


def delete(
    path: str | Path, ids: Sequence[str], *, encoder: TextEncoder | None = None, watch: Watch | None = None
) -> int:
    """Take policies out of a library; their environments stay. Shards that hold them are written anew.

    Args:
        path: of the library's folder.
        ids: of the policies.
        encoder: makes text vectors; :class:`~lever_ray.library.search.text.WordLlamaEncoder` by default.
        watch: told how many shards are looked through and rewritten.

    Returns:
        How many were taken out.

    Raises:
        UnknownName: the library has no policy of some id; nothing is changed.
        LibraryError: it is damaged, or the disk is full; nothing is changed.
    """
    folder, texts, wanted = Path(path), encoder or WordLlamaEncoder(), list(dict.fromkeys(ids))
    with change(folder) as begun:
        held = begun.manifest
        hit: dict[str, set[str]] = {}
        for shard in watched(held.shards, watch, "shards looked through"):
            places = places_of(MappedShard(folder, held.library, shard).ids, wanted)[0]
            hit[shard.id] = {wanted[place] for place in places.tolist()}
        for identity in wanted:
            if not any(identity in found for found in hit.values()):
                raise UnknownName("policy id", identity, (), hint="Nothing was deleted.")
        if wanted:
            environments = Environments(folder, held.library, held.environments)
            shards: list[ShardEntry] = []
            for shard in watched(held.shards, watch, "shards rewritten"):
                lost = hit[shard.id]
                shards += rewritten(begun, shard, lost, environments.any, texts) if lost else [shard]
            begun.commit(replace(held, shards=tuple(shards), text_model=held.text_model or model_of(texts)))
    return len(wanted)


def remove_empty(path: Path) -> bool:
    """Remove a library that holds no policy, with its folder if nothing else is in it; whether it was removed."""
    if not (path / MANIFEST).exists():
        return False
    with write_lock(path) as lock:
        if read_manifest(path).rows:
            return False
        (path / MANIFEST).unlink()
        lock.file.unlink()
    if not any(path.iterdir()):
        path.rmdir()
    return True
