"""Our own entrants on a benchmark: all of them, fitted on what they may learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lever_ray.behaviour.ranking import ranking_rows
from lever_ray.errors import LibraryError
from lever_ray.executor import SerialExecutor
from lever_ray.scoring import Benchmark
from lever_ray.scoring.ours import RANKERS, RECIPES, SIMPLE, YARDSTICKS, OwnEntrants, own_returns, score_ours


def test_our_own_table_has_every_entrant(keeper: Benchmark) -> None:
    for split, layouts in (("public", 2), ("private", 1)):
        found = score_ours(keeper, split, executor=SerialExecutor())
        summary = {(line["entrant"], line["operator"]): line for line in found.summary(bootstrap=50)}
        assert {name for name, _ in summary} == {*SIMPLE, *RANKERS, *RECIPES, *YARDSTICKS}
        assert all(line["layouts"] == layouts and line["answered"] == 1.0 for line in summary.values())
        for operator in ("sum", "max"):
            assert summary["offline-return", operator]["regret"] <= summary["random", operator]["regret"]
        single = summary["best single policy, oracle", "own"]
        names = keeper.questions(split)
        yards = [keeper.key(name).yardsticks for name in names]
        wanted = [(yard["best_single"] - yard["random"]) / (yard["optimum"] - yard["random"]) for yard in yards]
        assert single["quality/normalised"] == pytest.approx(np.mean(wanted))


def test_the_exact_ranker_chooses_the_best_where_candidates_keep_to_their_records(keeper: Benchmark) -> None:
    ours = OwnEntrants(keeper)
    for name in keeper.questions():
        question = keeper.question(name, tier="I3")
        scores = ours.ranking(RANKERS["offline-return"], question, "sum")
        returns = keeper.key(name).returns["sum"]
        exact = np.isclose(scores, returns)
        assert exact.any() and (scores[~exact] < returns.max()).all()


def test_regressors_learn_from_other_public_environments_alone(keeper: Benchmark, monkeypatch: Any) -> None:
    learnt: list[set[str]] = []

    def note(library: Any, objective: Any, keys: Any, settings: Any, *, task: Any) -> Any:
        rows = ranking_rows(
            library, terms=task.terms, target="own", objective=objective, gamma=keys[0].gamma, kind="outcome"
        )
        learnt.append({*rows.without(keys[0].environment, task).environments})
        raise LibraryError("stop")

    monkeypatch.setattr("lever_ray.scoring.ours.fit", note)
    for name in ("grid8-1/g0/trivial/path-gold", "grid8-p00/g0/trivial/path-gold"):
        with pytest.raises(LibraryError, match="stop"):
            OwnEntrants(keeper).ranking(RANKERS["regressor, own returns"], keeper.question(name, tier="I3"), "sum")
    assert learnt == [{"grid8-0"}, {"grid8-0", "grid8-1"}]


def test_own_returns_are_added_up(benchmark: Benchmark) -> None:
    question = benchmark.question("grid8-0/g0/trivial/path-gold")
    first, second = question.groups
    wanted = [first.totals[a] + second.totals[b] for a, b in question.candidates.tolist()]
    np.testing.assert_allclose(own_returns(question), wanted)
