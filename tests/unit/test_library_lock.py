"""The write lock: what it follows, and what it remembers against a manifest that was put back."""

import json
import shutil

import pytest

from lever_ray.errors import LibraryError
from lever_ray.library.format.files import write_table
from lever_ray.library.format.manifest import MANIFEST
from lever_ray.library.repair.mending import repair
from lever_ray.library.repair.recovery import restore_manifest
from lever_ray.library.writing.lock import LOCK
from tests.library_files import LETTERS, RECORDS, first_table, make_library, on_disk, opened, record

IDS = {one.id for one in RECORDS[:11]}
LATE = [record(seed=seed) for seed in (70, 71)]


def test_a_lock_that_is_a_link_is_not_followed(own_library, tmp_path):
    target, lock = tmp_path / "target", own_library.path / LOCK
    target.write_text("precious")
    lock.unlink()
    lock.symlink_to(target)
    for change in (lambda: own_library.add(LATE), own_library.compact, lambda: repair(own_library.path)):
        with pytest.raises(LibraryError, match=f"{lock} is a symbolic link.*delete the link"):
            change()
    assert target.read_text() == "precious"
    lock.unlink()
    assert own_library.add(LATE) == 2


@pytest.fixture
def put_back(own_library, tmp_path):
    """A library whose manifest of before two appends was put back."""
    shutil.copy2(own_library.path / MANIFEST, tmp_path / MANIFEST)
    for one in LATE:
        own_library.add([one])
    shutil.copy2(tmp_path / MANIFEST, own_library.path / MANIFEST)
    return opened(own_library)


CHANGES = {
    "add": lambda library: library.add([record(seed=80)]),
    "compact": lambda library: library.compact(),
    "delete": lambda library: library.delete([RECORDS[0].id]),
    "embed": lambda library: library.store_psi({}),
    "repair": lambda library: repair(library.path, encoder=LETTERS),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_changed_from_a_manifest_that_was_put_back(put_back, change):
    before, held = on_disk(put_back.path), put_back.manifest.generation
    said = f"generation {held}, its last change was {held + 2}.*library restore.*remove {put_back.path / LOCK}"
    with pytest.raises(LibraryError, match=said):
        CHANGES[change](put_back)
    assert on_disk(put_back.path) == before
    assert len(put_back.select()) == 11


def test_restoring_gathers_what_was_added_since(put_back):
    restore_manifest(put_back.path)
    library = opened(put_back)
    assert {one.id for one in library.select()} == IDS | {one.id for one in LATE}
    library.compact()
    assert repair(library.path, encoder=LETTERS).damages == ()
    assert len(opened(library).select()) == 13


def test_without_the_lock_file_the_older_state_goes_on(put_back):
    (put_back.path / LOCK).unlink()
    put_back.compact()
    assert {one.id for one in opened(put_back).select()} == IDS
    put_back.add([record(seed=80)])
    with pytest.raises(LibraryError, match="is sound; nothing is to be restored"):
        restore_manifest(put_back.path)


@pytest.mark.parametrize(
    "note", [b"", b"\xff", b"{", b"[]", b"[" * 3000, b'{"library": 1, "generation": "2"}', b"x" * 9000]
)
def test_a_lock_that_says_nothing_is_no_hindrance(own_library, note):
    (own_library.path / LOCK).write_bytes(note)
    assert own_library.add(LATE) == 2
    manifest = own_library.manifest
    written = json.loads((own_library.path / LOCK).read_bytes())
    assert written == {"library": manifest.library, "generation": manifest.generation}


def test_a_lock_of_another_library_is_no_hindrance(own_library, tmp_path):
    other = make_library(tmp_path / "other", RECORDS[:5], 5)
    other.compact()
    shutil.copy2(other.path / LOCK, own_library.path / LOCK)
    assert own_library.add(LATE) == 2


def test_files_of_others_are_left_alone(own_library):
    table, path = first_table(own_library, "texts"), own_library.path
    write_table(path, "texts", table, library="another", shard="x")
    (path / "tables-0123.arrow").write_bytes(b"no Arrow file")
    (path / ".notes.arrow.tmp").write_bytes(b"")
    kept = set(on_disk(path))
    write_table(path, "texts", table, library=own_library.manifest.library, shard="x")
    assert repair(path, encoder=LETTERS).orphans == 1
    assert set(on_disk(path)) == kept


def test_a_repair_that_fails_removes_nothing(own_library, monkeypatch):
    name, _, _ = write_table(
        own_library.path, "texts", first_table(own_library, "texts"), library=own_library.manifest.library, shard="x"
    )
    (own_library.path / own_library.manifest.shards[0].files[1].name).unlink()
    before = on_disk(own_library.path)

    def full(*_, **__):
        raise LibraryError("no room")

    monkeypatch.setattr("lever_ray.library.writing.change.write_manifest", full)
    with pytest.raises(LibraryError, match="no room"):
        repair(own_library.path, encoder=LETTERS)
    assert on_disk(own_library.path) == before
    assert name in before
