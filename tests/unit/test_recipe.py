"""The record of how a query is answered: its id, its checks, its keywords, and users' own parts."""

import subprocess
import sys
from dataclasses import fields
from functools import partial
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lever_ray as lever
from lever_ray.app.settings import experiment_plan, load_settings
from lever_ray.cli.recipe_options import RECIPE_OPTIONS
from lever_ray.composition.operators import OPERATORS
from lever_ray.composition.rankers.offline_return import OfflineReturn
from lever_ray.composition.rankers.registry import RANKERS
from lever_ray.composition.rankers.regressor import Regressor
from lever_ray.composition.recipe import Recipe, RecipeKeywords, with_use
from lever_ray.composition.route_operators import Plan
from lever_ray.composition.strategies.registry import STRATEGIES
from lever_ray.composition.strategies.shortlists import Hybrid
from lever_ray.config import AnswerSettings, StrategySettings
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.tuning.front import COLUMNS
from tests.compose_library import composed as ask
from tests.compose_library import make_library

finite = st.floats(0.0, 1.0, allow_nan=False)
ANY = {
    "strategy": st.sampled_from(list(STRATEGIES)),
    "k": st.integers(1, 99),
    "budget": st.integers(1, 10**6),
    "restarts": st.integers(1, 9),
    "seed": st.integers(0, 10**9),
    "operator": st.sampled_from(list(OPERATORS)),
    "width": st.integers(1, 10**4),
    "cut": st.none() | st.integers(1, 99),
    "cycles": st.sampled_from(["end", "choose"]),
    "merge": st.sampled_from(["dominance", "pareto"]),
    "estimate": st.sampled_from(["none", "exit"]),
    "segments": st.none() | st.integers(1, 10**6),
    "ranker": st.sampled_from(list(RANKERS)),
    "regressor_model": st.sampled_from(["ridge", "additive-ridge", "hist-gradient-boosting"]),
    "regressor_target": st.sampled_from(["own", "composite", "recorded"]),
    "embedding": st.sampled_from(["outcome", "psi", "psi_static"]),
    "canonical": st.integers(1, 64),
    "support": st.sampled_from(["mask", "ignore"]),
    "retrieval": st.sampled_from(["objective", "description"]),
    "threshold": st.floats(-1.0, 1.0, allow_nan=False),
    "gamma": st.none() | finite,
    "episodes": st.none() | st.integers(1, 10**6),
}


@st.composite
def recipes(draw):
    """Any recipe that makes sense."""
    fields_given = draw(st.fixed_dictionaries({}, optional=ANY))
    try:
        return Recipe(**with_use(fields_given))
    except InvalidValue:  # a ranker, model or support rule that does not go with the rest
        return Recipe(**with_use({"strategy": fields_given.get("strategy", "hybrid"), "k": fields_given.get("k", 3)}))


@given(recipes())
def test_an_id_is_read_back_as_the_recipe(recipe):
    assert Recipe.parse(recipe.id) == recipe
    assert hash(Recipe.parse(recipe.id)) == hash(recipe)
    assert Recipe.parse(recipe.id).id == recipe.id
    shuffled = ", ".join(reversed(recipe.id.split(",")))
    assert Recipe.parse(shuffled) == recipe


@given(recipes(), recipes())
def test_ids_tell_recipes_apart(one, other):
    assert (one.id == other.id) == (one == other)


@given(recipes(), st.sampled_from(list(STRATEGIES)), st.sampled_from(list(OPERATORS)))
def test_replacing_a_part_takes_its_parameters_along(recipe, strategy, operator):
    assert recipe.override() == recipe
    changed = recipe.override(strategy=strategy)
    assert changed.strategy == strategy
    assert (changed.operator, changed.ranker, changed.gamma) == (recipe.operator, recipe.ranker, recipe.gamma)
    if recipe.support == "mask" and recipe.id == "default":
        assert recipe.override(operator=operator).override(operator="sum") == recipe


def test_a_recipe_names_what_differs_from_the_default():
    assert (Recipe().id, Recipe.parse("default")) == ("default", Recipe())
    assert Recipe(strategy="hybrid-5", ranker="offline-return").id == "k=5,ranker=offline-return"
    assert Recipe(operator="gpi").id == "operator=gpi"
    assert Recipe(operator="gpi", ranker="offline-return") == Recipe(operator="gpi")
    assert Recipe(ranker="regressor") == Recipe()
    assert Recipe(gamma=0, threshold=1).id == "threshold=1.0,gamma=0.0"
    assert Recipe.parse("strategy=budgeted-100") == Recipe(strategy="budgeted", budget=100)
    assert Recipe(strategy=Hybrid(5), ranker=Regressor(embedding="psi")) == Recipe(k=5, embedding="psi")
    assert Recipe(operator=Plan(7)) == Recipe(operator="plan", width=7)


def test_canonical_states_go_with_the_embeddings_that_are_means_over_them():
    recipe = Recipe(embedding="psi", canonical=16)
    assert recipe.override(embedding="psi_static").canonical == 16
    assert recipe.override(embedding="outcome") == Recipe()
    assert with_use({"canonical": 16}) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategy": "targeted", "k": 5}, r"k is 5, which strategy 'targeted' has no use for.*use strategy hybrid"),
        ({"operator": "plan", "k": 5}, r"k is 5, which operator 'plan' has no use for: it takes every policy"),
        ({"width": 7}, r"width is 7, which operator 'sum' has no use for.*plan"),
        ({"ranker": "offline-return", "embedding": "psi"}, "embedding is 'psi', which ranker 'offline-return'"),
        (
            {"canonical": 16},
            "canonical is 16, which embedding 'outcome' has no use for.*use embedding psi or psi_static",
        ),
        ({"canonical": 16, "ranker": "offline-return"}, "canonical is 16, which ranker 'offline-return' has no use"),
        ({"strategy": "hybrid-5", "k": 4}, "'hybrid-5' says k 5, and k is 4"),
        ({"operator": "gpi", "ranker": "regressor"}, "use ranker='offline-return'"),
        ({"operator": "gpi", "support": "ignore"}, "use support='mask'"),
        ({"regressor_target": "composite"}, "additive-ridge"),
        ({"k": 0}, "k is 0;.*at least 1"),
        ({"k": 2.5}, "k is 2.5; a whole number"),
        ({"k": True}, "k is True; a whole number"),
        ({"support": None}, "support is None; a name"),
        ({"threshold": 2.0}, "threshold is 2"),
        ({"threshold": "high"}, "threshold is 'high'; a number"),
        ({"gamma": 1.5}, r"gamma is 1.5; it must lie in \[0, 1\]"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"episodes": 0}, "episodes is 0"),
        ({"operator": 3}, "operator is 3; give a name"),
        ({"strategy": 3}, "strategy is 3"),
        ({"ranker": 3}, "ranker is 3"),
        ({"operator": "plan", "width": 0}, "width is 0"),
    ],
)
def test_what_makes_no_sense_is_refused_when_a_recipe_is_made(given, said):
    with pytest.raises(InvalidValue, match=said):
        Recipe(**given)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", InvalidValue, "cannot be read"),
        ("hybrid", InvalidValue, "cannot be read at 'hybrid'.*strategy=hybrid,k=5"),
        ("k=5,k=6", InvalidValue, "each field once"),
        ("k=many", InvalidValue, "k is 'many'; a whole number"),
        ("with=10", UnknownName, "Did you mean 'width'"),
        ("strategy=hybird", UnknownName, "Did you mean 'hybrid'"),
    ],
)
def test_a_text_that_is_no_id_is_refused(text, error, said):
    with pytest.raises(error, match=said):
        Recipe.parse(text)


def test_keywords_settings_options_and_columns_are_the_fields_of_a_recipe():
    names = [part.name for part in fields(Recipe)]
    assert get_type_hints(RecipeKeywords) == {name: get_type_hints(Recipe)[name] for name in names}
    assert list(RECIPE_OPTIONS) == names
    for name, (kind, _) in RECIPE_OPTIONS.items():
        assert kind in (get_type_hints(Recipe)[name], *get_args(get_type_hints(Recipe)[name]))
    assert set(COLUMNS.values()) <= set(names)
    settings = {part.name for part in fields(AnswerSettings)}
    assert settings == set(names) - {"strategy", "operator", "ranker", "gamma", "episodes"}
    assert {part.name for part in fields(StrategySettings)} - settings == {"name", "operator", "ranker", "gamma"}
    for name in settings:
        assert get_type_hints(AnswerSettings)[name] == get_type_hints(Recipe)[name] | None


def test_settings_of_a_strategy_that_nothing_uses_are_refused():
    with pytest.raises(InvalidValue, match=r"strategy\.width is 7, which none of targeted .* has a use for"):
        experiment_plan(load_settings(["strategy=targeted", "experiment.operators=[sum]", "strategy.width=7"]))
    plan = experiment_plan(load_settings(["strategy.k=7", "experiment.operators=[sum]"]))
    assert {recipe.k for recipe in plan.recipes if recipe.strategy == "hybrid"} == {7}


# compose().


def test_a_recipe_its_id_and_its_keywords_get_the_same_answer(composed):
    recipe = Recipe(strategy="hybrid", k=2, operator="max", ranker="offline-return")
    answers = [
        composed(recipe=recipe),
        composed(recipe=recipe.id),
        composed(strategy="hybrid", k=2, operator="max", ranker="offline-return"),
        composed(recipe=Recipe(operator="gpi"), operator="max", k=2, ranker="offline-return"),
    ]
    assert len({(answer.recipe, answer.policy_ids, answer.predicted_return) for answer in answers}) == 1
    assert answers[0].to_dict()["recipe"] == recipe.id
    assert Recipe.parse(answers[0].to_dict()["recipe"]) == recipe


def test_a_wrong_keyword_is_one_clear_line(composed):
    with pytest.raises(UnknownName, match=r"unknown keyword 'strategi'\. Did you mean 'strategy'"):
        composed(strategi="hybrid")
    with pytest.raises(UnknownName, match=r"unknown keyword 'weights'.*factors=.*objective"):
        composed(weights={"gold": 2})
    with pytest.raises(InvalidValue, match=r"recipe is 3; give a Recipe, e\.g\."):
        composed(recipe=3)


def test_editors_and_type_checkers_know_the_keywords(tmp_path):
    (tmp_path / "use.py").write_text(
        "import lever_ray as lever\n"
        "def ask(library: lever.PolicyLibrary) -> None:\n"
        "    lever.compose(library, environment='a', objective={'gold': 2, 'path': 1}, k=5, operator='max')\n"
        "    lever.compose(library, environment='a', kk=5)\n"
        "    lever.compose(library, environment='a', k='5')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "use.py")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    wrong = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[1] for line in wrong] == ["4", "5"], done.stdout


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """Ask a small library of trained policies."""
    return partial(ask, make_library(tmp_path_factory.mktemp("recipes") / "library"))


def test_the_default_ranker_of_the_offline_return_is_named():
    assert Recipe(ranker=OfflineReturn()) == Recipe(ranker="offline-return")
    assert lever.Recipe is Recipe


def test_equal_recipes_have_equal_ids_however_their_numbers_are_written():
    plain = Recipe(gamma=0.0, threshold=1.0, k=5)
    for other in (
        Recipe(gamma=0, threshold=1, k=np.int64(5)),
        Recipe(gamma=-0.0, threshold=np.float32(1), k=5),
    ):
        assert (other, other.id) == (plain, plain.id)


def test_a_part_that_says_its_parameter_replaces_the_one_there_was():
    assert Recipe(strategy="hybrid-7").override(strategy="hybrid-5") == Recipe(k=5)
    assert Recipe(strategy="budgeted-7").override(strategy="random-50") == Recipe(strategy="random", budget=50)
    assert Recipe(k=7).override(strategy=Hybrid(5)) == Recipe(k=5)
    assert Recipe(operator="plan", width=7).override(operator="options").width == 7
    assert Recipe(operator="plan").override(operator="options") == Recipe(operator="options")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategy": Hybrid(9), "k": 4}, r"Hybrid\(k=9\) says k 9, and k is 4; say it once"),
        ({"ranker": Regressor("ridge"), "regressor_model": "hist-gradient-boosting"}, "say it once"),
        ({"ranker": 0}, "ranker is 0"),
        ({"strategy": Hybrid}, "strategy is <class"),
    ],
)
def test_what_is_said_twice_or_is_no_part_is_refused(given, said):
    with pytest.raises(InvalidValue, match=said):
        Recipe(**given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"factors": ["gold"]}, "give a number by group"),
        ({"factors": {"hazard": "x"}}, "factor of group 'hazard' is 'x'"),
        ({"factors": {"hazard": 2, "Hazard": 3}}, "names a group twice"),
        ({"groups": [1, 2]}, "give a list of objectives"),
        ({"groups": "path-gold"}, "give a list of objectives"),
        ({"groups": ["path[4]", "gold", "hazard", "lever"]}, "have weights; groups are named by their terms"),
        ({"objective": 5}, "objective is 5; write its terms"),
        ({"objective": [("path", 1)]}, "write its terms"),
        ({"executor": "ray"}, "executor is 'ray'"),
        ({"without": "hazard"}, "take policies for 'hazard', which without= leaves out"),
    ],
)
def test_what_cannot_be_meant_is_refused(composed, given, said):
    with pytest.raises(InvalidValue, match=said):
        composed(**given)


def test_keywords_of_compose_are_named_where_one_is_misspelt(composed):
    with pytest.raises(UnknownName, match="Did you mean 'objective'"):
        composed(objectve="path")


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        (["experiment.regressor_model=foo"], UnknownName, "unknown regressor model 'foo'"),
        (["experiment.canonical=0"], InvalidValue, "0"),
        (["experiment.width=0"], InvalidValue, "width is 0"),
        (["experiment.k=0", "experiment.strategies=[targeted]"], InvalidValue, "k is 0"),
        (["experiment.operators=[gpi]", "experiment.rankers=[foo]"], UnknownName, "unknown ranker 'foo'"),
        (["experiment.operators=[plan]", "experiment.strategies=[targeted,foo]"], UnknownName, "strategy 'foo'"),
        (["experiment.setups=[]"], InvalidValue, "experiment.setups is empty"),
        (["experiment.strategies=[hybrid,hybrid-3]"], InvalidValue, "twice"),
        (["strategy.ranker=regressor", "experiment.operators=[gpi]"], InvalidValue, "use ranker='offline-return'"),
        (['experiment.setups=[{mode: trivial, objective: "path-gold[1,-2]"}]'], InvalidValue, "negative"),
        (['tuning.setup={mode: trivial, objective: "path-gold[1,-2]"}'], InvalidValue, "negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused_even_where_nothing_would_use_them(settings, error, said):
    with pytest.raises(error, match=said):
        load_settings(settings)
