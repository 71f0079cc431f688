"""The seam itself: discounts, starts, many actions and long horizons against plain rollouts; what no task can be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.composition.routes import ROUTE_CODES, member_actions, route_of, route_returns
from lever_ray.embedding.offline import MAX, SUM, make_pool, offline_returns
from lever_ray.embedding.outcome import outcomes
from lever_ray.embedding.recorded import recorded_returns
from lever_ray.embedding.successor import Embedder
from lever_ray.errors import InvalidTask, InvalidValue
from lever_ray.library.memory import MemoryLibrary
from lever_ray.library.record import PolicyRecord
from lever_ray.query.compose import compose
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.kernel import GOAL, ITEM, Rules, compiled_task, restrict_task
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.registry import decode
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import full_support, read_support, support_bits, taken_actions

NO_MEMORY = (np.uint64(0), np.uint64(0))


@st.composite
def tasks(draw, *, starts=3):
    """Random deterministic tasks: 1 to 19 actions, horizons shorter and longer than the number of observations."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    observations, actions = draw(st.integers(3, 9)), draw(st.sampled_from([1, 2, 3, 4, 5, 8, 9, 19]))
    return FiniteTask(
        rng.integers(0, observations, (observations, actions)),
        {"gain": rng.normal(size=(observations, actions))},
        [observations - 1],
        start=list(range(draw(st.integers(1, min(starts, observations - 1))))),
        horizon=draw(st.sampled_from([1, 2, observations, 7 * observations])),
        discount=draw(st.sampled_from([1.0, 0.9, 0.5])),
    )


def plain_return(task, choose):
    """Expected discounted return over the starts; ``choose(state)`` is None where the support is left."""
    compiled, total = task.compile("gain"), 0.0
    for start, weight in zip(compiled.starts.tolist(), compiled.weights, strict=True):
        state, factor = start, 1.0
        for _ in range(task.horizon):
            action = choose(state)
            if action is None:
                break
            total += weight * factor * compiled.rewards[0, state, action]
            factor *= task.discount
            state = int(compiled.moves[state, action])
            if compiled.flags[state]:
                break
    return total


@settings(max_examples=150)
@given(tasks(), st.integers(0, 1_000), st.sampled_from([SUM, MAX]), st.booleans())
def test_offline_returns_of_any_task_are_those_of_plain_rollouts(task, seed, operator, masked):
    rng = np.random.default_rng(seed)
    q = (rng.integers(-3, 4, (4, task.observations, task.actions)) / 4).astype(np.float32)
    taken = rng.random(q.shape) < 0.6
    mixtures = np.array([[0, 1], [2, 3], [1, 2]], np.int32)
    totals, _ = offline_returns(
        task.compile("gain"), make_pool(q, support_bits(taken)), mixtures, operator, masked, True
    )
    for mixture, total in zip(mixtures, totals, strict=True):
        values = (np.sum if operator == SUM else np.max)(q[mixture], axis=0)
        tried = taken[mixture].any(axis=0)

        def choose(state, values=values, tried=tried):
            allowed = np.flatnonzero(tried[state] | (not masked) | (not tried[state].any()))
            best = int(allowed[np.argmax(values[state][allowed])])
            return best if tried[state][best] else None

        assert total == pytest.approx(plain_return(task, choose), abs=1e-9)


@settings(max_examples=150)
@given(tasks(), st.integers(0, 1_000))
def test_outcomes_and_recorded_returns_are_cut_at_the_horizon(task, seed):
    rng = np.random.default_rng(seed)
    q = rng.random((2, task.observations, task.actions)).astype(np.float32)
    taken, rewards = rng.random(q.shape) < 0.7, rng.normal(size=q.shape).astype(np.float32)
    pool, alone = make_pool(q, support_bits(taken)), np.array([[0], [1]], np.int32)
    embedder = Embedder(task.dynamics, task.horizon, None, task.dynamics.starts, np.zeros((1, 2), np.uint64))
    found = outcomes(embedder, pool, alone)
    totals, _ = recorded_returns(task.dynamics, task.horizon, task.discount, pool, rewards, alone, SUM, True)
    dynamics = task.dynamics
    for member in range(2):
        expected, total = np.zeros(3), 0.0
        for start, weight in zip(dynamics.starts.tolist(), dynamics.weights, strict=True):
            state, met, factor = start, set(), 1.0
            for _ in range(task.horizon):
                if state in met:
                    break
                met.add(state)
                allowed = np.flatnonzero(taken[member, state])
                if not len(allowed):
                    expected[2] += weight
                    break
                action = allowed[np.argmax(q[member, state][allowed])]
                total += weight * factor * rewards[member, state, action]
                factor *= task.discount
                state = int(dynamics.moves[state, action])
                if dynamics.flags[state]:
                    expected[0] += weight
                    break
        assert found[member, :3] == pytest.approx(expected, abs=1e-6)
        assert totals[member] == pytest.approx(total, abs=1e-6)


@settings(max_examples=60)
@given(tasks(starts=1), st.integers(0, 1_000), st.sampled_from(sorted(ROUTE_CODES)))
def test_routes_of_any_task_earn_what_they_say_and_no_less_than_the_best_member(task, seed, operator):
    rng = np.random.default_rng(seed)
    q = rng.random((3, task.observations, task.actions)).astype(np.float32)
    pool = make_pool(q, np.repeat(full_support(task.observations, task.actions)[None], 3, axis=0))
    compiled, mixture = task.compile("gain"), np.arange(3, dtype=np.int32)
    nowhere = np.empty((0, task.horizon), np.int16)
    totals, _, _ = route_returns(compiled, pool, member_actions(pool), mixture[None], ROUTE_CODES[operator], nowhere)
    played = rollout(task, objective="gain", actions=route_of(compiled, pool, mixture, operator=operator))
    assert totals[0] == pytest.approx(played.total, abs=1e-9)
    singles = [plain_return(task, lambda state, table=table: int(table[state].argmax())) for table in q]
    assert totals[0] >= max(singles) - 1e-9


@given(st.integers(1, 40), st.integers(0, 100))
def test_support_is_packed_and_unpacked_without_loss(actions, seed):
    taken = np.random.default_rng(seed).random((3, 5, actions)) < 0.5
    bits = support_bits(taken)
    assert bits.shape == (3, 5, -(-actions // 8))
    assert np.array_equal(taken_actions(bits, actions), taken)
    assert taken_actions(full_support(5, actions), actions).all()
    with pytest.raises(InvalidValue, match="a bit per action"):
        read_support(bits[0, :4], 5, actions)


def test_a_restricted_task_stays_where_nothing_was_taken():
    task = FiniteTask([[1, 1], [1, 1]], {"gain": [[2, 3], [0, 0]]}, [1])
    compiled = restrict_task(task.compile("gain"), np.array([[True, False], [True, True]]))
    assert compiled.moves[0].tolist() == [1, 0]
    assert compiled.rewards[0, 0].tolist() == [2.0, task.compile("gain").rules.stay_reward]


@pytest.mark.parametrize(
    ("rewards", "rules", "said"),
    [
        (np.zeros((1, 2, 2)), Rules(5, 1.0, (np.uint64(1),) * 3), r"memory has 3 words; at most uint64\[2\]"),
        (np.zeros((1, 2, 3)), Rules(5, 1.0, NO_MEMORY), r"rewards have shape \(1, 2, 3\); this task needs \(R, 2, 2\)"),
        (np.full((1, 2, 2), np.nan), Rules(5, 1.0, NO_MEMORY), "NaN or infinite"),
        (np.zeros((1, 2, 2)), Rules(5, 1.0, NO_MEMORY, item_rows=2), "rewards have 1 rows; the rules tell 3"),
    ],
)
def test_what_kernels_cannot_take_is_refused(rewards, rules, said):
    dynamics = FiniteTask([[1, 0], [1, 1]], {"gain": [[1, 0], [0, 0]]}, [1]).dynamics
    with pytest.raises(InvalidTask, match=said):
        compiled_task(dynamics, rewards, rules)


@settings(max_examples=150)
@given(tasks(), st.integers(0, 1_000))
def test_a_plan_that_stays_within_its_support_earns_what_it_says(task, seed):
    taken = np.random.default_rng(seed).random((task.observations, task.actions)) < 0.4
    support, objective = support_bits(taken), Objective.of("gain")
    found = task.hooks.plan(task, objective, width=1, support=support)
    best = optimum(task, objective=objective, support=support)
    assert found.left_support or found.total <= best.total + 1e-6
    if not found.left_support:
        assert rollout(task, objective=objective, q=found.q).total == pytest.approx(found.total, abs=1e-6)
    if best.q is not None:
        assert rollout(task, objective=objective, q=best.q).total == pytest.approx(best.total, abs=1e-5)


def test_a_plan_avoids_the_end_of_its_support_and_says_where_it_cannot():
    """From 0 a free step to 1, where nothing was recorded, or a costly one to the end."""
    task = FiniteTask([[1, 2], [1, 1], [2, 2]], {"cost": [[0, -3], [-9, -9], [0, 0]]}, [2], horizon=50)
    taken, objective = np.array([[True, True], [False, False], [False, False]]), Objective.of("cost")
    found = task.hooks.plan(task, objective, width=1, support=support_bits(taken))
    assert (found.total, found.left_support) == (-3.0, False)
    taken[0, 1] = False
    found = task.hooks.plan(task, objective, width=1, support=support_bits(taken))
    assert (found.total, found.left_support) == (0.0, True)
    assert optimum(task, objective=objective, support=support_bits(taken)).q is None


def record(task, name, gain):
    """A policy that prefers what it is told to by observation, with everything recorded but what is -1."""
    q = np.zeros((task.observations, task.actions))
    visits = np.ones(q.shape, np.uint32)
    for state, action in gain.items():
        q[state, max(action, 0)] = 1.0
        if action < 0:
            visits[state] = 0
    return PolicyRecord(name, task, "gain", "d", q, visits=visits)


def test_coverage_and_warnings_look_at_every_start():
    """From 0 the way to the end is recorded; from 3 nothing is."""
    task = FiniteTask([[1], [2], [2], [2]], {"gain": np.ones((4, 1))}, [2], start={0: 0.6, 3: 0.4})
    library = MemoryLibrary([record(task, "two", {3: -1})])
    found = compose(library, environment="two", objective="gain", ranker="offline-return")
    assert (found.coverage.on_policy, found.coverage.leaves_at) == (pytest.approx(0.6), 3)
    assert any("leaves the recorded transitions at observation 3" in warning for warning in found.warnings)


def test_an_answer_repeats_what_is_odd_about_its_task_and_calls_no_straight_route_a_circle():
    task = FiniteTask([[1], [2], [3], [3]], {"gain": np.ones((4, 1))}, [3], horizon=2)
    found = compose(
        MemoryLibrary([record(task, "far", {})]), environment="far", objective="gain", ranker="offline-return"
    )
    assert task.warnings
    assert set(task.warnings) <= set(found.warnings)
    assert not any("circles" in warning for warning in found.warnings)


def test_words_of_a_task_are_one_object():
    task = FiniteTask([[0]], {"gain": [[1.0]]}, discount=0.9)
    assert task.describe() is task.describe()


@pytest.mark.parametrize(
    ("given_arguments", "said"),
    [
        ({"rewards": 3.0, "terms": ["gain"]}, "give a list of names, and a row for each"),
        ({"rewards": np.zeros((1, 1, 1)), "terms": 3}, "give a list of names, and a row for each"),
        ({"rewards": {"gain": [[0.0]]}, "synonyms": {"gain": 3}}, "give a list of phrases"),
    ],
)
def test_what_names_no_terms_is_refused_in_words(given_arguments, said):
    with pytest.raises(InvalidTask, match=said):
        FiniteTask([[0]], **given_arguments)


def test_what_is_no_mapping_is_no_task():
    with pytest.raises(InvalidTask, match="give a mapping"):
        decode([1])


def test_an_item_on_a_start_is_refused():
    plain = FiniteTask([[1], [1]], {"gain": [[1], [0]]}, [1]).dynamics
    with pytest.raises(InvalidTask, match="lies on a start"):
        compiled_task(plain._replace(flags=np.array([ITEM, GOAL])), np.zeros((1, 2, 1)), Rules(5, 1.0, NO_MEMORY))
