"""A library held by actors, while it is changed, while actors come and go, and when several use it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from lever_ray.errors import LibraryError
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.serving.shard import Shard
from lever_ray.policies.group import GroupKey
from lever_ray.ray_execution import ShardedLibrary
from lever_ray.ray_execution.server import dealt, end_shared
from tests.twin import made_up_record
from tests.unit.test_library import HALL, ROOM

PATHS = GroupKey("room", "path", 0.0, 0)
pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]


def rooms(seeds: range) -> list[Any]:
    return [made_up_record("room", ROOM, seed=seed) for seed in seeds]


@pytest.fixture
def local(tmp_path: Path) -> PolicyLibrary:
    """Three shards."""
    library = PolicyLibrary.create(tmp_path / "library")
    for first in (0, 10, 20):
        library.add([*rooms(range(first, first + 3)), made_up_record("hall", HALL, seed=first)])
    return library


@pytest.fixture
def sharded(local: PolicyLibrary) -> Iterator[ShardedLibrary]:
    library = ShardedLibrary.open(local.path, actors=2)
    yield library
    library.close()


def members(library: Any) -> set[str]:
    return set(library.groups([PATHS])[0].ids)


def test_an_actor_that_restarts_after_a_refresh_serves_the_state_of_today(
    local: PolicyLibrary, sharded: ShardedLibrary
) -> None:
    assert members(sharded) == members(local)
    local.add(rooms(range(30, 33)))
    assert sharded.refresh()
    assert members(sharded) == members(local)
    for actor in sharded._service.served.actors:
        ray.kill(actor, no_restart=False)
    time.sleep(2)
    assert members(sharded) == members(local)
    assert len(sharded.select(environment="room")) == 12


def test_threads_read_while_another_changes_and_refreshes(local: PolicyLibrary, sharded: ShardedLibrary) -> None:
    committed, errors, stop = set(members(local)), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            before = set(committed)
            try:
                assert before <= members(sharded)
                sharded.refresh()
                sharded.keys()
                sharded.search(["number 3"], 2)
            except Exception as error:  # noqa: BLE001 - told by the test
                errors.append(repr(error))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for seed in range(100, 112):
        local.add(rooms(range(seed, seed + 1)))
        sharded.refresh()
        committed.update(members(local))
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[:3]
    assert members(sharded) == committed


@ray.remote
class Holder:
    """Another process that holds the library."""

    def __init__(self, library: ShardedLibrary) -> None:
        self._library = library

    def members(self) -> set[str]:
        return members(self._library)


def test_who_holds_an_actor_that_was_moved_goes_on(local: PolicyLibrary, sharded: ShardedLibrary) -> None:
    holder = Holder.remote(sharded)
    assert ray.get(holder.members.remote()) == members(local)
    assert sharded._service._move(0, sharded.nodes()[0])
    assert members(sharded) == members(local)
    assert ray.get(holder.members.remote()) == members(local)


def test_a_library_made_anew_in_the_same_place_is_noticed(local: PolicyLibrary, sharded: ShardedLibrary) -> None:
    assert len(sharded) == 12
    shutil.rmtree(local.path)
    again = PolicyLibrary.create(local.path)
    for seed in range(3):
        again.add(rooms(range(50 + seed, 51 + seed)))
    assert again.manifest.generation == local.manifest.generation
    assert sharded.refresh()
    assert members(sharded) == members(again)


def test_an_environment_without_policies_has_no_match(local: PolicyLibrary, sharded: ShardedLibrary) -> None:
    local.delete([record.id for record in local.select(environment="hall")])
    sharded.refresh()
    assert sharded.search(["number 3"], environment="hall") == local.search(["number 3"], environment="hall") == [[]]


def test_shared_actors_are_the_same_for_equal_wishes_and_ended_by_library(local: PolicyLibrary) -> None:
    first = ShardedLibrary.open(local.path, actors=2, shared=True)
    local.add(rooms(range(40, 42)))
    second = ShardedLibrary.open(local.path, actors=2, shared=True)
    other = ShardedLibrary.open(local.path, actors=2, shared=True, index="flat")
    assert [actor._actor_id for actor in first._service.served.actors] == [
        actor._actor_id for actor in second._service.served.actors
    ]
    assert {actor._actor_id for actor in other._service.served.actors}.isdisjoint(
        actor._actor_id for actor in first._service.served.actors
    )
    assert members(first) == members(second) == members(other) == members(local)
    assert end_shared(local.manifest.library) == 4
    with pytest.raises(LibraryError, match="was ended; open the library again"):
        first.ask(None, Shard.keys, None)


def test_an_append_moves_no_shard_to_another_actor(local: PolicyLibrary) -> None:
    before = [{shard.id for shard in part.shards} for part in dealt(local.manifest, 3)]
    local.add(rooms(range(60, 70)))
    after = [{shard.id for shard in part.shards} for part in dealt(local.manifest, 3)]
    assert all(old <= new for old, new in zip(before, after, strict=True))
    assert all(before)
