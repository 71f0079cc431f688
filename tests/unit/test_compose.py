"""One query end to end: from text or objective to a composed policy."""

import json

import numpy as np
import pytest

import lever_ray as lever
from lever_ray.composition.rankers.regressor import FittedRanker, Regressor
from lever_ray.composition.strategies import protocol as strategies_protocol
from lever_ray.composition.strategies.registry import STRATEGIES
from lever_ray.composition.strategies.shortlists import Exhaustive
from lever_ray.embedding.regressor import MODELS, TARGET_TIERS, TARGETS
from lever_ray.embedding.successor import KINDS
from lever_ray.errors import InvalidValue, UnmatchedQuery
from lever_ray.executor import SerialExecutor
from lever_ray.library.library import PolicyLibrary
from lever_ray.query.ranking import fit
from lever_ray.tasks.objective import Objective
from tests.compose_library import FOUR, composed, make_library, members

STAGES = {"parse", "retrieve", "rank", "compose", "total", "fit", "coverage"}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return make_library(tmp_path_factory.mktemp("compose") / "library")


# Answers.


@pytest.mark.parametrize(
    ("objective", "groups", "parts"),
    [
        (FOUR, None, ("path-gold", "hazard", "lever")),
        (FOUR, ["lever", "path", "gold", "hazard"], ("lever", "path", "gold", "hazard")),
        ("gold-path", None, ("path-gold",)),
        ("gold-path", ["gold", "path"], ("gold", "path")),
        ("gold-path", ["gold-path"], ("path-gold",)),
    ],
)
def test_members_come_from_the_groups_asked_for_or_from_the_smallest_cover(library, objective, groups, parts):
    result = composed(library, objective=objective, groups=groups)
    assert result.groups == parts
    assert [record.objective.name for record in members(library, result)] == list(parts)
    assert {record.environment for record in members(library, result)} == {"tiny-0"}


@pytest.mark.parametrize("ranker", ["regressor", "recorded-return", "offline-return"])
@pytest.mark.parametrize("operator", ["sum", "max", "normalized-sum"])
@pytest.mark.parametrize(("strategy", "count"), [("targeted", 1), ("hybrid", 27), ("exhaustive", 216)])
def test_every_strategy_operator_and_ranker_gives_a_composed_policy(library, strategy, operator, ranker, count):
    result = composed(library, strategy=strategy, operator=operator, ranker=ranker)
    assert (result.environment, result.objective.name) == ("tiny-0", FOUR)
    assert (result.evaluated, len(result.search.candidates)) == (count, count)
    assert result.strategy == ("hybrid-3" if strategy == "hybrid" else strategy)
    assert (result.operator, result.ranker, result.support) == (operator, ranker, "mask")
    tiers = {"regressor": "I1", "recorded-return": "I2", "offline-return": "I3"}
    assert (result.regime, result.tier) == ("support-limited", tiers[ranker])
    assert result.predicted_return == result.search.scores.values.max()
    assert result.actions is None
    assert 0 < result.coverage.library <= 1
    assert set(result.timings) == STAGES
    assert (result.timings["fit"] > 0) == (ranker == "regressor")
    assert result.timings["total"] == pytest.approx(
        sum(result.timings[stage] for stage in ("parse", "retrieve", "rank", "compose"))
    )


def test_a_result_is_plain_json(library):
    for ranker in ("regressor", "offline-return"):
        result = composed(library, ranker=ranker)
        plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert plain == result.to_dict()
        assert (plain["objective"], plain["policy_ids"]) == (FOUR, list(result.policy_ids))
        assert plain["groups"] == ["path-gold", "hazard", "lever"]


@pytest.mark.parametrize("operator", ["sum", "max"])
@pytest.mark.parametrize("support", ["mask", "ignore"])
def test_the_composed_table_is_that_of_its_members(library, operator, support):
    result = composed(library, operator=operator, support=support)
    combine = np.sum if operator == "sum" else np.max
    chosen = members(library, result)
    table = combine([record.q.astype(float) for record in chosen], axis=0)
    taken = np.any([record.visits > 0 for record in chosen], axis=0)
    excluded = ~taken & taken.any(axis=1, keepdims=True) & (support == "mask")
    assert np.array_equal(np.isneginf(result.q), excluded)
    assert result.q[~excluded] == pytest.approx(table[~excluded], rel=1e-6)


@pytest.mark.parametrize("objective", ["path-gold", "hazard-lever", "path-hazard", FOUR])
@pytest.mark.parametrize("name", ["tiny-0", "tiny-1", "tiny-2"])
def test_what_offline_simulation_predicts_is_what_the_environment_pays(library, objective, name):
    result = composed(library, environment=name, objective=objective, strategy="exhaustive")
    route = lever.rollout(library.environment(name).layout, objective=objective, q=result.q)
    assert not any("leaves" in warning for warning in result.warnings)
    assert any("circles" in warning for warning in result.warnings) == (route.end == "truncated")
    assert result.predicted_return == pytest.approx(route.total, abs=1e-9)
    assert (result.coverage.on_policy, result.coverage.leaves_at) == (1.0, None)


def test_a_wider_search_never_predicts_less(library):
    predicted = [composed(library, strategy=name).predicted_return for name in STRATEGIES]
    assert predicted == sorted(predicted)


def test_hybrid_of_every_member_is_exhaustive(library):
    hybrid, exhaustive = composed(library, k=6), composed(library, strategy=Exhaustive())
    assert (hybrid.evaluated, hybrid.predicted_return) == (216, exhaustive.predicted_return)


def test_the_same_question_gets_the_same_answer(library):
    reopened = PolicyLibrary.open(library.path)
    for ranker in ("regressor", "offline-return"):
        one, two = composed(library, ranker=ranker), composed(reopened, ranker=ranker)
        assert (one.policy_ids, one.predicted_return) == (two.policy_ids, two.predicted_return)
        assert one.q.tobytes() == two.q.tobytes()


def test_blocks_scored_by_an_executor_change_nothing(library, monkeypatch):
    alone = composed(library, strategy="exhaustive")
    whole = strategies_protocol.product_blocks
    monkeypatch.setattr(strategies_protocol, "product_blocks", lambda sizes, _: whole(sizes, 10))
    shared = composed(library, strategy="exhaustive", executor=SerialExecutor())
    assert shared.policy_ids == alone.policy_ids
    assert np.array_equal(shared.search.scores.values, alone.search.scores.values)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("embedding", KINDS)
def test_every_regressor_ranks(library, model, target, embedding):
    settings = {"regressor_model": model, "regressor_target": target, "embedding": embedding}
    result = composed(library, strategy="exhaustive", ranker="regressor", **settings)
    assert result.tier == TARGET_TIERS[target]
    assert np.isfinite(result.search.scores.values).all()
    assert len(np.unique(result.search.scores.values)) > 1


def test_a_regressor_fitted_beforehand_is_used_as_it_is(library):
    key = next(key for key in library.keys("tiny-0"))
    fitted = fit(library, Objective.of(FOUR), [key], Regressor())
    ready = composed(library, ranker=FittedRanker(fitted))
    plain = composed(library, ranker="regressor")
    assert ready.predicted_return == plain.predicted_return
    assert ready.timings["fit"] == fitted.seconds


def test_a_group_with_factor_0_has_no_say(library):
    result = composed(library, objective="path-lever", strategy="exhaustive", factors={"lever": 0})
    path, lever_member = members(library, result)
    taken = (path.visits > 0) | (lever_member.visits > 0)
    assert np.array_equal(result.q[taken], path.q[taken])
    doubled, plain = (composed(library, factors=factors) for factors in ({"gold-path": 2}, None))
    assert not np.array_equal(doubled.q, plain.q)


@pytest.mark.parametrize(
    "weighted",
    [{"path": 1, "gold": 2.5}, "path-gold[1,2.5]", "gold-path[2.5,1]", Objective(("path", "gold"), (1.0, 2.5))],
    ids=repr,
)
@pytest.mark.parametrize("operator", ["sum", "max", "normalized-sum"])
def test_weights_mean_the_same_in_every_notation_and_reach_tables(library, weighted, operator):
    asked = {"groups": ["path", "gold"], "strategy": "exhaustive", "operator": operator}
    result = composed(library, objective=weighted, **asked)
    assert result.objective.id == "path-gold[1,2.5]"
    path, gold = members(library, result)
    scales = [
        table.q[table.visits > 0].astype(float).std() if operator == "normalized-sum" else 1.0 for table in (path, gold)
    ]
    parts = [path.q.astype(float) / scales[0], 2.5 * gold.q.astype(float) / scales[1]]
    expected = np.maximum(*parts) if operator == "max" else sum(parts)
    taken = (path.visits > 0) | (gold.visits > 0)
    assert result.q[taken] == pytest.approx(expected[taken], rel=1e-5, abs=1e-5)
    played = lever.rollout(library.environment("tiny-0").layout, objective=weighted, q=result.q)
    assert played.total == pytest.approx(result.predicted_return, abs=1e-9)


def test_factors_multiply_the_weights_of_the_objective(library):
    asked = {"groups": ["path", "gold"], "strategy": "exhaustive"}
    both = composed(library, objective={"path": 1, "gold": 2}, factors={"gold": 3}, **asked)
    six = composed(library, objective={"path": 1, "gold": 6}, **asked)
    candidate = np.array([both.search.candidate])
    assert both.objective.weights == (1.0, 2.0)
    assert np.array_equal(both.search.candidates, six.search.candidates)
    alone = composed(library, objective={"path": 1, "gold": 6}, factors={"gold": 1}, **asked)
    assert np.array_equal(alone.q, six.q)
    assert candidate.shape == (1, 2)
    if both.policy_ids == six.policy_ids:
        assert np.array_equal(both.q, six.q)


def test_a_coarse_group_that_is_weighed_unevenly_is_said(library):
    uneven = composed(library, objective={"path": 1, "gold": 2, "hazard": 1}, groups=["path-gold", "hazard"])
    assert any("'path-gold' were trained to weigh its terms alike" in warning for warning in uneven.warnings)
    even = composed(library, objective={"path": 2, "gold": 2, "hazard": 1}, groups=["path-gold", "hazard"])
    assert not any("alike" in warning for warning in even.warnings)
    coarse, hazard = members(library, even)
    taken = (coarse.visits > 0) | (hazard.visits > 0)
    assert even.q[taken] == pytest.approx((2.0 * coarse.q + hazard.q)[taken], rel=1e-5)
    route = composed(library, objective={"path": 1, "gold": 2, "hazard": 1}, operator="gpi")
    assert not any("alike" in warning for warning in route.warnings), "returns are weighed exactly"


def test_recorded_returns_heed_the_weights(library):
    asked = {"groups": ["path", "gold"], "strategy": "exhaustive", "ranker": "recorded-return", "operator": "max"}
    plain = composed(library, objective="path-gold", **asked).search
    doubled = composed(library, objective={"path": 2, "gold": 2}, **asked).search
    assert doubled.scores.values == pytest.approx(2 * plain.scores.values, rel=1e-6)


# Text.


@pytest.mark.parametrize(
    ("query", "objective"),
    [
        ("collect the gold and stay away from hazards", "gold-hazard"),
        ("pull the lever, then find the shortest path to the exit", "path-lever"),
    ],
)
def test_words_and_objective_give_the_same_answer(library, query, objective):
    said, named = composed(library, query=query), composed(library, objective=objective)
    assert said.objective.name == objective
    assert (said.policy_ids, said.predicted_return) == (named.policy_ids, named.predicted_return)


def test_words_that_name_no_objective_are_refused(library):
    with pytest.raises(UnmatchedQuery, match="say which of path, gold, hazard and lever"):
        composed(library, query="bake a cake with strawberries")


# Operators that look ahead, and users' functions.


@pytest.mark.parametrize("operator", ["gpi", "switch", "plan"])
def test_operators_that_look_ahead_answer_with_a_route_that_earns_what_was_predicted(library, operator):
    result = composed(library, operator=operator, strategy="hybrid", ranker=None)
    route = lever.rollout(library.environment("tiny-0").layout, objective=FOUR, actions=result.actions)
    assert result.q is None
    assert route.total == pytest.approx(result.predicted_return, abs=1e-9)
    assert (result.ranker, result.tier) == ("offline-return", "I3")
    assert result.regime == ("propagates value" if operator == "plan" else "evaluates rollouts")
    assert result.to_dict()["actions"] == result.actions.tolist()
    held = sum(len(group) for group in library.groups(library.keys("tiny-0")) if group.objective in result.groups)
    assert len(result.policy_ids) == (held if operator == "plan" else len(result.groups))


def test_planning_on_the_recorded_union_beats_every_candidate(library):
    planned = composed(library, operator="plan", ranker=None)
    for operator in ("sum", "gpi", "switch"):
        other = composed(library, operator=operator, strategy="exhaustive", ranker="offline-return")
        assert planned.predicted_return >= other.predicted_return - 1e-9


def test_a_users_function_is_composed_eagerly_and_says_so(library):
    own = composed(library, operator=lambda q: q.sum(axis=0), strategy="exhaustive", ranker="offline-return")
    built_in = composed(library, operator="sum", strategy="exhaustive", ranker="offline-return")
    assert own.predicted_return == built_in.predicted_return
    assert np.array_equal(own.q, built_in.q)
    assert any("user's function" in warning for warning in own.warnings)
    assert not any("user's function" in warning for warning in built_in.warnings)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"operator": "gpi", "ranker": "regressor"}, "ranker='offline-return'"),
        ({"operator": "plan", "support": "ignore"}, "support='mask'"),
        ({"operator": "switch", "weights": {"path": 2.0}}, "weights"),
        ({"operator": "plan", "width": 0}, "width is 0"),
    ],
)
def test_what_an_operator_gives_no_meaning_to_is_refused(library, given, said):
    with pytest.raises(lever.LeverError, match=said):
        composed(library, **{"ranker": None} | given)


def test_coverage_says_what_the_recorded_transitions_are_worth(library):
    coverage = composed(library).coverage
    assert 0 < coverage.value <= 1 + 1e-9
    assert set(coverage.to_dict()) == {"library", "on_policy", "value", "leaves_at", "circles"}


@pytest.mark.parametrize("embedding", KINDS)
def test_candidates_are_embedded_at_the_canonical_states_that_the_regressor_learned_from(library, embedding):
    settings = {"regressor_model": "ridge", "regressor_target": "composite", "embedding": embedding}
    one, other, usual = (
        composed(library, ranker="regressor", strategy="exhaustive", **settings | count)
        for count in ({"canonical": 1}, {"canonical": 64}, {})
    )
    assert not np.array_equal(one.search.scores.values, other.search.scores.values)
    assert np.array_equal(usual.search.scores.values, other.search.scores.values)
    key = library.keys("tiny-0")[0]
    assert fit(library, Objective.of(FOUR), [key], Regressor(**settings, canonical=1)).canonical == 1
    assert fit(library, Objective.of(FOUR), [key], Regressor(canonical=1)).canonical == 64
    with pytest.raises(InvalidValue, match="canonical states is 0"):
        Regressor(canonical=0)
