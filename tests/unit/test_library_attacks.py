"""Files made to harm whoever reads them, behind sound checksums: read in a process of their own."""

import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lever_ray.errors import LibraryError
from lever_ray.library.format.ipc import check_messages
from lever_ray.library.format.manifest import MANIFEST, SHARD_KINDS, checksum_of, read_manifest
from lever_ray.library.format.schema import SCHEMA_VERSION
from tests.library_files import first_file, first_table, opened, plant

KINDS = (*SHARD_KINDS, "environments")
CASES = int(os.environ.get("LEVER_RAY_FAULT_CASES", "300"))
"""Mutated files that are read."""
MEMORY = 1 << 30
"""Most that a process may take that reads them; what they claim is far more."""


def probed(folders):
    """What a process says that reads some libraries; it must neither crash nor take much memory."""
    command = [sys.executable, "-m", "tests.library_probe", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(folders)
    for folder, (found, arrow, peak) in zip(folders, answers, strict=True):
        assert set(found) <= {"refused", "sound"}, (folder, found)
        assert arrow < 64 << 20
        assert peak < MEMORY
    return [found for found, *_ in answers]


def written(table, **options):
    """A table as the bytes of an Arrow file, labelled as it is."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytearray(sink.getvalue())


def footer_blocks(data):
    """Places in a file where its footer's blocks stand: offset, metadata length and body length of each message."""
    (size,) = struct.unpack_from("<i", data, len(data) - 10)
    found, start = [], len(data) - 10 - size
    for at in range(start, len(data) - 34, 4):
        offset, metadata, body = struct.unpack_from("<qixxxxq", data, at)
        if 0 < offset < start and 0 < metadata < start and 0 < body < start and offset + metadata + body <= start:
            found.append(at)
    return found


def crafted(table):
    """Files whose headers claim what is not there, by name."""
    whole = written(table)
    blocks, found = footer_blocks(whole), {}
    for name, form, shift, value in [
        ("offset", "<q", 0, 1 << 60),
        ("offset-negative", "<q", 0, -8),
        ("offset-at-start", "<q", 0, 8),
        ("metadata", "<i", 8, (1 << 31) - 8),
        ("metadata-negative", "<i", 8, -8),
        ("metadata-none", "<i", 8, 0),
        ("body", "<q", 16, 1 << 60),
        ("body-negative", "<q", 16, -1),
    ]:
        found[name] = bytearray(whole)
        struct.pack_into(form, found[name], blocks[-1] + shift, value)
    for name, value in (("footer-long", (1 << 31) - 1), ("footer-none", 0), ("footer-negative", -5)):
        found[name] = bytearray(whole)
        struct.pack_into("<i", found[name], len(whole) - 10, value)
    for number, (at, value) in enumerate(claims(whole, len(table))):
        found[f"claim-{number}"] = bytearray(whole)
        struct.pack_into("<q", found[f"claim-{number}"], at, value)
    found["legacy"] = written(table, use_legacy_format=True)
    found["old"] = written(table, metadata_version=pa.ipc.MetadataVersion.V4)
    found["compressed"] = written(table, compression="zstd")
    found["bomb"] = bomb(table)
    return found


def claims(data, rows):
    """Numbers in the last message's metadata that are lengths, and what they shall claim."""
    offset, metadata, _ = struct.unpack_from("<qixxxxq", data, footer_blocks(data)[-1])
    for at in range(offset + 8, offset + metadata - 7, 8):
        (value,) = struct.unpack_from("<q", data, at)
        if value == rows or 16 <= value < len(data):
            yield from ((at, claim) for claim in (1 << 60, 1 << 40, -1))


def bomb(table):
    """A compressed file whose buffers claim to be 2^40 bytes once they are unpacked."""
    data = written(table, compression="lz4")
    offset, metadata, body = struct.unpack_from("<qixxxxq", data, footer_blocks(data)[-1])
    for at in range(offset + metadata, offset + metadata + body, 8):
        if data[at + 8 : at + 12] == b"\x04\x22\x4d\x18":
            struct.pack_into("<q", data, at, 1 << 40)
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_files_whose_headers_claim_too_much_are_refused_without_taking_memory(kept_library, tmp_path, kind):
    folders = []
    for name, data in crafted(first_table(kept_library, kind)).items():
        shutil.copytree(kept_library.path, tmp_path / name)
        plant(opened(tmp_path / name), kind, bytes(data))
        folders.append(tmp_path / name)
    answers = dict(zip((folder.name for folder in folders), probed(folders), strict=True))
    lies = {name for name in answers if not name.startswith("claim")}
    assert len(lies) == 15
    assert [name for name in lies if answers[name][:2] != ["refused", "refused"]] == []


def test_a_message_that_older_readers_would_unpack_is_refused(kept_library):
    data = written(first_table(kept_library, "tables"))
    check_messages(pa.py_buffer(bytes(data)), rows=None)
    offset = struct.unpack_from("<q", data, footer_blocks(data)[-1])[0]
    data[offset : offset + 4] = struct.pack("<i", 8)
    with pytest.raises(ValueError, match="not of today's Arrow format"):
        check_messages(pa.py_buffer(bytes(data)), rows=None)


# Mutations.


def mutated(whole, rng):
    """Bytes with some small piece overwritten, cut out, or doubled; more often where headers are."""
    data, kind = bytearray(whole), rng.integers(8)
    place = int(rng.integers(len(data))) if rng.random() < 0.3 else int(rng.choice(structure(data)))
    if kind == 0:
        del data[place : place + int(rng.integers(1, 64))]
    elif kind == 1:
        data[place:place] = data[place : place + int(rng.integers(1, 64))]
    elif kind < 5:
        values = [0, 1, -1, 2, 7, 1 << 30, -(1 << 31), (1 << 31) - 1, int(rng.integers(1 << 20))]
        data[place : place + 4] = struct.pack("<i", int(rng.choice(values)))
    else:
        for _ in range(int(rng.integers(1, 4))):
            data[min(place + int(rng.integers(16)), len(data) - 1)] = int(rng.integers(256))
    return bytes(data)


def structure(data):
    """Places of a file that are no values: its messages' metadata and its footer."""
    blocks = [struct.unpack_from("<qi", data, at) for at in footer_blocks(data)]
    (size,) = struct.unpack_from("<i", data, len(data) - 10)
    messages = [(offset, offset + metadata) for offset, metadata in blocks]
    return np.concatenate([np.arange(*each) for each in [(8, 600), *messages, (len(data) - 10 - size, len(data))]])


def test_mutated_files_are_refused_or_read_soundly(kept_library, tmp_path):
    rng, folders = np.random.default_rng(CASES), []
    batch = 100
    for first in range(0, CASES, batch):
        folders = []
        for number in range(first, min(first + batch, CASES)):
            folder, kind = tmp_path / str(number), KINDS[number % len(KINDS)]
            folder.mkdir()
            for file in kept_library.path.iterdir():
                os.link(file, folder / file.name)
            file, _ = first_file(kept_library, kind)
            plant(opened(folder), kind, mutated((folder / file.name).read_bytes(), rng))
            folders.append(folder)
        probed(folders)
        for folder in folders:
            shutil.rmtree(folder)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../x.arrow", "", "a\0", "/etc/passwd", "\ud800", [], {}, [[]], {"a": []}, 1 << 47, "x" * 5000]),
)


def places(tree, path=()):
    """Paths to everything in a JSON tree."""
    yield path
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield from places(value, (*path, key))


def changed(tree, path, value):
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if value is KeyError and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(copy[path[0]], path[1:], value)
    return copy


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_manifests_are_refused_or_read(kept_library, tmp_path, data):
    body = json.loads(json.dumps(asdict(kept_library.manifest)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(body))[1:]))
        body = changed(body, path, data.draw(st.one_of(JUNK, st.just(KeyError))))
    head = {"format": "lever-ray policy library", "schema_version": SCHEMA_VERSION}
    content = head | {"checksum": checksum_of(SCHEMA_VERSION, body), "content": body}
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    try:
        manifest = read_manifest(tmp_path)
    except LibraryError as error:
        assert str(tmp_path) in str(error)
    else:
        assert all((tmp_path / file.name).parent == tmp_path for file in manifest.files)


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(cut=st.floats(0, 1), junk=st.binary(max_size=40), whole=st.booleans())
def test_manifests_of_any_bytes_are_refused(kept_library, tmp_path, cut, junk, whole):
    data = (kept_library.path / MANIFEST).read_bytes()
    at = int(cut * len(data))
    (tmp_path / MANIFEST).write_bytes(junk if whole else data[:at] + junk + data[at + len(junk) :])
    if (tmp_path / MANIFEST).read_bytes() != data:
        with pytest.raises(LibraryError, match=str(tmp_path)):
            read_manifest(tmp_path)
