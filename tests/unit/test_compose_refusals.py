"""One query end to end: routes off the support are warned of, and what cannot be answered is refused."""

import json
from dataclasses import replace
from functools import partial

import pytest

import lever_ray as lever
from lever_ray.errors import InvalidValue, LeverError, LibraryError, UncoveredObjective, UnknownName
from lever_ray.library.format.manifest import write_manifest
from lever_ray.library.library import PolicyLibrary
from lever_ray.tasks.gridworld.layout import Layout
from tests.compose_library import TINY, composed, make_library, members
from tests.twin import made_up_record


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return make_library(tmp_path_factory.mktemp("compose") / "library")


# Off the support.


@pytest.fixture
def gappy(tmp_path):
    """Two groups of policies that tried little."""
    made, layout = PolicyLibrary.create(tmp_path / "gappy"), Layout.sample(TINY, seed=0)
    for seed in range(4):
        names = ("path", "gold")
        made.add([made_up_record("gappy", layout, objective=name, seed=seed, tried=0.3) for name in names])
    return made


@pytest.mark.parametrize("support", ["mask", "ignore"])
def test_a_route_that_leaves_the_support_is_warned_of(gappy, support):
    layout = gappy.environment("gappy").layout
    gappy.add(made_up_record("untried", layout, objective=name, tried=0.0) for name in ("path", "gold"))
    result = composed(gappy, environment="untried", objective="path-gold", support=support)
    assert result.search.left_support
    assert "no candidate stays on recorded transitions" in result.warnings[0]
    assert f"leaves the recorded transitions at cell {result.coverage.leaves_at}" in result.warnings[1]
    assert (result.predicted_return, result.coverage.on_policy, result.coverage.leaves_at) == (0.0, 0.0, layout.start)
    assert json.loads(json.dumps(result.to_dict()))["warnings"] == list(result.warnings)


# What cannot be answered.


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"environment": "tiny-9"}, r"unknown environment 'tiny-9'.*Did you mean 'tiny-\d'"),
        ({"objective": "path-glod"}, "unknown objective term 'glod'.*Did you mean 'gold'"),
        ({"strategy": "hybird"}, "unknown strategy 'hybird'.*Did you mean 'hybrid'"),
        ({"operator": "summ"}, "unknown operator 'summ'.*Did you mean 'sum'"),
        ({"ranker": "regresor"}, "unknown ranker 'regresor'.*Did you mean 'regressor'"),
        ({"support": "masked"}, "unknown support rule 'masked'.*Did you mean 'mask'"),
        ({"groups": ["path-glod", "hazard-lever"]}, "unknown objective term 'glod'.*Did you mean 'gold'"),
        ({"factors": {"path": 2.0}}, "unknown group 'path'.*Did you mean 'path-gold'.*given per group"),
        (
            {"ranker": "regressor", "regressor_model": "rigde"},
            "unknown regressor model 'rigde'.*Did you mean 'ridge'",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_match(library, setting, message):
    with pytest.raises(UnknownName, match=message):
        composed(library, **setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"objective": None}, "either a query in words or objective=, and not both"),
        ({"objective": []}, "at least one term"),
        ({"factors": {"lever": -1.0}}, "finite, not negative"),
        ({"factors": {"path-gold": 0, "hazard": 0, "lever": 0}}, "not all zero"),
    ],
)
def test_a_setting_outside_its_domain_is_refused(library, setting, message):
    with pytest.raises(InvalidValue, match=message):
        composed(library, **setting)


def test_words_and_objective_together_are_refused(library):
    with pytest.raises(InvalidValue, match="and not both"):
        lever.compose(library, "get the gold", environment="tiny-0", objective="gold")


def test_groups_that_are_no_exact_cover_are_refused(library):
    with pytest.raises(UncoveredObjective, match="missing: hazard; repeated or not asked for: gold"):
        composed(library, groups=["path-gold", "gold", "lever"])


def test_an_objective_that_nothing_covers_is_refused_and_its_terms_are_named(gappy):
    with pytest.raises(UncoveredObjective, match=r"no policy covers hazard, lever.*held: gold, path"):
        composed(gappy, environment="gappy")


def test_a_group_without_policies_is_refused_and_the_message_says_what_is_held(gappy):
    with pytest.raises(LibraryError, match=r"no policy for 'lever'.*objectives held: gold, path"):
        composed(gappy, environment="gappy", objective="path-lever", groups=["path", "lever"])


def test_of_several_gammas_and_budgets_the_usual_are_taken_unless_others_are_named(gappy):
    layout = gappy.environment("gappy").layout
    gappy.add(
        [made_up_record("gappy", layout, seed=9, gamma=0.99), made_up_record("gappy", layout, seed=8, episodes=7)]
    )
    ask = partial(composed, gappy, environment="gappy", objective="path")
    found = ask()
    assert "were taken; the library also holds gamma" in found.warnings[-1]
    assert members(gappy, found)[0].seed == 8  # of the largest budget
    assert members(gappy, ask(gamma=0.99))[0].seed == 9
    assert members(gappy, ask(episodes=7))[0].seed == 8
    with pytest.raises(LibraryError, match=r"no policies at gamma 0.5 and any episodes; it has \(gamma, episodes\)"):
        ask(gamma=0.5)


def test_an_environment_without_policies_is_refused(gappy):
    write_manifest(gappy.path, replace(gappy.manifest, shards=()))
    with pytest.raises(LibraryError, match="environment 'gappy' has no policies; train some"):
        composed(PolicyLibrary.open(gappy.path), environment="gappy")


def test_one_environment_alone_has_nothing_to_fit_a_regressor_on(gappy):
    with pytest.raises(LeverError, match=r"the library has 0 such policies;.*use ranker='offline-return'"):
        composed(gappy, environment="gappy", objective="path-gold", ranker="regressor")


def test_a_library_too_small_for_a_regressor_is_a_library_error(gappy):
    with pytest.raises(LibraryError):
        composed(gappy, environment="gappy", objective="path-gold", ranker="regressor")


def test_environments_that_lack_what_the_objective_is_about_are_not_learnt_from(gappy):
    layout = gappy.environment("gappy").layout
    gappy.add(made_up_record("other", Layout.sample(TINY, seed=1), seed=seed) for seed in (1, 2))
    relabelled = {"regressor_model": "ridge", "regressor_target": "composite", "embedding": "psi"}
    ask = partial(composed, environment="gappy", objective="path-gold", ranker="regressor", **relabelled)
    before = ask(gappy)
    gappy.add([made_up_record("bare", replace(layout, golds=()))])
    assert ask(gappy).policy_ids == before.policy_ids
