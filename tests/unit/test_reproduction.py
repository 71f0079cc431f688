"""The study: what it consists of, addresses of cells, finished cells that stay finished, failures, rows."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lever_ray.cli import main
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.experiment.cell import run_environment
from lever_ray.experiment.plan import ALL_GAMMAS
from lever_ray.experiment.report import markdown_report
from lever_ray.experiment.statistics import METRICS
from lever_ray.library.library import PolicyLibrary
from lever_ray.reproduction import work
from lever_ray.reproduction.cells import AnswerCell, InsideCell, ModelCell, WorldCell, cells_of, lacking
from lever_ray.reproduction.run import Reproduced, run_study, todo_of
from lever_ray.reproduction.settings import study_plan, study_settings
from lever_ray.reproduction.sizes import CONTRASTS, SIZES, Part, StudyPlan
from lever_ray.reproduction.store import CellStore

TINY = replace(
    SIZES["smoke"],
    parts=(Part("grid8", "X1", 3),),
    setups=(("trivial", "path-gold"),),
    operators=("sum", "options", "plan"),
    ks=(1,),
    lessons=2,
    repeats=1,
    random_rollouts=10,
    bootstrap=50,
)
TIMED = ("seconds/", "speedup/")


def run(plan: StudyPlan, folder: Path, store: CellStore | None = None) -> Reproduced:
    held = CellStore(folder / "cells") if store is None else store
    libraries = folder / "libraries"
    libraries.mkdir(parents=True, exist_ok=True)
    executor = SerialExecutor()
    return run_study(plan, held, todo_of(plan, held), libraries, executor=executor, open_library=PolicyLibrary.open)


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: repr(value) for name, value in row.items() if not name.startswith(TIMED)} for row in rows]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the tiny study was run."""
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def tiny(home: Path) -> Reproduced:
    return run(TINY, home)


class TestPlan:
    def test_quick_and_full_are_what_is_said_of_them(self) -> None:
        quick, full = SIZES["quick"], SIZES["full"]
        assert {(part.family, part.layouts) for part in quick.parts} == {
            ("grid8", 30), ("grid16", 10), ("grid16-dense", 10), ("grid32", 6),
        }  # fmt: skip
        assert {part.budget for part in quick.parts} == {"X1", "X5"}
        assert {(part.family, part.budget) for part in full.parts} == {
            (family, budget)
            for family in ("grid8", "grid16", "grid16-dense", "grid32")
            for budget in ("X1", "X5", "X10")
        }
        assert [part.layouts for part in full.parts if part == Part("grid8", "X1", 300)] == [300]
        assert {part.layouts for part in full.parts} == {300, 30}
        assert quick.training_seeds == full.training_seeds == 3
        assert (quick.unions, full.unions) == ("mode", "case")
        assert len(CONTRASTS) <= 8

    def test_every_way_of_the_study_is_there(self) -> None:
        ways = {(way.operator, way.make_strategy().id, way.ranker) for way in SIZES["quick"].ways}
        for operator in ("sum", "max", "normalized-sum"):
            for strategy in ("targeted", *(f"hybrid-{k}" for k in range(1, 6)), "exhaustive", "budgeted-100"):
                assert (operator, strategy, "offline-return") in ways
        assert {operator for operator, _, _ in ways} == {"sum", "max", "normalized-sum", "gpi", "options", "plan"}

    def test_options_are_asked_at_every_discount_and_over_all(self) -> None:
        (setup,) = TINY.setups_of("grid8")
        assert TINY.member_gammas == (0.0, 0.99, ALL_GAMMAS)
        assert {way.operator for way in TINY.ways_at(setup, ALL_GAMMAS)} == {"options"}
        assert {way.operator for way in TINY.ways_at(setup, 0.0)} == {"sum", "options", "plan"}

    def test_settings_replace_what_a_size_says(self) -> None:
        given = {"size": "full", "families": ["grid16"], "budgets": "X5", "layouts": 2, "gammas": [0], "k": [3, 1]}
        plan = study_plan(study_settings(given))
        assert plan.parts == (Part("grid16", "X5", 2),)
        assert (plan.gammas, plan.ks, plan.unions) == ((0.0,), (1, 3), "case")

    @pytest.mark.parametrize(
        ("given", "error", "said"),
        [
            ({"size": "smal"}, UnknownName, "unknown size 'smal'.*smoke, quick, full"),
            ({"famlies": ["grid8"]}, UnknownName, "Did you mean 'families'"),
            ({"families": ["grid9"]}, UnknownName, "unknown family 'grid9'"),
            ({"budgets": ["X2"]}, UnknownName, "unknown training budget 'X2'"),
            ({"layouts": 0}, InvalidValue, "layouts holds 0; at least 1 is needed"),
            ({"layouts": "many"}, InvalidValue, "layouts holds 'many'; a whole number is needed"),
            ({"layouts": True}, InvalidValue, "layouts holds True"),
            ({"gammas": [1.5]}, InvalidValue, r"gammas holds 1.5; a discount must lie in \[0, 1\]"),
            ({"gammas": []}, InvalidValue, "gammas is empty"),
            ({"k": [2, 2]}, InvalidValue, "holds a value twice"),
            ({"operators": ["switch"]}, UnknownName, "The study has no such operator"),
            ({"unions": "all"}, UnknownName, "unknown kind of union 'all'"),
            ({"size": "smoke", "modes": ["triple"]}, InvalidValue, "size smoke has no setup"),
        ],
    )
    def test_wrong_settings_are_named(self, given: dict[str, Any], error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            study_plan(study_settings(given))

    def test_wrong_words_end_in_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["reproduce", "layouts=none-such"]) == 2
        assert capsys.readouterr().err == "lever-ray: layouts holds 'none-such'; a whole number is needed\n"


class TestAddresses:
    def test_are_told_apart_by_the_configuration_alone(self) -> None:
        cells = cells_of(TINY, "grid8")
        assert len({cell.address for cell in cells}) == len(cells)
        again = {cell.address for cell in cells_of(replace(TINY), "grid8")}
        assert again == {cell.address for cell in cells}

    def test_are_the_same_in_another_process(self) -> None:
        told = "from tests.unit.test_reproduction import TINY, cells_of; print(cells_of(TINY, 'grid8')[-1].address)"
        environment = os.environ | {"PYTHONHASHSEED": "7"}
        found = subprocess.run(
            [sys.executable, "-c", told], capture_output=True, text=True, check=True, env=environment, timeout=120
        )
        assert found.stdout.strip() == cells_of(TINY, "grid8")[-1].address

    @pytest.mark.parametrize(
        ("change", "touched"),
        [
            ({"ks": (1, 2)}, lambda cell: isinstance(cell, AnswerCell) and "hybrid-2" in cell.like),
            ({"parts": (Part("grid8", "X1", 4),)}, lambda cell: cell.seed == 3),
            ({"random_rollouts": 20}, lambda cell: isinstance(cell, WorldCell)),
            ({"repeats": 2}, lambda cell: isinstance(cell, AnswerCell)),
            ({"unions": "case"}, lambda cell: isinstance(cell, ModelCell)),
            ({"parts": (Part("grid8", "X5", 3),)}, lambda cell: not isinstance(cell, WorldCell) and cell.seed >= 0),
            ({"bootstrap": 60}, None),
        ],
    )  # fmt: skip
    def test_a_changed_setting_touches_only_what_it_decides(self, change: dict[str, Any], touched: Any) -> None:
        before = {cell.address for cell in cells_of(TINY, "grid8")}
        new = lacking(cells_of(replace(TINY, **change), "grid8"), before)
        assert all(touched(cell) for cell in new)
        assert bool(new) == ("bootstrap" not in change)
        assert {type(cell) for cell in new} <= {WorldCell, AnswerCell, ModelCell, InsideCell} or "parts" in change


class TestRows:
    def test_are_those_of_an_experiment(self, tmp_path: Path, home: Path, tiny: Reproduced) -> None:
        """The same numbers by another way: one process, all controls measured together."""
        plan = replace(TINY, unions="case", gammas=(0.0,), lessons=3)
        rows = run(plan, tmp_path).rows
        library = PolicyLibrary.open(home / "libraries" / TINY.library(TINY.parts[0]).name)
        experiment = replace(plan.experiment(plan.parts[0]), gammas=(0.0,))
        wanted = [row for name in library.environments for row in run_environment(name, library, experiment)]
        by_way = {(row["environment"], row["recipe"]): row for row in rows}
        assert len(by_way) == len(wanted) == len(rows)
        for row in wanted:
            found = by_way[row["environment"], row["recipe"]]
            assert set(found) - set(row) == {"seconds/parse", "seconds/end_to_end", "error"}
            assert untimed([{name: found[name] for name in row}]) == untimed([row])

    def test_have_every_column_and_no_error(self, tiny: Reproduced) -> None:
        assert len(tiny.rows) == 3 * sum(len(TINY.ways_at(setup, gamma)) for setup, gamma in _cases())
        for row in tiny.rows:
            assert row["error"] == ""
            assert all(name in row for name in METRICS)
            assert row["seconds/end_to_end"] == row["seconds/parse"] + row["seconds/query"]
            assert row["seconds/parse"] > 0
            assert row["seconds/library"] > 0
        assert tiny.failures == {}

    def test_stand_in_natural_order(self, tiny: Reproduced) -> None:
        first = [(row["gamma"], row["layout_seed"]) for row in tiny.rows]
        assert first == sorted(first)

    def test_a_regressor_learns_from_the_lessons_alone(self, tiny: Reproduced, home: Path) -> None:
        """With two lessons, the first layout learns from the second alone, whatever else the library holds."""
        rows = run(replace(TINY, parts=(Part("grid8", "X1", 2),)), home).rows
        learnt = [row for row in rows if row["ranker"] == "regressor"]
        assert learnt
        assert untimed(learnt) == untimed(
            [row for row in tiny.rows if row["ranker"] == "regressor" and row["layout_seed"] < 2]
        )

    def test_are_summed_up_by_family_and_budget(self, tiny: Reproduced) -> None:
        assert {(line["family"], line["budget"], line["layouts"]) for line in tiny.summary} == {("grid8", "X1", 3)}
        assert "Contrasts" in markdown_report(tiny.rows, contrasts=CONTRASTS, bootstrap=20)

    def test_seconds_are_told_by_stage(self, tiny: Reproduced) -> None:
        assert {"policies", "cells", "answer", "scratch", "model", "inside", "world", "merging"} <= set(tiny.seconds)
        assert tiny.seconds["answer"].cells == len(tiny.rows)


def _cases() -> Iterator[tuple[Any, float]]:
    for setup in TINY.setups_of("grid8"):
        for gamma in TINY.member_gammas:
            yield setup, gamma


class TestResuming:
    def test_nothing_is_run_twice(self, home: Path, tiny: Reproduced) -> None:
        again = run(TINY, home)
        assert again.kept == len(cells_of(TINY, "grid8"))
        assert "answer" not in again.seconds
        assert again.rows == tiny.rows or untimed(again.rows) == untimed(tiny.rows)

    def test_one_more_k_runs_its_answers_alone(self, home: Path, tiny: Reproduced) -> None:
        found = run(replace(TINY, ks=(1, 2)), home)
        more = 3 * 2 * 2  # layouts, discounts, rankers
        assert found.seconds["answer"].cells == more
        assert set(found.seconds) & {"scratch", "model", "inside", "world", "parse"} == set()
        assert len(found.rows) == len(tiny.rows) + more

    def test_a_killed_run_goes_on_where_it_was(self, tmp_path: Path, tiny: Reproduced) -> None:
        script = (
            "import sys; from pathlib import Path; from tests.unit.test_reproduction import TINY, run;"
            "from lever_ray.reproduction import store; store.EVERY = 0.0; run(TINY, Path(sys.argv[1]))"
        )
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
        parts, deadline = tmp_path / "cells", time.monotonic() + 300
        while len(list(parts.glob("part-*.parquet"))) < 2:
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) == -signal.SIGKILL
        kept = len(CellStore(parts))
        assert 0 < kept < len(cells_of(TINY, "grid8"))
        found = run(TINY, tmp_path)
        assert found.kept == kept
        assert untimed(found.rows) == untimed(tiny.rows)


class TestFailures:
    def test_a_failed_cell_is_a_row_with_its_error_and_is_tried_again(
        self, home: Path, tmp_path: Path, tiny: Reproduced, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(bench: Any, cell: Any) -> Any:
            if cell.seed == 1 and cell.way.operator == "plan":
                raise ValueError("out of patience")
            return work.Bench.answer(bench, cell)

        store = _copied(home, tmp_path, without=lambda each: each.kind == "answer")
        with monkeypatch.context() as patched:
            patched.setitem(work._RUN, AnswerCell, refuse)
            found = run(TINY, home, store)
        bad = [row for row in found.rows if row["error"]]
        assert {(row["layout_seed"], row["operator"]) for row in bad} == {(1, "plan")}
        assert {row["error"] for row in bad} == {"ValueError: out of patience"}
        assert all(math.isnan(row[name]) for row in bad for name in METRICS)
        assert len(found.rows) == len(tiny.rows)
        assert len(found.failures) == len(bad) == 2
        assert max(line["layouts"] for line in found.summary if line["operator"] == "plan") == 2
        again = run(TINY, home, CellStore(tmp_path / "cells"))
        assert again.seconds["answer"].cells == 2
        assert untimed(again.rows) == untimed(tiny.rows)

    def test_what_needs_a_failed_control_says_which(
        self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Reproduced
    ) -> None:
        def refuse(bench: Any, cell: Any) -> Any:
            raise ValueError("no way")

        store = _copied(home, tmp_path, without=lambda each: each.kind == "world")
        monkeypatch.setitem(work._RUN, WorldCell, refuse)
        found = run(TINY, home, store)
        assert {row["error"] for row in found.rows if row["layout_seed"] == 2} == {
            "world grid8-2 path-gold: ValueError: no way"
        }
        assert found.summary == []

    def test_the_exit_code_tells(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(bench: Any, cell: Any) -> Any:
            raise ValueError("no way")

        monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
        monkeypatch.setitem(work._RUN, WorldCell, refuse)
        words = ["size=smoke", "layouts=2", "modes=[trivial]", "operators=[plan]", "cluster=serial", "tracking=none"]
        assert main(["reproduce", *words]) == 1
        (folder,) = (tmp_path / "reproduce").glob("smoke-*")
        rows = pq.read_table(folder / "rows.parquet").to_pylist()
        assert all(row["error"].endswith("no way") for row in rows)
        assert rows


def _copied(home: Path, folder: Path, *, without: Any) -> CellStore:
    """A store with the results of another, some left out."""
    store = CellStore(folder / "cells")
    given = CellStore(home / "cells")
    store.add([given.get(each.address) for each in given.results() if not without(each)])  # type: ignore[misc]
    store.flush()
    return store
