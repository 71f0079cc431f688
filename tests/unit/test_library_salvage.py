"""One flipped byte loses one policy: rows have a checksum of their own."""

import json
import math
import zlib

import numpy as np
import pytest

from lever_ray.behaviour.psi import without_psi
from lever_ray.errors import LibraryError
from lever_ray.library.format.manifest import MANIFEST
from lever_ray.library.repair.mending import repair
from lever_ray.library.repair.recovery import restore_manifest
from lever_ray.tasks.objective import Objective
from tests.library_files import (
    HALL,
    LETTERS,
    ROOM,
    first_file,
    first_table,
    make_library,
    opened,
    record,
    rewrite,
    with_rows,
)

REWARDS = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
WEIGHTED = Objective.of("path-gold", weights={"gold": 0.1})
MANY = [record(seed=seed, mean_rewards=REWARDS, total=math.nan if seed == 3 else 1.0) for seed in range(8)]
MANY += [record(seed=seed, objective=WEIGHTED, mean_rewards=REWARDS) for seed in range(8)]


@pytest.fixture
def library(tmp_path):
    return make_library(tmp_path / "library", MANY, 1, embedded=True)


def flip(library, kind, place, by=1):
    """Flip bits of one byte of the first file of a kind, at a place or where some bytes stand."""
    file = library.path / first_file(library, kind)[0].name
    data = bytearray(file.read_bytes())
    data[data.index(place) if isinstance(place, bytes) else place] ^= by
    file.write_bytes(data)
    return file


def repaired(library):
    return repair(library.path, encoder=LETTERS)


def assert_kept(library, lost):
    mended, kept = opened(library), {one.id: one for one in MANY if one.id not in lost}
    assert not mended.verify()
    found = mended.select()
    assert {one.id for one in found} == set(kept)
    for one in found:
        for name in ("q", "visits", "successors", "mean_rewards"):
            assert np.array_equal(getattr(one, name), getattr(kept[one.id], name))
        assert one.description == kept[one.id].description


def test_a_rows_checksum_is_that_of_its_values_and_arrays(library):
    policies, tables = (first_table(library, kind).to_pylist() for kind in ("policies", "tables"))
    types = {"q": np.float32, "support": np.uint8, "visits": np.uint32, "mean_rewards": np.float32}
    for row, arrays in zip(policies, tables, strict=True):
        data = b"".join(np.array(arrays[name], kind).tobytes() for name, kind in types.items())
        assert zlib.crc32(json.dumps(list(row.values())).encode() + data) == arrays["crc32"]


@pytest.mark.parametrize("name", ["q", "visits", "mean_rewards"])
def test_a_flipped_byte_of_an_array_loses_its_policy_alone(library, name):
    file = flip(library, "tables", getattr(MANY[5], name).tobytes() if name != "mean_rewards" else REWARDS.tobytes())
    (damage,) = library.verify()
    assert file.name in damage.what
    assert "15 of its 16 policies can be kept" in damage.what
    report = repaired(library)
    assert report.policies == len(report.dropped) == 1
    if name != "mean_rewards":
        assert report.dropped == (MANY[5].id,)
    assert_kept(library, report.dropped)
    assert not without_psi(opened(library)._shard)


@pytest.mark.parametrize(("text", "lost"), [(MANY[5].id.encode(), 1), (b"number 5", 2), (b"path-gold[1,0.1]", 8)])
@pytest.mark.parametrize("by", [1, 0x80])
def test_a_flipped_byte_of_a_policies_text_loses_those_that_have_it(library, text, lost, by):
    flip(library, "policies", text, by)
    report = repaired(library)
    assert report.policies == lost
    assert len(opened(library)) == 16 - lost
    assert_kept(library, {one.id for one in MANY} - {one.id for one in opened(library).select()})


def test_any_flipped_byte_loses_few_policies_or_a_shard_that_is_no_file_any_more(tmp_path):
    library = make_library(tmp_path / "library", MANY, 1)
    rng, kept = np.random.default_rng(4), []
    wholes = {file: file.read_bytes() for file in library.path.iterdir()}
    for trial in range(40):
        kind = ("policies", "tables")[trial % 2]
        size = first_file(library, kind)[0].bytes
        flip(library, kind, int(rng.integers(size)), int(rng.integers(1, 256)))
        report = repaired(library)
        assert report.damages
        after = opened(library)
        assert not after.verify()
        kept.append(len(after))
        assert report.policies == 16 - len(after)
        for file in set(library.path.iterdir()) - set(wholes):
            file.unlink()
        for file, whole in wholes.items():
            file.write_bytes(whole)
    assert sum(count >= 8 for count in kept) >= 20


def test_rows_of_another_content_behind_a_sound_checksum_are_found(library):
    more = with_rows(first_table(library, "tables"), "visits", lambda visits: [count + (count > 0) for count in visits])
    rewrite(library, "tables", more)
    with pytest.raises(LibraryError, match="has other content than its checksum says"):
        opened(library).select()
    (damage,) = opened(library).verify()
    assert (damage.kind, damage.policies) == ("rows", 1)
    assert repaired(library).policies == 1


@pytest.mark.parametrize("column", ["label", "seconds", "description"])
def test_plain_values_that_no_id_covers_are_covered(library, column):
    other = {"label": "other", "seconds": 7.5, "description": "another"}[column]
    rewrite(library, "policies", with_rows(first_table(library, "policies"), column, lambda _: other))
    assert sum(damage.policies for damage in opened(library).verify()) == 1
    with pytest.raises(LibraryError, match="checksum says"):
        opened(library).select()


def test_compacting_damaged_rows_is_refused(tmp_path):
    library = make_library(tmp_path / "library", [record("hall", HALL, seed=seed) for seed in range(4)], 2)
    rewrite(library, "policies", with_rows(first_table(library, "policies"), "seconds", lambda _: 9.0))
    with pytest.raises(LibraryError, match="checksum says"):
        opened(library).compact()


def test_a_restored_manifest_has_the_sound_rows_of_a_damaged_file(library):
    library.add([record("room", ROOM, seed=99)])
    flip(library, "tables", MANY[5].q.tobytes())
    (library.path / MANIFEST).unlink()
    restore_manifest(library.path)
    found = opened(library)
    assert {one.id for one in found.select()} == {one.id for one in MANY if one is not MANY[5]} | {record(seed=99).id}
    assert not found.verify()


def test_a_damaged_shard_does_not_hide_policies_of_others(tmp_path):
    library = make_library(tmp_path / "library", MANY, 2)
    hidden = MANY[0::2]
    file = flip(library, "policies", hidden[3].id.encode())
    library = opened(library)
    for one in MANY[1::2]:
        assert np.array_equal(library.q(one.id), one.q)
        assert one.id in library
        assert library.policies([one.id])[0].id == one.id
        assert np.array_equal(library.tables([one.id])[0], one.q)
    asks = (library.q, library.__contains__, lambda one: library.policies([one]), lambda one: library.tables([one]))
    for ask in asks:
        with pytest.raises(LibraryError, match=file.name):
            ask(hidden[0].id)
    data = bytearray(file.read_bytes())
    data[data.index(hidden[3].id[1:].encode()) - 1] ^= 1
    file.write_bytes(data)
    assert np.array_equal(library.q(hidden[0].id), hidden[0].q)
