"""The study's store of finished cells, its batches and its time foretold, what a library costs, and the command."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lever_ray.cli import main
from lever_ray.errors import StorageError
from lever_ray.executor import SerialExecutor
from lever_ray.library.library import PolicyLibrary
from lever_ray.reproduction import store as store_module
from lever_ray.reproduction.cells import ScratchCell, cells_of
from lever_ray.reproduction.cost import break_even
from lever_ray.reproduction.estimate import START, estimate
from lever_ray.reproduction.pace import Pace, batches, reference
from lever_ray.reproduction.run import Reproduced, run_study, todo_of
from lever_ray.reproduction.sizes import SIZES, Part
from lever_ray.reproduction.store import CellStore, Finished

TINY = replace(
    SIZES["smoke"],
    parts=(Part("grid8", "X1", 2),),
    setups=(("trivial", "path-gold"),),
    operators=("sum", "plan"),
    ks=(1,),
    repeats=1,
    bootstrap=50,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the tiny study was run."""
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def tiny(home: Path) -> Reproduced:
    store, libraries = CellStore(home / "cells"), home / "libraries"
    libraries.mkdir()
    todo = todo_of(TINY, store)
    return run_study(TINY, store, todo, libraries, executor=SerialExecutor(), open_library=PolicyLibrary.open)


class TestStore:
    def test_keeps_results_to_the_last_digit(self, tmp_path: Path) -> None:
        row = {"a": 0.1 + 0.2, "b": math.nan, "c": -math.inf, "d": True, "e": "text", "f": 3}
        CellStore(tmp_path).flush()
        store = CellStore(tmp_path)
        store.add([Finished("x", "answer", ("answer", "grid8"), 1.5, 1.25, row)])
        store.flush()
        found = CellStore(tmp_path).get("x")
        assert found is not None
        assert repr(found.row) == repr(row)
        assert (found.like, found.seconds, found.cpu) == (("answer", "grid8"), 1.5, 1.25)

    def test_what_failed_is_no_result(self, tmp_path: Path) -> None:
        store = CellStore(tmp_path)
        store.add([Finished("x", "answer", ("answer",), 1.0, 1.0, None, "ValueError: no")])
        store.flush()
        assert "x" not in store
        assert "x" not in CellStore(tmp_path)
        (part,) = tmp_path.glob("part-*.parquet")
        assert pq.read_table(part).column("error").to_pylist() == ["ValueError: no"]

    def test_many_parts_become_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store_module, "MOST_PARTS", 3)
        store = CellStore(tmp_path)
        for place in range(5):
            store.add([Finished(f"x{place}", "answer", ("answer",), 1.0, 1.0, {"place": place})])
            store.flush()
        assert len(list(tmp_path.glob("part-*.parquet"))) == 5
        assert len(CellStore(tmp_path)) == 5
        assert len(list(tmp_path.glob("part-*.parquet"))) == 1
        assert [CellStore(tmp_path).get(f"x{place}").row["place"] for place in range(5)] == [0, 1, 2, 3, 4]  # type: ignore[union-attr, index]

    def test_a_damaged_part_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "part-000001.parquet").write_bytes(b"PAR1 and no more")
        with pytest.raises(StorageError, match=r"part-000001.parquet cannot be read.*delete it"):
            CellStore(tmp_path)


class TestPace:
    def test_batches_keep_the_order_and_take_about_so_long(self) -> None:
        cells = cells_of(TINY, "grid8")
        pace = Pace()
        pace.cell = lambda _: 0.03  # type: ignore[method-assign]
        found = list(batches(cells, pace, seconds=0.2))
        assert [cell for batch in found for cell in batch] == cells
        assert all(0.03 * len(batch) <= 0.3 + 1e-9 for batch in found)
        assert sum(len(batch) for batch in found) / len(found) * 0.03 > 0.1

    def test_a_long_cell_is_a_batch_of_its_own(self) -> None:
        cells = cells_of(TINY, "grid8")[:9]
        pace = Pace()
        pace.cell = lambda _: 2.0  # type: ignore[method-assign]
        assert [len(batch) for batch in batches(cells, pace)] == [1] * 9

    def test_seconds_are_those_of_the_cells_most_alike(self) -> None:
        def took(like: tuple[str, ...], cpu: float) -> Finished:
            return Finished("", like[0], like, 9.0, cpu, {})

        none = ("made up",)
        pace = Pace.of([*[took((*none, "a", "x"), 1.0)] * 5, *[took((*none, "a", "y"), 3.0)] * 5])
        assert pace.seconds((*none, "a", "x")) == 1.0
        assert pace.seconds((*none, "a", "z")) == 2.0
        assert pace.seconds(("unheard of",)) > 0

    def test_longer_training_takes_longer(self) -> None:
        once = ScratchCell("grid8", 0, "path-gold", 10_000, 0.0, 0)
        pace = Pace.of([Finished("", "scratch", once.like, 1.0, 0.5, {}, size=once.size)] * 5)
        assert pace.cell(once) == 0.5
        assert pace.cell(replace(once, episodes=40_000)) == pytest.approx(2.0)

    def test_the_reference_knows_every_kind_of_quick(self) -> None:
        known = reference()
        for family in SIZES["quick"].families:
            for cell in cells_of(replace(SIZES["quick"], parts=(Part(family, "X1", 1),)), family):
                assert cell.like in known, cell.like

    def test_the_estimate_is_that_of_what_is_missing(self, home: Path, tiny: Reproduced) -> None:
        store = CellStore(home / "cells")
        done = estimate(TINY, store, todo_of(TINY, store), home / "libraries", workers=2, speed=1.0)
        assert (done.families[0].missing, done.families[0].batches) == (0, 0)
        more = replace(TINY, ks=(1, 2))
        told = estimate(more, store, todo_of(more, store), home / "libraries", workers=1, speed=1.0)
        twice = estimate(more, store, todo_of(more, store), home / "libraries", workers=1, speed=2.0)
        assert told.families[0].missing == 2 * 2 * 2  # layouts, discounts, rankers
        assert told.seconds > done.seconds
        assert twice.seconds - START == pytest.approx(2 * (told.seconds - START))


class TestCost:
    ROW: dict[str, Any] = {  # noqa: RUF012
        "environment": "grid8-0", "layout_seed": 0, "family": "grid8", "budget": "X1", "gamma": 0.0, "mode": "trivial",
        "setup": "path-gold", "operator": "sum", "strategy": "targeted", "ranker": "offline-return",
        "seconds/library": 2.0, "seconds/end_to_end": 0.1, "seconds/fit": 0.0, "seconds/scratch": 0.5,
        "environment_steps/library": 3_000.0, "environment_steps/saved": 1_000.0,
    }  # fmt: skip

    def test_a_library_pays_from_so_many_queries_on(self) -> None:
        lines = break_even([self.ROW], step_costs=(0.0, 0.01), queries=(1, 10))
        found = {(line["step_cost"], line["queries"]): line for line in lines}
        assert found[0.0, 1]["seconds/library"] == pytest.approx(2.1)
        assert found[0.0, 10]["seconds/saved"] == pytest.approx(10 * 0.5 - (2.0 + 10 * 0.1))
        assert found[0.0, 1]["break_even_queries"] == pytest.approx(2.0 / 0.4)
        assert found[0.01, 1]["break_even_queries"] == pytest.approx(32.0 / (10.5 - 0.1))
        assert found[0.01, 10]["seconds/saved"] == pytest.approx(105.0 - 33.0)

    def test_it_never_does_where_a_query_takes_longer_than_training(self) -> None:
        (line,) = break_even([self.ROW | {"seconds/end_to_end": 0.6}], step_costs=(0.0,), queries=(1,))
        assert line["break_even_queries"] == math.inf
        assert line["seconds/saved"] < 0

    def test_of_the_study_every_way_has_its_surface(self, tiny: Reproduced) -> None:
        lines = break_even(tiny.rows, step_costs=(0.0,), queries=(1, 100))
        assert len(lines) == 2 * len(tiny.summary)
        for line in lines:
            assert math.isfinite(line["seconds/saved"])


def test_dry_run_tells_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    assert main(["reproduce", "size=smoke", "layouts=2", "cluster=serial", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "grid8: " in said
    assert "on 1 core" in said
    assert not list(tmp_path.rglob("*.parquet"))


def test_smoke_is_run_and_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command at its smallest size, in this process; what it leaves is all there and agrees."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert main(["reproduce", "size=smoke", "cluster=serial"]) == 0
    (folder,) = (tmp_path / "home" / "reproduce").glob("smoke-*")
    tables = {name: pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("rows", "summary", "seconds")}
    plan = SIZES["smoke"]
    assert len(tables["rows"]) == 4 * sum(
        len(plan.ways_at(setup, gamma)) for setup in plan.setups_of("grid8") for gamma in plan.member_gammas
    )
    assert all(row["error"] == "" for row in tables["rows"])
    assert {row["stage"] for row in tables["seconds"]} >= {"policies", "cells", "answer", "tracking", "all"}
    assert "### Contrasts" in (folder / "report.md").read_text()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    (logged,) = client.search_runs([client.get_experiment_by_name("lever-ray").experiment_id])
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["rows"] == len(tables["rows"])
    assert {"rows.parquet", "summary.parquet", "report.md"} <= {
        file.path for file in client.list_artifacts(logged.info.run_id)
    }
    assert logged.data.tags["size"] == "smoke"
    page = (folder / "report.html").read_text()
    for drawn in ("coverage_grid8_g0", "learning_curves", "routes_grid8-"):
        assert f'id="{drawn.replace("_", "-")}' in page
