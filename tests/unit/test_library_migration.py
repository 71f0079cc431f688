"""Libraries of schema version 1: opening says what to do, and migrating keeps every policy."""

import json

import numpy as np
import pyarrow as pa
import pytest

from lever_ray.behaviour.psi import embed
from lever_ray.errors import LibraryError
from lever_ray.library.format.manifest import MANIFEST
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.writing import change as writing
from lever_ray.library.writing.migrate import migrate
from tests.library_files import (
    LETTERS,
    OLD_SCHEMAS,
    RECORDS,
    make_library,
    make_old_library,
    on_disk,
    opened,
    record,
    write_old_manifest,
)

OLD = [*RECORDS, record(seed=50, mean_rewards=np.ones((16, 4))), record(objective="path-gold", seed=51, label="best")]


@pytest.fixture
def old(tmp_path):
    make_old_library(tmp_path / "old", OLD)
    return tmp_path / "old"


def test_opening_an_old_library_says_how_to_migrate_it(old):
    before = on_disk(old)
    with pytest.raises(LibraryError, match=rf"schema version 1; run `lever-ray library migrate {old}` once"):
        PolicyLibrary.open(old)
    assert on_disk(old) == before


def test_migrating_keeps_every_policy_and_is_done_once(old):
    assert migrate(old, encoder=LETTERS) == len(OLD)
    library = opened(old)
    assert not library.verify()
    wanted = {one.id: one for one in OLD}
    found = library.select()
    assert {one.id for one in found} == set(wanted)
    for one in found:
        for name in ("q", "visits", "successors", "mean_rewards"):
            mine, other = getattr(one, name), getattr(wanted[one.id], name)
            assert np.array_equal(mine, other) if other is not None else mine is None
        assert (one.objective, one.label, one.total) == (wanted[one.id].objective, wanted[one.id].label, one.total)
    listed = {file.name for file in library.manifest.files}
    assert set(on_disk(old)) == listed | {MANIFEST, ".lock"}
    before = on_disk(old)
    assert migrate(old, encoder=LETTERS) == 0
    assert on_disk(old) == before
    assert library.add([record(seed=60), *OLD]) == 1
    embed(library)
    assert not library.verify()


def test_a_library_of_today_is_left_as_it_is(tmp_path):
    library = make_library(tmp_path / "library", RECORDS[:2], 1)
    before = on_disk(library.path)
    assert migrate(library.path, encoder=LETTERS) == 0
    assert on_disk(library.path) == before


def test_an_empty_old_library_becomes_an_empty_library(tmp_path):
    (tmp_path / "old").mkdir()
    write_old_manifest(tmp_path / "old", [])
    assert migrate(tmp_path / "old", encoder=LETTERS) == 0
    assert len(opened(tmp_path / "old")) == 0


@pytest.mark.parametrize("error", [LibraryError("no space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("late", [False, True])
def test_a_migration_that_is_cut_short_leaves_the_one_or_the_other_library(old, monkeypatch, error, late):
    before, write = on_disk(old), writing.write_manifest

    def cut(path, manifest):
        if late:
            write(path, manifest)
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(writing, "write_manifest", cut)
        with pytest.raises(type(error)):
            migrate(old, encoder=LETTERS)
    if late:
        assert len(opened(old)) == len(OLD)
        assert not opened(old).verify()
    else:
        assert on_disk(old) == before | {".lock": b""}
        assert migrate(old, encoder=LETTERS) == len(OLD)


def assert_not_migrated(folder, match):
    before = on_disk(folder) | {".lock": b""}
    with pytest.raises(LibraryError, match=match):
        migrate(folder, encoder=LETTERS)
    assert on_disk(folder) | {".lock": b""} == before


def test_damaged_old_files_are_named_and_nothing_is_changed(old):
    for file in sorted(old.glob("*.arrow")):
        whole = file.read_bytes()
        for harm in (whole[:-1], b"", whole[:100] + b"\xff" + whole[101:]):
            file.write_bytes(harm)
            assert_not_migrated(old, f"{file.name} cannot be read.*restore the file from a copy")
        file.unlink()
        assert_not_migrated(old, f"{file.name} cannot be read")
        file.write_bytes(whole)


@pytest.mark.parametrize("name", ["../x.arrow", "/etc/passwd", "a\0.arrow", 5, None])
def test_old_manifests_that_point_elsewhere_are_refused(old, name):
    files = json.loads((old / MANIFEST).read_bytes())["files"]
    files[0]["name"] = name
    write_old_manifest(old, files)
    assert_not_migrated(old, "manifest .* is damaged")


@pytest.mark.parametrize("files", [None, 5, ["x"], [{}], {"name": "x"}])
def test_old_manifests_that_are_none_are_refused(old, files):
    write_old_manifest(old, files)
    assert_not_migrated(old, "manifest .* is damaged")


def test_libraries_of_the_future_and_what_is_no_library_are_not_migrated(old, tmp_path):
    content = json.loads((old / MANIFEST).read_bytes())
    (old / MANIFEST).write_text(json.dumps(content | {"schema_version": 9}))
    assert_not_migrated(old, "schema version 9; this code reads up to 2: upgrade lever-ray")
    with pytest.raises(LibraryError, match="no policy library at"):
        migrate(tmp_path / "nothing")


@pytest.mark.parametrize(
    "changes",
    [
        {"q": [1.0]},
        {"q": None},
        {"visits": [1] * 7},
        {"objective": None},
        {"objective": "god"},
        {"weights": []},
        {"environment": "elsewhere"},
        {"id": "0" * 20},
        {"gamma": float("nan")},
        {"episodes": None},
    ],
)
def test_old_rows_that_are_wrong_behind_sound_checksums_are_named(tmp_path, changes, monkeypatch):
    from tests import library_files

    real = library_files._old_policy
    monkeypatch.setattr(library_files, "_old_policy", lambda one: real(one) | changes)
    make_old_library(tmp_path / "old", OLD[:2])
    assert_not_migrated(tmp_path / "old", "policy .* (cannot be read|other content).*migrate again")


def test_old_files_that_are_compressed_are_not_unpacked(tmp_path, monkeypatch):
    from tests import library_files

    def compressed(sink, schema):
        return real(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))

    real = pa.ipc.new_file
    monkeypatch.setattr(library_files.pa.ipc, "new_file", compressed)
    make_old_library(tmp_path / "old", OLD[:2])
    monkeypatch.undo()
    assert_not_migrated(tmp_path / "old", "it is compressed; files of a library are not")
    assert set(OLD_SCHEMAS) == {"policies", "environments"}
