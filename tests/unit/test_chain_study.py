"""The chain study: what is taken out is in nobody's records, and what the prediction is judged by."""

import math
import re

import numpy as np
import pytest

from lever_ray.composition.routes import member_actions
from lever_ray.embedding.offline import make_pool
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.learning.sarsa import train
from lever_ray.statistics.intervals import Interval
from lever_ray.studies.chain import chain_of, library_group, reachable_part, train_without, with_records
from lever_ray.studies.chain_answers import Question, answer, best_single, pairs_of
from lever_ray.studies.chain_findings import NO_CHAIN, Condition, chain_notes, conditions, falls_from, is_needed
from lever_ray.studies.studies import run_study, study_report, study_settings
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import full_support, support_bits, taken_actions

FOUR = "path-gold-hazard-lever"
SMALL = {"layouts": 2, "training_seeds": 1, "lengths": [0, 2, 8], "positions": [0.5, 1.0], "gammas": [0.99]}
TERMS = ("path", "gold", "hazard", "lever")
POSITIONS = (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def layout():
    return Layout.sample("grid8", seed=3)


@pytest.fixture(scope="module")
def route(layout):
    return rollout(layout, objective=FOUR, actions=optimum(layout, objective=FOUR).actions)


@pytest.fixture(scope="module")
def rows():
    return run_study("chain", study_settings("chain", SMALL), executor=SerialExecutor())


def _groups(layout, missing, *, gamma=0.99):
    return [
        library_group(
            term, train_without(layout, term, missing, gamma=gamma, shaping=1.0, episodes=2_000, seeds=1), missing
        )
        for term in TERMS
    ]


@pytest.mark.parametrize("position", POSITIONS)
def test_chains_are_successive_transitions_of_the_route_and_nested(layout, route, position):
    before = np.zeros((layout.observations, layout.actions), bool)
    for length in (0, 1, 2, 4, 8, 16):
        pairs = chain_of(layout, route, length=length, position=position).pairs
        first = int(position * (len(route.actions) - length))
        steps = list(zip(route.observations[first:], route.actions[first : first + length], strict=False))
        assert sorted(set(steps)) == sorted(zip(*np.nonzero(pairs), strict=True))
        assert (pairs | before == pairs).all()
        before = pairs


@pytest.mark.parametrize("position", POSITIONS)
def test_a_bottleneck_is_entered_by_the_chain_alone_and_keeps_the_route(layout, route, position):
    chain = chain_of(layout, route, length=8, position=position, cut="bottleneck")
    assert not (chain.pairs & chain.barred).any()
    first = int(position * (len(route.actions) - 8))
    inner = set(route.observations[first + 1 : first + 8].tolist())
    walked = set(zip(route.observations[:-1].tolist(), route.actions.tolist(), strict=True))
    for state, action in zip(*np.nonzero(~chain.missing), strict=True):
        entered = int(layout.dynamics.moves[state, action])
        assert entered not in inner or entered == state or (int(state), int(action)) in walked
    open_ = optimum(layout, objective=FOUR, support=support_bits(~chain.barred)).total
    assert open_ == pytest.approx(route.total)
    closed, round_it = (
        optimum(layout, objective=FOUR, support=support_bits(~each)).total for each in (chain.missing, chain.pairs)
    )
    assert closed <= round_it + 1e-9 and closed < open_


@pytest.mark.parametrize("cut", ["route", "bottleneck"])
def test_no_policy_knows_the_missing_pairs_and_the_union_records_the_chain(layout, route, cut):
    chain = chain_of(layout, route, length=8, position=0.5, cut=cut)
    groups = _groups(layout, chain.missing)
    for group in groups:
        taken = taken_actions(group.support, layout.actions)
        assert taken.any() and not taken[:, chain.missing].any()
        assert not group.q[:, chain.missing].any() and not group.mean_rewards[:, chain.missing].any()
        acts = member_actions(make_pool(group.q, group.support))
        states = np.arange(layout.observations)
        assert not any(chain.missing[states[row >= 0], row[row >= 0]].any() for row in acts)
    for group, recorded in zip(groups, with_records(groups, chain.pairs), strict=True):
        taken, own = (taken_actions(each.support, layout.actions) for each in (recorded, group))
        assert (taken == own | chain.pairs).all()
        assert recorded.q is group.q


def test_operators_keep_to_what_their_arm_records(layout, route):
    chain = chain_of(layout, route, length=8, position=0.5, cut="bottleneck")
    groups, task, wanted = _groups(layout, chain.missing), layout.compile(FOUR), Objective.of(FOUR)
    recorded = taken_actions(np.bitwise_or.reduce(np.concatenate([group.support for group in groups])), 4)
    nothing = np.zeros_like(chain.pairs)
    for extra in (nothing, chain.pairs):
        asked = Question(task, wanted, groups, extra)
        for operator in ("sum", "max", "normalized-sum", "gpi", "options", "plan"):
            given = answer(asked, operator)
            assert not (pairs_of(task, given.actions) & ~(recorded | extra)).any(), operator
            played = rollout(layout, objective=FOUR, actions=given.actions)
            assert played.total == pytest.approx(given.total), operator
        assert answer(asked, "gpi").total >= best_single(asked) - 1e-9
    with_chain, without = (answer(Question(task, wanted, groups, each), "plan") for each in (chain.pairs, nothing))
    assert with_chain.total > without.total
    assert pairs_of(task, with_chain.actions)[chain.pairs].any()


def test_pairs_that_cannot_be_come_to_change_no_optimum(layout, route):
    chain = chain_of(layout, route, length=8, position=0.5, cut="bottleneck")
    part = reachable_part(layout, ~chain.missing)
    assert part.sum() < (~chain.missing).sum()
    totals = [optimum(layout, objective=FOUR, support=support_bits(each)).total for each in (part, ~chain.missing)]
    assert totals[0] == totals[1]


def test_training_without_nothing_is_training_in_the_environment(layout):
    none = np.zeros((layout.observations, layout.actions), bool)
    (run,) = train_without(layout, "gold", none, gamma=0.99, shaping=0.0, episodes=1_500, seeds=1)
    assert (run.q == train(layout, objective="gold", episodes=1_500, gamma=0.99, shaping=0.0).q).all()


def test_every_row_has_its_controls_and_arms_without_a_chain_are_equal(rows):
    by = {}
    for row in rows:
        by.setdefault(tuple(row[name] for name in ("layout_seed", "shaping", "gamma", "operator")), []).append(row)
        values = [value for name, value in row.items() if name.startswith("quality/")]
        assert max(values) <= 1 + 1e-9
        assert row["over/scratch"] == pytest.approx(row["quality/normalised"] - row["quality/scratch"])
        assert row["quality/normalised"] <= row["quality/optimum_recorded"] + 1e-9
        if row["chain"] == "absent":
            assert row["quality/optimum_recorded"] <= row["quality/optimum_without"] + 1e-9
            assert not row["length"] or row["chain/taken"] == 0
    assert len(by) == 2 * 2 * 5
    for part in by.values():
        assert len(part) == 2 * (1 + 2 * 2)
        assert len({row["quality/scratch"] for row in part}) == 1
        union, absent = (row for row in part if row["length"] == 0)
        assert repr({**union, "chain": ""}) == repr({**absent, "chain": ""})
        assert union["needed"] == NO_CHAIN and math.isnan(union["chain/taken"])
        assert union["quality/optimum_without"] == pytest.approx(1)
    same = [
        [row for row in rows if row["operator"] == "options" and row["chain"] == arm] for arm in ("union", "absent")
    ]
    assert [row["quality/normalised"] for row in same[0]] == [row["quality/normalised"] for row in same[1]]


def test_plan_on_everything_but_the_chain_falls_by_what_the_chain_is_worth(layout, route):
    chain = chain_of(layout, route, length=16, position=0.5, cut="bottleneck")
    full = taken_actions(full_support(layout.observations, layout.actions), layout.actions)
    with_it, without = (
        optimum(layout, objective=FOUR, support=support_bits(full & ~each)).total
        for each in (chain.barred, chain.missing)
    )
    assert with_it == pytest.approx(route.total) and without < with_it


def test_rows_are_the_same_again(rows):
    again = run_study("chain", study_settings("chain", SMALL), executor=SerialExecutor())
    assert repr(rows) == repr(again)


def _row(seed, length, chain, over, operator="sum"):
    return {
        "layout_seed": seed,
        "gamma": 0.0,
        "shaping": 1.0,
        "chain": chain,
        "length": length,
        "operator": operator,
        "over/scratch": over,
        "over/scratch_same_gamma": over + 0.5,
        "quality/normalised": 0.5 + over,
        "quality/optimum_without": 1.0 - 0.01 * length,
        "needed": is_needed(1.0 - 0.01 * length, length),
    }


def _made_up(at_zero, at_eight):
    rng = np.random.default_rng(0)
    return [
        _row(seed, length, chain, mean + 0.05 * rng.standard_normal())
        for seed in range(20)
        for chain in ("union", "absent")
        for length, mean in ((0, at_zero), (8, at_eight))
    ]


@pytest.mark.parametrize(
    ("at_zero", "at_eight", "verdict"),
    [(0.2, -0.2, "holds"), (0.0, -0.2, "holds"), (-0.2, -0.3, "refuted"), (0.2, 0.1, "refuted"), (0.2, 0.0, "open")],
)
def test_verdicts_follow_the_intervals(at_zero, at_eight, verdict):
    found = conditions(_made_up(at_zero, at_eight), bootstrap=300)
    assert [each.of["chain"] for each in found] == ["union", "absent"]
    for each in found:
        assert each.verdict == verdict
        assert each.change.low < at_eight - at_zero < each.change.high
        assert each.p < 0.01


def test_notes_say_what_the_rows_hold():
    told = chain_notes(_made_up(0.2, -0.2), bootstrap=300)
    assert "at the best gamma: of 2 conditions the prediction holds in 2, is refuted in 0 and stays open in 0." in told
    assert "at the same gamma: of 2 conditions the prediction holds in 0, is refuted in 2 and stays open in 0." in told
    assert re.search(r"\| 0 \| 1 \| union \| best gamma \| 0\.(19|20|21)\d \[0\.1", told)
    assert "L = 8: 0.920 of the optimum is left, 100% of the chains are needed" in told
    assert "prediction" not in chain_notes([row for row in _made_up(0.0, 0.0) if row["length"]], bootstrap=50).lower()


def test_an_interval_at_zero_that_is_open_refutes_nothing():
    wide, below = Interval(0.0, -0.1, 0.1), Interval(-0.2, -0.3, -0.1)
    assert Condition({}, {0: wide, 4: below}, below, 0.1).verdict == "holds"
    assert Condition({}, {0: wide, 4: wide, 8: below}, below, 0.1).verdict == "open"


@pytest.mark.parametrize(
    ("below", "length"), [((), None), ((0,), None), ((0, 1, 8), 0), ((1, 8), 1), ((8,), 8), ((1,), None)]
)
def test_an_operator_falls_from_the_length_after_which_it_stays_below(below, length):
    under, around = Interval(-0.2, -0.3, -0.1), Interval(0.0, -0.1, 0.1)
    assert falls_from({each: under if each in below else around for each in (0, 1, 8)}) == length


def test_every_operator_is_told_from_which_length_it_falls():
    rows = _made_up(0.2, -0.2) + [row | {"operator": "plan", "over/scratch": 0.3} for row in _made_up(0.2, -0.2)]
    told = chain_notes(rows, bootstrap=100)
    assert "| gamma | shaping | chain | sum | plan |" in told
    assert "| 0 | 1 | absent | L = 8 | - |" in told


def test_the_report_has_the_prediction_and_its_tables(rows):
    told = study_report("chain", rows, bootstrap=20)
    assert told.index("### What it shows") < told.index("### Chains of L transitions that no policy took")
    assert "| 0.99 | 1 | union | sum | 0 |" in told
    assert "### By whether the chain is needed" in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cut": "rout"}, "Did you mean 'route'"),
        ({"operators": ["switch"]}, "switch"),
        ({"operators": ["gpj"]}, "Did you mean 'gpi'"),
        ({"lengths": [-1]}, "lengths is -1"),
        ({"lengths": []}, "lengths of the chain study must not be empty"),
        ({"positions": [1.5]}, "position is 1.5; 0 is a route's beginning"),
        ({"gammas": [2.0]}, r"gammas hold 2.0; a discount must lie in \[0, 1\]"),
        ({"layouts": 0}, "layouts is 0"),
        ({"family": "grid9"}, "Did you mean 'grid8'"),
        ({"mode": "tripel"}, "Did you mean 'triple'"),
        ({"budget": "X2"}, "training budget"),
    ],
)
def test_what_cannot_be_studied_is_refused(given, said):
    with pytest.raises((InvalidValue, UnknownName), match=said):
        study_settings("chain", given)


def test_a_chain_longer_than_its_route_is_refused(layout, route):
    with pytest.raises(InvalidValue, match=f"length is 99; this route has 0 to {len(route.actions)} transitions"):
        chain_of(layout, route, length=99, position=0.0)


def test_chains_that_no_route_has_are_refused_at_the_end():
    settings = study_settings("chain", SMALL | {"layouts": 1, "lengths": [64]})
    with pytest.raises(InvalidValue, match=r"lengths is \(64,\); no optimal route has so many transitions"):
        run_study("chain", settings, executor=SerialExecutor())
