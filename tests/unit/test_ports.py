"""Import and export: what is understood of foreign files, what is refused, and that nothing is lost on the way."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lever_ray as lever
from lever_ray.errors import InvalidValue, LeverError, LibraryError, UnknownName
from lever_ray.gridworld.layout import Layout
from lever_ray.learning.sarsa import train
from lever_ray.library.ports.exporting import export
from lever_ray.library.ports.fields import FIELDS
from lever_ray.library.ports.importing import records
from lever_ray.library.ports.options import ImportOptions, read_layouts
from lever_ray.library.ports.understanding import understand
from lever_ray.library.record import PolicyRecord, records_of
from lever_ray.library.store import PolicyLibrary
from lever_ray.query.compose import compose

LAYOUT = Layout.sample("grid8", seed=3)
ROOM = Layout(4, (0, 0), (3, 3), ((0, 2), (2, 0)), ((1, 1),), ((0, 3),), (3, 0), name="room")
OPTIONS = ImportOptions(environment="maze", layouts=LAYOUT, gamma=0.9)
TEXTS = ["fetch the treasure"] * 3 + ["run to the exit as fast as you can"] * 3


@pytest.fixture(scope="module")
def tables() -> np.ndarray:
    """float64[6, 64, 4]: three policies for gold, three for the exit."""
    runs = [
        train(LAYOUT, objective=term, episodes=500, gamma=0.9, seed=s) for term in ("gold", "path") for s in range(3)
    ]
    return np.array([run.q for run in runs], np.float64) + 1e-9


def read(source: Any, options: ImportOptions = OPTIONS) -> list[PolicyRecord]:
    return records(understand(source, options))


def told(source: Any, options: ImportOptions = OPTIONS) -> dict[str, str]:
    return {each.field: f"{each.column} {each.told}" for each in understand(source, options).taken}


def refused(source: Any, options: ImportOptions = OPTIONS) -> str:
    with pytest.raises(LeverError) as caught:
        read(source, options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


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
    assert [record.layout.states for record in found] == [64, 16]
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
    assert "contradict its layout" in refused({"q": tables[0], "transitions": wrong[:1]}, options)
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


# What is refused.


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e39])
def test_values_that_are_no_float32_are_refused_and_the_policy_named(tables: np.ndarray, wrong: float) -> None:
    broken = tables.copy()
    broken[4, 5, 1] = wrong
    message = refused({"q": broken, "desc": TEXTS})
    assert "policy 4" in message
    assert "NaN or infinite" in message


@pytest.mark.parametrize("shape", [(6, 63, 4), (6, 64, 5), (64,), (6, 8, 7, 4), (0, 64, 4), (6, 4, 64), ()])
def test_wrong_shapes_of_q(shape: tuple[int, ...]) -> None:
    assert "shape" in refused({"q": np.zeros(shape), "desc": "x"})


def test_another_size_than_the_layouts() -> None:
    assert "(64, 4)" in refused({"q": np.zeros((2, 49, 4)), "desc": "x"})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"visits": np.zeros((6, 63, 4))}, "column 'visits'"),
        ({"visits": np.zeros((5, 64, 4))}, "column 'visits'"),
        ({"gamma": ["high"] * 6}, "'high'"),
        ({"gamma": [0.5] * 5}, "5 rows"),
        ({"gamma": [0.5] * 5 + [None]}, "row 5, is empty"),
        ({"gamma": [0.5] * 5 + [1.5]}, "policy 5"),
        ({"gamma": [True] * 6}, "True"),
        ({"episodes": [-1] * 6}, "-1"),
        ({"episodes": [1.5] * 6}, "1.5"),
        ({"label": [3] * 6}, "must be text"),
        ({"objective": ["fetch the treasure"] * 6}, "--column description="),
        ({"objective": ["path"] * 6, "weights": np.zeros((6, 3))}, "4 numbers"),
        ({"objective": ["path"] * 6, "weights": np.full((6, 4), -1.0)}, "not negative"),
        ({"support_source": ["hearsay"] * 6}, "hearsay"),
        ({"visits": [["a"] * 4] * 6}, "give numbers"),
        ({"layout": '{"size": 8}'}, "lacks start"),
        ({"layout": "no JSON"}, "column 'layout'"),
    ],
)
def test_wrong_columns_are_one_clear_line(tables: np.ndarray, columns: dict[str, Any], said: str) -> None:
    options = ImportOptions(environment="maze", layouts=None if "layout" in columns else LAYOUT)
    given = {"gamma": 0.5, "desc": TEXTS, "q": tables} | columns
    assert said in refused(given, options)


@pytest.mark.parametrize("columns", [{"qq": "q"}, {"q": "nowhere"}, {"q": "q", "visits": "q"}])
def test_wrong_column_options(tables: np.ndarray, columns: dict[str, str]) -> None:
    refused({"q": tables, "desc": TEXTS}, replace(OPTIONS, columns=columns))


class Malicious:
    """Would make a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["q", "label", "something_else"])
def test_a_pickle_in_an_npz_is_refused_to_no_effect(tables: np.ndarray, tmp_path: Path, name: str) -> None:
    arrays = {"q": tables, "desc": np.array(TEXTS), name: np.array([Malicious(tmp_path / "owned")] * 6, object)}
    file = npz(tmp_path / "bad.npz", **arrays)
    assert "pickled Python objects" in refused(file)
    assert not (tmp_path / "owned").exists()


def test_a_plain_pickle_is_no_format(tmp_path: Path) -> None:
    file = tmp_path / "bad.npz"
    file.write_bytes(pickle.dumps(Malicious(tmp_path / "owned")))
    assert "neither an npz nor a Parquet" in refused(file)
    file.rename(tmp_path / "bad.parquet")
    assert "neither" in refused(tmp_path / "bad.parquet")
    assert not (tmp_path / "owned").exists()


def test_sizes_in_headers_are_checked_before_anything_is_allocated(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 64, 4)})
    file = tmp_path / "huge.npz"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("q.npy", header.getvalue() + b"\0" * 64)
    assert "says it has" in refused(file)


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_truncated_and_flipped_files_are_refused(tables: np.ndarray, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x.{suffix}"
    if suffix == "npz":
        npz(file, q=tables, desc=np.array(TEXTS))
    else:
        pq.write_table(pa.table({"q": [table.ravel().tolist() for table in tables], "desc": TEXTS}), file)
    whole = file.read_bytes()
    for length in (0, 3, 5, len(whole) // 3, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert str(file) in refused(file)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    file.write_bytes(flipped)
    if suffix == "npz":
        assert str(file) in refused(file)
    assert "cannot be read" in refused(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_any_flipped_byte_is_read_or_refused_but_never_a_crash(tmp_path: Path, suffix: str) -> None:
    file, rng = tmp_path / f"x.{suffix}", np.random.default_rng(1)
    library = PolicyLibrary.create(tmp_path / "one")
    library.add(read({"q": rng.normal(size=(2, 16, 4)), "desc": "x"}, ImportOptions(layouts=ROOM, gamma=0.1)))
    export(library, file)
    whole = file.read_bytes()
    for place in rng.integers(0, len(whole), 150).tolist():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(flipped)
        with contextlib.suppress(LeverError):
            read(file, ImportOptions())


def test_parquet_with_wrong_types(tables: np.ndarray, tmp_path: Path) -> None:
    flat = [table.ravel().tolist() for table in tables]
    wrong = {
        "text q": ({"q": ["many"] * 6}, "q"),
        "lists of text": ({"q": [["a"] * 256] * 6}, "give numbers"),
        "a null table": ({"q": [*flat[:5], None]}, "policy 5 is missing"),
        "a null value": ({"q": [*flat[:5], [None, *flat[5][1:]]]}, "lacks values"),
        "ragged": ({"q": [*flat[:5], flat[5][:-1]]}, "shape"),
        "of another size": ({"q": [*flat[:5], flat[5][:64]]}, "(64, 4)"),
        "numbers as text": ({"q": flat, "desc": [1] * 6}, "must be text"),
    }
    for name, (columns, said) in wrong.items():
        file = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"desc": TEXTS} | columns), file)
        assert said in refused(file), name


def test_nested_lists_and_nulls_of_optional_columns(tables: np.ndarray, tmp_path: Path) -> None:
    visits = [np.ones((64, 4), np.int64).tolist(), None]
    columns = {
        "q_table": tables[:2].reshape(2, 8, 8, 4).tolist(),
        "visits": visits,
        "desc": TEXTS[:2],
        "label": ["a", None],
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=1)
    found = read(tmp_path / "x.parquet")
    assert [(record.support_source, record.label) for record in found] == [("visits", "a"), ("unknown", "")]
    assert (found[1].q == tables[1].astype(np.float32)).all()


def test_layout_files(tmp_path: Path) -> None:
    file = tmp_path / "layouts.json"
    file.write_text(json.dumps({"a": LAYOUT.to_dict(), "b": ROOM.to_dict()}))
    assert read_layouts(file) == {"a": LAYOUT, "b": ROOM}
    for wrong in ("[1]", "{", '{"a": 3}', '{"size": 8}', "{}"):
        file.write_text(wrong)
        with pytest.raises((LibraryError, InvalidValue), match="layouts"):
            read_layouts(file)
    with pytest.raises(LibraryError, match="cannot be read"):
        read_layouts(tmp_path / "nowhere.json")


# There and back.


def mixed_library(path: Path) -> PolicyLibrary:
    """Policies of two sizes, with and without visits, rewards, objectives and weights."""
    library, rng = PolicyLibrary.create(path), np.random.default_rng(0)
    run = train(LAYOUT, objective="gold", episodes=300, gamma=0.5, seed=0)
    library.add(records_of(run, environment="maze", description="Fetch [gold]; \u00e4, \u6f22, \U0001f600."))
    q = rng.normal(size=(3, 16, 4))
    library.add(read({"q": q, "desc": ["a", "b", "c"]}, ImportOptions(environment="room", layouts=ROOM, gamma=0.1)))
    weighted = {"q": q[0], "objective": "path-gold", "weights": np.array([[1 / 3, 2.5, 0, 0]]), "total": -0.1}
    seen = {"successors": np.where(np.arange(4) < 2, ROOM.terrain.moves, -1)}
    library.add(read(weighted | seen, ImportOptions(environment="room", layouts=ROOM, gamma=0.1, label="x")))
    return library


def same(one: PolicyRecord, other: PolicyRecord) -> bool:
    arrays = ("q", "visits", "successors", "mean_rewards")
    plain = [name for name in one.__dataclass_fields__ if name not in arrays]
    alike = all(repr(getattr(one, name)) == repr(getattr(other, name)) for name in plain)
    pairs = [(getattr(one, name), getattr(other, name)) for name in arrays]
    return alike and all((a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in pairs)


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_what_is_exported_imports_as_it_was(tmp_path: Path, suffix: str) -> None:
    library = mixed_library(tmp_path / "one")
    file = tmp_path / f"all.{suffix}"
    assert export(library, file) == len(library)
    understood = understand(file)
    assert (understood.missing, understood.notes) == ((), ())
    assert [name for name, _ in understood.ignored] == ["id"]
    other = PolicyLibrary.create(tmp_path / "two")
    assert other.add(records(understood)) == len(library)
    assert library.add(records(understood)) == 0
    held = {record.id: record for record in library.select()}
    back = {record.id: record for record in other.select()}
    assert held.keys() == back.keys()
    assert all(same(record, back[identity]) for identity, record in held.items())
    assert other.environment("maze").layout == LAYOUT
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_export_takes_filters_and_refuses_what_it_cannot(small_library: Path, tmp_path: Path) -> None:
    library = PolicyLibrary.open(small_library)
    file = tmp_path / "part.parquet"
    count = export(library, file, environment="grid8-1", objective="gold", gamma=0.0)
    assert count == len(library.select(environment="grid8-1", objective="gold", gamma=0.0)) > 0
    with pytest.raises(LibraryError, match="exists"):
        export(library, file)
    assert export(library, file, environment="grid8-1", overwrite=True) > count
    for target, filters, error in (
        ("x.csv", {}, InvalidValue),
        ("x.npz", {"environment": "grid8-9"}, UnknownName),
        ("x.npz", {"objective": "god"}, UnknownName),
        ("x.npz", {"gamma": 0.7}, LibraryError),
        ("x.parquet", {"gamma": 0.7}, LibraryError),
        ("nowhere/x.npz", {}, LibraryError),
    ):
        with pytest.raises(error):
            export(library, tmp_path / target, **filters)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["part.parquet"]


def test_from_python_in_one_line(tables: np.ndarray, tmp_path: Path) -> None:
    library = lever.PolicyLibrary.create(tmp_path / "theirs")
    columns = {"q": tables, "desc": TEXTS}
    assert library.add(lever.read_policies(columns, environment="maze", layouts=LAYOUT, gamma=0.9)) == 6
    assert lever.export(library, tmp_path / "theirs.npz") == 6
    assert library.add(lever.read_policies(tmp_path / "theirs.npz")) == 0
