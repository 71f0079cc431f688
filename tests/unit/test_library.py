"""The library: appending, reading back, groups, selection, ranking rows, records."""

import math
import pickle
from copy import copy
from dataclasses import fields, replace

import numpy as np
import pytest

from lever_ray.behaviour.embeddings import embeddings
from lever_ray.behaviour.ranking import ranking_rows
from lever_ray.building.records import records_of
from lever_ray.embedding.offline import SUM, make_pool, offline_returns
from lever_ray.embedding.successor import KINDS, embed, make_embedder
from lever_ray.errors import InvalidValue, LibraryError, UnknownName
from lever_ray.learning.sarsa import train
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.record import PolicyRecord
from lever_ray.library.writing import change as writing
from lever_ray.policies.group import GroupKey
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.support import support_bits
from tests.twin import made_up_record

ROOM = Layout(4, (0, 0), (3, 3), ((0, 2), (2, 0)), ((1, 1),), ((0, 3),), (3, 0))
HALL = Layout(3, (0, 0), (2, 2), ((0, 2),), lever=(2, 0))


def record(environment="room", layout=ROOM, **settings):
    return made_up_record(environment, layout, **{"episodes": 10, "tried": 1.0, **settings})


RECORDS = [
    *(record(objective=name, seed=seed) for name in ("path", "gold") for seed in range(4)),
    *(record("hall", HALL, objective=name, seed=seed) for name in ("path", "gold") for seed in (1, 2)),
    record(seed=9, gamma=0.99),
    record(seed=10, episodes=20),
]
PATHS = GroupKey("room", "path", 0.0, 10)


@pytest.fixture
def library(tmp_path):
    """Three appends, so that groups span files and an environment has two rows."""
    made = PolicyLibrary.create(tmp_path / "library")
    for first in range(3):
        made.add(RECORDS[first::3])
    return PolicyLibrary.open(made.path)


def on_disk(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def same(one, other):
    """Whether two records are equal in every field, to the last bit."""
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(PolicyRecord)]
    return all(
        (a.dtype, a.tobytes()) == (b.dtype, b.tobytes()) if isinstance(a, np.ndarray) else a == b or (a != a and b != b)
        for a, b in pairs
    )


# Appending and reading back.


def test_a_library_is_sent_to_other_processes_without_its_files(library):
    groups = library.groups(library.keys())
    assert len(pickle.dumps(library)) < 20_000
    assert [group.ids for group in copy(library).groups(library.keys())] == [group.ids for group in groups]


def test_a_new_library_is_empty_and_can_be_opened(tmp_path):
    made = PolicyLibrary.create(tmp_path / "deep" / "library")
    assert (len(made), made.environments, made.keys(), made.select(), made.bytes) == (0, (), (), [], 0)
    assert len(PolicyLibrary.open(str(made.path))) == 0


def test_a_library_counts_and_lists_what_was_added(library):
    assert (len(library), library.environments) == (len(RECORDS), ("hall", "room"))
    assert library.keys("room") == (
        GroupKey("room", "gold", 0.0, 10),
        PATHS,
        PATHS._replace(episodes=20),
        PATHS._replace(gamma=0.99),
    )
    assert library.keys() == (
        GroupKey("hall", "gold", 0.0, 10),
        GroupKey("hall", "path", 0.0, 10),
        *library.keys("room"),
    )
    assert library.bytes == sum(len(data) for name, data in on_disk(library.path).items() if name.endswith(".arrow"))
    library.verify()


def test_records_come_back_exactly_as_they_went_in(tmp_path):
    weighted = Objective.of("path-gold", weights={"gold": 0.1})
    rewards = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    given = [
        record(objective=weighted, mean_rewards=rewards, label="best", gamma=0.99, total=math.nan),
        record(seed=2**40, algorithm="q-learning", episodes=7, snapshot=3, environment_steps=2**40, seconds=0.1),
    ]
    made = PolicyLibrary.create(tmp_path / "library")
    made.add(given)
    for one, other in zip(sorted(given, key=lambda one: one.objective.name), made.select(), strict=True):
        assert same(one, other)
        assert one.id == other.id


def test_adding_policies_again_changes_nothing_on_disk(library):
    before = on_disk(library.path)
    assert library.add(RECORDS[:3] * 2) == 0
    assert library.add(library.select()) == 0
    assert library.add([]) == 0
    assert on_disk(library.path) == before


def test_a_whole_number_as_gamma_makes_no_other_policy(tmp_path):
    made = PolicyLibrary.create(tmp_path / "library")
    made.add([record(gamma=0)])
    assert made.add(made.select()) == 0


def test_policies_given_twice_in_one_call_are_added_once(tmp_path):
    made = PolicyLibrary.create(tmp_path / "library")
    assert made.add(one for one in [*RECORDS[:2], *RECORDS[:2]]) == 2
    assert len(made) == len(made.select()) == 2


def test_an_environments_name_taken_by_another_task_is_refused_and_nothing_changes(library):
    before = on_disk(library.path)
    for clash in (
        [record("room", HALL)],
        [record("new"), record("new", HALL), record(seed=77)],
    ):
        with pytest.raises(
            LibraryError,
            match=r"another task; give this one another name|given to two tasks; give one of them another name",
        ):
            library.add(clash)
    assert on_disk(library.path) == before


def test_a_crash_before_the_manifest_is_swapped_loses_nothing(library, monkeypatch):
    def crash(path, manifest):
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(writing, "write_manifest", crash)
        with pytest.raises(OSError, match="no space left"):
            library.add([record(seed=50)])
    assert len(PolicyLibrary.open(library.path)) == len(library) == len(RECORDS)
    assert library.add([record(seed=50)]) == 1
    PolicyLibrary.open(library.path).verify()


def test_what_one_object_adds_another_sees_when_it_opens_or_appends(library):
    other = PolicyLibrary.open(library.path)
    assert len(other.select()) == len(RECORDS)
    library.add([record(seed=60)])
    other.add([record(seed=61)])
    assert len(other) == len(other.select()) == len(RECORDS) + 2
    assert len(other.groups([PATHS])[0]) == 6


# Groups, environments, selection, ranking rows.


def test_groups_hold_every_member_in_the_order_of_ids(library):
    keys = library.keys()
    for key, group in zip(keys, library.groups(keys), strict=True):
        members = sorted(
            (one for one in RECORDS if GroupKey(one.environment, one.objective.name, one.gamma, one.episodes) == key),
            key=lambda one: one.id,
        )
        assert group.objective == key.objective
        assert group.ids == tuple(one.id for one in members)
        assert np.array_equal(group.q, [one.q for one in members])
        assert np.array_equal(group.support, [support_bits(one.visits > 0) for one in members])
        assert list(group.totals) == [one.total for one in members]
        assert (group.q.dtype, group.support.dtype, group.totals.dtype) == ("float32", "uint8", "float64")


def test_a_group_without_members_is_refused_and_the_message_says_what_there_is(library):
    with pytest.raises(
        LibraryError, match="no policy for 'lever' at gamma 0 and 10 episodes; objectives held: gold, path"
    ):
        library.groups([PATHS, PATHS._replace(objective="lever")])


def test_an_environment_holds_the_union_of_what_its_policies_recorded(library):
    held = library.environment("room")
    union = np.max([one.successors for one in RECORDS if one.environment == "room"], axis=0)
    assert (held.name, held.layout) == ("room", ROOM)
    assert np.array_equal(held.successors, union)
    with pytest.raises(UnknownName, match=r"unknown environment 'rooom'.*Did you mean 'room'"):
        library.environment("rooom")


def test_recorded_transitions_grow_and_canonical_states_stay_once_they_are_drawn(tmp_path):
    made = PolicyLibrary.create(tmp_path / "library")
    first, second = record(tried=0.3), record(seed=1, tried=0.3)
    made.add([first])
    before = made.environment("room")
    made.add([second])
    after = made.environment("room")
    assert np.array_equal(before.successors, first.successors)
    assert np.array_equal(after.successors, np.maximum(first.successors, second.successors))
    for name in ("observations", "memories"):
        assert np.array_equal(getattr(before.canonical, name), getattr(after.canonical, name))


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"environment": "hall"},
        {"objective": "gold"},
        {"gamma": 0.99},
        {"episodes": 20},
        {"environment": "room", "objective": Objective.of("path"), "gamma": 0.0, "episodes": 10},
        {"label": "best"},
        {"environment": "nowhere"},
    ],
)
def test_selection_gives_the_records_that_match_in_a_fixed_order(library, filters):
    library.add([record(seed=30, label="best")])
    wanted = {name: value.name if isinstance(value, Objective) else value for name, value in filters.items()}

    def matches(one):
        return all(
            (one.objective.name if name == "objective" else getattr(one, name)) == value
            for name, value in wanted.items()
        )

    def place(one):
        return (one.environment, one.objective.name, one.gamma, one.episodes, one.id)

    expected = sorted(filter(matches, [*RECORDS, record(seed=30, label="best")]), key=place)
    found = library.select(**filters)
    assert [one.id for one in found] == [one.id for one in expected]
    assert all(map(same, found, expected))


def expected_rows(library, key, kind, objective):
    """Embeddings and returns of a group's members, one by one."""
    held, (group,) = library.environment(key.environment), library.groups([key])
    pool, singles = make_pool(group.q, group.support), np.arange(len(group), dtype=np.int32)[:, None]
    masked = objective is not None
    x = embed(make_embedder(held.task, held.canonical), pool, singles, masked=masked, kind=kind)
    if objective is None:
        return x, group.totals
    return x, offline_returns(held.task.compile(Objective.of(objective)), pool, singles, SUM, True, True)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("target", "relabel"), [("own", None), ("composite", "path-gold")])
def test_ranking_rows_are_the_embeddings_and_returns_of_all_policies_at_a_gamma(library, kind, target, relabel):
    rows = ranking_rows(library, target=target, objective="path-gold", gamma=0.0, episodes=10, kind=kind)
    keys = [*library.keys("hall"), *library.keys("room")[:2]]
    parts = [expected_rows(library, key, kind, relabel) for key in keys]
    ids = [(key.environment, identity) for key in keys for identity in library.groups([key])[0].ids]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    assert list(zip(rows.environments, rows.ids, strict=True)) == sorted(ids)
    assert np.array_equal(rows.x, np.concatenate([x for x, _ in parts])[order])
    assert np.array_equal(rows.y, np.concatenate([y for _, y in parts])[order])
    assert list(rows.environments) == ["hall"] * 4 + ["room"] * 8
    kept = rows.without("room", library.environment("room").task)
    assert (list(kept.environments), len(kept.x), len(kept.y)) == (["hall"] * 4, 4, 4)


def test_own_returns_are_left_out_where_the_records_do_not_show_the_rollout(library):
    library.add([record(seed=80, gamma=0.5, tried=1.0), record(seed=81, gamma=0.5, tried=0.0)])
    asked = {"objective": "path", "gamma": 0.5, "kind": "outcome"}
    assert list(ranking_rows(library, target="own", **asked).y) == [80.0]
    assert len(ranking_rows(library, target="composite", **asked).y) == 2


def test_ranking_rows_leave_out_unknown_returns_and_notice_new_policies(library):
    asked = {"target": "own", "objective": "path", "gamma": 0.99}
    assert list(ranking_rows(library, **asked).y) == [9.0]
    library.add([record(seed=70, gamma=0.99, total=math.nan), record(seed=71, gamma=0.99)])
    assert sorted(ranking_rows(library, **asked).y) == [9.0, 71.0]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"target": "composit"},
            UnknownName,
            r"unknown regressor target 'composit'.*Did you mean 'composite'",
        ),
        ({"kind": "psy"}, UnknownName, r"unknown embedding 'psy'.*Did you mean 'psi'"),
        ({"objective": "glod"}, UnknownName, "Did you mean 'gold'"),
        ({"gamma": 0.5}, LibraryError, r"no policy at gamma 0.5; it has \[0.0, 0.99\]"),
    ],
)
def test_ranking_rows_that_cannot_be_had_are_refused(library, changed, error, message):
    with pytest.raises(error, match=message):
        ranking_rows(library, **{"target": "composite", "objective": "path", "gamma": 0.0, **changed})


# Records.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": np.zeros((9, 4))}, r"q has shape \(9, 4\); its task needs \(16, 4\)"),
        ({"visits": np.zeros(64)}, r"visits has shape \(64,\)"),
        ({"successors": np.zeros((16, 3))}, "successors has shape"),
        ({"mean_rewards": np.zeros((4, 4))}, "mean_rewards has shape"),
        ({"q": np.full((16, 4), np.nan)}, "q holds NaN"),
        ({"q": np.full((16, 4), -np.inf)}, "q holds NaN or infinite"),
        ({"gamma": 1.5}, "gamma is 1.5"),
        ({"gamma": math.nan}, "gamma is nan"),
        ({"visits": np.zeros((16, 4))}, "visits and successors disagree"),
        ({"successors": np.full((16, 4), 5)}, "contradict its task"),
        ({"successors": np.full((16, 4), -2)}, "contradict its task"),
    ],
)
def test_an_unsound_record_is_refused_and_the_message_names_it(changes, message):
    with pytest.raises(InvalidValue, match=rf"policy 'mine' for path in environment 'room'.*{message}"):
        record(label="mine", **changes)


def test_the_id_depends_on_what_was_trained_and_not_on_what_it_is_called():
    others = [{"seed": 1}, {"gamma": 0.5}, {"episodes": 3}, {"snapshot": 3}, {"algorithm": "q"}, {"environment": "x"}]
    weighted = Objective.of("path", weights={"path": 2})
    others += [{"q": record().q + 1}, {"objective": "gold"}, {"objective": weighted}]
    assert len({record().id, *(replace(record(), **other).id for other in others)}) == len(others) + 1
    assert replace(record(), label="best", description="words", seconds=1.0, total=2.0).id == record().id


def test_a_training_run_gives_its_worst_median_and_best_snapshot():
    run = train(HALL, objective="path-gold", episodes=40, snapshot_every=10, gamma=0.5, seed=3)
    records = {one.label: one for one in records_of(run, environment="hall", description="gold, then out")}
    for label, snapshot in run.labelled().items():
        kept = records.pop(label)
        assert (kept.snapshot, kept.total, kept.q.tobytes()) == (snapshot.episode, snapshot.total, snapshot.q.tobytes())
        assert (kept.gamma, kept.seed, kept.episodes, kept.environment_steps) == (0.5, 3, 40, run.environment_steps)
        assert np.array_equal(kept.support, support_bits(snapshot.visits > 0))
    assert not records


def test_the_only_snapshot_of_a_short_run_can_be_found_as_the_best(tmp_path):
    made = PolicyLibrary.create(tmp_path / "library")
    made.add(records_of(train(HALL, objective="path", episodes=5), environment="hall", description="out"))
    assert len(made.select(label="best")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_averaged_over_as_many_canonical_states_as_asked(library, kind):
    asked = {"target": "composite", "objective": "path", "gamma": 0.0, "kind": kind}
    one, all_, more = (ranking_rows(library, **asked, canonical=count).x for count in (1, 64, 100))
    assert np.array_equal(all_, ranking_rows(library, **asked).x)
    assert np.array_equal(all_, more)
    assert not np.array_equal(one, all_)
    held, key = library.environment("hall"), library.keys("hall")[0]
    (group,) = library.groups([key])
    pool, singles = make_pool(group.q, group.support), np.arange(len(group), dtype=np.int32)[:, None]
    alone = embed(make_embedder(held.task, held.canonical.thinned(1)), pool, singles, kind=kind)
    assert np.array_equal(embeddings(library._shard, key, kind, canonical=1), alone)


def test_outcomes_are_computed_once_however_many_canonical_states_are_asked_for(library):
    asked = {"target": "own", "objective": "path", "gamma": 0.0, "kind": "outcome"}
    assert ranking_rows(library, **asked, canonical=1) is ranking_rows(library, **asked)
    with pytest.raises(InvalidValue, match="canonical states is 0"):
        ranking_rows(library, **asked, canonical=0)
