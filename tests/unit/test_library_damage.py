"""Libraries that are damaged: what is read is refused by a message that names it and says what to do."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lever_ray.errors import LibraryError
from lever_ray.library.format import manifest as manifests
from lever_ray.library.format.environments import Environments
from lever_ray.library.format.manifest import MANIFEST, SHARD_KINDS, read_manifest, write_manifest
from lever_ray.library.format.schema import SCHEMA_VERSION
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.serving.mapped import MappedShard
from tests.library_files import (
    HALL,
    LETTERS,
    RECORDS,
    REMEDIES,
    data_files,
    first_file,
    first_table,
    make_library,
    on_disk,
    opened,
    record,
    rewrite,
    with_rows,
)
from tests.library_probe import read_everything, verify

KINDS = (*SHARD_KINDS, "environments")


@pytest.fixture
def library(own_library):
    return own_library


def touch(library, name):
    """Read one file of a library."""
    held = read_manifest(library.path)
    for file in held.environments:
        if file.name == name:
            _ = [Environments(library.path, held.library, [file])[each] for each in file.environments]
    for shard in held.shards:
        kind = next((file.kind for file in shard.files if file.name == name), None)
        if kind is not None:
            getattr(MappedShard(library.path, held.library, shard), "psi" if kind == "embeddings" else kind)


def assert_refused(library, *, names="", ways=(verify, read_everything)):
    """Every way of reading is refused by a message that names the file and a remedy, and nothing on disk changes."""
    before = on_disk(library.path)
    for ask in ways:
        with pytest.raises(LibraryError) as caught:
            ask(library.path)
        assert str(names) in str(caught.value)
        assert any(remedy in str(caught.value) for remedy in REMEDIES), str(caught.value)
    assert on_disk(library.path) == before


# Bytes.


def test_a_library_holds_nothing_but_its_manifest_data_and_lock(library):
    listed = {file.name for file in library.manifest.files}
    assert set(on_disk(library.path)) == listed | {MANIFEST, ".lock"}
    assert {file.name for file in data_files(library)} == listed | {MANIFEST}
    assert [len(shard.files) for shard in library.manifest.shards] == [4] * len(library.manifest.shards)
    assert not library.verify()


def boundaries(file):
    """Where a file's messages begin and end; every 100 bytes where it is no Arrow file."""
    data = file.read_bytes()
    if file.suffix != ".arrow":
        return range(0, len(data), 100)
    (size,) = np.frombuffer(data[-10:-6], np.int32).tolist()
    stream, found = pa.BufferReader(data[8 : len(data) - 10 - size]), [0, 6, 8, len(data) - 10 - size]
    reader = pa.ipc.MessageReader.open_stream(stream)
    while True:
        try:
            reader.read_next_message()
        except StopIteration:
            return [*found, len(data) - 10, len(data) - 6, len(data)]
        found.append(8 + stream.tell())


def test_a_truncation_at_any_boundary_is_refused(kept_library):
    for file in data_files(kept_library):
        whole = file.read_bytes()
        lengths = {at + near for at in boundaries(file) for near in (-9, -1, 0, 1, 7)}
        for length in sorted(length for length in lengths if 0 <= length < len(whole)):
            file.write_bytes(whole[:length])
            with pytest.raises(LibraryError, match=f"{file}.*({'|'.join(REMEDIES)})"):
                touch(kept_library, file.name)
        assert_refused(kept_library, names=file, ways=[verify])
        file.write_bytes(whole)
    assert not kept_library.verify()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 1, exclude_max=True), which=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_refused(kept_library, place, which, flip):
    files = data_files(kept_library)
    file = files[which % len(files)]
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[int(place * len(whole))] ^= flip
    file.write_bytes(flipped)
    try:
        with pytest.raises(LibraryError, match=f"{file}.*({'|'.join(REMEDIES)})"):
            touch(kept_library, file.name)
    finally:
        file.write_bytes(whole)


def test_a_missing_file_is_refused(library):
    for file in data_files(library):
        whole = file.read_bytes()
        file.unlink()
        assert_refused(library, names=library.path if file.name == MANIFEST else file.name)
        file.write_bytes(whole)
    assert not library.verify()


def test_what_is_no_library_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(LibraryError, match=f"no policy library at {path}; build one"):
            PolicyLibrary.open(path)


def test_a_library_is_never_created_over_something_else(library, tmp_path):
    before = on_disk(library.path)
    with pytest.raises(LibraryError, match="holds a policy library already; open it"):
        PolicyLibrary.create(library.path)
    assert on_disk(library.path) == before
    for path in (tmp_path, library.path / MANIFEST):
        with pytest.raises(LibraryError, match="is not an empty folder; choose another"):
            PolicyLibrary.create(path)


def test_a_library_can_be_created_where_an_attempt_was_killed(tmp_path):
    for name in (".lock", ".manifest.json.77.tmp"):
        (tmp_path / name).write_text("{")
    assert len(PolicyLibrary.create(tmp_path, encoder=LETTERS)) == 0


# Manifests.


def edit_manifest(library, body=None, **changes):
    """Change a manifest, with a sound checksum where only its content is changed."""
    file = library.path / MANIFEST
    content = json.loads(file.read_bytes()) | changes
    if body is not None:
        content["content"] |= body
        content["checksum"] = manifests.checksum_of(SCHEMA_VERSION, content["content"])
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": SCHEMA_VERSION + 1},
        {"schema_version": "2"},
        {"schema_version": True},
        {"schema_version": 0},
        {"schema_version": 1},
        {"format": "another library"},
        {"checksum": "0" * 64},
        {"checksum": None},
        {"content": None},
        {"content": []},
        {"body": {"shards": ["x.arrow"]}},
        {"body": {"shards": None}},
        {"body": {"shards": {"a": 1}}},
        {"body": {"environments": [{"name": "x.arrow"}]}},
        {"body": {"library": 5}},
        {"body": {"generation": -1}},
        {"body": {"generation": 1 << 60}},
        {"body": {"generation": 1.5}},
        {"body": {"text_model": "words"}},
    ],
)
def test_a_manifest_of_another_kind_or_version_is_refused(library, changes):
    edit_manifest(library, **changes)
    assert_refused(library, names=library.path)


def test_what_is_no_manifest_at_all_is_refused(library):
    for text in ("", "{", "[]", "null", "[" * 100_000, '{"format":' * 5000, "\x80", "9" * 5000):
        (library.path / MANIFEST).write_bytes(text.encode("latin-1"))
        assert_refused(library, names=MANIFEST)


@pytest.mark.parametrize(
    "name",
    [
        *("../{0}", "/etc/{0}", "./{0}", "sub/{0}", "{0}/../{0}", "..\\{0}", ".", "..", "", "manifest.json", ".lock"),
        *("a\0{0}", "{0}\n", "x" * 5000 + ".arrow", "\ud800.arrow", "~.arrow"),
    ],
)
@pytest.mark.parametrize("kind", ["policies", "environments"])
def test_a_manifest_that_points_out_of_the_library_is_refused(library, kind, name):
    file, _ = first_file(library, kind)
    (library.path.parent / file.name).write_bytes((library.path / file.name).read_bytes())
    body = json.loads(json.dumps(asdict(library.manifest)).replace(json.dumps(file.name), json.dumps("PLACE")))
    edit_manifest(library, json.loads(json.dumps(body).replace('"PLACE"', json.dumps(name.format(file.name)))))
    assert_refused(library, names=MANIFEST)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 1 << 47},
        {"rows": 0},
        {"rows": -1},
        {"states": 1 << 47},
        {"states": 1 << 23},
        {"states": 0},
        {"states": 25},
        {"id": "other"},
        {"id": ""},
        {"environments": ["room"]},
        {"environments": "room"},
        {"files": []},
    ],
)
def test_a_shard_that_claims_what_is_not_so_is_refused(library, changes):
    body = json.loads(json.dumps(asdict(library.manifest)))
    body["shards"][0] |= changes
    for file in body["shards"][0]["files"]:
        file["rows"] = changes.get("rows", file["rows"])
    edit_manifest(library, body)
    assert_refused(library)


@pytest.mark.parametrize("changes", [{"bytes": 1 << 47}, {"bytes": 0}, {"rows": 1 << 47}, {"kind": "tables"}])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_what_the_manifest_says_is_refused(library, kind, changes):
    body = json.loads(json.dumps(asdict(library.manifest)))
    files = body["environments"] if kind == "environments" else body["shards"][0]["files"]
    mine = next(file for file in files if file["kind"] == kind)
    if kind == changes.get("kind"):
        changes = {"kind": "policies"}
    mine |= changes
    edit_manifest(library, body)
    assert_refused(library)


def test_a_file_listed_twice_is_refused(library):
    held = library.manifest
    for twice in ({"shards": (*held.shards, held.shards[0])}, {"environments": held.environments[:1] * 2}):
        write_manifest(library.path, replace(held, **twice))
        assert_refused(library, names="lists a file twice")


def test_a_manifest_or_files_of_another_library_are_refused(library, tmp_path):
    other = make_library(tmp_path / "other", RECORDS[:6])
    mine = (library.path / MANIFEST).read_bytes()
    (library.path / MANIFEST).write_bytes((other.path / MANIFEST).read_bytes())
    assert_refused(library)
    for file in other.manifest.files:
        (library.path / file.name).write_bytes((other.path / file.name).read_bytes())
    write_manifest(library.path, replace(other.manifest, library=library.manifest.library))
    assert_refused(library, names="belongs to another library")
    (library.path / MANIFEST).write_bytes(mine)
    assert not library.verify()


@pytest.mark.parametrize("kind", SHARD_KINDS)
def test_a_file_of_another_shard_is_refused(library, kind):
    first, second, *others = library.manifest.shards
    swapped = first.having(second.file(kind)), second.having(first.file(kind))
    write_manifest(library.path, replace(library.manifest, shards=(*swapped, *others)))
    assert_refused(library, names="shard")


# Rows behind sound checksums.


@pytest.mark.parametrize(
    ("kind", "column", "change", "said"),
    [
        ("environments", "canonical_cells", lambda cells: [10**6] * len(cells), "canonical states"),
        ("environments", "canonical_cells", lambda _: [], "canonical states"),
        ("environments", "canonical_levers", lambda levers: [7] * len(levers), "canonical states"),
        ("environments", "successors", lambda successors: successors[:-1], "cannot be read"),
        ("environments", "successors", lambda successors: [5] * len(successors), "contradict its task"),
        ("environments", "layout", lambda _: "5", "cannot be read"),
        ("environments", "layout", lambda _: "{", "cannot be read"),
        ("environments", "layout", lambda _: "[" * 10**5, "cannot be read"),
        ("environments", "layout", lambda _: '{"size": 3}', "cannot be read"),
        ("environments", "layout", lambda _: '{"size": 3, "start": [0, 0], "exit": [0, 0]}', "cannot be read"),
        ("environments", "layout", lambda _: '{"size": 1000000000, "start": [0, 0], "exit": [1, 1]}', "cannot be read"),
        ("environments", "layout", lambda _: json.dumps(HALL.to_dict() | {"golds": 5}), "cannot be read"),
        ("environments", "layout", lambda _: None, "cannot be read"),
        ("environments", "name", lambda _: "elsewhere", "it is called 'elsewhere' there"),
        ("tables", "q", lambda q: [math.nan, *q[1:]], "NaN or infinite"),
        ("tables", "q", lambda q: [*q[:-1], math.inf], "NaN or infinite"),
        ("tables", "q", lambda q: [None, *q[1:]], "lacks values"),
        ("tables", "q", lambda _: None, "lacks values"),
        ("tables", "support", lambda support: [16, *support[1:]], "a support that is none"),
        ("texts", "embedding", lambda vector: [math.nan, *vector[1:]], "NaN or infinite"),
        ("texts", "description", lambda _: "another", "vectors of other descriptions"),
        ("embeddings", "psi", lambda vector: [-math.inf, *vector[1:]], "NaN or infinite"),
        ("policies", "id", lambda _: "ABCDEFABCDEFABCDEFAB", "ids that are none"),
        ("policies", "id", lambda _: "", "ids that are none"),
        ("policies", "id", lambda _: "é" * 10, "ids that are none"),
        ("policies", "id", lambda _: None, "lacks values of column 'id'"),
        ("policies", "environment", lambda _: "elsewhere", "elsewhere"),
        ("policies", "environment", lambda _: None, "lacks values"),
        ("policies", "objective", lambda _: "god", "unknown objective term"),
        ("policies", "objective", lambda _: "gold-path", "its terms are not in order"),
        ("policies", "objective", lambda _: "path[x]", "one number per term"),
        ("policies", "weights", lambda _: [1.0, 2.0], "cannot be read"),
        ("policies", "weights", lambda _: [None], "cannot be read"),
        ("policies", "gamma", lambda _: math.nan, "gamma outside of"),
        ("policies", "gamma", lambda _: -0.5, "gamma outside of"),
        ("policies", "gamma", lambda _: 0.5, "rows in order|other content"),
        ("policies", "support_source", lambda _: "hearsay", "hearsay"),
    ],
)
def test_wrong_rows_behind_sound_checksums_are_refused(library, kind, column, change, said):
    rewrite(library, kind, with_rows(first_table(library, kind), column, change))
    with pytest.raises(LibraryError, match=said):
        read_everything(library.path)
    with pytest.raises(LibraryError, match=str(library.path)):
        verify(library.path)


def test_wrong_mean_rewards_are_refused(tmp_path):
    rewards = np.ones((16, 4), np.float32)
    library = make_library(tmp_path / "library", [record(seed=seed, mean_rewards=rewards) for seed in range(2)], 1)
    table = with_rows(first_table(library, "tables"), "mean_rewards", lambda row: [math.nan, *row[1:]])
    rewrite(library, "tables", table)
    assert_refused(library, names="NaN or infinite")


def test_a_null_in_a_dictionary_is_refused(library):
    table = first_table(library, "policies")
    for name in ("objective", "environment", "description"):
        codes = pa.array([0] * len(table), pa.int32())
        column = pa.DictionaryArray.from_arrays(codes, pa.array([None], pa.string()))
        rewrite(library, "policies", table.set_column(table.schema.get_field_index(name), name, column))
        assert_refused(library, names=f"lacks values of column '{name}'")


def reordered(table):
    return table.take(pa.array(range(len(table))[::-1]))


def repeated(table):
    return table.take(pa.array([0] * len(table)))


@pytest.mark.parametrize("change", [reordered, repeated])
def test_rows_out_of_order_and_ids_that_come_twice_are_refused(library, change):
    rewrite(library, "policies", change(first_table(library, "policies")))
    assert_refused(library, names="does not have its rows in order")


def test_a_data_file_of_other_columns_or_dtypes_is_refused(library):
    for kind in KINDS:
        table = first_table(library, kind)
        doubles = pa.list_(pa.float64(), 2)
        wrong = [
            pa.table({"id": ["x"] * len(table)}),
            table.drop_columns(table.column_names[:1]),
            table.append_column("more", pa.array([1] * len(table))),
            table.rename_columns(["other", *table.column_names[1:]]),
            pa.table({name: pa.array([[0.0, 1.0]] * len(table), doubles) for name in table.column_names}),
        ]
        for other in wrong:
            rewrite(library, kind, other)
            assert_refused(library, names="it was written by other code" if len(other.columns) else "batches")
        rewrite(library, kind, table)


def test_a_policy_whose_content_is_not_what_its_id_says_is_found(library):
    table = first_table(library, "tables")
    rewrite(library, "tables", with_rows(table, "q", lambda q: [value + 1 for value in q]))
    assert_refused(library, ways=[read_everything], names="has other content than its id says")
    (damage,) = opened(library).verify()
    assert (damage.kind, damage.policies, len(damage.lost)) == ("rows", 1, 1)
