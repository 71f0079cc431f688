"""How policies are dealt to shards never shows, and what was made of shards is kept."""

from dataclasses import fields

import numpy as np
import pytest

from lever_ray.behaviour import embeddings as embeddings_module
from lever_ray.behaviour.embeddings import embeddings
from lever_ray.behaviour.psi import embed
from lever_ray.behaviour.ranking import Lesson, ranking_rows, rows_of
from lever_ray.behaviour.rows import RankingRows
from lever_ray.embedding.outcome import states_that_matter
from lever_ray.embedding.successor import ENDS, GAMMA_PSI, KINDS
from lever_ray.library.format.manifest import EMBEDDING_MODEL
from lever_ray.library.format.schema import FEATURES
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.serving.shard import Shard
from lever_ray.policies.group import GroupKey
from lever_ray.tasks.canonical import CANONICAL_STATES
from lever_ray.tasks.objective import Objective
from tests.library_files import LETTERS
from tests.library_files import record as plain_record

PATHS = GroupKey("room", "path", 0.0, 10)


def record(**settings):
    return plain_record(**{"episodes": 10, "tried": 1.0, **settings})


def mixed_library(folder):
    """Groups of which some shards have rewards, or visits, and others have none; one shard has its Psi."""
    made = PolicyLibrary.create(folder)
    rewards = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    made.add(record(seed=seed, objective=name, mean_rewards=rewards) for name in ("path", "gold") for seed in range(3))
    embed(made)
    made.add(record(seed=seed, objective=name) for name in ("path", "gold") for seed in range(10, 13))
    made.add(record(seed=seed, visits=None, objective="path") for seed in range(20, 22))
    return made.path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("target", "count"), [("composite", 14), ("own", 14), ("recorded", 6)])
def test_ranking_rows_do_not_depend_on_how_shards_are_dealt(tmp_path, target, count, kind):
    library = PolicyLibrary.open(mixed_library(tmp_path / "mixed"))
    asked = {"gamma": 0.0, "episodes": 10, "kind": kind}
    whole = ranking_rows(library, target=target, objective="path-gold", **asked)
    parts = [Shard(library.path, library.manifest.part([shard])) for shard in library.manifest.shards]
    assert len(parts) == 3
    relabelled = Objective.of("path-gold") if target == "composite" else None
    terms = library.environment("room").task.terms
    lesson = Lesson(target, relabelled, canonical=states_that_matter(kind, 64), terms=terms, **asked)
    dealt = RankingRows.merge([rows_of(part, lesson) for part in parts])
    assert len(whole.ids) == count
    for field in fields(RankingRows):
        mine, other = getattr(whole, field.name), getattr(dealt, field.name)
        assert (mine.dtype, mine.tobytes()) == (other.dtype, other.tobytes()), field.name


def test_stored_psi_is_used_for_groups_of_several_shards(tmp_path, monkeypatch):
    library = PolicyLibrary.open(mixed_library(tmp_path / "mixed"))
    computed = embeddings(library._shard, PATHS, "psi")
    embed(library)
    monkeypatch.setattr(embeddings_module, "computed", None)
    fresh = PolicyLibrary.open(library.path)
    assert np.array_equal(embeddings(fresh._shard, PATHS, "psi"), computed)
    assert len(computed) == 8


def test_the_format_says_what_psi_is_made_by():
    held = {"dimension": FEATURES + ENDS, "gamma": GAMMA_PSI, "canonical_states": CANONICAL_STATES}
    assert {name: EMBEDDING_MODEL[name] for name in held} == held


def test_what_was_made_of_shards_is_kept_when_others_are_added(tmp_path):
    library = PolicyLibrary.open(mixed_library(tmp_path / "mixed"))
    library.search(["number 3"], 3, environment="room")
    library.search(["number 3"], 3)
    ranking_rows(library, target="own", objective="path", gamma=0.0, kind="outcome")
    before = {stored.entry.id: dict(stored._made) for stored in library._mapped}
    tables = {stored.entry.id: stored.tables for stored in library._mapped}
    assert all(before.values())
    library.add([record(seed=60)])
    embed(library)
    for stored in library._mapped[:-1]:
        assert stored.tables is tables[stored.entry.id]
        assert stored._made.keys() == before[stored.entry.id].keys()
        assert all(stored._made[what] is found for what, found in before[stored.entry.id].items())
        assert stored.psi is not None
    assert library.search(["number 60"], 1)[0][0].id == record(seed=60).id


def test_what_was_made_of_another_models_texts_is_made_anew(tmp_path):
    library = PolicyLibrary.create(tmp_path / "library", encoder=LETTERS)
    library.add([record(seed=seed) for seed in range(4)])
    reader = PolicyLibrary.open(library.path)
    first = reader.search(["number 3"], 4)
    PolicyLibrary.open(library.path).store_missing_texts()
    assert reader.refresh()
    assert reader.search(["number 3"], 4) == first
    assert not any(stored._made.get("texts") is not None for stored in reader._mapped)
