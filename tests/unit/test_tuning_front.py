"""The front on held-out environments, recommendations, and strategies that every command takes by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lever_ray.app.settings import experiment_plan, load_settings
from lever_ray.composition.recipe import Recipe
from lever_ray.config import StrategySettings
from lever_ray.errors import InvalidValue, SettingsError, UnknownName
from lever_ray.experiment.plan import ALL_GAMMAS
from lever_ray.statistics.intervals import iqm_interval
from lever_ray.tuning.front import TunedTrial, front_of, held_out_rows, trial_rows
from lever_ray.tuning.pareto import Point
from lever_ray.tuning.recommendation import Wish, recommend, strategy_file, strategy_settings, write_strategy
from lever_ray.tuning.trial import Measured


def trial(number: int, quality: float, cost: float, *, state: str = "complete", violation: float = 0.0) -> TunedTrial:
    choice = Recipe(strategy="budgeted", budget=int(cost), ranker="offline-return", gamma=0.99)
    measured = tuple(Measured(quality, cost, cost * 1e-3, 0.9) for _ in range(4))
    return TunedTrial(number, choice, measured, state, Point(quality, cost, violation))


TRIALS = [
    trial(0, 0.5, 1),
    trial(1, 0.8, 100),
    trial(2, 0.6, 10),
    trial(3, 0.6, 10),
    trial(4, 0.55, 20),
    trial(5, 0.9, 5, state="pruned"),
    trial(6, 0.9, 4, violation=0.1),
]


def held_out(
    qualities: Sequence[float], *, spread: float, seed: int = 0, environments: int = 30
) -> list[list[Measured]]:
    noise = np.random.default_rng(seed).normal(0, spread, (len(qualities), environments))
    return [
        [Measured(quality + each, 7.0, 1e-3, 0.9) for each in row]
        for quality, row in zip(qualities, noise, strict=True)
    ]


def rows(qualities: Sequence[float] = (0.5, 0.6, 0.8), *, spread: float = 0.01) -> list[dict[str, Any]]:
    measured = held_out(qualities, spread=spread)
    return held_out_rows(front_of(TRIALS), measured, cost="candidates", bootstrap=500)


def test_the_front_is_cheapest_first_and_names_equals_once() -> None:
    assert [each.number for each in front_of(TRIALS)] == [0, 2, 1]
    assert [row["on_front"] for row in trial_rows(TRIALS)] == [True, True, True, False, False, False, False]
    assert front_of([]) == []


def test_held_out_environments_confirm_leave_open_or_refute_a_gain() -> None:
    assert [row["verdict"] for row in rows()] == ["cheapest", "confirmed", "confirmed"]
    assert [row["verdict"] for row in rows(spread=2.0)] == ["cheapest", "open", "open"]
    lucky = rows((0.5, 0.4, 0.8))
    assert [row["verdict"] for row in lucky] == ["cheapest", "refuted", "confirmed"]
    assert [row["held_out/on_front"] for row in lucky] == [False, False, True]
    assert lucky[1]["held_out/gain"] == pytest.approx(-0.1, abs=0.01)
    for row in lucky:
        assert row["held_out/quality/ci_low"] <= row["held_out/quality"] <= row["held_out/quality/ci_high"]


def test_one_held_out_environment_has_no_interval_and_confirms_nothing() -> None:
    measured = held_out((0.5, 0.6, 0.8), spread=0.0, environments=1)
    found = held_out_rows(front_of(TRIALS), measured, cost="candidates", bootstrap=50)
    assert [row["verdict"] for row in found] == ["cheapest", "open", "open"]
    assert all(math.isnan(row["held_out/quality/ci_low"]) for row in found)
    assert held_out_rows([], [], cost="candidates", bootstrap=50) == []


def test_environments_that_offer_nothing_over_chance_leave_gains_and_intervals_alone() -> None:
    nothing = Measured(math.nan, 7.0, 1e-3, 0.9)
    measured = [[*each, nothing] for each in held_out((0.5, 0.6, 0.8), spread=0.01)]
    found = held_out_rows(front_of(TRIALS), measured, cost="candidates", bootstrap=500)
    for row, without in zip(found, rows(), strict=True):
        told = {"held_out/environments", "held_out/seconds", "held_out/coverage"}
        assert {name for name in row if repr(row[name]) != repr(without[name])} <= told
    assert [row["held_out/environments"] for row in found] == [31, 31, 31]


def test_points_of_the_front_are_resampled_alike() -> None:
    noise = held_out((0.5,), spread=0.2)[0]
    measured = [[each._replace(quality=each.quality + more) for each in noise] for more in (0.0, 0.1, 0.3)]
    found = held_out_rows(front_of(TRIALS), measured, cost="candidates", bootstrap=100)
    for end in ("ci_low", "ci_high"):
        ends = [row[f"held_out/quality/{end}"] for row in found]
        assert np.diff(ends) == pytest.approx([0.1, 0.2])
        assert [row[f"held_out/gain/{end}"] for row in found[1:]] == pytest.approx([0.1, 0.2])


def test_the_interval_of_the_interquartile_mean_holds_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        found = iqm_interval(rng.normal(0.5, 0.2, 20), count=300, seed=seed)
        hits += found.low <= 0.5 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_recommendations_keep_their_wish() -> None:
    front = rows()
    assert recommend(front, Wish())["number"] == 1
    assert recommend(front, Wish(share=0.95))["number"] == 1
    assert recommend(front, Wish(share=0.7))["number"] == 2
    assert recommend(front, Wish(share=0.5))["number"] == 0
    assert recommend(front, Wish(candidates=50))["number"] == 2
    assert recommend(front, Wish(seconds=5e-3))["number"] == 0
    assert recommend(front, Wish(seconds=50e-3, share=0.6))["number"] == 0


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(candidates=0.5), "closest is trial 0 .*1 candidates"),
        (Wish(seconds=1e-4), "at most 0.1 ms per query; closest is trial 0"),
        (Wish(candidates=1, share=0.95), "with quality 0.500 where 0.760 are asked"),
    ],
)
def test_a_wish_that_nothing_keeps_names_what_comes_closest(wish: Wish, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        recommend(rows(), wish)
    with pytest.raises(InvalidValue, match="run `lever-ray tune` first"):
        recommend([], wish)


@pytest.mark.parametrize("numbers", [{"seconds": 0.0}, {"candidates": -1.0}, {"share": 0.0}, {"share": 1.2}])
def test_a_wish_outside_its_domain_is_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(InvalidValue):
        Wish(**numbers)


CHOICES = {
    "budgeted": Recipe(
        strategy="budgeted", budget=70, restarts=2, operator="normalized-sum", ranker="recorded-return",
        support="ignore", gamma=0.99,
    ),
    "hybrid": Recipe(strategy="hybrid", k=5, regressor_model="ridge", embedding="psi_static", gamma=0.0),
    "few states": Recipe(strategy="targeted", regressor_model="ridge", embedding="psi", canonical=4, gamma=0.0),
    "description": Recipe(
        strategy="targeted", operator="max", ranker="offline-return", retrieval="description", threshold=0.65, gamma=0.0
    ),
    "plan": Recipe(strategy="targeted", operator="plan", width=33, gamma=0.0),
}  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_a_recommended_strategy_is_a_configuration_that_means_the_same_choice(
    choice: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a home, with 'odd' [letters]"
    monkeypatch.setenv("LEVER_RAY_HOME", str(place))
    row = (
        trial_rows([replace(TRIALS[0], choice=choice)])[0]
        | rows()[1]
        | trial_rows([replace(TRIALS[0], choice=choice)])[0]
    )
    text = strategy_file(row, name="fast", wish=Wish(candidates=100), measured_on="study 'x'")
    file = write_strategy(place / "strategy", "fast", text)
    assert file.name == "tuned-fast.yaml"
    assert "# asked for: at most 100 candidates; trial 0 of study 'x'" in text
    assert "held-out environments: normalised quality 0.6" in text
    settings = load_settings(["strategy=tuned-fast"])
    assert settings.strategy == strategy_settings(row)
    plan = experiment_plan(settings)
    assert plan.member_gammas == (choice.gamma,)
    assert [recipe.override(gamma=choice.gamma) for recipe in plan.recipes] == [choice]
    assert plan.gammas == (0.0, 0.99), "controls are measured at every discount"


def test_neutral_strategy_settings_leave_an_experiment_alone() -> None:
    assert StrategySettings() == load_settings().strategy
    plan = experiment_plan(load_settings())
    ids = [recipe.make_strategy().id for recipe in plan.recipes]
    assert list(dict.fromkeys(ids)) == ["targeted", "hybrid-3", "exhaustive"]
    assert plan.member_gammas == (*plan.gammas, ALL_GAMMAS), "options, asked for too, mix discounts"


def test_an_unknown_tuned_strategy_is_refused_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    write_strategy(tmp_path / "strategy", "fast", "name: targeted\n")
    with pytest.raises(UnknownName, match="Did you mean 'tuned-fast'"):
        load_settings(["strategy=tuned-fats"])
    write_strategy(tmp_path / "strategy", "other", "name: targeted\ngamma: 0.5\n")
    with pytest.raises(InvalidValue, match=r"strategy\.gamma is 0\.5"):
        load_settings(["strategy=tuned-other"])
    write_strategy(tmp_path / "strategy", "bad", "name: targeted\nspeed: 9\n")
    with pytest.raises(SettingsError, match="speed"):
        load_settings(["strategy=tuned-bad"])
    for name in ("", "../up", "a b", ".hidden"):
        with pytest.raises(InvalidValue, match="cannot name a strategy"):
            write_strategy(tmp_path / "strategy", name, "name: targeted\n")
