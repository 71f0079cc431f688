"""Nothing that is read is ever executed."""

import io
import pickle
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lever_ray.errors import LibraryError
from lever_ray.library.format.manifest import MANIFEST, SHARD_KINDS
from lever_ray.library.repair.mending import repair
from lever_ray.library.repair.recovery import restore_manifest
from lever_ray.library.writing.migrate import migrate
from tests.library_files import LETTERS, first_file, first_table, opened, plant, rewrite
from tests.library_probe import read_everything, verify

ROOT = Path(__file__).parents[2]
UNSAFE = re.compile(
    r"pickle\.(load|loads|Unpickler)\b|allow_pickle\s*=\s*True|\b(joblib|cloudpickle|dill|shelve|marshal)\b"
    r"|torch\.load|read_pickle|yaml\.(unsafe_load|load\()|\beval\(|\bexec\("
)
"""Calls that execute what they read."""


def sources():
    return [file for folder in ("lever_ray", "jobs", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]


def test_nothing_unpickles():
    assert len(sources()) > 50
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in sources()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if UNSAFE.search(line)
    ]
    assert found == []


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "executed"


def as_npz(thing):
    sink = io.BytesIO()
    np.savez(sink, q=np.array([thing], object))
    return sink.getvalue()


def as_extension_type(thing):
    """An Arrow file of a column whose type old versions of pyarrow would unpickle."""
    meta = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle.dumps(thing)}
    schema, sink = pa.schema([pa.field("q", pa.int32(), metadata=meta)]), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.table([pa.array([1], pa.int32())], schema))
    return sink.getvalue().to_pybytes()


def test_the_bait_works(marker):
    pickle.loads(pickle.dumps(Malicious(marker)))  # noqa: S301 - the point of it
    assert marker.exists()
    marker.unlink()
    with np.load(io.BytesIO(as_npz(Malicious(marker))), allow_pickle=True) as found:
        assert len(found["q"]) == 1
    assert marker.exists()


@pytest.mark.parametrize("form", [pickle.dumps, as_npz, as_extension_type])
@pytest.mark.parametrize("kind", [*SHARD_KINDS, "environments"])
def test_a_malicious_data_file_is_refused_and_not_executed(own_library, marker, kind, form):
    plant(own_library, kind, form(Malicious(marker)))
    for ask in (read_everything, verify):
        with pytest.raises(LibraryError):
            ask(own_library.path)
    repair(own_library.path, encoder=LETTERS)
    (own_library.path / first_file(own_library, kind)[0].name).write_bytes(form(Malicious(marker)))
    (own_library.path / MANIFEST).unlink()
    restore_manifest(own_library.path)
    assert not opened(own_library).verify()
    assert not marker.exists()


@pytest.mark.parametrize("form", [pickle.dumps, as_npz, as_extension_type])
def test_a_malicious_manifest_is_refused_and_not_executed(own_library, marker, form):
    (own_library.path / MANIFEST).write_bytes(form(Malicious(marker)))
    for ask in (opened, migrate, lambda library: repair(library.path)):
        with pytest.raises(LibraryError, match="is damaged"):
            ask(own_library if ask is not migrate else own_library.path)
    restore_manifest(own_library.path)
    assert not opened(own_library).verify()
    assert not marker.exists()


def test_metadata_of_a_columns_type_is_not_executed(own_library, marker):
    table = first_table(own_library, "tables")
    bait = pickle.dumps(Malicious(marker))
    meta = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": bait}
    fields = [field.with_metadata(meta) for field in table.schema]
    rewrite(own_library, "tables", pa.table(table.columns, pa.schema(fields)))
    assert isinstance(read_everything(own_library.path), int)
    assert not marker.exists()
