"""Libraries that are damaged, shared between processes, or read through several shards."""

import json
import math
import multiprocessing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lever_ray.errors import LibraryError, UnknownName
from lever_ray.gridworld.layout import Layout
from lever_ray.library import schema
from lever_ray.library.reader import LibraryReader
from lever_ray.library.schema import MANIFEST, Manifest
from lever_ray.library.shard import LibraryShard
from lever_ray.library.store import PolicyLibrary
from tests.twin import made_up_record

ROOM = Layout(4, (0, 0), (3, 3), ((0, 2), (2, 0)), ((1, 1),), ((0, 3),), (3, 0))
HALL = Layout(3, (0, 0), (2, 2), ((0, 2),), lever=(2, 0))
REMEDIES = ("restore", "build", "upgrade", "choose", "check", "delete", "another")


def record(environment="room", layout=ROOM, **settings):
    return made_up_record(environment, layout, **settings)


RECORDS = [
    *(record("hall", HALL, objective=name, seed=seed) for seed in range(4) for name in ("path", "gold")),
    *(record(objective=name, seed=seed) for seed in range(4) for name in ("path", "gold")),
]


@pytest.fixture
def library(tmp_path):
    """Three appends, so that groups span files."""
    made = PolicyLibrary.create(tmp_path / "library")
    for first in range(3):
        made.add(RECORDS[first::3])
    return PolicyLibrary.open(made.path)


def on_disk(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# Damage: the message names what is broken and what to do, and nothing on disk changes.


def assert_refused(library, *, names):
    before = on_disk(library.path)
    for ask in (lambda opened: opened.verify(), lambda opened: opened.add([record(seed=99)])):
        with pytest.raises(LibraryError) as caught:
            ask(PolicyLibrary.open(library.path))
        assert str(names) in str(caught.value)
        assert any(remedy in str(caught.value) for remedy in REMEDIES)
    assert on_disk(library.path) == before


def data_files(library):
    return sorted(file for file in library.path.iterdir() if file.suffix in (".arrow", ".json"))


def test_a_library_holds_nothing_but_its_manifest_data_and_lock(library):
    listed = {file.name for file in library.manifest.files}
    assert {file.name for file in library.path.iterdir()} == listed | {MANIFEST, ".lock"}
    assert {file.name for file in data_files(library)} == listed | {MANIFEST}
    assert len(library.manifest.of_kind("policies")) == 3


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_truncated_file_is_refused(library, share):
    for file in data_files(library):
        whole = file.read_bytes()
        file.write_bytes(whole[: int(share * (len(whole) - 1))])
        assert_refused(library, names=file)
        file.write_bytes(whole)
    library.verify()


def test_one_flipped_byte_anywhere_is_refused(library):
    for file in data_files(library):
        whole = file.read_bytes()
        for position in np.linspace(0, len(whole) - 1, 25).astype(int):
            flipped = bytearray(whole)
            flipped[position] ^= 4
            file.write_bytes(flipped)
            with pytest.raises(LibraryError, match=f"{library.path}.*({'|'.join(REMEDIES)})"):
                PolicyLibrary.open(library.path).verify()
        file.write_bytes(whole)
    library.verify()


def test_a_missing_file_is_refused(library):
    for file in data_files(library):
        whole = file.read_bytes()
        file.unlink()
        assert_refused(library, names=library.path if file.name == MANIFEST else file.name)
        file.write_bytes(whole)


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


def edit_manifest(library, **changes):
    file = library.path / MANIFEST
    content = json.loads(file.read_bytes()) | changes
    if "files" in changes:
        content["checksum"] = schema._checksum(schema.SCHEMA_VERSION, changes["files"])
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": schema.SCHEMA_VERSION + 1},
        {"schema_version": "1"},
        {"format": "another library"},
        {"checksum": "0" * 64},
        {"files": [{"name": "x.arrow"}]},
        {"files": ["x.arrow"]},
        {"schema_version": 0},
        {"files": None},
    ],
)
def test_a_manifest_of_another_kind_or_version_is_refused(library, changes):
    edit_manifest(library, **changes)
    assert_refused(library, names=library.path)


@pytest.mark.parametrize("name", ["../{0}", "/etc/{0}", "./{0}", "sub/{0}", "."])
def test_a_manifest_that_points_out_of_the_library_is_refused(library, name):
    first, *others = library.manifest.files
    (library.path.parent / first.name).write_bytes((library.path / first.name).read_bytes())
    named = replace(first, name=name.format(first.name))
    schema.write_manifest(library.path, Manifest((named, *others)))
    with pytest.raises(LibraryError, match=f"manifest of {library.path} names file '{named.name}'"):
        PolicyLibrary.open(library.path)


def rewrite(library, kind, change):
    """Change the first row of the first file of a kind, with sound checksums."""
    files = list(library.manifest.files)
    place = next(index for index, file in enumerate(files) if file.kind == kind)
    table = schema.read_table(library.path, files[place])
    rows = table.to_pylist()
    rows[0] |= change
    files[place] = schema.write_table(library.path, kind, pa.Table.from_pylist(rows, schema=table.schema))
    schema.write_manifest(library.path, Manifest(tuple(files)))
    return files[place].name


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_data_file_with_a_sound_checksum_and_bad_numbers_is_refused(library, value):
    assert_refused(library, names=rewrite(library, "policies", {"q": [value] * 36}))


@pytest.mark.parametrize("layout", ["{", '{"size": 3}', '{"size": 3, "start": [0, 0], "exit": [0, 0]}'])
def test_a_data_file_with_a_sound_checksum_and_a_bad_layout_is_refused(library, layout):
    rewrite(library, "environments", {"layout": layout})
    assert_refused(library, names="environment '")


def test_a_data_file_of_other_columns_is_refused(library):
    first, *others = library.manifest.files
    other = schema.write_table(library.path, first.kind, pa.table({"id": ["x"] * first.rows}))
    schema.write_manifest(library.path, Manifest((other, *others)))
    assert_refused(library, names=other.name)


# Several processes, several shards.


def append(path, start, seeds):
    opened = PolicyLibrary.open(path)
    start.wait()
    for seed in seeds:
        opened.add([record(seed=seed, tried=0.2), record(f"own-{seeds[0]}", seed=seed)])


def test_two_processes_that_append_at_once_lose_nothing(tmp_path):
    path, context = PolicyLibrary.create(tmp_path / "library").path, multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    writers = [context.Process(target=append, args=(path, start, range(first, first + 6))) for first in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    merged = PolicyLibrary.open(path)
    merged.verify()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert (len(merged), merged.environments) == (24, ("own-0", "own-100", "room"))
    shared = [record(seed=seed, tried=0.2) for first in (0, 100) for seed in range(first, first + 6)]
    assert {one.id for one in merged.select(environment="room")} == {one.id for one in shared}
    union = np.max([one.successors for one in shared], axis=0)
    assert np.array_equal(merged.environment("room").successors, union)


class TwoShards(LibraryReader):
    def __init__(self, library):
        policies, environments = (library.manifest.of_kind(kind) for kind in ("policies", "environments"))
        self._shards = [LibraryShard(library.path, policies[first::2], environments) for first in (0, 1)]

    def _ask(self, method, *args, **kwargs):
        return [getattr(shard, method)(*args, **kwargs) for shard in self._shards]


def assert_equal_groups(one, other):
    assert (one.objective, one.ids) == (other.objective, other.ids)
    for name in ("q", "support", "totals"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_a_library_read_through_several_shards_gives_the_same_answers(library):
    sharded = TwoShards(library)
    assert (len(sharded), sharded.environments, sharded.keys()) == (len(library), library.environments, library.keys())
    for one, other in zip(sharded.groups(sharded.keys()), library.groups(library.keys()), strict=True):
        assert_equal_groups(one, other)
    assert [one.id for one in sharded.select()] == [one.id for one in library.select()]
    for one, other in zip(sharded.select(), library.select(), strict=True):
        assert np.array_equal(one.visits, other.visits)
    with pytest.raises(LibraryError, match="objectives held: gold, path"):
        sharded.groups([library.keys("room")[0]._replace(objective="lever")])
    with pytest.raises(UnknownName, match="Did you mean 'hall'"):
        sharded.environment("hell")


def test_ranking_rows_do_not_depend_on_the_shards(library):
    asked = {"target": "own", "objective": "path", "gamma": 0.0}
    assert np.array_equal(TwoShards(library).ranking_rows(**asked).x, library.ranking_rows(**asked).x)


def first_row(library, kind):
    return schema.read_table(library.path, library.manifest.of_kind(kind)[0]).to_pylist()[0]


@pytest.mark.parametrize(
    ("kind", "column", "change", "said"),
    [
        ("environments", "canonical_cells", lambda cells: [10**6] * len(cells), "canonical states"),
        ("environments", "canonical_cells", lambda _: [], "canonical states"),
        ("environments", "successors", lambda successors: successors[:-1], "cannot be read"),
        ("environments", "layout", lambda _: "5", "cannot be read"),
        ("environments", "layout", lambda _: None, "cannot be read"),
        ("policies", "q", lambda q: q[:-1], "shape of their layout"),
        ("policies", "support", lambda support: [*support, 0], "shape of their layout"),
        ("policies", "q", lambda _: None, "lacks values"),
        ("policies", "q", lambda q: [None, *q[1:]], "NaN or infinite"),
        ("policies", "environment", lambda _: "elsewhere", "which the library lacks"),
        ("policies", "objective", lambda _: "god", "unknown objective term"),
    ],
)
def test_wrong_rows_behind_valid_checksums_are_refused(library, kind, column, change, said):
    rewrite(library, kind, {column: change(first_row(library, kind)[column])})
    with pytest.raises(LibraryError, match=said):
        PolicyLibrary.open(library.path).verify()


def test_a_file_listed_twice_is_refused(library):
    files = library.manifest.files
    schema.write_manifest(library.path, schema.Manifest((*files, files[0])))
    with pytest.raises(LibraryError, match="lists a file twice"):
        PolicyLibrary.open(library.path)
