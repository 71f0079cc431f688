"""Embeddings against long naive rollouts, canonical states, and the return regressors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import OPERATORS
from lever_ray.composition.rankers.regressor import FittedRanker, RegressorScorer
from lever_ray.embedding.offline import MAX, SUM, Pool, make_pool
from lever_ray.embedding.regressor import MODELS, FittedRegressor, LinearPredictor, fit_regressor
from lever_ray.embedding.successor import KINDS, embed, make_embedder
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.policies.group import PolicyGroup
from lever_ray.tasks.canonical import CANONICAL_STATES, CanonicalStates, canonical_states
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.support import support_bits
from tests.twin import DOWN, LEFT, RIGHT, UP, layouts, moved, pool_of, random_tables, twin_choice, twin_psi

ROOM = Layout(4, (0, 0), (3, 3), ((0, 2), (2, 0)), ((1, 1),), ((0, 3),), (3, 0))
EXIT, HAZARD, OFF_SUPPORT = 70, 71, 72
CODES = {"sum": SUM, "max": MAX}


def full_states(layout, states):
    """Canonical states as twins take them."""
    for cell, (golds, lever) in zip(states.observations, states.memories, strict=True):
        left = frozenset(gold for bit, gold in enumerate(layout.golds) if int(golds) >> bit & 1)
        yield layout.cell(cell), left, bool(lever)


def canonical_of(layout, full):
    masks = [sum(1 << bit for bit, gold in enumerate(layout.golds) if gold in golds) for _, golds, _ in full]
    cells = [layout.index(cell) for cell, _, _ in full]
    levers = [lever for *_, lever in full]
    return CanonicalStates(np.array(cells, np.int32), np.array(list(zip(masks, levers, strict=True)), np.uint64))


def policy(layout, actions, *, tried=True):
    """Q-table and visits of a policy that does ``actions[cell]``, else goes right."""
    q, visits = np.zeros((1, layout.states, 4), np.float32), np.ones((1, layout.states, 4), np.uint32)
    for cell, action in actions.items():
        q[0, layout.index(cell), action] = 1.0
    return q, visits * tried


def assert_embedding_equals_twin(layout, full, q, visits, *, kind, mixture=(0,), operator="sum", masked=True):
    pool, states = pool_of(q, visits), canonical_of(layout, full)
    rows = np.array([mixture], np.int32)
    embedder = make_embedder(layout, states)
    psi = embed(embedder, pool, rows, operator=CODES[operator], masked=masked, kind=kind)[0]
    tables, tried = [q[row] for row in mixture], [visits[row] for row in mixture]
    twin = twin_psi(
        layout,
        lambda state: twin_choice(tables, tried, state, operator=operator, masked=masked),
        full,
        static=kind == "psi_static",
    )
    assert np.abs((psi - twin) / np.maximum(1, np.abs(twin))).max() <= 1e-4
    return psi


# Psi against long naive rollouts.


@settings(max_examples=60)
@given(layouts(largest=4), st.data(), st.sampled_from(KINDS))
def test_embeddings_agree_with_long_naive_rollouts(layout, data, kind):
    members = data.draw(st.integers(1, 3))
    tried = data.draw(st.sampled_from([1.0, 0.8, 0.4]))
    q, visits = random_tables(layout, seed=data.draw(st.integers(0, 10_000)), members=members, tried=tried)
    free = [layout.cell(state) for state in range(layout.states)]
    free = [cell for cell in free if cell not in (layout.exit, *layout.hazards, *layout.blocks)]
    golds = st.sets(st.sampled_from(layout.golds)).map(frozenset) if layout.golds else st.just(frozenset())
    full = data.draw(st.lists(st.tuples(st.sampled_from(free), golds, st.booleans()), min_size=1, max_size=4))
    assert_embedding_equals_twin(
        layout,
        full,
        q,
        visits,
        kind=kind,
        mixture=range(members),
        operator=data.draw(st.sampled_from(sorted(CODES))),
        masked=data.draw(st.booleans()),
    )


START = [((0, 0), frozenset(ROOM.golds), False)]
ROUTES = {
    "exit": ({(0, 0): RIGHT, (0, 1): RIGHT, (0, 2): DOWN, (1, 2): DOWN, (2, 2): DOWN, (3, 2): RIGHT}, 6),
    "hazard": ({(0, 0): RIGHT, (0, 1): RIGHT, (0, 2): RIGHT}, 3),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", sorted(ROUTES))
def test_a_route_that_ends_counts_its_last_cell_once_and_its_end_discounted(kind, end):
    actions, steps = ROUTES[end]
    psi = assert_embedding_equals_twin(ROOM, START, *policy(ROOM, actions), kind=kind)
    expected = {"exit": [0.99**steps, 0, 0], "hazard": [0, 0.99**steps, 0]}[end]
    assert psi[EXIT:] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_route_that_leaves_the_support_says_so(kind):
    q, visits = policy(ROOM, {})
    visits[:, ROOM.index((0, 1))] = 0
    psi = assert_embedding_equals_twin(ROOM, START, q, visits, kind=kind)
    assert psi[EXIT:] == pytest.approx([0, 0, 0.99], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "actions",
    [
        {(0, 0): UP},
        {(0, 0): RIGHT, (0, 1): LEFT},
        {(0, 0): DOWN, (1, 0): DOWN, (2, 0): DOWN, (3, 0): UP},
        {(0, 0): DOWN, (1, 0): DOWN, (2, 0): RIGHT, (2, 1): DOWN, (3, 1): LEFT, (3, 0): UP},
    ],
)
def test_cycles_are_closed_exactly_with_golds_and_lever_taken_on_the_way(kind, actions):
    psi = assert_embedding_equals_twin(ROOM, START, *policy(ROOM, actions), kind=kind)
    assert (psi[EXIT:] == 0).all()
    assert psi[0] <= 100


def test_the_static_embedding_never_takes_a_gold_and_the_exact_one_does():
    q, visits = policy(ROOM, ROUTES["exit"][0])
    rows, embedder = np.zeros((1, 1), np.int32), make_embedder(ROOM, canonical_of(ROOM, START))
    exact, static = (embed(embedder, pool_of(q, visits), rows, kind=kind)[0] for kind in KINDS)
    assert static[5] == pytest.approx(2 * (1 - 0.99**7) / 0.01, rel=1e-5)
    assert exact[5] == pytest.approx(static[5] - (0.99**2 - 0.99**7) / 0.01, rel=1e-5)


def test_more_full_states_than_the_row_cache_holds_change_nothing():
    cells = [(row, col) for row in range(16) for col in range(16)]
    golds = tuple(cells[224:237:2])
    layout = Layout(16, cells[0], cells[-1], golds, lever=cells[40])
    snake = {(row, col): RIGHT if row % 2 == 0 else LEFT for row, col in cells}
    snake |= {(row, 15 if row % 2 == 0 else 0): DOWN for row in range(16)} | {(15, 0): UP}
    q, visits = policy(layout, snake)
    subsets = [frozenset(gold for bit, gold in enumerate(golds) if mask >> bit & 1) for mask in range(64)]
    full = [(cells[0], frozenset(golds) - left, False) for left in subsets]
    psi = assert_embedding_equals_twin(layout, full, q, visits, kind="psi")
    rows, embedder = np.zeros((3, 1), np.int32), make_embedder(layout, canonical_of(layout, full))
    assert np.array_equal(embed(embedder, pool_of(q, visits), rows), np.stack([psi] * 3))


def test_an_unknown_embedding_names_the_nearest_match():
    q, visits = policy(ROOM, {})
    embedder = make_embedder(ROOM, canonical_of(ROOM, START))
    with pytest.raises(UnknownName, match=r"unknown embedding 'psi-static'.*Did you mean 'psi_static'"):
        embed(embedder, pool_of(q, visits), np.zeros((1, 1), np.int32), kind="psi-static")


def test_pools_are_made_of_read_only_arrays_too():
    q, visits = policy(ROOM, {})
    support = support_bits(visits)
    q.flags.writeable = support.flags.writeable = False
    pool = make_pool(q, support)
    assert isinstance(pool, Pool)
    assert pool.q.flags.writeable
    assert pool.support.flags.writeable


def test_support_bits_name_the_actions_that_were_taken():
    assert list(support_bits(np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 2, 0, 9], [1, 1, 1, 1]]))) == [
        0,
        1,
        10,
        15,
    ]


# Canonical states.


def reachable(layout, successors):
    """All full states that recorded transitions lead to from the start, in plain Python."""
    start = (layout.start, frozenset(layout.golds), False)
    met, waiting = {start}, [start]
    while waiting:
        cell, golds, lever = waiting.pop()
        for action in range(4):
            after = moved(layout, cell, action)
            if successors[layout.index(cell)][action] < 0 or after in (layout.exit, *layout.hazards):
                continue
            state = (after, golds - {after}, lever or after == layout.lever)
            if state not in met:
                met.add(state)
                waiting.append(state)
    return met


@given(layouts(), st.integers(0, 1_000), st.sampled_from([1.0, 0.6, 0.0]), st.integers(1, 80))
def test_canonical_states_are_the_start_and_distinct_states_that_were_recorded(layout, seed, tried, count):
    _, visits = random_tables(layout, seed=seed, members=1, tried=tried)
    successors = np.where(visits[0] > 0, layout.terrain.moves, -1).astype(np.int32)
    drawn = canonical_states(layout, successors, count=count)
    states, possible = list(full_states(layout, drawn)), reachable(layout, successors)
    assert states[0] == (layout.start, frozenset(layout.golds), False)
    assert len(drawn) == len(states) == len(set(states)) <= min(count, len(possible))
    assert set(states) <= possible
    again = canonical_states(layout, successors, count=count)
    assert list(full_states(layout, again)) == states


def test_sixty_four_canonical_states_are_drawn_where_there_are_as_many():
    layout = Layout.sample("grid8", seed=0)
    drawn = canonical_states(layout, layout.terrain.moves)
    assert len(drawn) == CANONICAL_STATES == 64


def test_fewer_than_one_canonical_state_is_refused():
    with pytest.raises(InvalidValue, match="canonical states is 0"):
        canonical_states(ROOM, ROOM.terrain.moves, count=0)


# Regressors.


def linear_data(rows=200):
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (rows, 8)).astype(np.float32)
    return x, x.astype(float) @ np.arange(8.0) - 40.0


@pytest.mark.parametrize(("model", "share"), [("ridge", 0.999), ("hist-gradient-boosting", 0.8)])
def test_regressors_learn_a_linear_function(model, share):
    x, y = linear_data()
    fitted = fit_regressor(x[:150], y[:150], model=model, target="own", kind="psi_static")
    predicted = fitted.predictor.predict(x[150:])
    assert (fitted.model, fitted.target, fitted.kind, fitted.rows) == (model, "own", "psi_static", 150)
    assert np.corrcoef(predicted, y[150:])[0, 1] ** 2 > share
    assert fitted.seconds > 0


def test_ridge_ignores_the_scale_of_a_feature_and_survives_constant_ones():
    x, y = linear_data()
    stretched = np.hstack([x * np.float32(1_000), np.full((len(x), 1), 5, np.float32)])
    plain, scaled = fit_regressor(x, y).predictor, fit_regressor(stretched, y).predictor
    assert scaled.predict(stretched) == pytest.approx(plain.predict(x), abs=1e-3)
    assert scaled.predict(stretched).dtype == np.float64


@pytest.mark.parametrize("model", MODELS)
def test_equal_data_give_equal_predictions(model):
    x, y = linear_data(60)
    one, two = (fit_regressor(x, y, model=model).predictor.predict(x) for _ in range(2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_policies_to_learn_from_are_refused(rows):
    x, y = linear_data(rows)
    with pytest.raises(InvalidValue, match=rf"the library has {rows};.*choose ranker 'offline-return'"):
        fit_regressor(x, y)


def test_an_unknown_regressor_names_the_nearest_match():
    with pytest.raises(UnknownName, match=r"unknown regressor model 'rigde'.*Did you mean 'ridge'"):
        fit_regressor(*linear_data(10), model="rigde")


@pytest.mark.parametrize(("target", "tier"), [("composite", "I3"), ("own", "I1")])
def test_the_regressor_ranker_predicts_from_the_embedding(target, tier):
    states = canonical_states(ROOM, ROOM.terrain.moves)
    embedder, predictor = make_embedder(ROOM, states), LinearPredictor(np.arange(73.0), 5.0)
    fitted = FittedRegressor("ridge", target, "psi", predictor, 0.0, 2)
    scorer = RegressorScorer(embedder, fitted)
    q, visits = random_tables(ROOM, seed=0, members=3)
    support = support_bits(visits)
    first = PolicyGroup("path", ("a", "b"), q[:2], support[:2], np.zeros(2))
    space = CandidateSpace.of([first, PolicyGroup("gold", ("c",), q[2:], support[2:], np.zeros(1))])
    mixtures = np.array([[0, 2], [1, 2]], np.int32)
    scores = scorer.score(space, mixtures, operator=OPERATORS["max"], masked=True)
    psi = embed(embedder, space.pool, mixtures, operator=MAX)
    assert scores.values == pytest.approx(psi @ np.arange(73.0) + 5.0)
    assert (FittedRanker(fitted).tier, scores.left_support.any()) == (tier, np.False_)


@pytest.mark.parametrize("count", [1, 2, 5, 17, 64, 1_000])
def test_fewer_canonical_states_keep_the_start_and_spread_over_the_rest(count):
    layout = Layout.sample("grid8", seed=3)
    stored = canonical_states(layout, layout.terrain.moves)
    some = stored.thinned(count)
    assert len(some) == min(count, len(stored))
    assert (some.observations[0], *some.memories[0]) == (layout.terrain.start, layout.terrain.all_golds, 0)
    whole = list(zip(stored.observations, map(tuple, stored.memories), strict=True))
    places = [whole.index(state) for state in zip(some.observations, map(tuple, some.memories), strict=True)]
    assert places == sorted(set(places))
    if 2 < count < len(stored):
        assert max(np.diff(places[1:])) - min(np.diff(places[1:])) <= 1
    with pytest.raises(InvalidValue, match="canonical states is 0"):
        stored.thinned(0)
