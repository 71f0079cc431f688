"""The study gives the same rows on every executor, times excepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lever_ray.executor import SerialExecutor
from lever_ray.library.library import PolicyLibrary
from lever_ray.reproduction.run import Reproduced, run_study, todo_of
from lever_ray.reproduction.sizes import SIZES, Part
from lever_ray.reproduction.store import CellStore

PLAN = replace(
    SIZES["smoke"],
    parts=(Part("grid8", "X1", 3), Part("grid16", "X1", 2)),
    setups=(("trivial", "path-gold"),),
    operators=("sum", "options", "plan"),
    ks=(1,),
    repeats=1,
    bootstrap=50,
)
TIMED = ("seconds/", "speedup/")


def study(folder: Path, executor: Any, open_library: Any) -> Reproduced:
    store, libraries = CellStore(folder / "cells"), folder / "libraries"
    libraries.mkdir()
    todo = todo_of(PLAN, store)
    return run_study(PLAN, store, todo, libraries, executor=executor, open_library=open_library)


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: repr(value) for name, value in row.items() if not name.startswith(TIMED)} for row in rows]


@pytest.mark.usefixtures("local_ray")
def test_rows_are_identical_on_every_executor(tmp_path: Path) -> None:
    from lever_ray.ray_execution import RayExecutor, ShardedLibrary

    folders = [tmp_path / "serial", tmp_path / "ray"]
    for folder in folders:
        folder.mkdir()
    one = study(folders[0], SerialExecutor(), PolicyLibrary.open)
    other = study(folders[1], RayExecutor(), lambda path: ShardedLibrary.open(path, actors=2))
    assert one.failures == other.failures == {}
    assert len(one.rows) > 0
    assert untimed(one.rows) == untimed(other.rows)
    assert {row["family"] for row in one.rows} == {"grid8", "grid16"}
