"""What the first version wrote still works: tuned strategies, journals of studies, tables of fronts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lever_ray.app.settings import experiment_plan, load_settings
from lever_ray.composition.recipe import Recipe
from lever_ray.config import SetupSettings, SpaceSettings, TuningSettings
from lever_ray.errors import SettingsError
from lever_ray.experiment.plan import Setup
from lever_ray.optuna_adapter import open_study, told_trials, tune
from lever_ray.tasks.registry import source
from lever_ray.tuning.recommendation import strategy_settings, write_strategy
from lever_ray.tuning.settings import search_space
from lever_ray.tuning.trial import Measured, TuningProblem

FILES = {
    'name: "budgeted"\nbudget: 70\nrestarts: 2\noperator: "normalized-sum"\nranker: "recorded-return"\n'
    'support: "ignore"\nretrieval: "objective"\ngamma: 0.99\n': Recipe(
        strategy="budgeted", budget=70, restarts=2, operator="normalized-sum", ranker="recorded-return",
        support="ignore", gamma=0.99,
    ),
    'name: "hybrid"\nk: 5\noperator: "sum"\nranker: "regressor"\nsupport: "mask"\nregressor_model: "ridge"\n'
    'regressor_target: "own"\nembedding: "psi"\ncanonical: 4\nretrieval: "objective"\ngamma: 0.0\n': Recipe(
        strategy="hybrid", k=5, regressor_model="ridge", embedding="psi", canonical=4, gamma=0.0
    ),
    'name: "hybrid"\noperator: "max"\nranker: "offline-return"\nsupport: "mask"\nretrieval: "description"\n'
    'threshold: 0.65\ngamma: 0.0\n': Recipe(
        operator="max", ranker="offline-return", retrieval="description", threshold=0.65, gamma=0.0
    ),
    'name: "targeted"\noperator: "plan"\nranker: "offline-return"\nsupport: "mask"\nretrieval: "objective"\n'
    "gamma: 0.0\nwidth: 33\n": Recipe(strategy="targeted", operator="plan", width=33, gamma=0.0),
}  # fmt: skip
"""Strategy files as the first version wrote them, without their comments, and what they mean."""


@pytest.mark.parametrize(("text", "recipe"), FILES.items(), ids=[recipe.id for recipe in FILES.values()])
def test_a_tuned_strategy_means_what_it_meant(
    text: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    write_strategy(tmp_path / "strategy", "old", text)
    plan = experiment_plan(load_settings(["strategy=tuned-old"]))
    assert [each.override(gamma=plan.gamma) for each in plan.recipes] == [recipe]


SPACE = SpaceSettings(
    strategies=["targeted", "hybrid", "budgeted", "exhaustive", "random", "best-first"],
    retrievals=["objective", "description"],
    operators=["sum", "max", "normalized-sum", "gpi", "switch", "plan"],
)
SETTINGS = TuningSettings(
    study="first", trials=24, setup=SetupSettings("double", "path-gold-hazard-lever"), space=SPACE, cost="seconds",
    seed=3, sampler="random", halving=False,
)  # fmt: skip
PROBLEM = TuningProblem(
    Setup.of("double", "path-gold-hazard-lever", source("grid8")), 10_000, tuple("abcdefgh"), ("x", "y")
)


def test_a_journal_is_read_and_its_study_goes_on(tmp_path: Path) -> None:
    journal = tmp_path / "first.journal"
    shutil.copy(Path(__file__).parents[1] / "golden" / "first_version.journal", journal)
    settings, space = replace(SETTINGS, trials=26), search_space(SETTINGS, [0.0, 0.99])
    study = open_study(settings, journal, problem=PROBLEM)
    told = told_trials(study, space, settings)
    assert [trial.choice.label for trial in told] == [each.user_attrs["label"] for each in study.trials]
    assert len({trial.choice for trial in told}) == len(told) == 24
    assert all(Recipe.parse(trial.choice.id) == trial.choice for trial in told)
    measured = [Measured(0.5, 1.0, 1e-3, 0.9)]
    more = tune(
        study,
        settings,
        space=space,
        problem=PROBLEM,
        evaluate=lambda choices, names: [measured * len(names)] * len(choices),
    )
    assert [trial.choice for trial in more[:24]] == [trial.choice for trial in told]
    assert len(more) == 26


def test_a_journal_of_another_question_is_refused_by_what_changed(tmp_path: Path) -> None:
    journal = tmp_path / "first.journal"
    shutil.copy(Path(__file__).parents[1] / "golden" / "first_version.journal", journal)
    other = replace(SETTINGS, space=replace(SPACE, operators=["sum"]))
    with pytest.raises(
        SettingsError, match=r"another question \(changed: space.operators\); choose another tuning.study"
    ):
        open_study(other, journal, problem=PROBLEM)


def test_a_row_of_a_front_becomes_settings() -> None:
    row = {
        "strategy": "targeted", "k": 3, "budget": 1000, "restarts": 4, "operator": "plan", "ranker": "offline-return",
        "support": "mask", "gamma": 0.0, "model": "additive-ridge", "target": "own", "embedding": "outcome",
        "canonical": 64, "retrieval": "objective", "threshold": 0.8, "width": 33,
    }  # fmt: skip
    found = strategy_settings(row)
    assert (found.name, found.operator, found.width, found.gamma) == ("targeted", "plan", 33, 0.0)
    assert (found.k, found.budget, found.regressor_model, found.canonical) == (None, None, None, None)
