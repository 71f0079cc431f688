"""Compacting, deleting, checking and repairing: nothing is lost that can be read."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from lever_ray.behaviour.psi import embed, without_psi
from lever_ray.building.build import build_library
from lever_ray.config import LibrarySettings
from lever_ray.errors import LibraryError, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.library.format.files import write_table
from lever_ray.library.format.manifest import MANIFEST, read_manifest
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.repair import checking
from lever_ray.library.repair.mending import repair
from lever_ray.library.repair.recovery import restore_manifest
from lever_ray.library.writing.append import write_shards
from lever_ray.library.writing.change import change
from tests.library_files import (
    HALL,
    LETTERS,
    RECORDS,
    ROOM,
    first_file,
    first_table,
    make_library,
    on_disk,
    opened,
    record,
    rewrite,
    with_rows,
)

IDS = {one.id for one in RECORDS[:11]}


def ids_of(library):
    return {one.id for one in library.select()}


def psi_by_id(library):
    found = {}
    for stored in library._shard.mapped:
        found |= dict(zip((identity.decode() for identity in stored.ids.tolist()), stored.psi, strict=True))
    return found


def assert_holds(folder, ids):
    """A library that is sound, has these policies, and nothing else lies in its folder."""
    library = opened(folder)
    assert not library.verify()
    assert ids_of(library) == set(ids)
    assert len(library) == len(ids)
    arrow = {name for name in on_disk(folder) if name.endswith(".arrow")}
    assert arrow == {file.name for file in library.manifest.files}
    return library


# Compact.


def test_compacting_keeps_every_policy_and_its_psi_and_is_done_once(own_library):
    before, records = psi_by_id(own_library), own_library.select()
    labels = {"library": own_library.manifest.library, "shard": "of a writer that was killed"}
    write_table(own_library.path, "tables", first_table(own_library, "tables"), **labels)
    (own_library.path / ".tables-1.arrow.7.tmp").write_bytes(b"")
    assert own_library.compact() == (6, 2)
    after = assert_holds(own_library.path, IDS)
    assert not without_psi(after._shard)
    assert {key: value.tobytes() for key, value in psi_by_id(after).items()} == {
        key: value.tobytes() for key, value in before.items()
    }
    assert [one.q.tobytes() for one in after.select()] == [one.q.tobytes() for one in records]
    assert len(after.manifest.environments) == 1
    disk = on_disk(own_library.path)
    assert own_library.compact() == (2, 2)
    assert on_disk(own_library.path) == disk


def test_a_reader_goes_on_while_another_process_compacts_and_deletes(own_library):
    reader, fresh = opened(own_library), opened(own_library)
    held = reader.q(RECORDS[0].id)
    groups = reader.groups(reader.keys())
    own_library.compact()
    own_library.delete([RECORDS[1].id])
    assert np.array_equal(held, RECORDS[0].q)
    assert sum(map(len, groups)) == 11
    assert np.array_equal(reader.q(RECORDS[2].id), RECORDS[2].q)
    assert np.array_equal(fresh.q(RECORDS[2].id), RECORDS[2].q)
    assert ids_of(fresh) == IDS - {RECORDS[1].id}
    assert fresh.add([record(seed=90)]) == 1
    assert reader.add([record(seed=91)]) == 1
    assert fresh.refresh()
    assert len(fresh) == 12


def test_questions_about_all_ids_are_asked_again_after_a_compaction(own_library):
    readers = [opened(own_library) for _ in range(3)]
    digest = own_library.digest
    own_library.compact()
    assert readers[0].digest == digest
    assert RECORDS[2].id in readers[1]
    assert "0" * 20 not in readers[2]


def test_verifying_during_a_compaction_finds_nothing(own_library, monkeypatch):
    real, calls = checking.check_shard, []

    def slow(*arguments):
        if not calls:
            opened(own_library).compact()
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(checking, "check_shard", slow)
    assert own_library.verify() == []
    assert len(calls) == 6


def test_verifying_while_environments_are_merged_finds_nothing(own_library, monkeypatch):
    real, calls = checking.check_environments, []

    def slow(*arguments):
        if not calls:
            opened(own_library).compact()
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(checking, "check_environments", slow)
    assert own_library.verify() == []
    assert len(calls) == 2


def test_verifying_during_an_append_still_finds_what_is_broken(own_library, monkeypatch):
    (own_library.path / first_file(own_library, "tables")[0].name).unlink()
    real = checking.check_shard

    def slow(*arguments):
        opened(own_library).add([record(seed=90)])
        return real(*arguments)

    monkeypatch.setattr(checking, "check_shard", slow)
    assert [damage.kind for damage in own_library.verify()] == ["tables"]


def test_embedding_survives_a_compaction_in_between(tmp_path):
    library = make_library(tmp_path / "library", RECORDS[:6], 3)
    late, other = opened(library), opened(library)
    late.refresh = lambda: other.compact() and PolicyLibrary.refresh(late)
    assert embed(late) == 6
    assert not without_psi(assert_holds(library.path, {one.id for one in RECORDS[:6]})._shard)


def test_policies_that_two_shards_hold_are_kept_once(own_library):
    held = own_library.manifest
    with change(own_library.path) as begun:
        (shard,) = write_shards(begun, RECORDS[:2], LETTERS)
        begun.commit(replace(held, shards=(*held.shards, shard)))
    assert len(opened(own_library)) == 13
    own_library.compact()
    assert_holds(own_library.path, IDS)


# Delete.


def test_deleting_takes_out_what_is_named_and_keeps_psi_of_the_others(own_library):
    gone = [RECORDS[0].id, RECORDS[9].id]
    assert own_library.delete([*gone, gone[0]]) == 2
    after = assert_holds(own_library.path, IDS - set(gone))
    assert not without_psi(after._shard)
    assert own_library.environments == ("hall", "room")
    assert own_library.delete([]) == 0
    assert own_library.delete(sorted(IDS - set(gone))) == 9
    assert len(assert_holds(own_library.path, ())) == 0
    assert own_library.add(RECORDS[:11]) == 11


@pytest.mark.parametrize("unknown", ["", "x", "0" * 20, "\ud800" * 20, "é" * 20, RECORDS[0].id + "0"])
def test_deleting_what_is_not_there_changes_nothing(own_library, unknown):
    before = on_disk(own_library.path)
    with pytest.raises(UnknownName, match="Nothing was deleted"):
        own_library.delete([RECORDS[0].id, unknown])
    assert on_disk(own_library.path) == before


# Verify and repair.


def repaired(library):
    return repair(library.path, encoder=LETTERS)


def test_there_is_nothing_to_repair_in_a_sound_library(own_library):
    before = on_disk(own_library.path)
    report = repaired(own_library)
    assert (report.damages, report.dropped, report.policies, report.orphans) == ((), (), 0, 0)
    assert on_disk(own_library.path) == before


@pytest.mark.parametrize("kind", ["texts", "embeddings"])
@pytest.mark.parametrize("harm", [lambda file: file.unlink(), lambda file: file.write_bytes(b"ARROW1")])
def test_lost_vectors_lose_no_policy(own_library, kind, harm):
    file = own_library.path / first_file(own_library, kind)[0].name
    harm(file)
    report = repaired(own_library)
    assert [(damage.kind, damage.lost) for damage in report.damages] == [(kind, ())]
    assert file.name in report.damages[0].what
    assert report.policies == 0
    mended = assert_holds(own_library.path, IDS)
    embed(mended)
    assert all(len(shard.files) == 4 for shard in read_manifest(mended.path).shards)


@pytest.mark.parametrize("kind", ["policies", "tables"])
def test_a_lost_file_takes_its_shard_and_nothing_else(own_library, kind):
    file, shard = first_file(own_library, kind)
    mine = {identity.decode() for identity in own_library._shard.mapped[0].ids.tolist()}
    (own_library.path / file.name).unlink()
    (damage,) = own_library.verify()
    assert file.name in damage.what
    report = repaired(own_library)
    assert (report.policies, set(report.dropped)) == (shard.rows, mine if kind == "tables" else set())
    assert_holds(own_library.path, IDS - mine)


def test_broken_rows_alone_are_dropped(own_library):
    rewrite(own_library, "tables", with_rows(first_table(own_library, "tables"), "q", lambda q: [float("nan"), *q[1:]]))
    (first,) = first_table(own_library, "policies")["id"].to_pylist()[:1]
    report = repaired(own_library)
    assert (report.dropped, report.policies) == ((first,), 1)
    assert first in report.damages[0].what
    assert not without_psi(assert_holds(own_library.path, IDS - {first})._shard)


def test_an_older_row_of_an_environment_gathers_its_transitions_again(tmp_path):
    parts = [record(seed=seed, tried=0.2) for seed in range(4)]
    library = make_library(tmp_path / "library", parts, 4)
    union = library.environment("room")
    assert len(library.manifest.environments) == 4
    (library.path / library.manifest.environments[-1].name).unlink()
    assert repaired(library).policies == 0
    after = assert_holds(library.path, {one.id for one in parts}).environment("room")
    assert np.array_equal(after.successors, union.successors)
    assert np.array_equal(after.canonical.observations, union.canonical.observations)


def test_policies_of_an_environment_that_is_lost_altogether_are_dropped_and_named(tmp_path):
    library = make_library(tmp_path / "library", [record(seed=1)], 1)
    library.add([record("hall", HALL, seed=seed) for seed in range(2)])
    (library.path / library.manifest.environments[1].name).write_bytes(b"")
    report = repaired(library)
    assert set(report.dropped) == {record("hall", HALL, seed=seed).id for seed in range(2)}
    assert assert_holds(library.path, {record(seed=1).id}).environments == ("room",)


# A lost manifest.


@pytest.mark.parametrize("left", [None, b"", b"{"])
def test_a_lost_manifest_is_made_again_from_the_files(own_library, left):
    (own_library.path / MANIFEST).unlink()
    if left is not None:
        (own_library.path / MANIFEST).write_bytes(left)
    restore_manifest(own_library.path)
    restored = opened(own_library)
    assert ids_of(restored) == IDS
    assert restored.environment("room").layout == ROOM
    embed(restored)
    assert restored.search(["number 3"], 1)[0][0].similarity > 0.99
    restored.compact()
    assert_holds(own_library.path, IDS)
    assert (own_library.path / f"{MANIFEST}.damaged").exists() == (left is not None)


def test_a_restored_manifest_holds_no_policy_twice(own_library, tmp_path):
    shutil.copytree(own_library.path, tmp_path / "before")
    own_library.delete([RECORDS[0].id])
    own_library.compact()
    for file in (tmp_path / "before").glob("*.arrow"):
        shutil.copy2(file, own_library.path)
    (own_library.path / MANIFEST).unlink()
    restore_manifest(own_library.path)
    restored = opened(own_library)
    assert len(restored) == len(ids_of(restored)) == 11
    assert not restored.verify()


def test_broken_files_and_those_of_other_libraries_are_left_out_of_a_restored_manifest(own_library, tmp_path):
    other = make_library(tmp_path / "other", [record("elsewhere", seed=5)], 1)
    for file in other.manifest.files:
        shutil.copy2(other.path / file.name, own_library.path)
    tables, shard = first_file(own_library, "tables")
    (own_library.path / tables.name).write_bytes(b"x" * tables.bytes)
    (own_library.path / MANIFEST).unlink()
    restore_manifest(own_library.path)
    assert len(ids_of(opened(own_library))) == 11 - shard.rows
    assert not opened(own_library).verify()


def test_a_sound_manifest_is_not_replaced(own_library, tmp_path):
    before = on_disk(own_library.path)
    with pytest.raises(LibraryError, match="is sound; nothing is to be restored"):
        restore_manifest(own_library.path)
    assert on_disk(own_library.path) == before
    for folder in (tmp_path / "nothing", tmp_path):
        with pytest.raises(LibraryError, match="holds no data file of a policy library"):
            restore_manifest(folder)


def test_building_notes_the_seeds_that_an_older_library_does_not_tell(tmp_path):
    settings = LibrarySettings(
        name="old", family="grid8", layouts=2, training_seeds=1, gammas=[0.0], objectives=["path"]
    )
    built = build_library(tmp_path / "old", settings, executor=SerialExecutor())
    library = PolicyLibrary.open(tmp_path / "old")
    records = [library.environment(name) for name in library.environments]
    library.restate([replace(record, task=replace(record.task, seed=None)) for record in records])
    before = PolicyLibrary.open(tmp_path / "old")
    assert [before.environment(name).task.seed for name in before.environments] == [None, None]
    again = build_library(tmp_path / "old", settings, executor=SerialExecutor())
    after = PolicyLibrary.open(tmp_path / "old")
    assert (built.policies, again.policies, again.trained) == (6, 0, 0)
    assert [after.environment(name).task.seed for name in after.environments] == [0, 1]
    assert (after.digest, after.verify()) == (before.digest, [])
