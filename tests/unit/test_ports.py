"""Import: what is understood of foreign files, and what results say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lever_ray as lever
from lever_ray.building.records import records_of
from lever_ray.errors import InvalidValue
from lever_ray.learning.sarsa import train
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.ports.fields import FIELDS
from lever_ray.library.ports.importing import records
from lever_ray.library.ports.options import ImportOptions
from lever_ray.library.ports.understanding import understand
from lever_ray.query.compose import compose
from lever_ray.tasks.gridworld.layout import Layout
from tests.foreign import LAYOUT, OPTIONS, ROOM, TEXTS, npz, read, refused, tables

__all__ = ["tables"]


def told(source: Any, options: ImportOptions = OPTIONS) -> dict[str, str]:
    return {each.field: f"{each.column} {each.told}" for each in understand(source, options).taken}


# A library of other code, from end to end.


def test_tables_of_other_code_compose_and_say_that_support_is_unknown(tables: np.ndarray, tmp_path: Path) -> None:
    library = PolicyLibrary.create(tmp_path / "theirs")
    file = npz(tmp_path / "theirs.npz", Q=tables, desc=np.array(TEXTS))
    assert library.add(read(file)) == 6
    result = compose(library, objective="path-gold", environment="maze", ranker="offline-return", threshold=0.2)
    assert set(result.groups) == {"path", "gold"}
    assert (result.support_source, result.tier) == ("unknown", "I3")
    assert any("is unknown: every action counts as taken" in warning for warning in result.warnings)
    assert all(identity in " ".join(result.warnings) for identity in result.policy_ids)
    assert result.to_dict()["support_source"] == "unknown"


def test_given_transitions_are_support_and_results_say_so(tables: np.ndarray, tmp_path: Path) -> None:
    seen = np.where(np.arange(4) < 3, LAYOUT.terrain.moves, -1)
    columns = {"q": tables, "text": TEXTS, "objective": ["gold"] * 3 + ["path"] * 3, "successors": np.stack([seen] * 6)}
    understood = understand(columns, OPTIONS)
    assert "no visits: support is derived from transitions" in understood.notes
    library = PolicyLibrary.create(tmp_path / "theirs")
    library.add(records(understood))
    result = compose(library, objective="path-gold", environment="maze", ranker="offline-return")
    assert result.support_source == "transitions"
    assert "was derived from given transitions" in " ".join(result.warnings)
    plan = compose(library, objective="path-gold", environment="maze", operator="plan")
    assert plan.support_source == "transitions"


def test_trained_policies_have_their_support_from_visits(small_library: Path) -> None:
    library = PolicyLibrary.open(small_library)
    result = compose(library, objective="path-gold", environment="grid8-0", gamma=0.0, ranker="recorded-return")
    assert (result.support_source, result.tier) == ("visits", "I2")
    assert "support of policies" not in " ".join(result.warnings)


def test_one_unknown_member_makes_a_result_unknown(tmp_path: Path) -> None:
    run = train(LAYOUT, objective="gold", episodes=500, gamma=0.9, seed=0)
    library = PolicyLibrary.create(tmp_path / "mixed")
    library.add(records_of(run, environment="maze", description="gold")[:1])
    library.add(read({"q": run.q, "objective": "path"}, replace(OPTIONS, episodes=500)))
    result = compose(library, objective="path-gold", environment="maze", ranker="offline-return")
    assert result.support_source == "unknown"
    assert sum("support of policies" in warning for warning in result.warnings) == 1


# What is understood.


@pytest.mark.parametrize("shape", [(6, 64, 4), (6, 8, 8, 4), (6, 256)])
def test_every_shape_is_read_alike(tables: np.ndarray, shape: tuple[int, ...]) -> None:
    found = read({"q": tables.reshape(shape), "desc": TEXTS})
    assert [record.q.tolist() for record in found] == tables.astype(np.float32).tolist()
    assert found[0].q.dtype == np.float32


@pytest.mark.parametrize("shape", [(64, 4), (8, 8, 4), (1, 64, 4), (256,)])
def test_one_policy_needs_no_first_axis(tables: np.ndarray, shape: tuple[int, ...]) -> None:
    given = [tables[0].reshape(shape)] if shape == (256,) else tables[0].reshape(shape)
    (record,) = read({"q": given, "desc": "fetch the treasure"})
    assert (record.q == tables[0].astype(np.float32)).all()


def test_sixteen_policies_and_sixteen_by_sixteen_cells_are_told_apart() -> None:
    q = np.zeros((16, 16, 4))
    assert understand({"q": q, "desc": "x"}, replace(OPTIONS, layouts=ROOM)).policies == 16
    large = Layout.sample("grid16", seed=0)
    assert understand({"q": q, "desc": "x"}, replace(OPTIONS, layouts=large)).policies == 1
    assert understand({"q": q, "desc": ["x"] * 16}, replace(OPTIONS, layouts=None)).policies == 16


@pytest.mark.parametrize(("field", "name"), [(field.name, name) for field in FIELDS for name in field.synonyms])
def test_synonyms_are_documented_and_unique(field: str, name: str) -> None:
    documented = (Path(__file__).parents[2] / "docs/import-export.md").read_text()
    assert f"`{name}`" in documented
    assert [each.name for each in FIELDS if name in (each.name, *each.synonyms)] == [field]


@pytest.mark.parametrize("name", ["Q", "q_tables", "Q-Table", "Action Values", "q_value"])
def test_names_are_read_loosely(tables: np.ndarray, name: str) -> None:
    assert told({name: tables, "desc": TEXTS})["q"].startswith(name)


def test_conversions_and_what_is_ignored_are_told(tables: np.ndarray) -> None:
    understood = understand({"q": tables, "desc": TEXTS, "name": TEXTS, "junk": [1] * 6, "gamma": [0.5] * 6}, OPTIONS)
    said = {each.field: each.told for each in understood.taken}
    assert "float64 -> float32, no value changes by more than" in said["q"]
    assert "0.9 for all policies" in said["gamma"]
    assert dict(understood.ignored)["gamma"] == "--gamma goes before it"
    assert dict(understood.ignored)["junk"].startswith("not understood")
    assert "no visits, no transitions: support is unknown, every action counts as taken" in understood.notes
    assert "name" in dict(understood.ignored)


def test_everything_missing_is_asked_for_at_once(tables: np.ndarray) -> None:
    said = refused({"q": tables}, ImportOptions())
    for option in ("--gamma", "--environment", "--layout", "--objective", "--description"):
        assert option in said
    assert "--column q=" in refused({"values": tables}, ImportOptions())


def test_a_layout_may_come_from_the_library_or_by_its_own_name(tables: np.ndarray) -> None:
    given = ImportOptions(gamma=0.9, environment="maze")
    found = records(
        understand({"q": tables, "desc": TEXTS}, given, held=lambda name: LAYOUT if name == "maze" else None)
    )
    assert found[0].layout == LAYOUT
    named = read({"q": tables, "desc": TEXTS}, ImportOptions(gamma=0.9, layouts=LAYOUT))
    assert named[0].environment == "grid8-3"


def test_layouts_by_environment_and_tables_of_several_sizes() -> None:
    q = [np.zeros((64, 4)), np.ones((16, 4))]
    options = ImportOptions(layouts={"a": LAYOUT, "b": ROOM}, gamma=0.0)
    found = read({"q": q, "env": ["a", "b"], "desc": "x"}, options)
    assert [record.task.observations for record in found] == [64, 16]
    assert "the layout of 'c'" in refused({"q": q, "env": ["a", "c"], "desc": "x"}, options)
    assert "one layout for all" in refused({"q": q, "env": ["a", "b"], "desc": "x"}, replace(options, layouts=ROOM))


def test_actions_in_another_order_become_ours(tables: np.ndarray) -> None:
    moves = LAYOUT.terrain.moves
    theirs = [3, 0, 1, 2]  # up, right, down, left
    columns = {"q": tables[:, :, theirs], "desc": TEXTS, "successors": np.stack([moves[:, theirs]] * 6)}
    for names in ("up,right,down,left", "North,East,South,West"):
        (first, *_) = read(columns, replace(OPTIONS, actions=names.split(",")))
        assert (first.q == tables[0].astype(np.float32)).all()
        assert (first.successors == moves).all()
    assert "--actions" in refused(columns)


@pytest.mark.parametrize("names", ["right,down,left,jump", "right,down,left", "right,right,left,up", ""])
def test_wrong_action_names_are_refused(tables: np.ndarray, names: str) -> None:
    assert "action" in refused({"q": tables, "desc": TEXTS}, replace(OPTIONS, actions=names.split(",")))


def transitions_of(moves: np.ndarray) -> np.ndarray:
    """int64[128, 3]: actions 0 and 1 of every cell, each twice."""
    pairs = [(state, action, moves[state, action]) for state in range(64) for action in (0, 1)]
    return np.array(pairs * 2)


def test_transitions_as_rows_in_every_form(tables: np.ndarray, tmp_path: Path) -> None:
    rows, q = transitions_of(LAYOUT.terrain.moves), tables[:2]
    policies = np.repeat([0, 1], len(rows))
    both = np.concatenate([rows, rows])
    arrow = pa.array([rows.tolist()] * 2)
    structs = pa.array(
        [[dict(zip(("next_state", "action", "state"), row[::-1], strict=True)) for row in rows.tolist()]] * 2
    )
    for name, column in (("lists", arrow), ("structures", structs)):
        table = pa.table({"q": [table.ravel().tolist() for table in q], "transitions": column})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    for source in (
        {"q": q, "transitions": both, "transition_policies": policies},
        {"q": q, "transitions": np.column_stack([policies, both])},
        {"q": q, "transitions": [rows, rows]},
        tmp_path / "lists.parquet",
        tmp_path / "structures.parquet",
    ):
        found = read(source, replace(OPTIONS, description="x"))
        assert {record.support_source for record in found} == {"transitions"}
        assert all((record.support == 0b11).all() for record in found)


def test_wrong_transitions_are_refused(tables: np.ndarray) -> None:
    rows, options = transitions_of(LAYOUT.terrain.moves), replace(OPTIONS, description="x")
    for place, value, said in ((0, 64, "from 0 to 63"), (1, 4, "from 0 to 3"), (2, -5, "from 0 to 63")):
        wrong = rows.copy()
        wrong[7, place] = value
        assert said in refused({"q": tables[0], "transitions": wrong}, options)
    wrong = rows.copy()
    wrong[0, 2] = (wrong[0, 2] + 9) % 64
    assert "to several states" in refused({"q": tables[0], "transitions": wrong}, options)
    assert "contradict its task" in refused({"q": tables[0], "transitions": wrong[:1]}, options)
    assert "which of 6 policies" in refused({"q": tables, "transitions": rows}, options)
    with_policy = {"q": tables, "transitions": rows, "transition_policies": np.full(len(rows), 6)}
    assert "from 0 to 5" in refused(with_policy, options)


def test_visits_of_any_whole_dtype(tables: np.ndarray) -> None:
    visits = np.ones((6, 64, 4))
    (first, *_) = read({"q": tables, "desc": TEXTS, "counts": visits})
    assert (first.support_source, first.visits.dtype) == ("visits", np.uint32)
    for wrong, said in ((0.5, "0.5"), (-1, "-1"), (2.0**33, "8589934592"), (np.nan, "nan")):
        visits[1, 2, 3] = wrong
        message = refused({"q": tables, "desc": TEXTS, "counts": visits})
        assert said in message
        assert message.startswith("policy 1 of")


def test_layouts_may_be_plain_data() -> None:
    q = np.zeros((16, 4))
    given = {"q": q, "desc": ["fetch the treasure"]}
    for layouts in (ROOM.to_dict(), {"room": ROOM.to_dict()}, {"room": ROOM}):
        (record,) = lever.read_policies(given, environment="room", layouts=layouts, gamma=0.5)
        assert record.layout == ROOM
    with pytest.raises(InvalidValue, match="layouts: layout is 3; it must be a mapping"):
        lever.read_policies(given, environment="room", layouts=3, gamma=0.5)
