"""Records of every sort come back exactly as they went in, whatever else is in the library."""

import hashlib
import json
import math
from dataclasses import fields

import numpy as np
import pytest

from lever_ray.behaviour.psi import embed
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.record import PolicyRecord
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective
from tests.library_files import HALL, LETTERS, RECORDS, ROOM, first_table, make_library, opened, record

GRID8, GRID16 = (Layout.sample(family, seed=0) for family in ("grid8", "grid16"))
RNG = np.random.default_rng(0)


def rewards(layout):
    return RNG.normal(size=(layout.states, 4)).astype(np.float32)


def given(layout, source):
    """What a policy of some support source is made with."""
    if source == "unknown":
        return {"visits": None, "successors": None}
    seen = RNG.random((layout.states, 4)) < 0.5
    if source == "transitions":
        return {"visits": None, "successors": np.where(seen, layout.terrain.moves, -1)}
    return {"visits": np.where(seen, 2**32 - 1, 0), "successors": None}


def every_sort():
    places = [("grid8-0", GRID8), ("grid16-0", GRID16), ("raum ü", ROOM), ("廊下/../'\"", HALL)]
    found = []
    for name, layout in places:
        for source in ("visits", "transitions", "unknown"):
            for mean in (None, rewards(layout)):
                for objective in (None, "path", Objective.of("path-gold", weights={"gold": 0.1})):
                    text = "" if objective else f"sammle Gold, dann 出口 \N{KEY}\n{len(found)}"
                    settings = {"objective": objective, "mean_rewards": mean, "description": text}
                    found.append(record(name, layout, seed=len(found), **settings, **given(layout, source)))
    found.append(record(seed=2**62, total=math.nan, seconds=math.inf, gamma=1.0, algorithm="", label="ü\0"))
    return found


def same(one, other):
    """Whether two records are equal in every field, to the last bit."""
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(PolicyRecord)]
    return all(
        (a.dtype, a.tobytes()) == (b.dtype, b.tobytes()) if isinstance(a, np.ndarray) else a == b or (a != a and b != b)
        for a, b in pairs
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    made = PolicyLibrary.create(tmp_path_factory.mktemp("sorts") / "library", encoder=LETTERS)
    records = every_sort()
    for first in range(3):
        assert made.add(records[first::3]) == len(records[first::3])
    return made.path, {one.id: one for one in records}


def assert_all_there(path, wanted):
    library = opened(path)
    assert not library.verify()
    found = library.select()
    assert sorted(one.id for one in found) == sorted(wanted)
    for one in found:
        assert same(one, wanted[one.id])
        assert one.support_source == wanted[one.id].support_source
        assert np.array_equal(library.q(one.id), one.q)
    asked = list(wanted)[::-1]
    assert [one.id for one in library.policies(asked)] == asked
    assert all(np.array_equal(q, wanted[each].q) for q, each in zip(library.tables(asked), asked, strict=True))


def test_records_of_every_sort_come_back_as_they_went_in(stored):
    assert_all_there(*stored)


def test_records_of_every_sort_survive_embedding_compaction_and_deletion(stored):
    path, wanted = stored
    library = opened(path)
    assert embed(library) == len(wanted)
    before, after = library.compact()
    assert after < before
    assert library.compact() == (after, after)
    assert_all_there(path, wanted)
    gone = sorted(wanted)[::5]
    assert library.delete(gone) == len(gone)
    assert_all_there(path, {each: one for each, one in wanted.items() if each not in gone})
    assert library.add(wanted.values()) == len(gone)
    assert_all_there(path, wanted)


def test_a_text_finds_policies_that_have_no_objective(stored):
    path, wanted = stored
    found = opened(path).search(["sammle Gold, dann 出口 \N{KEY}"], k=5)[0]
    assert all(wanted[match.id].objective is None for match in found)


def test_each_key_keeps_its_members_apart(stored):
    path, wanted = stored
    library = opened(path)
    keys = library.keys()
    groups = library.groups(keys)
    assert sum(map(len, groups)) == len(wanted)
    for key, group in zip(keys, groups, strict=True):
        for row, identity in enumerate(group.ids):
            one = wanted[identity]
            assert (one.environment, one.objective.id if one.objective else "") == (key.environment, key.objective)
            assert np.array_equal(group.support[row], one.support)
            assert group.sources[row] == one.support_source


def test_ids_checksums_and_documents_of_grids_stay_what_they_are(tmp_path):
    """Pinned: libraries that there are must be read as they were written."""
    library = make_library(tmp_path / "library", RECORDS, 1)
    checksums = b"".join(stored.tables.crc32.tobytes() for stored in library._mapped)
    assert library.digest == "01d6bb2c590f4496954ba599b0256a958b021a3a4955365b30b666e45dfefffb"
    assert hashlib.sha256(checksums).hexdigest() == "7b15f722264878398921dfd86be10047e11019c7f8c40f3a66bd8fba89b0920f"
    hall, room = first_table(library, "environments").to_pylist()
    assert (hall["layout"], room["layout"]) == (json.dumps(HALL.to_dict()), json.dumps(ROOM.to_dict()))
    assert (len(room["successors"]), len(room["features"])) == (16 * 4, 16 * 70)
    names = {"canonical_cells", "canonical_golds", "canonical_levers", "features", "layout", "name", "successors"}
    assert set(room) == names
