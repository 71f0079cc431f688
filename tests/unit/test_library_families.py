"""Libraries with tasks of several families, some of which are not installed where they are read."""

import shutil
from collections import Counter

import numpy as np
import pytest

from lever_ray.behaviour.psi import embed, without_features, without_psi
from lever_ray.behaviour.ranking import ranking_rows
from lever_ray.errors import InvalidValue, LibraryError, UnknownName
from lever_ray.library.format.manifest import MANIFEST
from lever_ray.library.format.rows import embeddings_table
from lever_ray.library.format.schema import EMBEDDING
from lever_ray.library.format.sealed import ForeignFamily
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.ports.exporting import export
from lever_ray.library.ports.importing import read_policies
from lever_ray.library.record import PolicyRecord
from lever_ray.library.repair.mending import repair
from lever_ray.library.repair.recovery import restore_manifest
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective
from tests.library_files import LETTERS, ROOM, make_library, on_disk, opened, record
from tests.ring import Ring, install, policy, uninstall

GRIDS = [record(objective=name, seed=seed) for name in ("path", "gold") for seed in range(3)]
SQUARE = Ring(16, 4)
"""A ring of as many observations and actions as the room has."""
RINGS = [
    *(policy(objective=name, seed=seed) for name in ("near", "far", "near-far[1,-2]") for seed in range(3)),
    *(policy("square", SQUARE, seed=seed) for seed in range(3)),
    *(policy("wide", Ring(16, 4, EMBEDDING - 3), seed=seed) for seed in range(2)),
    *(policy("narrow", Ring(16, 8, 5), seed=seed) for seed in range(2)),
]
EVERYTHING = [*GRIDS, *RINGS]
IDS = {one.id for one in EVERYTHING}


@pytest.fixture(autouse=True)
def _ring(monkeypatch):
    install(monkeypatch)


@pytest.fixture
def library(tmp_path):
    return make_library(tmp_path / "library", EVERYTHING, 2, embedded=True)


def ids_of(library):
    return {identity.decode() for stored in library._mapped for identity in stored.ids.tolist()}


def assert_holds_all(library, ids=IDS):
    """A sound library of these policies, each as it was made."""
    held = opened(library)
    assert held.verify() == []
    wanted = {one.id: one for one in EVERYTHING}
    found = held.select()
    assert {one.id for one in found} == set(ids)
    for one in found:
        assert one.task.digest == wanted[one.id].task.digest
        assert one.objective == wanted[one.id].objective
        for name in ("q", "visits", "successors", "support"):
            assert np.array_equal(getattr(one, name), getattr(wanted[one.id], name)), name
    return held


# Several families side by side.


def test_tasks_of_several_families_share_a_library(library):
    held = assert_holds_all(library)
    assert held.environments == ("narrow", "ring", "room", "square", "wide")
    assert held.environment("ring").task == Ring()
    group = held.groups([key for key in held.keys("ring") if key.objective == "near"])[0]
    assert (group.q.shape, group.support.shape, group.world) == ((3, 6, 3), (3, 6, 1), Ring().digest)
    assert held.add(EVERYTHING) == 0
    assert sorted(held.matching(held.keys("ring"), "far-near[-2,1]")) == [
        key for key in held.keys("ring") if key.objective == "near-far[1,-2]"
    ]


def test_psi_is_stored_for_those_whose_features_it_is_made_of(library):
    with_psi = Counter()
    for stored in library._mapped:
        if stored.psi is not None:
            with_psi.update(stored.policies["environment"].to_pylist())
    assert with_psi == {"room": 6, "wide": 2}
    assert without_features(library) == len(RINGS) - 2
    assert embed(library) == 0
    assert embeddings_table(np.zeros((2, EMBEDDING), np.float32)).num_rows == 2
    with pytest.raises(LibraryError, match="holds vectors of 73, of tasks with 70 features"):
        embeddings_table(np.zeros((2, EMBEDDING - 1), np.float32))


def test_compacting_keeps_policies_with_psi_apart_and_is_done_once(library):
    library.compact()
    held = assert_holds_all(library)
    assert not without_psi(held._shard)
    before = on_disk(library.path)
    shards = len(held.manifest.shards)
    assert held.compact() == (shards, shards)
    assert on_disk(library.path) == before


def test_regressors_learn_from_environments_of_the_same_terms(library):
    asked = {"target": "own", "gamma": 0.0, "kind": "outcome"}
    rings = ranking_rows(library, objective="far-near", terms=("near", "far"), **asked)
    assert set(rings.environments) == {"narrow", "ring", "square", "wide"}
    assert rings.terms.shape == (len(rings.ids), 2)
    assert sorted(map(tuple, np.unique(rings.terms, axis=0).tolist())) == [(0.0, 1.0), (1.0, -2.0), (1.0, 0.0)]
    grids = ranking_rows(library, objective="path", terms=ROOM.terms, **asked)
    assert set(grids.environments) == {"room"}
    others = rings.of_other_objectives(Objective.of("near"), ("near", "far"))
    assert 0 < len(others.ids) == (rings.terms != [1.0, 0.0]).any(axis=1).sum() < len(rings.ids)
    assert set(rings.without("ring", Ring()).environments) == {"narrow", "square", "wide"}
    with pytest.raises(InvalidValue, match=r"different reward terms \(near, far; path, .*say terms="):
        ranking_rows(library, objective="path", **asked)
    with pytest.raises(UnknownName, match="unknown objective term 'gold'"):
        ranking_rows(library, objective="gold", terms=("near", "far"), **asked)


def test_psi_of_tasks_without_features_or_of_differing_ones_is_refused_by_name(library):
    asked = {"objective": "near", "gamma": 0.0, "kind": "psi"}
    with pytest.raises(InvalidValue, match="this task has none"):
        ranking_rows(library, target="own", terms=("near", "far"), **asked)


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_several_families_are_exported_and_imported_as_they_were(library, tmp_path, suffix):
    file = tmp_path / f"all.{suffix}"
    assert export(library, file) == len(EVERYTHING)
    other = PolicyLibrary.create(tmp_path / "other", encoder=LETTERS)
    assert other.add(read_policies(file)) == len(EVERYTHING)
    assert_holds_all(other)
    assert export(library, file, objective="far-near[-2,1]", overwrite=True) == 3


def test_selection_does_not_heed_the_order_of_terms_and_knows_which_terms_there_are(library):
    assert {one.id for one in library.select(objective="far-near[-2,1]")} == {
        one.id for one in RINGS if one.objective.id == "near-far[1,-2]"
    }
    assert library.select(objective="hazard-lever") == []
    assert library.select(objective="near", environment="room") == []
    with pytest.raises(UnknownName, match=r"unknown objective term 'sliver'.*Did you mean"):
        library.select(objective="sliver")


# A family that is not installed.


@pytest.fixture
def sealed(library, monkeypatch):
    """The library where nobody has heard of rings."""
    uninstall(monkeypatch)
    return opened(library)


def test_a_library_of_an_unknown_family_opens_and_names_it(sealed):
    told = []
    assert sealed.foreign() == dict.fromkeys(("narrow", "ring", "square", "wide"), "ring")
    assert sum(sealed.census().values()) == len(sealed) == len(EVERYTHING)
    assert len(sealed.keys("ring")) == 3
    assert sealed.verify(tell=told.append) == []
    (line,) = told
    assert "narrow, ring, square and 1 more are of task family 'ring', which is not installed" in line
    assert np.array_equal(sealed.q(RINGS[0].id), RINGS[0].q)
    assert sealed.search(["ring 2"], 1)[0][0].similarity == pytest.approx(1)
    for ask in (
        lambda: sealed.environment("ring"),
        lambda: sealed.groups(sealed.keys("ring")),
        lambda: sealed.policies([RINGS[0].id]),
        sealed.select,
    ):
        with pytest.raises(ForeignFamily, match=r"is of task family 'ring', which is not installed.*install") as caught:
            ask()
        assert caught.value.family == "ring"


def test_what_is_known_of_such_a_library_works(sealed):
    assert {one.id for one in sealed.select(environment="room")} == {one.id for one in GRIDS}
    rows = ranking_rows(sealed, target="own", objective="path", gamma=0.0, kind="outcome")
    assert set(rows.environments) == {"room"}
    assert sealed.select(objective="near", environment="room") == []
    assert embed(sealed) == 0
    assert sealed.add([record(seed=50), *GRIDS]) == 1
    for name, said in (("ring", "which is not installed"), ("another", "of family 'ring' and cannot be read again")):
        with pytest.raises(LibraryError, match=said):
            sealed.add([policy(name, seed=60)])


def test_upkeep_keeps_what_it_cannot_decode(sealed, monkeypatch):
    psi = {key: value.tobytes() for key, value in psi_by_id(sealed).items()}
    sealed.add([record(seed=50)])
    assert sealed.delete([record(seed=50).id, RINGS[1].id]) == 2
    assert repair(sealed.path, encoder=LETTERS).policies == 0
    sealed.compact()
    before, shards = on_disk(sealed.path), len(sealed.manifest.shards)
    assert sealed.compact() == (shards, shards)
    assert on_disk(sealed.path) == before
    (sealed.path / MANIFEST).unlink()
    restore_manifest(sealed.path)
    assert {key: value.tobytes() for key, value in psi_by_id(sealed).items()} == {
        key: value for key, value in psi.items() if key != RINGS[1].id
    }
    install(monkeypatch)
    embed(assert_holds_all(sealed, IDS - {RINGS[1].id}))


def psi_by_id(library):
    found = {}
    for stored in library._mapped:
        if stored.psi is not None:
            found |= dict(zip((identity.decode() for identity in stored.ids.tolist()), stored.psi, strict=True))
    return found


@pytest.mark.parametrize("where", ["q", "seed"])
def test_damage_is_found_without_the_family_and_takes_the_damaged_policy_alone(sealed, monkeypatch, where):
    broken = RINGS[-1]
    needle, kind = (broken.q.tobytes(), "tables") if where == "q" else (broken.id.encode(), "policies")
    for file in sorted(sealed.path.glob(f"{kind}-*.arrow")):
        data = bytearray(file.read_bytes())
        if needle in data:
            data[data.index(needle)] ^= 1
            file.write_bytes(data)
    (damage,) = opened(sealed).verify()
    assert damage.policies == 1
    report = repair(sealed.path, encoder=LETTERS)
    assert report.policies == 1
    install(monkeypatch)
    assert_holds_all(sealed, IDS - {broken.id})


def test_an_older_row_of_a_sealed_environment_stands_in_for_a_lost_one(library, monkeypatch):
    library.add([policy(seed=70, visits=np.ones((6, 3)))])
    uninstall(monkeypatch)
    _, second = library.manifest.environments
    assert second.environments == ("ring",)
    (library.path / second.name).unlink()
    report = repair(library.path, encoder=LETTERS)
    assert ([damage.kind for damage in report.damages], report.policies) == (["environments"], 0)
    install(monkeypatch)
    held = opened(library)
    assert held.verify() == []
    assert {one.id for one in held.select()} == {*IDS, policy(seed=70).id}


def test_a_family_that_cannot_be_imported_is_one_that_is_not_installed(sealed, monkeypatch):
    def broken(document):
        raise ImportError("no module named ring_support")

    install(monkeypatch)
    monkeypatch.setattr("lever_ray.tasks.registry.decode", broken)
    with pytest.raises(ForeignFamily, match="task family 'ring'"):
        opened(sealed).environment("ring")


# What the format cannot hold.


def test_what_the_format_cannot_hold_is_refused_by_name_before_anything_is_written(library, monkeypatch):
    before = on_disk(library.path)
    nine = policy("nine", Ring(6, 9))
    assert nine.support.shape == (6, 2)
    for wrong, said in (
        (nine, r"schema 2 holds up to 8 actions per observation; task of environment 'nine' has 9; .*MemoryLibrary"),
        (policy("ring", Ring(7, 3)), "environment name 'ring' is taken by another task"),
    ):
        with pytest.raises(LibraryError, match=said):
            library.add([record(seed=90), wrong])
    with monkeypatch.context() as changed, pytest.raises(LibraryError, match="lists of up to 17 entries"):
        changed.setattr("lever_ray.library.format.limits.MOST_ENTRIES", 17)
        library.add([policy("six", seed=90)])
    for change, said in (
        (lambda _: {"family": "ring", "observations": 6}, "another one is read"),
        (lambda _: {"family": "ring", "array": np.zeros(2)}, "cannot be read again"),
        (lambda _: {"observations": 6}, "cannot be read again"),
    ):
        with monkeypatch.context() as changed, pytest.raises(LibraryError, match=said):
            changed.setattr(Ring, "encode", change)
            library.add([policy("five", Ring(6, 5))])
    assert on_disk(library.path) == before


def test_environments_are_dealt_into_files_that_arrow_can_count(tmp_path, monkeypatch):
    monkeypatch.setattr("lever_ray.library.format.rows.MOST_ENTRIES", 16 * 70 + 100)
    library = make_library(tmp_path / "library", [policy("a"), policy("b"), record()], 1)
    assert [file.environments for file in library.manifest.environments] == [("a", "b"), ("room",)]
    assert library.compact()[0]
    assert len(opened(library).manifest.environments) == 2
    assert opened(library).verify() == []


# Environments and records.


def test_the_seed_of_an_environment_is_kept_whatever_it_is_called(tmp_path):
    layout = Layout.sample("grid8", seed=3)
    library = make_library(tmp_path / "library", [record("maze", layout), record("5", ROOM)], 1)
    assert (library.environment("maze").task.seed, library.environment("5").task.seed) == (3, None)
    shutil.copytree(library.path, tmp_path / "copy")
    assert opened(tmp_path / "copy").environment("maze").layout == layout
    assert library.add([record("maze", Layout.from_dict(layout.to_dict()), seed=1)]) == 1
    assert opened(library).environment("maze").task.seed == 3


def test_a_record_takes_its_task_by_two_names():
    given = {"environment": "room", "objective": "gold-path", "description": "", "q": np.zeros((16, 4))}
    one, other = PolicyRecord(task=ROOM, **given), PolicyRecord(layout=ROOM, **given)
    assert one.id == other.id
    assert (one.task, one.layout, one.objective.name) == (ROOM, ROOM, "path-gold")
    assert (one.support == 0b1111).all()
    assert one.support.shape == (16, 1)
    with pytest.raises(InvalidValue, match="both task and layout= are given"):
        PolicyRecord(task=ROOM, layout=ROOM, **given)


@pytest.mark.parametrize(
    ("objective", "said"),
    [("path[-1]", "weights of objective 'path' are"), ("gold", "gold"), ("lever", "lever")],
)
def test_an_objective_that_the_task_does_not_admit_is_refused(objective, said):
    bare = Layout(4, (0, 0), (3, 3))
    with pytest.raises(InvalidValue, match=rf"policy for {objective[:4]}.* in environment 'bare': .*{said}"):
        PolicyRecord("bare", bare, objective, "", np.zeros((16, 4)))
    with pytest.raises(UnknownName, match="unknown objective term 'path'"):
        PolicyRecord("ring", Ring(), "path", "", np.zeros((6, 3)))
