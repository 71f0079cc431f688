"""Import and export: what is refused, and that nothing is lost there and back."""

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
from lever_ray.building.records import records_of
from lever_ray.errors import InvalidValue, LeverError, LibraryError, UnknownName
from lever_ray.learning.sarsa import train
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.ports.exporting import export
from lever_ray.library.ports.importing import records
from lever_ray.library.ports.options import ImportOptions, read_layouts
from lever_ray.library.ports.understanding import understand
from lever_ray.library.record import PolicyRecord
from tests.foreign import LAYOUT, OPTIONS, ROOM, TEXTS, npz, read, refused, tables

__all__ = ["tables"]


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


@pytest.mark.parametrize("columns", ["null tables", "one table", "one text", "zeros"])
def test_a_small_parquet_that_claims_very_much_is_refused_before_it_is_read(
    tables: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    rows, file = 200_000, tmp_path / "huge.parquet"
    made = {
        "null tables": lambda: {"q": pa.nulls(rows, pa.list_(pa.float32())), "desc": ["x"] * rows},
        "one table": lambda: {"q": pa.array([[1.0] * 4] * rows, pa.list_(pa.float32()))},
        "one text": lambda: {"desc": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * 9999])},
        "zeros": lambda: {"q": pa.array([[0.0] * 1_000_000] * 10, pa.list_(pa.float64()))},
    }
    pq.write_table(pa.table(made[columns]()), file, compression="zstd")
    assert file.stat().st_size < rows

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("columns are read")

    monkeypatch.setattr(pq.ParquetFile, "read", never)
    said = refused(file)
    assert "bytes and claims" in said
    assert "import them in parts" in said


def test_q_is_read_before_other_columns(tables: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {
        "environment": ["maze"] * 6,
        "layout": [json.dumps(LAYOUT.to_dict())] * 6,
        "desc": TEXTS,
        "gamma": [0.5] * 6,
    }
    pq.write_table(pa.table({**columns, "q": [["a"] * 256] * 6}), tmp_path / "x.parquet")
    read_column, asked = pq.ParquetFile.read, []

    def noted(self: pq.ParquetFile, columns: list[str]) -> pa.Table:
        asked.extend(columns)
        return read_column(self, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read", noted)
    assert "give numbers" in refused(tmp_path / "x.parquet", ImportOptions())
    assert asked == ["q"]


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
def test_negative_seeds_are_kept_and_negative_counts_never_stored(tmp_path: Path, suffix: str) -> None:
    record = read({"q": np.ones((16, 4)), "desc": "x"}, ImportOptions(environment="room", layouts=ROOM, gamma=0.1))[0]
    library = PolicyLibrary.create(tmp_path / "one")
    library.add([replace(record, seed=-1)])
    export(library, tmp_path / f"x.{suffix}")
    assert [each.id for each in read(tmp_path / f"x.{suffix}", ImportOptions())] == [library.select()[0].id]
    for name, value in (("episodes", -1), ("snapshot", -2), ("environment_steps", -3), ("episodes", 1 << 63)):
        with pytest.raises(InvalidValue, match=f"{name} is {value}; it must be 0 or more"):
            replace(record, **{name: value})
    with pytest.raises(InvalidValue, match=r"seed is .* fit 64 bits"):
        replace(record, seed=-(1 << 63) - 1)


def test_weighted_objectives_are_filters_by_the_name_that_is_printed(tmp_path: Path) -> None:
    library, options = mixed_library(tmp_path / "one"), ImportOptions(environment="room", layouts=ROOM, gamma=0.1)
    given = {"q": np.ones((16, 4)), "objective": "path", "weights": np.array([[1234567.0, 0, 0, 0]])}
    library.add(read(given, options))
    names = [key.objective for key in library.census() if "[" in key.objective]
    assert len(names) == 2
    for name in [*names, "path[1234567]"]:
        assert len(library.select(objective=name)) == 1
        assert export(library, tmp_path / "x.npz", objective=name, overwrite=True) == 1
    for wrong in ("path[]", "path[1,2]", "path[much]", "path-gold[1]"):
        with pytest.raises(InvalidValue, match="path"):
            library.select(objective=wrong)
    with pytest.raises(UnknownName, match="god"):
        library.select(objective="god[1]")


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_visits_that_only_say_whether(tables: np.ndarray, tmp_path: Path, suffix: str) -> None:
    seen = tables[:2] > 0
    if suffix == "npz":
        file = npz(tmp_path / "x.npz", q=tables[:2], visits=seen, desc=np.array(TEXTS[:2]))
    else:
        file = tmp_path / "x.parquet"
        nested = {"q": tables[:2].tolist(), "visits": seen.tolist(), "desc": TEXTS[:2]}
        pq.write_table(pa.table(nested), file)
    found = read(file)
    assert all(np.array_equal(one.visits, each) for one, each in zip(found, seen, strict=True))
    assert found[0].visits is not None
    assert found[0].visits.dtype == np.uint32
    record = replace(found[0], visits=seen[0], successors=None)
    assert record.id == found[0].id
    assert np.array_equal(record.visits, seen[0])


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_what_is_exported_imports_as_it_was(tmp_path: Path, suffix: str) -> None:
    library = mixed_library(tmp_path / "one")
    file = tmp_path / f"all.{suffix}"
    assert export(library, file) == len(library)
    understood = understand(file)
    assert not understood.missing
    assert [note.partition(";")[0] for note in understood.notes] == [
        "actions are taken to be in the order right, down, left, up"
    ]
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
