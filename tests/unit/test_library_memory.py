"""A library in memory answers as one in a folder does, and holds what a folder cannot."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest

from lever_ray.behaviour.psi import embed, without_features
from lever_ray.behaviour.ranking import ranking_rows
from lever_ray.behaviour.rows import RankingRows
from lever_ray.embedding.successor import KINDS
from lever_ray.errors import InvalidValue, LibraryError, UnknownName
from lever_ray.library.memory import MemoryLibrary
from lever_ray.library.ports.exporting import export
from lever_ray.library.ports.importing import read_policies
from lever_ray.query.compose import compose
from tests.library_files import LETTERS, RECORDS, make_library, record
from tests.ring import Ring, install, policy

REWARDS = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
MIXED = [
    *RECORDS,
    *(record(seed=seed, objective=name, mean_rewards=REWARDS) for seed in (20, 21) for name in ("path", "gold")),
    record(seed=30, objective="path-gold[1,2.5]", gamma=0.5),
    record(seed=31, visits=None, successors=None),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_library(tmp_path_factory.mktemp("folder") / "library", MIXED, 3, embedded=True)


@pytest.fixture(params=["as it was made", "in another process"])
def memory(request):
    made = MemoryLibrary([*MIXED, *MIXED[:2]], encoder=LETTERS)
    if request.param == "as it was made":
        return made
    made.groups(made.keys())
    return pickle.loads(pickle.dumps(made))  # noqa: S301 - our own bytes


def assert_same(one, other):
    """Dataclasses that are equal to the last bit."""
    for field in fields(one):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            assert (mine.dtype, mine.shape, mine.tobytes()) == (its.dtype, its.shape, its.tobytes()), field.name
        else:
            assert mine == its or mine != mine, field.name


def test_keys_groups_and_records_are_those_of_a_folder(folder, memory):
    assert (len(memory), memory.environments) == (len(folder), folder.environments) == (len(MIXED), ("hall", "room"))
    assert memory.keys() == folder.keys()
    assert memory.keys("hall") == folder.keys("hall")
    assert memory.census() == folder.census()
    assert memory.support_sources() == folder.support_sources()
    for one, other in zip(memory.groups(memory.keys()), folder.groups(folder.keys()), strict=True):
        assert_same(one, other)
    for one, other in zip(memory.select(), folder.select(), strict=True):
        assert one.id == other.id
        assert_same(one, replace(other, task=one.task))
    ids = [MIXED[5].id, MIXED[0].id]
    assert [one.id for one in memory.policies(ids)] == ids
    assert all(map(np.array_equal, memory.tables(ids), folder.tables(ids)))
    for name in folder.environments:
        mine, its = memory.environment(name), folder.environment(name)
        assert np.array_equal(mine.successors, its.successors)
        assert mine.task == its.task


@pytest.mark.parametrize("kind", ["outcome", *KINDS])
@pytest.mark.parametrize("target", ["own", "composite", "recorded"])
def test_ranking_rows_are_those_of_a_folder(memory, tmp_path, kind, target):
    """In one append, for canonical states are drawn from what is recorded when an environment is first added."""
    folder = make_library(tmp_path / "library", MIXED, 1, embedded=True)
    asked = {"target": target, "objective": "gold-path", "gamma": 0.0, "kind": kind}
    assert_same(ranking_rows(memory, **asked), ranking_rows(folder, **asked))
    assert {field.name for field in fields(RankingRows)} >= {"terms", "x", "y"}


def test_text_is_searched_as_in_a_folder(folder, memory):
    assert memory.search(["number 3"], 4) == folder.search(["number 3"], 4)
    assert memory.search(["number 3"], 4, environment="hall") == folder.search(["number 3"], 4, environment="hall")


def test_it_does_not_change_and_stores_nothing(memory):
    assert (memory.refresh(), embed(memory), without_features(memory)) == (False, 0, 0)
    assert memory.manifest.files == ()
    with memory as held:
        assert held is memory


def test_what_is_not_there_is_refused_by_name(memory):
    with pytest.raises(UnknownName, match=r"unknown environment 'rom'.*Did you mean 'room'"):
        memory.environment("rom")
    with pytest.raises(LibraryError, match="no policy for 'lever'"):
        memory.groups([memory.keys()[0]._replace(objective="lever")])
    with pytest.raises(UnknownName, match="unknown objective term 'god'"):
        memory.select(objective="god")
    with pytest.raises(LibraryError, match="is given to two tasks"):
        MemoryLibrary([record("x"), RECORDS[0], record("hall")])


@pytest.mark.parametrize("given", [["x"], "x", [None], [RECORDS[0], RECORDS[0].task]])
def test_what_is_no_policy_is_refused_before_anything_is_written(folder, given):
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    for take in (MemoryLibrary, folder.add):
        with pytest.raises(InvalidValue, match="give a list of PolicyRecord"):
            take(given)
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_answers_are_those_of_a_folder(folder, memory):
    asked = {"environment": "room", "objective": "path-gold", "gamma": 0.0, "groups": ["path", "gold"]}
    for ranker in ("offline-return", "regressor"):
        mine, its = (compose(library, ranker=ranker, **asked) for library in (memory, folder))
        assert mine.policy_ids == its.policy_ids
        assert np.array_equal(mine.q, its.q)


def test_tasks_of_more_actions_than_a_file_has_room_for_are_composed_in_memory(monkeypatch, tmp_path):
    install(monkeypatch)
    nine = [policy("nine", Ring(12, 9), objective=name, seed=seed) for name in ("near", "far") for seed in range(3)]
    library = MemoryLibrary(nine, encoder=LETTERS)
    assert library.groups(library.keys())[0].support.shape == (3, 12, 2)
    assert [one.support.tobytes() for one in library.select(objective="near")] == [
        one.support.tobytes() for one in sorted(nine[:3], key=lambda one: one.id)
    ]
    answer = compose(library, objective="far-near", environment="nine", ranker="offline-return")
    assert answer.q.shape == (12, 9)
    assert set(answer.groups) == {"near", "far"}
    assert export(library, tmp_path / "nine.parquet") == 6
    again = MemoryLibrary(read_policies(tmp_path / "nine.parquet"))
    assert {one.id for one in again.select()} == {one.id for one in nine}
