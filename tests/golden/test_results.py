"""Results stay what they were: bit for bit, but for floats that a regressor or an embedding made (1e-9)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.golden.results import FOLDER, collect

LEARNT = {"regressors": ("scores",), "embeddings": ("x", "first", "y")}
"""Columns that are made of floats of regressors and embeddings alone."""
PREDICTED = {"predicted_return", "scores_sum", "return/predicted"}
"""Columns that are, where the ranker is a regressor."""


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return collect(tmp_path_factory.mktemp("golden"))


def close(found: Any, kept: Any) -> bool:
    """Equal to 1e-9, element by element."""
    if isinstance(kept, list):
        return len(found) == len(kept) and all(map(close, found, kept))
    return math.isclose(found, kept, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(found) and math.isnan(kept))


def same(found: Any, kept: Any) -> bool:
    """Equal to the last digit; NaN equals NaN."""
    return type(found) is type(kept) and (found == kept or (found != found and kept != kept))


def learnt(table: str, column: str, row: dict[str, Any]) -> bool:
    """Whether a value is a float that a regressor or an embedding made."""
    if column in LEARNT.get(table, ()):
        return True
    ranker = row.get("ranker") or row.get("asked", "")
    return column in PREDICTED and "regressor" in ranker


@pytest.mark.parametrize("table", ["answers", "rows", "regressors", "trained", "embeddings", "front"])
def test_results_are_what_they_were(table: str, now: dict[str, list[dict[str, Any]]]) -> None:
    kept = pq.read_table(Path(FOLDER) / f"{table}.parquet").to_pylist()
    assert len(now[table]) == len(kept)
    assert list(now[table][0]) == list(kept[0])
    wrong = [
        (place, column, found[column], old[column])
        for place, (found, old) in enumerate(zip(now[table], kept, strict=True))
        for column in old
        if not (close if learnt(table, column, old) else same)(found[column], old[column])
    ]
    assert not wrong, wrong[:5]
