"""Scoring on a benchmark: equal to what is worked out by hand, and refusing what cannot be scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import kendalltau

from lever_ray.cli import main
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.scoring import Benchmark, Question, Route, Scores, score, write_predictions
from lever_ray.scoring.ours import (
    random_scores,
)
from lever_ray.scoring.scores import UNDECLARED, judged, score_predictions
from lever_ray.statistics.intervals import interval, resamples
from lever_ray.tasks.rollout import rollout
from tests.unit.test_readme import README, python_of

Folders = tuple[Path, Path]


# Scores are what they say.


@pytest.mark.parametrize("operator", ["sum", "max"])
def test_a_ranker_scores_what_is_worked_out_by_hand(benchmark: Benchmark, operator: str) -> None:
    found = score(benchmark, random_scores, tier="I0", operator=operator)
    assert [row["question"] for row in found.rows] == benchmark.questions()
    for row in found.rows:
        key = benchmark.key(row["question"])
        scores, returns = random_scores(benchmark.question(row["question"])), key.returns[operator]
        best, chance = key.yardsticks["optimum"], key.yardsticks["random"]
        chosen = returns[list(scores).index(max(scores))]
        assert row["return/chosen"] == chosen
        assert row["quality/normalised"] == pytest.approx((chosen - chance) / (best - chance))
        assert row["regret"] == pytest.approx((max(returns) - chosen) / (best - chance))
        tau = kendalltau(scores, returns).statistic
        assert row["rank_correlation"] == pytest.approx(tau, nan_ok=True)
        assert (row["undefined"], row["answered"]) == (float(np.isnan(tau)), 1.0)
    (line,) = found.summary(bootstrap=50)
    by_layout = [
        np.mean([row["regret"] for row in found.rows if row["environment"] == name]) for name in ("grid8-0", "grid8-1")
    ]
    assert line["regret"] == pytest.approx(np.mean(by_layout))
    assert np.isnan(line["regret/ci_low"])  # of two layouts there is no interval
    assert (line["entrant"], line["layouts"], line["questions"]) == ("random_scores", 2, 8)
    assert f"| random_scores | I0 | {operator} |" in found.markdown(bootstrap=50)


def test_intervals_are_over_layouts(benchmark: Benchmark) -> None:
    first = score(benchmark, random_scores, tier="I0").rows[0]
    values = np.random.default_rng(0).random((8, 5))
    rows = [
        first | {"environment": f"grid8-{place}", "layout_seed": place, "regret": float(value)}
        for place, of_layout in enumerate(values)
        for value in of_layout
    ]
    (line,) = Scores(rows).summary(bootstrap=200)
    wanted = interval(values.mean(axis=1), resamples(8, count=200))
    assert (line["regret"], line["regret/ci_low"], line["regret/ci_high"]) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )
    assert line["regret/ci_low"] < line["regret"] < line["regret/ci_high"]
    assert (line["layouts"], line["questions"]) == (8, 40)


def test_the_true_returns_have_no_regret_and_agree_entirely(benchmark: Benchmark) -> None:
    found = score(benchmark, lambda question: benchmark.key(question.name).returns["sum"], tier="I4")
    assert all(row["regret"] == 0.0 for row in found.rows)
    taus = [row["rank_correlation"] for row in found.rows if not row["undefined"]]
    assert taus == pytest.approx([1.0] * len(taus)) and taus
    worst = score(benchmark, lambda question: -benchmark.key(question.name).returns["sum"], tier="I4")
    assert all(row["regret"] >= 0.0 for row in worst.rows) and any(row["regret"] > 0.0 for row in worst.rows)


def test_the_first_of_the_best_is_chosen(benchmark: Benchmark) -> None:
    found = score(benchmark, lambda question: np.zeros(len(question.candidates)), tier="I0")
    for row in found.rows:
        assert row["return/chosen"] == benchmark.key(row["question"]).returns["sum"][0]
        assert row["undefined"] == 1.0


def test_operators_answer_with_tables_and_routes(benchmark: Benchmark) -> None:
    def table(question: Question) -> np.ndarray:
        return question.pool[0].q[0]

    def route(question: Question) -> Route:
        played = rollout(question.task, objective=question.objective, q=table(question))
        return Route(np.asarray(played.actions))

    tables, routes = score(benchmark, table, tier="I0"), score(benchmark, route, tier="I4")
    for row, other in zip(tables.rows, routes.rows, strict=True):
        question = benchmark.question(row["question"], tier="I4")
        earned = rollout(question.task, objective=question.objective, q=table(question)).total
        assert row["return/chosen"] == pytest.approx(earned) and other["return/chosen"] == pytest.approx(earned)
        assert row["operator"] == "own"
        assert all(np.isnan(row[name]) for name in ("rank_correlation", "undefined", "regret"))
        key = benchmark.key(row["question"])
        scale = key.yardsticks["optimum"] - key.yardsticks["random"]
        assert row["over/candidates"] == pytest.approx((earned - max(key.returns["sum"])) / scale)


def test_an_unanswered_question_counts_as_chance(benchmark: Benchmark) -> None:
    def seldom(question: Question) -> np.ndarray | None:
        return random_scores(question) if question.environment == "grid8-0" else None

    rows = score(benchmark, seldom, tier="I0").rows
    assert {row["answered"] for row in rows if row["environment"] == "grid8-1"} == {0.0}
    assert {row["quality/normalised"] for row in rows if row["environment"] == "grid8-1"} == {0.0}
    (line,) = score(benchmark, seldom, tier="I0").summary(bootstrap=50)
    assert line["answered"] == 0.5


# Tiers and splits.


def test_a_tier_sees_no_more_than_it_may(benchmark: Benchmark, keeper: Benchmark) -> None:
    name = benchmark.questions()[0]
    seen = {tier: benchmark.question(name, tier=tier) for tier in ("I0", "I1", "I2", "I3", "I4")}
    for tier, question in seen.items():
        members = [*question.groups, *question.pool]
        assert all((each.successors is not None) == (tier >= "I1") for each in members)
        assert all((each.mean_rewards is not None) == (tier >= "I2") for each in members)
        assert (question.starts is not None) == (question.events is not None) == (tier >= "I1")
        assert (question.task is not None) == (tier >= "I3")
    private = benchmark.questions("private")[0]
    assert benchmark.question(private, tier="I2").events is None
    assert benchmark.question(private, tier="I2").task is None
    np.testing.assert_array_equal(
        keeper.question(private, tier="I1").events, keeper.task("grid8-p00").dynamics.flags & 15
    )
    with pytest.raises(InvalidValue, match="is private: its environment"):
        benchmark.question(private, tier="I3")


def test_the_keeper_scores_the_private_split(benchmark: Benchmark, keeper: Benchmark) -> None:
    with pytest.raises(InvalidValue, match="its answers are with the keeper"):
        score(benchmark, random_scores, tier="I0", split="private")
    rows = score(keeper, random_scores, tier="I0", split="private").rows
    assert {row["environment"] for row in rows} == {"grid8-p00"}
    assert all(row["layout_seed"] is None for row in rows)
    code = score(keeper, lambda question: keeper.key(question.name).returns["sum"], tier="I3", split="private")
    assert all(row["regret"] == 0.0 for row in code.rows)


# Files of predictions.


def answers_of(benchmark: Benchmark, split: str = "public") -> dict[str, Any]:
    return {name: random_scores(benchmark.question(name)) for name in benchmark.questions(split)}


def test_a_file_scores_as_the_function_does(benchmark: Benchmark, keeper: Benchmark, tmp_path: Path) -> None:
    file = tmp_path / "random_scores.parquet"
    write_predictions(file, benchmark, answers_of(benchmark))
    shuffled = pq.read_table(file)
    shuffled = shuffled.take(np.random.default_rng(0).permutation(len(shuffled)))
    pq.write_table(shuffled, tmp_path / "shuffled.parquet")
    by_call = score(benchmark, random_scores, tier="I0", operator="max").rows
    for name in ("random_scores", "shuffled"):
        found = score_predictions(
            benchmark, tmp_path / f"{name}.parquet", tier="I0", operator="max", name="random_scores"
        )
        np.testing.assert_equal(found.rows, by_call)
    write_predictions(file, keeper, answers_of(keeper, "private"))
    found = score_predictions(keeper, file, split="private")
    assert {row["tier"] for row in found.rows} == {UNDECLARED}
    wanted = [row["regret"] for row in score(keeper, random_scores, tier="I0", split="private").rows]
    assert [row["regret"] for row in found.rows] == wanted


def test_a_file_of_routes_and_one_that_leaves_questions_out(benchmark: Benchmark, tmp_path: Path) -> None:
    names, file = benchmark.questions(), tmp_path / "routes.parquet"
    routes: dict[str, Any] = {name: Route(np.array([0, 1, 1])) for name in names}
    write_predictions(file, benchmark, routes | {names[0]: None})
    found = score_predictions(benchmark, file).rows
    np.testing.assert_equal(found, judged(benchmark, routes | {names[0]: None}, entrant="routes", tier=UNDECLARED))
    assert [row["answered"] for row in found] == [0.0, *[1.0] * (len(names) - 1)]
    write_predictions(file, benchmark, answers_of(benchmark) | {names[1]: None})
    assert [row["answered"] for row in score_predictions(benchmark, file).rows][:3] == [1.0, 0.0, 1.0]


def rows_of(benchmark: Benchmark) -> list[dict[str, Any]]:
    return [
        {"question": name, "candidate": place, "score": float(value)}
        for name, scores in answers_of(benchmark).items()
        for place, value in enumerate(scores)
    ]


FIRST = "grid8-0/g0/trivial/path-gold"
CHANGES: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "a question is missing": (
        lambda rows: [row for row in rows if row["question"] != FIRST],
        rf"lacks 1 of 8 questions of the public split, e.g. {FIRST}",
    ),
    "a question is unknown": (lambda rows: rows[0].update(question="nosuch"), "answers question 'nosuch'"),
    "a private question": (
        lambda rows: rows[0].update(question=FIRST.replace("grid8-0", "grid8-p00")),
        "which the public split does not have",
    ),
    "a candidate is unknown": (
        lambda rows: rows[0].update(candidate=9),
        f"'{FIRST}' has no candidate 9; it has 0 to 8",
    ),
    "a candidate is negative": (lambda rows: rows[0].update(candidate=-1), "has no candidate -1"),
    "a candidate is missing": (lambda rows: rows[1:], f"'{FIRST}' has 0 scores for candidate 0; one for each of 9"),
    "a candidate is there twice": (lambda rows: rows[0].update(candidate=1), "0 scores for candidate 0"),
    "NaN": (lambda rows: rows[2].update(score=float("nan")), "scores candidate 2 NaN"),
    "a null among others": (lambda rows: rows[0].update(score=None), "has a row with a null"),
    "a column is missing": (
        lambda rows: [{"question": row["question"]} for row in rows],
        "has columns question; columns",
    ),
    "a column of texts": (
        lambda rows: [row | {"score": "high"} for row in rows],
        "column 'score' holds string",
    ),
    "no question": (lambda rows: rows[0].update(question=None), "1 rows without a question"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_bad_file_is_refused_before_anything_is_scored(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    rows, (spoil, told) = rows_of(benchmark), CHANGES[change]
    changed = spoil(rows)
    pq.write_table(pa.Table.from_pylist(changed if isinstance(changed, list) else rows), tmp_path / "bad.parquet")
    monkeypatch.setattr("lever_ray.scoring.scores.measures", lambda *_: pytest.fail("something was scored"))
    with pytest.raises(InvalidValue, match=told):
        score_predictions(benchmark, tmp_path / "bad.parquet")


def test_files_of_something_else_are_refused(benchmark: Benchmark, keeper: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    for name in ("text", "nosuch"):
        with pytest.raises(InvalidValue, match="is no Parquet file that can be read"):
            score_predictions(benchmark, tmp_path / f"{name}.parquet")
    file = tmp_path / "other.parquet"
    write_predictions(file, benchmark, answers_of(benchmark))
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({b"lever_ray.benchmark": b"0" * 64}), file)
    with pytest.raises(InvalidValue, match="was made for another benchmark"):
        score_predictions(benchmark, file)
    write_predictions(file, keeper, answers_of(keeper, "private"))
    with pytest.raises(InvalidValue, match="tier I3 knows the environment"):
        score_predictions(keeper, file, split="private", tier="I3")
    with pytest.raises(InvalidValue, match="its answers are with the keeper"):
        score_predictions(benchmark, file, split="private")
    with pytest.raises(InvalidValue, match="a score for every candidate, or routes"):
        write_predictions(file, benchmark, {"a": np.zeros(3), "b": Route(np.zeros(1, int))})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (np.zeros(8), r"float64 of shape \(8,\); give a score for each of 9 candidates, a table \(64, 4\)"),
        (np.full(9, np.nan), "is answered with NaN"),
        (np.full((64, 4), np.nan), "is answered with NaN"),
        (np.array(["a"] * 9), "give a score for each of 9"),
        (Route(np.array([0, 4])), "give actions 0 to 3"),
        (Route(np.array([0.5])), "give actions 0 to 3"),
    ],
)
def test_answers_of_the_wrong_kind_are_refused(benchmark: Benchmark, answer: Any, told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        score(benchmark, lambda _: answer, tier="I0")


def test_unknown_tiers_and_operators_are_refused(benchmark: Benchmark) -> None:
    with pytest.raises(UnknownName, match="unknown tier 'I9'"):
        score(benchmark, random_scores, tier="I9")
    with pytest.raises(UnknownName, match="unknown operator of candidates 'gpi'"):
        score(benchmark, random_scores, tier="I0", operator="gpi")


# The console.


def test_predictions_from_the_console(made: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = Benchmark(made[0])
    file, table = tmp_path / "mine.parquet", tmp_path / "scores.md"
    write_predictions(file, benchmark, answers_of(benchmark))
    words = ["benchmark", "score", str(made[0]), "--predictions", str(file), "--tier", "I0", "--to", str(table)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "| mine | I0 | sum |" in out and table.read_text() == out
    assert len(pq.read_table(tmp_path / "scores.parquet")) == 8
    assert main(words[:3]) == 2
    assert "give --predictions FILE, or --ours" in capsys.readouterr().err
    assert main([*words[:3], "--ours", "--tier", "I0"]) == 2
    assert main(["benchmark", "score", str(tmp_path), "--predictions", str(file)]) == 2
    assert "is no benchmark" in capsys.readouterr().err


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_export_and_our_own_scores_from_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lever_ray.app import session

    monkeypatch.setattr(session, "_start_executor", lambda _: (SerialExecutor(), False))
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path / "home"))
    tmp_path = tmp_path / "odd ü \udcff"
    small = [
        "families=[grid8]",
        "layouts=2",
        "private=1",
        "setups=[[trivial,path-gold]]",
        "training_seeds=1",
        "gammas=[0]",
    ]
    folders = ["--to", str(tmp_path / "public"), "--answers", str(tmp_path / "kept")]
    assert main(["benchmark", "export", *folders, *small]) == 0
    assert "3 environments, 36 policies, 3 questions, 27 candidates" in capsys.readouterr().err
    command = Benchmark(tmp_path / "public").about["command"].split()
    assert command[:3] == ["lever-ray", "benchmark", "export"] and {*small} <= {*command}
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert main(["benchmark", "score", str(tmp_path / "public"), "--ours", "--split", "private"]) == 2
    assert "its answers are with the keeper" in capsys.readouterr().err
    assert main(["benchmark", "score", str(tmp_path / "public"), "--ours"]) == 0
    assert "| offline-return | I3 | sum |" in capsys.readouterr().out
    assert main(["benchmark", "export", *folders, *small]) == 2
    monkeypatch.setattr("lever_ray.scoring.export.measure_world", _interrupted)
    assert main(["benchmark", "export", "--to", str(tmp_path / "new"), *small]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err and not (tmp_path / "new").exists()
    assert main(["benchmark", "export", "--to", str(tmp_path / "new"), "nosuch=1"]) == 2
    assert "A benchmark has no such setting" in capsys.readouterr().err


def test_the_example_of_the_page_runs(
    made: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = python_of(README.parent / "docs" / "benchmark.md")
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace('"bench"', repr(str(made[0]))), "benchmark.md", "exec"), {})
    assert "| ranker | I0 | sum |" in capsys.readouterr().out
    assert len(score_predictions(Benchmark(made[0]), tmp_path / "mine.parquet").rows) == 8
