"""Rankers against the real environment, outcome features against a twin, and the study that compares rankers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from sklearn import linear_model

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import OPERATORS
from lever_ray.composition.rankers.offline_return import OfflineReturnScorer
from lever_ray.embedding import regressor
from lever_ray.embedding.offline import SUM, offline_returns
from lever_ray.embedding.outcome import BEHAVIOUR_KINDS, OUTCOME_FEATURES, behaviour_features, outcomes
from lever_ray.embedding.regressor import fit_regressor, term_weights
from lever_ray.embedding.successor import embed, make_embedder
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.learning.sarsa import train
from lever_ray.policies.group import PolicyGroup
from lever_ray.studies.partial_records import thin_groups
from lever_ray.studies.ranker_cases import CASE_COLUMNS, RANKER_CASES, RankerCase
from lever_ray.studies.ranker_study import RankerStudy, run_ranker_study
from lever_ray.studies.studies import study_report
from lever_ray.tasks.canonical import canonical_states
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import TERMS
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import support_bits, taken_actions
from tests.twin import layouts, moved, objectives, pool_of, random_tables, twin_choice

TABLES = ("sum", "max", "normalized-sum")


def groups_of(q, visits, sizes):
    """Made-up groups of given sizes."""
    support, first, groups = support_bits(visits), 0, []
    for number, size in enumerate(sizes):
        part = slice(first, first + size)
        ids, rewards = tuple(f"{number}-{row}" for row in range(size)), np.ones(q[part].shape, np.float32)
        groups.append(PolicyGroup(f"group-{number}", ids, q[part], support[part], np.zeros(size), rewards))
        first += size
    return groups


# Offline returns are those of the environment.


def assert_offline_returns_are_the_environments(layout, objective, space, mixtures, operator):
    """Of every supported mixture; returns how many there were."""
    scores = OfflineReturnScorer(layout.compile(objective)).score(space, mixtures, operator=operator, masked=True)
    for mixture, value, left in zip(mixtures, scores.values, scores.left_support, strict=True):
        if left:
            continue
        real = rollout(layout, objective=objective, q=operator.compose(None, space, mixture, masked=True).q)
        # laps of a cycle are added up at once, so that only there the sum may round differently
        assert value == (pytest.approx(real.total, rel=1e-12) if real.end == "truncated" else real.total)
    return int((~scores.left_support).sum())


@settings(max_examples=80)
@given(layouts(), st.data(), st.sampled_from(TABLES), st.sampled_from([1.0, 0.7, 0.4]), st.integers(0, 10_000))
def test_the_offline_return_of_a_supported_candidate_is_the_environments(layout, data, operator, tried, seed):
    objective = data.draw(objectives(layout))
    groups = groups_of(*random_tables(layout, seed=seed, members=5, tried=tried), (2, 3))
    space = CandidateSpace.of(groups, normalised=OPERATORS[operator].normalised)
    mixtures = space.mixtures(np.array([(one, other) for one in range(2) for other in range(3)]))
    assert_offline_returns_are_the_environments(layout, objective, space, mixtures, OPERATORS[operator])


@pytest.mark.parametrize("gamma", [0.0, 0.99])
def test_the_offline_return_of_trained_policies_compositions_is_the_environments(gamma):
    layout = Layout.sample("grid8", seed=5)
    runs = [train(layout, objective=name, gamma=gamma, episodes=2_000) for name in ("path", "gold", "hazard-lever")]
    q = np.stack([snapshot.q for run in runs for snapshot in run.labelled().values()])
    visits = np.stack([snapshot.visits for run in runs for snapshot in run.labelled().values()])
    space = CandidateSpace.of(groups_of(q, visits, (3, 3, 3)))
    mixtures = space.mixtures(np.stack(np.unravel_index(np.arange(27), (3, 3, 3)), axis=1))
    objective = "path-gold-hazard-lever"
    assert assert_offline_returns_are_the_environments(layout, objective, space, mixtures, OPERATORS["sum"]) > 0


# Outcome features.


def embedder_of(layout):
    return make_embedder(layout, canonical_states(layout, layout.terrain.moves))


def twin_outcome(layout, choose):
    """Outcome features of following ``choose(state) -> (action, supported)``, step by step."""
    cell, golds, lever, end = layout.start, frozenset(layout.golds), False, "cut"
    for _ in range(layout.states):
        action, supported = choose(layout.index(cell))
        if not supported:
            end = "off"
            break
        cell = moved(layout, cell, action)
        golds, lever = golds - {cell}, lever or cell == layout.lever
        if cell == layout.exit or cell in layout.hazards:
            end = "exit" if cell == layout.exit else "hazard"
            break
    ends = tuple(float(end == name) for name in ("exit", "hazard", "off"))
    return (*ends, len(layout.golds) - len(golds), float(lever))


@settings(max_examples=150)
@given(layouts(), st.sampled_from(["sum", "max"]), st.booleans(), st.sampled_from([1.0, 0.8, 0.4]), st.integers(0, 999))
def test_outcomes_agree_with_a_walk_step_by_step(layout, operator, masked, tried, seed):
    q, visits = random_tables(layout, seed=seed, members=4, tried=tried)
    pool, mixtures = pool_of(q, visits), np.array([[0, 1], [2, 3], [3, 3], [1, 2]], np.int32)
    found = outcomes(embedder_of(layout), pool, mixtures, operator=OPERATORS[operator].code, masked=masked)
    assert found.shape == (4, len(OUTCOME_FEATURES))
    for mixture, row in zip(mixtures, found, strict=True):
        tables, tries = [q[member] for member in mixture], [visits[member] for member in mixture]
        twin = twin_outcome(
            layout, lambda state, t=tables, v=tries: twin_choice(t, v, state, operator=operator, masked=masked)
        )
        assert tuple(row) == twin


def test_single_policies_returns_are_nearly_linear_in_their_outcomes():
    names = ("path", "gold", "lever")
    x, y = [], []
    for seed in range(6):
        layout = Layout.sample("grid8", seed=seed)
        q, visits = random_tables(layout, seed=seed, members=60, tried=1.0)
        pool, singles = pool_of(q, visits), np.arange(60, dtype=np.int32)[:, None]
        x.append(outcomes(embedder_of(layout), pool, singles))
        y.append([[offline_returns(layout.compile(name), pool, singles, SUM, True, True)[0]] for name in names])
    features = np.concatenate(x)
    for column, name in enumerate(names):
        returns = np.concatenate([part[column][0] for part in y])
        predicted = fit_regressor(features, returns, target="own", kind="outcome").predictor.predict(features)
        assert np.corrcoef(predicted, returns)[0, 1] > 0.95, name


@pytest.mark.parametrize("kind", BEHAVIOUR_KINDS)
def test_behaviour_features_are_embeddings_or_outcomes(kind):
    layout = Layout.sample("grid8", seed=1)
    pool, mixtures = pool_of(*random_tables(layout, seed=0, members=4)), np.array([[0, 1], [2, 3]], np.int32)
    embedder = embedder_of(layout)
    found = behaviour_features(embedder, pool, mixtures, operator=1, masked=False, kind=kind)
    if kind == "outcome":
        expected = outcomes(embedder, pool, mixtures, operator=1, masked=False)
    else:
        expected = embed(embedder, pool, mixtures, operator=1, masked=False, kind=kind)
    assert np.array_equal(found, expected)


def test_unknown_behaviour_features_name_the_nearest_match():
    layout = Layout.sample("grid8", seed=1)
    pool = pool_of(*random_tables(layout, seed=0, members=1))
    with pytest.raises(UnknownName, match="Did you mean 'outcome'"):
        behaviour_features(embedder_of(layout), pool, np.zeros((1, 1), np.int32), kind="outcomes")


# The additive ridge.


def additive_data(names, *, rows=60, seed=0):
    """Policies of several objectives whose returns add up over terms, each term with coefficients of its own."""
    rng = np.random.default_rng(seed)
    worth = rng.normal(0, 10, (4, 8))
    terms = np.repeat([term_weights(name, TERMS) for name in names], rows, axis=0)
    x = rng.normal(2, 3, (len(terms), 8)).astype(np.float32)
    return x, np.einsum("pt,td,pd->p", terms, worth, x) + terms @ np.arange(4.0), terms, worth


@pytest.mark.parametrize("weights", [None, {"gold": 3.0}])
def test_the_additive_ridge_adds_up_what_terms_are_worth(weights):
    x, y, terms, worth = additive_data(["path", "gold", "hazard", "hazard-lever"])
    wanted = Objective.of("path-gold-lever", weights=weights)
    fitted = fit_regressor(
        x, y, model="additive-ridge", target="own", kind="outcome", terms=terms, names=TERMS, objective=wanted
    )
    expected = np.einsum("t,td,pd->p", term_weights(wanted, TERMS), worth, x) + term_weights(wanted, TERMS) @ np.arange(
        4.0
    )
    predicted = fitted.predictor.predict(x)
    assert np.abs(predicted - expected).max() < 0.05 * np.ptp(expected)
    assert (fitted.model, fitted.kind, fitted.rows) == ("additive-ridge", "outcome", len(x))


def test_terms_that_never_saw_a_difference_learn_it_from_others():
    x, y, terms, _ = additive_data(["path", "gold"])
    y = 100.0 * (x[:, 0] > 2) + terms[:, 1]
    x[:, 0] = x[:, 0] > 2
    always = terms[:, 0] > 0
    x[always, 0], y[always] = 1.0, 100.0
    path = Objective.of("path")
    told = {"target": "own", "terms": terms, "names": TERMS, "objective": path}
    predictor = fit_regressor(x, y, model="additive-ridge", **told).predictor
    reached, missed = np.zeros((1, 8), np.float32), np.zeros((1, 8), np.float32)
    reached[0, 0] = 1.0
    assert predictor.predict(reached)[0] - predictor.predict(missed)[0] > 25


@pytest.mark.parametrize("shape", [(200, 30), (12, 30), (31, 31)])
def test_ridge_gives_the_bits_that_scikit_learn_gives(shape):
    rng = np.random.default_rng(shape[0])
    x, y = rng.normal(size=shape) * (rng.random(shape) < 0.8), 100 * rng.normal(size=shape[0])
    expected = linear_model.Ridge(alpha=3.0, fit_intercept=False).fit(x, y).coef_
    assert np.array_equal(regressor._ridge_coefficients(linalg.solve, x, y, 3.0), expected)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    fitted, found = linear_model.Ridge(alpha=1.0).fit(z, y), fit_regressor(x, y, model="ridge").predictor
    assert np.array_equal(found.coefficients, fitted.coef_ / x.std(axis=0))


def test_the_additive_ridge_refuses_what_it_cannot_add_up():
    x, y, terms, _ = additive_data(["path", "gold"])
    call = {"model": "additive-ridge", "target": "own", "terms": terms, "names": TERMS}
    call["objective"] = Objective.of("path-gold")
    for broken in ({"target": "composite"}, {"terms": None}, {"objective": None}):
        with pytest.raises(InvalidValue, match="adds up what single terms are worth"):
            fit_regressor(x, y, **call | broken)
    with pytest.raises(InvalidValue, match="tells what hazard, lever of objective 'path-hazard-lever' is worth"):
        fit_regressor(x, y, **call | {"objective": Objective.of("path-hazard-lever")})


# Policies with a part of their records.


def trained_groups():
    layout = Layout.sample("grid8", seed=2)
    q, visits = random_tables(layout, seed=0, members=6, tried=0.8)
    return groups_of(q, visits, (2, 4))


@pytest.mark.parametrize("coverage", [1.0, 0.5, 0.3])
def test_shared_drops_keep_a_share_of_the_unions_pairs(coverage):
    whole = np.concatenate([group.support for group in trained_groups()])
    groups = thin_groups(trained_groups(), coverage=coverage, drop="shared", seed=3)
    left = np.concatenate([group.support for group in groups])
    union, kept = taken_actions(np.bitwise_or.reduce(whole), 4), taken_actions(np.bitwise_or.reduce(left), 4)
    assert kept.sum() == round(coverage * union.sum())
    assert np.array_equal(left, whole & np.bitwise_or.reduce(left))
    for group in groups:
        assert np.array_equal(group.mean_rewards != 0, taken_actions(group.support, 4))


def test_independent_drops_keep_a_share_of_every_policys_pairs():
    before, after = trained_groups(), thin_groups(trained_groups(), coverage=0.5, drop="independent", seed=3)
    for old, new in zip(before, after, strict=True):
        share = taken_actions(new.support, 4).sum(axis=(1, 2)), taken_actions(old.support, 4).sum(axis=(1, 2))
        assert list(share[0]) == [round(0.5 * pairs) for pairs in share[1]]
        assert np.array_equal(new.support & old.support, new.support)


@pytest.mark.parametrize("drop", ["shared", "independent"])
def test_lower_coverages_keep_a_part_of_what_higher_ones_keep(drop):
    more, less = (thin_groups(trained_groups(), coverage=share, drop=drop, seed=1) for share in (0.5, 0.3))
    for high, low in zip(more, less, strict=True):
        assert np.array_equal(high.support & low.support, low.support)


def test_bad_drops_are_refused():
    with pytest.raises(InvalidValue, match="coverage is 0"):
        thin_groups(trained_groups(), coverage=0.0, drop="shared", seed=0)
    with pytest.raises(UnknownName, match="unknown drop rule 'all'"):
        thin_groups(trained_groups(), coverage=0.5, drop="all", seed=0)


# The study.

SMALL = RankerStudy(
    layouts=4,
    folds=2,
    gammas=(0.99,),
    coverages=(1.0, 0.5),
    setups=(("trivial", "path-gold"), ("double", "path-gold-hazard")),
    training_seeds=1,
    candidates=20,
    cases=tuple(case for case in RANKER_CASES if case.model != "hist-gradient-boosting"),
)


@pytest.fixture(scope="module")
def rows():
    told = []
    rows = run_ranker_study(SMALL, executor=SerialExecutor(), watch=lambda *each: told.append(each))
    cases, part = len(SMALL.gammas) * len(SMALL.coverages), (SMALL.layouts, SMALL.layouts, "training layouts")
    assert next(each for each in told if each[0] == each[1]) == part
    assert told[-1] == (SMALL.folds, SMALL.folds, f"case {cases} of {cases}, folds")
    return rows


def test_a_study_has_a_row_for_every_layout_setup_coverage_and_case(rows):
    names = ("layout_seed", "mode", "setup", "coverage", *CASE_COLUMNS)
    identities = {tuple(row[name] for name in names) for row in rows}
    assert len(identities) == len(rows) == 4 * 2 * 2 * len(SMALL.cases)


def test_exact_rankers_have_no_regret_at_full_coverage_and_never_a_negative_one(rows):
    assert all(row["regret"] >= 0 for row in rows)
    exact = [row for row in rows if row["ranker"] == "offline-return" and row["coverage"] == 1.0]
    assert exact
    for row in exact:
        assert row["regret"] == 0
        assert row["left_support"] == 0
        assert row["tau"] == pytest.approx(1.0) or row["undefined"]


def test_undefined_rank_agreement_is_counted(rows):
    for row in rows:
        assert row["undefined"] == float(math.isnan(row["tau"]))
        assert row["undefined"] >= row["returns_tie"]
        assert math.isnan(row["regret_where_returns_differ"]) == bool(row["returns_tie"])


def test_own_returns_never_see_the_reward_function(rows):
    tiers = {(row["ranker"], row["target"]): row["tier"] for row in rows}
    assert tiers["regressor", "own"] == "I1"
    assert tiers["regressor", "recorded"] == "I2"
    assert tiers["regressor", "composite"] == tiers["offline-return", ""] == "I3"
    assert tiers["recorded-return", ""] == "I2"


def test_equal_studies_give_equal_rows(rows):
    fewer = replace(SMALL, coverages=(0.5,), cases=SMALL.cases[:6])
    again = run_ranker_study(fewer, executor=SerialExecutor())
    wanted = [row for row in rows if row["coverage"] == 0.5 and row["ranker"] in {case.ranker for case in fewer.cases}]
    wanted = [row for row in wanted if any(case.row().items() <= row.items() for case in fewer.cases)]
    assert [str(row) for row in again] == [str(row) for row in wanted]


def test_the_summary_has_a_line_per_coverage_and_case_with_intervals(rows):
    twice = [*rows, *(row | {"layout_seed": row["layout_seed"] + 4} for row in rows)]
    lines = [line for line in study_report("rankers", twice, bootstrap=50).splitlines() if line.startswith("| grid8 ")]
    assert len(lines) == 2 * len(SMALL.cases)
    assert len({tuple(line.split(" | ")[:10]) for line in lines}) == len(lines)
    assert any(" [" in line for line in lines)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "folds is 1"),
        ({"layouts": 3, "folds": 4}, "folds is 4"),
        ({"coverages": (1.5,)}, "coverages are"),
        ({"candidates": 1}, "candidates is 1"),
        ({"drop": "some"}, "unknown drop rule 'some'"),
        ({"family": "grid9"}, "unknown layout family 'grid9'"),
    ],
)
def test_bad_studies_are_refused(settings, message):
    with pytest.raises((InvalidValue, UnknownName), match=message):
        RankerStudy(**{"layouts": 10} | settings)


def test_unknown_cases_are_refused():
    with pytest.raises(UnknownName, match="unknown ranker 'oracle'"):
        RankerCase("oracle")
    with pytest.raises(UnknownName, match="unknown block of outcome features 'golds'"):
        RankerCase("regressor", "ridge", "own", "outcome", ("golds",))
