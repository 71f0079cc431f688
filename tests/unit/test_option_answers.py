"""Queries answered by options: pools, tiers, routes that pay what they promise, closed loop, refusals, rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lever_ray as lever
from lever_ray.building.records import records_of
from lever_ray.config import ExperimentSettings, SetupSettings, StrategySettings
from lever_ray.console import make_console, result_table
from lever_ray.errors import InvalidValue, LibraryError, UnknownName
from lever_ray.experiment.cell import run_environment
from lever_ray.experiment.plan import ALL_GAMMAS, make_plan
from lever_ray.experiment.statistics import summarise
from lever_ray.learning.sarsa import train
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.memory import MemoryLibrary
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.kernel import ITEM, SWITCH, TERMINAL, nearest_item, step
from tests.conftest import SMALL_LIBRARY

FOUR = "path-gold-hazard-lever"


@pytest.fixture(scope="module")
def library(small_library):
    return PolicyLibrary.open(small_library)


def answer(library, **given):
    asked = {"environment": "grid8-0", "objective": FOUR, "operator": "options"} | given
    return lever.compose(library, **asked)


def played(task, objective, agent, *, pushed=()):
    """Return and steps of an agent in the environment; ``pushed`` are steps at which another action is taken."""
    compiled = task.compile(objective)
    moves, flags, rewards, near, _, _, rules = compiled
    state, memory, total, weight = compiled.start, rules.memory, 0.0, 1.0
    agent.reset(state, memory)
    for time in range(rules.horizon):
        action = agent.act(state, memory)
        if time in pushed:
            action = (action + 1) % task.actions
        nearest = nearest_item(near, state, memory)
        state, memory, _, reward, flag = step(moves, flags, rewards, near, rules, state, memory, nearest, action)
        total, weight = total + weight * reward, weight * rules.discount
        if flag & TERMINAL:
            break
    return total, time + 1


@pytest.mark.parametrize("objective", [FOUR, "path-gold", {"gold": 3, "path": 1}])
@pytest.mark.parametrize("rules", [{}, {"cut": 8}, {"cycles": "choose"}, {"merge": "pareto", "width": 5}])
@pytest.mark.parametrize("name", ["grid8-0", "grid8-1", "grid8-2"])
def test_a_route_pays_in_the_environment_what_it_promises(library, name, objective, rules):
    found = answer(
        library, environment=name, objective=objective, ranker="offline-return", strategy="exhaustive", **rules
    )
    task = library.environment(name).task
    route = lever.rollout(task, objective=objective, **found.played)
    assert route.total == pytest.approx(found.predicted_return, abs=1e-9)
    assert (found.tier, found.q, found.coverage.on_policy) == ("I3", None, 1.0)
    assert found.options[0].begins == 0
    assert [part.begins for part in found.options] == sorted(part.begins for part in found.options)
    assert found.options[-1].begins < len(found.actions) <= task.horizon
    assert {part.policy_id for part in found.options} <= set(found.policy_ids)
    assert found.segments > 0
    again = answer(library, environment=name, objective=objective, recipe=found.recipe)
    assert (again.options, again.predicted_return, again.segments) == (
        found.options,
        found.predicted_return,
        found.segments,
    )
    total, steps = played(task, objective, found.agent())
    assert (total, steps) == (pytest.approx(found.predicted_return, abs=1e-9), route.steps)


def test_an_agent_off_its_route_searches_again_and_counts_it(library):
    found = answer(library, ranker="offline-return", strategy="exhaustive")
    task, agent = library.environment("grid8-0").task, found.agent()
    played(task, FOUR, agent)
    assert agent.searches == 1
    total, _ = played(task, FOUR, agent, pushed=(2, 5))
    assert 2 <= agent.searches <= 3
    assert total <= lever.optimum(task, objective=FOUR).total + 1e-9
    with pytest.raises(InvalidValue, match=r"before reset"):
        found.agent().act(0)
    with pytest.raises(InvalidValue, match="operator 'sum' has no agent"):
        answer(library, operator="sum", gamma=0.0, ranker="offline-return").agent()


def test_scored_by_outcomes_it_needs_no_reward_function(library):
    found = answer(library, strategy="exhaustive")
    assert (found.tier, found.ranker, found.strategy) == ("I1", "regressor", "exhaustive")
    task = library.environment("grid8-0").task
    best, single = lever.optimum(task, objective=FOUR).total, answer(library, operator="gpi", gamma=0.0)
    assert single.tier == "I3"
    assert 0 < lever.rollout(task, objective=FOUR, **found.played).total <= best
    assert any("tells what ending in hazard costs; routes avoid it" in warning for warning in found.warnings)


def test_scored_by_recorded_rewards_one_off_events_count_once_and_loops_do_not_pay(library):
    task = library.environment("grid8-0").task
    found = answer(library, strategy="exhaustive", ranker="recorded-return")
    assert (found.tier, found.ranker) == ("I2", "recorded-return")
    assert lever.rollout(task, objective=FOUR, **found.played).end != "truncated"
    scored = found.player.task
    entering = (task.dynamics.flags[task.dynamics.moves] & (ITEM | SWITCH)) != 0
    assert not scored.rewards[0][entering].any()
    assert (scored.rules.item_reward, scored.rules.switch_reward) > (1.0, 1.0)
    assert not found.player.laps


def test_the_pool_is_every_policy_of_any_discount_unless_narrowed(library):
    held = [record.id for record in library.select(environment="grid8-0")]
    everything = answer(library, strategy="exhaustive", ranker="offline-return")
    assert sorted(everything.policy_ids) == sorted(held)
    some = answer(library, strategy="exhaustive", ranker="offline-return", groups=["path", "gold"], gamma=0.0)
    assert {(record.objective.name, record.gamma) for record in library.select() if record.id in some.policy_ids} == {
        ("path", 0.0),
        ("gold", 0.0),
    }
    best = answer(library, strategy="targeted", ranker="offline-return")
    assert len(best.policy_ids) == len(library.keys("grid8-0"))
    assert len(answer(library, strategy="hybrid-2", ranker="offline-return").policy_ids) == 2 * len(best.policy_ids)
    assert best.search.members_scored == len(held)
    with pytest.raises(LibraryError, match=r"has no policy for gold-lever at gamma any"):
        answer(library, groups=["gold-lever"])
    with pytest.raises(LibraryError, match=r"has no policies at gamma 0.5 and any episodes; it has \(gamma"):
        answer(library, gamma=0.5)
    with pytest.raises(InvalidValue, match=r"gamma is 1.5"):
        answer(library, gamma=1.5)


def test_a_budget_of_segments_is_kept_and_said(library):
    values = []
    for budget in (1, 10, 100, 1_000):
        found = answer(library, strategy="exhaustive", ranker="offline-return", segments=budget)
        assert found.segments <= budget
        values.append(found)
    assert any("segments were spent" in warning for warning in values[1].warnings)
    ended = [found.predicted_return for found in values if "beginning" not in " ".join(found.warnings)]
    assert ended == sorted(ended)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"width": 0}, InvalidValue, "width is 0"),
        ({"cut": 0}, InvalidValue, "cut is 0"),
        ({"segments": 0}, InvalidValue, "segments is 0"),
        ({"segments": 2.5}, InvalidValue, "segments is 2.5; a whole number"),
        ({"cycles": "chose"}, UnknownName, "Did you mean 'choose'"),
        ({"merge": "paretto"}, UnknownName, "Did you mean 'pareto'"),
        ({"estimate": "exits"}, UnknownName, "Did you mean 'exit'"),
        ({"estimate": "exit"}, InvalidValue, "ranker 'regressor' does not know; use ranker='offline-return'"),
        ({"strategy": "budgeted"}, InvalidValue, "strategy 'budgeted' chooses among candidates.*targeted"),
        ({"strategy": "random-10"}, InvalidValue, "strategy 'random'"),
        ({"strategy": "best-first"}, InvalidValue, "strategy 'best-first'"),
        ({"ranker": "recorded-return", "cut": 8}, InvalidValue, "shaping pays again round a loop; leave out cut"),
        ({"ranker": "recorded-return", "cycles": "choose"}, InvalidValue, "leave out cut"),
        ({"embedding": "psi"}, InvalidValue, "embedding 'psi' says nothing of a beginning"),
        ({"regressor_model": "hist-gradient-boosting"}, InvalidValue, "not linear in outcomes"),
        ({"support": "ignore"}, InvalidValue, "support='mask'"),
        ({"factors": {"gold": 2}}, InvalidValue, "factors of groups do not change operator 'options'"),
        ({"operator": "gpi", "gamma": 0.0, "cut": 8}, InvalidValue, "cut is 8, which operator 'gpi' has no use for"),
    ],
)
def test_what_options_cannot_do_is_refused_by_name(library, given, error, said):
    with pytest.raises(error, match=said):
        answer(library, **given)


def test_short_cuts_and_choices_in_cycles_are_called_planning(library):
    regimes = {
        answer(library, ranker="offline-return", **rules).regime
        for rules in ({"cut": 4}, {"cut": 1}, {"cycles": "choose"})
    }
    assert regimes == {"plans over single moves"}
    assert answer(library, ranker="offline-return", cut=5).regime == "evaluates rollouts"


# A ring of 6 with two exits, from two starts; no memory.
MOVES = [[(place + 1) % 6, 6 + place % 2] for place in range(6)] + [[6, 6], [7, 7]]
RING = FiniteTask(
    MOVES,
    {"prize": [[0, 2 + place] for place in range(6)] + [[0, 0]] * 2, "time": [[-1, -1]] * 6 + [[0, 0]] * 2},
    [6, 7],
    start=[0.25, 0.75, 0, 0, 0, 0, 0, 0],
    discount=0.9,
    horizon=20,
)


def test_the_estimate_of_leaving_is_refused_where_it_would_be_the_optimum():
    record = records_of(train(RING, objective="prize", episodes=9), environment="ring", description="prize")[0]
    with pytest.raises(InvalidValue, match=r"would be the optimum itself in 'finite'.*estimate='none'"):
        lever.compose(
            MemoryLibrary([record]), environment="ring", objective="prize", operator="options",
            ranker="offline-return", estimate="exit",
        )  # fmt: skip


def test_the_estimate_of_leaving_asks_for_the_reward_and_keeps_its_promise(library):
    found = answer(library, ranker="offline-return", estimate="exit", width=2, strategy="exhaustive")
    assert (found.tier, found.recipe.estimate) == ("I3", "exit")
    layout = library.environment("grid8-0").task
    paid = lever.rollout(layout, objective=found.objective, actions=found.actions)
    assert paid.total == pytest.approx(found.predicted_return, abs=1e-9)
    assert played(layout, FOUR, found.agent())[0] == pytest.approx(found.predicted_return, abs=1e-9)


def test_several_starts_are_answered_by_a_route_each_and_by_an_agent():
    records = [
        record
        for objective in RING.terms
        for seed in range(2)
        for run in [train(RING, objective=objective, episodes=300, gamma=0.9, seed=seed, snapshot_every=100)]
        for record in records_of(run, environment="ring", description=objective)
    ]
    found = lever.compose(
        MemoryLibrary(records), environment="ring", objective={"prize": 1, "time": 2}, operator="options",
        strategy="exhaustive", ranker="offline-return",
    )  # fmt: skip
    assert (found.actions, len(found.routes)) == (None, 2)
    paid = lever.rollout(RING, objective=found.objective, **found.played)
    assert paid.total == pytest.approx(found.predicted_return, abs=1e-9)
    agent = found.agent()
    for start, route in enumerate(found.routes):
        agent.reset(start)
        state, taken = start, []
        while state < 6:
            taken.append(agent.act(state))
            state = MOVES[state][taken[-1]]
        assert taken == route.tolist()
    assert json.loads(json.dumps(found.to_dict()))["actions"] is None
    with pytest.raises(InvalidValue, match="1 routes for 2 starts"):
        lever.rollout(RING, objective="prize", routes=[np.array([1])])


def test_a_pool_in_which_everybody_circles_says_so():
    loop = FiniteTask([[1, 2], [0, 2], [2, 2]], {"pay": [[1, 5], [-2, 5], [0, 0]]}, [2], discount=1, horizon=9)
    q = np.array([[[1, 0], [1, 0], [0, 0]]], np.float32)
    visits = np.array([[1, 0], [1, 0], [0, 0]], np.uint32)
    record = lever.PolicyRecord(
        environment="loop", task=loop, objective="pay", description="pay", q=q[0], visits=visits,
        successors=np.where(visits, loop.successors, -1), label="best", gamma=0.0,
    )  # fmt: skip
    found = lever.compose(
        MemoryLibrary([record]), environment="loop", objective="pay", operator="options", ranker="offline-return"
    )
    assert (found.predicted_return, found.options) == (-3.0, ((record.id, 0, "loop"),))
    assert any("circles at once" in warning for warning in found.warnings)
    assert any("circles until the episode is cut" in warning for warning in found.warnings)


def test_rows_mix_discounts_and_stand_beside_random_tables(library):
    experiment = ExperimentSettings(
        setups=[SetupSettings("trivial", "path-gold")], random_rollouts=10, operators=["sum", "options"],
        rankers=["offline-return"], strategies=["exhaustive"], repeats=1,
    )  # fmt: skip
    plan = make_plan(experiment, SMALL_LIBRARY, StrategySettings(), episodes=10_000)
    assert plan.member_gammas == (0.0, 0.99, ALL_GAMMAS)
    rows = run_environment("grid8-1", library, plan)
    assert [(row["operator"], row["gamma"]) for row in rows] == [
        ("sum", 0.0), ("options", 0.0), ("sum", 0.99), ("options", 0.99), ("options", ALL_GAMMAS),
    ]  # fmt: skip
    mixed = rows[-1]
    assert mixed["cell"].startswith("grid8/gall/X1/trivial/path-gold/")
    apart = [row for row in rows[:-1] if row["operator"] == "options"]
    assert sorted(mixed["policy_ids"].split()) == sorted(" ".join(row["policy_ids"] for row in apart).split())
    assert mixed["return/composed"] == pytest.approx(mixed["return/predicted"], abs=1e-9)
    assert mixed["segments/simulated"] > 0
    assert np.isnan(rows[0]["segments/simulated"])
    assert np.isfinite(mixed["return/random_q"])
    assert mixed["return/random_q"] <= mixed["return/optimum"]
    lines = summarise(rows, bootstrap=50)
    assert [line["gamma"] for line in lines] == [0.0, 0.0, 0.99, 0.99, ALL_GAMMAS]


def test_the_console_tells_who_is_followed(library, capsys):
    found = answer(library, ranker="offline-return")
    make_console().print(result_table(library.environment("grid8-0").task, found, found.rivals))
    told = " ".join(capsys.readouterr().out.split())
    assert f"{found.options[0].policy_id[:8]} from step 0 (" in told
    assert f"{found.segments} segments simulated, operator options" in told
