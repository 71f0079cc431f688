"""Small libraries for tests, and ways to tamper with their files behind sound checksums."""

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa

from lever_ray.behaviour.psi import embed
from lever_ray.library.format.files import read_table, write_table
from lever_ray.library.format.manifest import DataFile, write_manifest
from lever_ray.library.library import PolicyLibrary
from lever_ray.tasks.gridworld.layout import Layout
from tests.twin import made_up_record

ROOM = Layout(4, (0, 0), (3, 3), ((0, 2), (2, 0)), ((1, 1),), ((0, 3),), (3, 0))
HALL = Layout(3, (0, 0), (2, 2), ((0, 2),), lever=(2, 0))
REMEDIES = ("restore", "build", "upgrade", "choose", "check", "delete", "another", "Restore", "repair", "migrate")


class LetterEncoder:
    """A text encoder that is loaded at once: how often each byte occurs."""

    name, version, dimension = "letters", "1", 256

    def encode(self, texts):
        counts = np.array([np.bincount(np.frombuffer(text.encode(), np.uint8), minlength=256) for text in texts])
        found = counts.reshape(len(texts), 256).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def __eq__(self, other):
        return isinstance(other, LetterEncoder)

    def __hash__(self):
        return 1


LETTERS = LetterEncoder()


def record(environment="room", layout=ROOM, **settings):
    return made_up_record(environment, layout, **settings)


RECORDS = [
    *(record("hall", HALL, objective=name, seed=seed) for seed in range(4) for name in ("path", "gold")),
    *(record(objective=name, seed=seed) for seed in range(4) for name in ("path", "gold")),
]


def make_library(folder, records=RECORDS, appends=3, *, embedded=False):
    """A library of some appends, so that groups span files."""
    made = PolicyLibrary.create(folder, encoder=LETTERS)
    for first in range(appends):
        made.add(records[first::appends])
    if embedded:
        embed(made)
    return opened(made)


def opened(library):
    return PolicyLibrary.open(getattr(library, "path", library), encoder=LETTERS)


def on_disk(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def data_files(library):
    return sorted(file for file in library.path.iterdir() if file.suffix in (".arrow", ".json"))


def first_file(library, kind):
    """The first file of a kind, and the shard that it is of (None for environments)."""
    if kind == "environments":
        return library.manifest.environments[0], None
    return library.manifest.shards[0].file(kind), library.manifest.shards[0]


def first_table(library, kind):
    file, shard = first_file(library, kind)
    mine = {"shard": shard.id, "states": shard.states} if shard else {}
    return read_table(library.path, file, library=library.manifest.library, **mine)


def put(library, kind, new):
    """List another file in place of the first of its kind."""
    held = library.manifest
    if kind == "environments":
        changed = replace(held, environments=(new, *held.environments[1:]))
    else:
        changed = replace(held, shards=(held.shards[0].having(new), *held.shards[1:]))
    write_manifest(library.path, replace(changed, generation=held.generation + 1))
    return library.path / new.name


def rewrite(library, kind, table, **labels):
    """Replace the first file of a kind by one with a sound checksum."""
    file, shard = first_file(library, kind)
    labels = {"library": library.manifest.library, "shard": shard.id if shard else ""} | labels
    name, size, digest = write_table(library.path, kind, table, **labels)
    return put(library, kind, replace(file, name=name, bytes=size, sha256=digest))


def plant(library, kind, data):
    """Replace the first file of a kind by any bytes, with a sound checksum."""
    file, _ = first_file(library, kind)
    digest = hashlib.sha256(data).hexdigest()
    name = f"{kind}-{digest[:32]}.arrow"
    (library.path / name).write_bytes(data)
    return put(library, kind, DataFile(name, kind, file.rows, len(data), digest, file.environments))


def with_rows(table, column, change):
    """A table whose first row has another value in a column; plain Python all along."""
    rows = table.to_pylist()
    rows[0] = rows[0] | {column: change(rows[0][column])}
    return pa.Table.from_pylist(rows, schema=table.schema)


def make_old_library(folder, records, *, chunk=3):
    """A library of schema version 1, written by hand."""
    folder.mkdir(parents=True)
    parts = [records[first : first + chunk] for first in range(0, len(records), chunk)]
    files = [_old_file(folder, "policies", [_old_policy(one) for one in part]) for part in parts]
    layouts = {one.environment: one for one in records}
    files.append(_old_file(folder, "environments", [_old_environment(one) for one in layouts.values()]))
    write_old_manifest(folder, files)
    return files


def write_old_manifest(folder, files):
    checksum = hashlib.sha256(json.dumps([1, files], sort_keys=True).encode()).hexdigest()
    content = {"format": "lever-ray policy library", "schema_version": 1, "checksum": checksum, "files": files}
    (folder / "manifest.json").write_text(json.dumps(content, indent=1))


def _old_policy(one):
    names = ["id", "environment", "description", "label", "gamma", "algorithm", "episodes", "snapshot", "seed"]
    plain = {name: getattr(one, name) for name in [*names, "environment_steps", "seconds", "total"]}
    arrays = {name: getattr(one, name).ravel() for name in ("q", "support", "visits")}
    mean = None if one.mean_rewards is None else one.mean_rewards.ravel()
    return plain | arrays | {"objective": one.objective.id, "weights": one.objective.weights, "mean_rewards": mean}


def _old_environment(one):
    return {
        "name": one.environment,
        "layout": json.dumps(one.layout.to_dict()),
        "successors": one.successors.ravel(),
        "canonical_cells": [one.layout.index(one.layout.start)],
        "canonical_golds": [0],
        "canonical_levers": [0],
    }


_WORDS, _COUNTS = ("id", "environment", "objective"), ("episodes", "snapshot", "seed", "environment_steps")
OLD_SCHEMAS = {
    "policies": pa.schema(
        [
            *((name, pa.string()) for name in _WORDS),
            ("weights", pa.list_(pa.float64())),
            ("description", pa.string()),
            ("label", pa.string()),
            ("gamma", pa.float64()),
            ("algorithm", pa.string()),
            *((name, pa.int64()) for name in _COUNTS),
            ("seconds", pa.float64()),
            ("total", pa.float64()),
            ("q", pa.list_(pa.float32())),
            ("support", pa.list_(pa.uint8())),
            ("visits", pa.list_(pa.uint32())),
            ("mean_rewards", pa.list_(pa.float32())),
        ]
    ),
    "environments": pa.schema(
        [
            ("name", pa.string()),
            ("layout", pa.string()),
            ("successors", pa.list_(pa.int32())),
            ("canonical_cells", pa.list_(pa.int32())),
            ("canonical_golds", pa.list_(pa.uint64())),
            ("canonical_levers", pa.list_(pa.uint8())),
        ]
    ),
}


def _old_file(folder, kind, rows):
    schema, sink = OLD_SCHEMAS[kind], pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema), max_chunksize=2)
    data = sink.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    name = f"{kind}-{digest[:16]}.arrow"
    (folder / name).write_bytes(data)
    entry = asdict(DataFile(name, kind, len(rows), data.size, digest))
    return {key: value for key, value in entry.items() if key != "environments"}
