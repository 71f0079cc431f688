"""A small benchmark for tests: three grids, two of them public."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lever_ray.executor import SerialExecutor
from lever_ray.scoring import export_benchmark
from lever_ray.scoring.settings import BenchmarkSettings
from lever_ray.scoring.tables import KEEPER

SETTINGS = BenchmarkSettings(
    families=("grid8",),
    layouts=2,
    private=1,
    setups=(("trivial", "path-gold"), ("double", "path-gold-hazard")),
    training_seeds=1,
    random_rollouts=10,
)
SECRET = "0123456789abcdef0123456789abcdef"


def make_benchmark(place: Path, *, secret: str = SECRET, settings: BenchmarkSettings = SETTINGS) -> tuple[Path, Path]:
    """``(public folder, answers)`` below a folder, of a keeper with a secret."""
    folder, kept = place / "public", place / "kept"
    kept.mkdir(parents=True)
    (kept / KEEPER).write_text(f'{{"secret": "{secret}"}}')
    export_benchmark(folder, settings, executor=SerialExecutor(), answers=kept)
    return folder, kept


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def numbers_of(table: pa.Table) -> Iterator[tuple[str, np.ndarray]]:
    """Every column of a table that holds numbers, lists laid out flat."""
    for name in table.schema.names:
        column = table[name].combine_chunks()
        while pa.types.is_list(column.type):
            column = column.flatten()
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            yield name, column.to_numpy(zero_copy_only=False)


def tables_of(folder: Path) -> dict[str, pa.Table]:
    """Every Parquet file by its path."""
    return {str(file.relative_to(folder)): pq.read_table(file) for file in sorted(folder.rglob("*.parquet"))}
