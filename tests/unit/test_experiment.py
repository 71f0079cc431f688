"""Experiments: plans, rows with every control beside them, failures as data, resuming."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.building.build import build_library
from lever_ray.config import ContrastSettings, ExperimentSettings, SetupSettings, StrategySettings
from lever_ray.errors import InvalidValue, UncoveredObjective, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.experiment.cell import run_environment
from lever_ray.experiment.controls import best_known, seed_of
from lever_ray.experiment.gap import decompose_gap
from lever_ray.experiment.plan import ExperimentPlan, Setup, cell_id, make_plan
from lever_ray.experiment.run import plan_digest, read_rows, run_experiment
from lever_ray.experiment.statistics import CELL_COLUMNS, METRICS, summarise
from lever_ray.library.library import PolicyLibrary
from lever_ray.query.compose import compose
from lever_ray.tasks.protocol import Hooks
from lever_ray.tasks.registry import source
from lever_ray.tasks.rollout import rollout
from tests.conftest import SMALL_LIBRARY, sea_settings, sea_setup

SOURCE = source("grid8")


def _plan(**changes: Any) -> ExperimentPlan:
    setups = changes.pop("setups", [SetupSettings("double", "path-gold-hazard-lever")])
    experiment = ExperimentSettings(setups=setups, random_rollouts=10, **changes)
    return make_plan(experiment, SMALL_LIBRARY, StrategySettings(), episodes=10_000)


@pytest.fixture(scope="module")
def rows(small_library: Path) -> list[dict[str, Any]]:
    plan = _plan(operators=["sum", "gpi", "plan"], rankers=["regressor", "recorded-return", "offline-return"])
    return run_environment("grid8-1", PolicyLibrary.open(small_library), plan)


def test_modes_take_their_groups_from_their_pools() -> None:
    composite = "path-gold-hazard-lever"
    assert Setup.of("trivial", composite, SOURCE).groups == ("path", "gold", "hazard", "lever")
    assert Setup.of("double", composite, SOURCE).groups == ("path-gold", "hazard-lever")
    assert Setup.of("triple", composite, SOURCE).groups == ("path-gold-hazard", "lever")
    assert Setup.of("double", "hazard-path-gold", SOURCE).groups == ("path-gold", "hazard")


def test_the_composite_objective_itself_is_never_in_the_pool() -> None:
    setup = Setup.of("double", "path-gold", SOURCE)
    assert "path-gold" not in setup.pool
    assert setup.groups == ("path", "gold")
    with pytest.raises(UncoveredObjective, match="path"):
        Setup.of("trivial", "path", SOURCE)


def test_cell_ids_are_readable() -> None:
    setup = Setup.of("triple", "path-gold-hazard-lever", SOURCE)
    assert cell_id(_plan(), setup, 0.0, "grid8-7", 7) == "grid8/g0/X1/triple/path-gold-hazard-lever/seed-0007"
    assert cell_id(_plan(), setup, 0.99, "maze", None) == "grid8/g0.99/X1/triple/path-gold-hazard-lever/env-maze"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"strategies": []}, InvalidValue),
        ({"rankers": ["guess"]}, UnknownName),
        ({"operators": []}, InvalidValue),
        ({"operators": ["gpi"], "support": "ignore"}, InvalidValue),
        ({"regressor_model": "forest"}, UnknownName),
        ({"embedding": "phi"}, UnknownName),
        ({"setups": [SetupSettings("double", "path")]}, UncoveredObjective),
        ({"setups": [SetupSettings("triple", "path-gold-hazard-lever")]}, InvalidValue),
    ],
)
def test_bad_plans_are_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        _plan(**changes)


@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ([ContrastSettings("near", claim="equals")], "unknown claim of contrast 'near': 'equals'.*differs, matches"),
        ([ContrastSettings("near", claim="matches", margin=0.0)], "contrast 'near' has margin 0; .* e.g. 0.05"),
        ([ContrastSettings("near", claim="matches", margin=math.nan)], "has margin nan"),
        ([ContrastSettings()] * 9, "has 9 entries; at most 8"),
    ],
)
def test_contrasts_are_checked_before_the_run(contrasts: list[ContrastSettings], message: str) -> None:
    with pytest.raises((InvalidValue, UnknownName), match=message):
        _plan(contrasts=contrasts)
    assert _plan(contrasts=[ContrastSettings("near", claim="matches")] * 8).setups


def test_every_row_carries_its_controls(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == 2 * (3 * 3 + 3 + 1)
    for row in rows:
        for control in CONTROLS:
            assert math.isfinite(row[f"return/{control}"]) or (control, row["operator"]) == ("random_q", "plan")
        assert row["optimum_exact"]
        reached = [row[name] for name in REAL_RETURNS if not math.isnan(row[name])]
        assert row["return/optimum"] >= max(reached) - 1e-9
        assert row["return/best_single_oracle"] >= row["return/best_single"]
        assert row["return/scratch_best_gamma"] >= row["return/scratch"]
        assert row["return/best_candidate"] >= row["return/composed"] - 1e-9
        assert row["regret"] >= 0
        assert row["quality/normalised"] <= 1 + 1e-9
        assert sum(row[f"ends/{end}"] for end in ("exit", "hazard", "truncated")) == 1
        assert row["seconds/query"] > 0


CONTROLS = (
    "scratch",
    "scratch_best_gamma",
    "scratch_best_gamma_best_snapshot",
    "scratch_longer",
    "scratch_recorded_model",
    "best_single",
    "best_single_oracle",
    "random_q",
    "random",
    "walk_planner",
)
REAL_RETURNS = (
    "return/scratch_longer",
    "return/scratch_recorded_model",
    "return/walk_planner",
    "return/recorded_optimum",
    "return/memoryless",
    "return/composed",
    "return/scratch",
    "return/best_single_oracle",
    "return/random_q",
    "return/best_candidate",
)


def test_what_is_derived_can_be_recomputed_from_the_raw_columns_of_its_row(
    small_library: Path, rows: list[dict[str, Any]]
) -> None:
    """To the last digit, so that nobody needs anything but ``rows.parquet``."""
    more = run_environment("grid8-0", PolicyLibrary.open(small_library), _plan(strategies=["targeted"]))
    for row in (*rows, *more):
        found = recomputed(row)
        assert {name: row[name] for name in found} == pytest.approx(found, rel=0, abs=0, nan_ok=True), row["cell"]
    assert all(row["return/scratch_best_gamma_best_snapshot"] > row["return/scratch_best_gamma"] for row in more)


def recomputed(row: dict[str, Any]) -> dict[str, float]:
    """Every derived column of a row, by its definition."""
    raw = {name.removeprefix("return/"): value for name, value in row.items() if name.startswith("return/")}
    composed, chance, best = raw["composed"], raw["random"], raw["optimum"]
    snapshots = ("best_single_oracle", "scratch_best_gamma", "scratch_best_gamma_best_snapshot")
    strongest = max(raw[name] for name in snapshots)
    table = row["operator"] in ("sum", "max", "normalized-sum") and not math.isnan(raw["memoryless"])
    within = max(raw["memoryless"], raw["best_candidate"]) if table else raw["best_candidate"]
    recorded = max(raw["recorded_optimum"], within)
    return {
        "quality/normalised": (composed - chance) / (best - chance),
        "quality/over_controls": (composed - strongest) / (best - chance),
        "quality/ratio": composed / raw["scratch"] if raw["scratch"] > 0 else math.nan,
        "regret": (raw["best_candidate"] - composed) / (best - chance),
        "coverage/value": (raw["recorded_optimum"] - chance) / (best - chance),
        "gap/coverage": max(best, recorded) - recorded,
        "gap/memory": recorded - within if table else 0.0,
        "gap/operator": (within if table else recorded) - raw["best_candidate"],
        "gap/selection": raw["best_candidate"] - composed,
        "seconds/query": row["seconds/retrieve"] + row["seconds/rank"] + row["seconds/compose"],
        "speedup/seconds": row["seconds/scratch"] / row["seconds/query"],
        "break_even_queries": row["environment_steps/library"] / row["environment_steps/saved"],
    }


def test_summary_columns_can_be_recomputed_from_rows(rows: list[dict[str, Any]]) -> None:
    lines = summarise(rows, bootstrap=20)
    for line in lines:
        own = [row for row in rows if all(row[name] == line[name] for name in CELL_COLUMNS)]
        sums = {name: sum(row[name] for row in own) for name in ("seconds/scratch", "seconds/query")}
        assert line["speedup/seconds"] == pytest.approx(sums["seconds/scratch"] / sums["seconds/query"], rel=1e-12)
        for metric in METRICS:
            known = [row[metric] for row in own if not math.isnan(row[metric])]
            assert line[metric] == pytest.approx(np.mean(known) if known else math.nan, rel=1e-12, nan_ok=True)


def test_the_gap_to_the_optimum_is_accounted_for(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        terms = {name: row[f"gap/{name}"] for name in ("coverage", "memory", "operator", "selection")}
        assert min(terms.values()) >= 0
        assert sum(terms.values()) == pytest.approx(row["return/optimum"] - row["return/composed"], abs=1e-9)
        assert row["coverage/value"] <= 1 + 1e-9
        assert (terms["memory"] == 0) or row["operator"] == "sum"


@given(st.lists(st.floats(-100, 500), min_size=5, max_size=5), st.booleans())
def test_gap_terms_are_never_negative_and_add_up(returns: list[float], has_memory: bool) -> None:
    best, recorded, memoryless, candidate, chosen = returns
    gap = decompose_gap(
        best,
        recorded_optimum=recorded,
        memoryless=None if has_memory else memoryless,
        best_candidate=candidate,
        chosen=chosen,
    )
    assert min(gap.coverage, gap.memory, gap.operator, gap.selection) >= 0
    highest = max(best, recorded, candidate, chosen, *([] if has_memory else [memoryless]))
    assert gap.total == pytest.approx(highest - chosen, abs=1e-9)


def test_library_steps_and_break_even_are_counted(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["environment_steps/library"] > 0
        assert row["break_even_queries"] == pytest.approx(
            row["environment_steps/library"] / row["environment_steps/saved"]
        )


def test_strategies_evaluate_what_they_say(rows: list[dict[str, Any]]) -> None:
    assert {row["strategy"]: row["candidates/evaluated"] for row in rows} == {
        "targeted": 1,
        "hybrid-3": 9,
        "exhaustive": 9,
        "union": 1,
    }


def test_exact_offline_return_predicts_the_real_return_on_full_support(rows: list[dict[str, Any]]) -> None:
    exact = [row for row in rows if row["ranker"] == "offline-return" and row["coverage/on_policy"] == 1.0]
    assert exact
    assert all(row["return/predicted"] == pytest.approx(row["return/composed"], abs=1e-9) for row in exact)
    assert all(row["regret"] < 1e-12 for row in exact if row["strategy"] == "exhaustive")


def test_what_differs_between_regimes_is_said(rows: list[dict[str, Any]]) -> None:
    regimes = {row["operator"]: row["regime"] for row in rows}
    assert regimes == {"sum": "support-limited", "gpi": "evaluates rollouts", "plan": "propagates value"}
    tiers = {row["ranker"]: row["tier"] for row in rows}
    assert tiers == {"regressor": "I1", "recorded-return": "I2", "offline-return": "I3"}


class FailsOn(SerialExecutor):
    """An executor whose work on one environment fails, as a lost node's would."""

    def __init__(self, environment: str) -> None:
        self._environment = environment

    def map(self, function: Any, items: Any, *, shared: tuple[Any, ...] = ()) -> Any:
        def guarded(item: Any, *rest: Any) -> Any:
            if item == self._environment:
                raise RuntimeError("the node went away")
            return function(item, *rest)

        return super().map(guarded, items, shared=shared)


def test_a_failed_environment_is_data_and_the_next_run_goes_on_from_the_others(
    small_library: Path, tmp_path: Path
) -> None:
    library, plan = PolicyLibrary.open(small_library), _plan(rankers=["offline-return"], strategies=["targeted"])
    names = list(library.environments)
    broken = run_experiment(plan, library, names, executor=FailsOn("grid8-1"), folder=tmp_path)
    assert [(failure.environment, failure.error) for failure in broken.failures] == [
        ("grid8-1", "RuntimeError: the node went away")
    ]
    assert pq.read_table(tmp_path / "failures.parquet")["environment"].to_pylist() == ["grid8-1"]
    assert {row["environment"] for row in broken.rows} == {"grid8-0", "grid8-2"}
    counted: list[int] = []
    mended = run_experiment(
        plan, library, names, executor=SerialExecutor(), folder=tmp_path, kept_before=counted.append
    )
    assert (mended.resumed, mended.failures, counted) == (2, [], [2])
    assert not (tmp_path / "failures.parquet").exists()
    assert [row["environment"] for row in mended.rows] == [name for name in names for _ in plan.gammas]
    again = run_experiment(plan, library, names, executor=SerialExecutor(), folder=tmp_path)
    assert again.resumed == 0


def test_the_digest_changes_with_whatever_decides_the_rows() -> None:
    plan, names = _plan(), ["grid8-0"]
    digest = plan_digest(plan, names, "abc")
    assert digest == plan_digest(_plan(), names, "abc")
    assert len({digest, plan_digest(_plan(support="ignore"), names, "abc"), plan_digest(plan, names, "abd")}) == 3


# Environments that were not sampled.


def test_an_environment_without_a_seed_is_run_like_any_other(maze_library: Path, tmp_path: Path) -> None:
    library, plan = PolicyLibrary.open(maze_library), _plan(strategies=["targeted", "hybrid"])
    found = run_experiment(plan, library, ["maze", "grid8-1"], executor=SerialExecutor(), folder=tmp_path)
    assert found.failures == []
    seeds = {row["environment"]: row["layout_seed"] for row in found.rows}
    assert seeds == {"grid8-1": 1, "maze": None}
    mazes = [row for row in found.rows if row["environment"] == "maze"]
    assert {row["cell"].rpartition("/")[2] for row in mazes} == {"env-maze"}
    assert [row["environment"] for row in found.rows] == ["grid8-1"] * len(mazes) + ["maze"] * len(mazes)
    assert all(math.isfinite(row["return/random_q"]) for row in mazes)
    assert repr(read_rows(tmp_path / "rows.parquet")) == repr(found.rows)
    assert {line["layouts"] for line in summarise(found.rows, bootstrap=20)} == {2}


def test_what_is_drawn_in_an_environment_without_a_seed_follows_from_what_it_is(small_library: Path) -> None:
    task = PolicyLibrary.open(small_library).environment("grid8-2").task
    nameless = replace(task, seed=None, name="elsewhere")
    assert seed_of(task) == 2
    assert seed_of(nameless) == seed_of(replace(nameless, name="maze")) == int(task.digest[:8], 16)


def test_operators_that_an_environment_cannot_answer_are_refused_before_anything_is_measured(
    small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = PolicyLibrary.open(small_library)
    monkeypatch.setattr(type(library.environment("grid8-0").task), "hooks", Hooks())
    with pytest.raises(InvalidValue, match="has no planner, which operator 'plan' asks for"):
        run_experiment(
            _plan(operators=["sum", "plan"]), library, ["grid8-0"], executor=SerialExecutor(), folder=tmp_path / "rows"
        )
    assert not (tmp_path / "rows").exists()


def test_a_family_without_hooks_is_measured_against_the_best_that_was_reached(
    small_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = PolicyLibrary.open(small_library)
    task = library.environment("grid8-0").task
    monkeypatch.setattr(type(task), "hooks", Hooks())
    assert best_known(task, "path").total == -math.inf
    asked_nowhere_else = [SetupSettings("trivial", "gold-lever")]  # what is remembered does not know of hooks
    plan = _plan(setups=asked_nowhere_else, strategies=["targeted"], rankers=["offline-return"])
    for row in run_environment("grid8-0", library, plan):
        assert not row["optimum_exact"]
        assert row["quality/normalised"] <= 1 + 1e-9
        assert row["return/optimum"] >= max(row["return/composed"], row["return/scratch_longer"]) - 1e-9
        for unknown in ("return/memoryless", "return/walk_planner", "return/recorded_optimum", "gap/coverage"):
            assert math.isnan(row[unknown])


def test_a_task_without_a_grid_is_run_like_any_other(tmp_path: Path) -> None:
    settings, setup = sea_settings(), sea_setup()
    build_library(tmp_path / "sea", settings, executor=SerialExecutor())
    library = PolicyLibrary.open(tmp_path / "sea")
    asked = ExperimentSettings(setups=[setup], operators=["sum", "plan"], random_rollouts=10, strategies=["hybrid"])
    plan = make_plan(asked, settings, StrategySettings(), episodes=10_000)
    found = run_experiment(
        plan, library, library.environments, executor=SerialExecutor(), folder=tmp_path / "experiment"
    )
    assert found.failures == []
    assert len(found.rows) == len(library.environments) * plan.cells_per_environment
    ends = library.environment(library.environments[0]).task.ends
    for row in found.rows:
        assert row["family"] == "deep-sea"
        assert sum(row[f"ends/{end}"] for end in (*ends, "truncated")) == pytest.approx(1)
        assert row["return/optimum"] >= row["return/composed"] - 1e-6
        assert math.isfinite(row["quality/normalised"])
    (line, *_) = summarise(found.rows, bootstrap=20)
    assert f"ends/{ends[0]}/ci_low" in line


def test_weights_of_a_setup_are_those_of_the_question(small_library: Path) -> None:
    library = PolicyLibrary.open(small_library)
    weighted = _plan(setups=[SetupSettings("trivial", "path-gold[1,2.5]")], rankers=["offline-return"])
    (setup,) = weighted.setups
    assert (setup.objective, setup.name, setup.groups) == ("path-gold[1,2.5]", "path-gold", ("path", "gold"))
    row = run_environment("grid8-1", library, weighted)[0]
    task = library.environment("grid8-1").task
    assert row["setup"] == "path-gold[1,2.5]"
    assert row["return/optimum"] == best_known(task, "path-gold[1,2.5]").total != best_known(task, "path-gold").total
    answer = compose(
        library, environment="grid8-1", objective={"gold": 2.5, "path": 1}, groups=["path", "gold"],
        recipe=row["recipe"],
    )  # fmt: skip
    assert (" ".join(answer.policy_ids), answer.predicted_return) == (row["policy_ids"], row["return/predicted"])
    assert rollout(task, objective="path-gold[1,2.5]", q=answer.q).total == row["return/composed"]
