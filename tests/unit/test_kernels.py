"""Batch evaluation: many mixtures at a time against the plain twins, and whatever the batch, its order and threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.embedding import blocks, offline, successor
from lever_ray.embedding.blocks import cores, in_blocks
from lever_ray.embedding.classes import make_block
from lever_ray.embedding.offline import MAX, SUM, make_pool, offline_returns
from lever_ray.embedding.successor import KINDS, embed, make_embedder
from lever_ray.tasks.canonical import canonical_states
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.support import support_bits
from tests import twin
from tests.twin import DOWN, LEFT, OFFLINE_ENDS, RIGHT, UP, layouts, objectives, pool_of, random_tables

ROOM = Layout(5, (0, 0), (4, 4), ((0, 2), (2, 0), (3, 3)), ((1, 1),), ((0, 4),), (4, 0))
CODES = {"sum": SUM, "max": MAX}
operators = st.sampled_from(sorted(CODES))
seeds = st.integers(0, 10_000)


def product_of(*sizes):
    """Mixtures of the product of groups, int32[K, m], in lexicographic order."""
    places = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)
    return (places + np.cumsum((0, *sizes[:-1]))).astype(np.int32)


def similar_tables(layout, *, seed, members, tried=0.9, spread=0.3):
    """Tables as training leaves them: members resemble each other, so that mixtures agree in most cells."""
    rng = np.random.default_rng(seed)
    shape = (members, layout.states, 4)
    q = (rng.integers(-2, 3, shape[1:]) + spread * rng.normal(size=shape)).astype(np.float32)
    return q, (rng.random(shape) < tried).astype(np.uint32)


def embedder_of(layout):
    return make_embedder(layout, canonical_states(layout, layout.terrain.moves))


def everything(layout, pool, mixtures, *, operator=SUM, masked=True, threads=1):
    """Returns, ends and both embeddings of mixtures."""
    task, embedder = layout.compile("path-gold-hazard-lever"), embedder_of(layout)
    totals, ends = offline_returns(task, pool, mixtures, operator, masked, True, threads=threads)
    psis = [
        embed(embedder, pool, mixtures, operator=operator, masked=masked, kind=kind, threads=threads) for kind in KINDS
    ]
    return totals, ends, *psis


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        assert np.array_equal(one, other)


# Against the twins.


@settings(max_examples=40)
@given(layouts(), st.data(), seeds, st.sampled_from([1.0, 0.8, 0.4]), operators, st.booleans(), st.booleans())
def test_returns_of_many_mixtures_are_those_of_the_twin(layout, data, seed, tried, operator, masked, recorded):
    objective = data.draw(objectives(layout))
    tables = data.draw(st.sampled_from([random_tables, similar_tables]))
    q, visits = tables(layout, seed=seed, members=7, tried=tried)
    mixtures, environment = product_of(2, 3, 2), twin.twin_of(layout, objective)
    task, pool = layout.compile(objective), pool_of(q, visits)
    totals, ends = offline_returns(task, pool, mixtures, CODES[operator], masked, recorded)

    def choose(mixture, state):
        action, supported = twin.twin_choice(q[mixture], visits[mixture], state, operator=operator, masked=masked)
        return action, supported or not recorded

    for mixture, total, end in zip(mixtures, totals, ends, strict=True):
        expected, expected_end = twin.twin_offline_return(environment, partial(choose, mixture))
        assert total == pytest.approx(expected, abs=1e-9)
        assert OFFLINE_ENDS[end] == expected_end


@settings(max_examples=8)
@given(layouts(largest=4), st.data(), seeds, st.sampled_from([1.0, 0.6]), operators, st.sampled_from(KINDS))
def test_embeddings_of_many_mixtures_are_those_of_the_twin(layout, data, seed, tried, operator, kind):
    tables = data.draw(st.sampled_from([random_tables, similar_tables]))
    q, visits = tables(layout, seed=seed, members=5, tried=tried)
    mixtures, masked = product_of(2, 3), data.draw(st.booleans())
    states = canonical_states(layout, layout.terrain.moves, count=3)
    full = [
        (layout.cell(cell), frozenset(gold for bit, gold in enumerate(layout.golds) if int(golds) >> bit & 1), bool(on))
        for cell, (golds, on) in zip(states.observations, states.memories, strict=True)
    ]
    psi = embed(
        make_embedder(layout, states), pool_of(q, visits), mixtures, operator=CODES[operator], masked=masked, kind=kind
    )
    for mixture, row in zip(mixtures, psi, strict=True):
        choose = partial(twin.twin_choice, q[mixture], visits[mixture], operator=operator, masked=masked)
        expected = twin.twin_psi(layout, choose, full, static=kind == "psi_static")
        assert np.abs((row - expected) / np.maximum(1, np.abs(expected))).max() <= 1e-4


def test_a_cycle_through_every_cell_is_closed_exactly():
    """20 x 20 cells, one lap of 400 moves, with golds and the lever on the way."""
    size = 20
    cells = [(row, col) for row in range(size) for col in range(size)]
    actions = {(row, col): RIGHT if row % 2 == 0 else LEFT for row, col in cells if col > 0}
    actions |= {(row, size - 1): DOWN for row in range(0, size, 2)} | {(row, 1): DOWN for row in range(1, size, 2)}
    actions |= {(row, 0): UP for row in range(size)} | {(0, 0): RIGHT, (size - 1, 1): LEFT}
    off_the_way = Layout(size + 1, (0, 0), (size, size), ((0, 5), (7, 3)), lever=(3, 3))
    q = np.zeros((1, off_the_way.states, 4), np.float32)
    for cell, action in actions.items():
        q[0, off_the_way.index(cell), action] = 1.0
    visits, mixtures = np.ones(q.shape, np.uint32), np.zeros((1, 1), np.int32)
    pool, choose = pool_of(q, visits), partial(twin.twin_choice, q, visits, operator="sum", masked=True)
    for objective in ("path", "path-gold-hazard-lever"):
        totals, _ = offline_returns(off_the_way.compile(objective), pool, mixtures, SUM, True, True)
        environment = twin.TwinEnvironment(off_the_way, objective)
        assert totals[0] == pytest.approx(twin.twin_offline_return(environment, choose)[0], abs=1e-9)
    states = canonical_states(off_the_way, off_the_way.terrain.moves, count=1)
    full = [((0, 0), frozenset(off_the_way.golds), False)]
    for kind in KINDS:
        psi = embed(make_embedder(off_the_way, states), pool, mixtures, kind=kind)[0]
        expected = twin.twin_psi(off_the_way, choose, full, static=kind == "psi_static")
        assert np.abs((psi - expected) / np.maximum(1, np.abs(expected))).max() <= 1e-4


# Whatever the batch.


@settings(max_examples=25)
@given(layouts(), seeds, operators, st.booleans(), st.sampled_from([random_tables, similar_tables]), st.data())
def test_a_mixture_gets_the_same_bytes_alone_in_any_batch_and_in_any_order(
    layout, seed, operator, masked, tables, data
):
    layout = data.draw(st.sampled_from([layout, ROOM])) if layout.golds and layout.lever else ROOM
    pool, mixtures = pool_of(*tables(layout, seed=seed, members=9, tried=0.8)), product_of(3, 3, 3)
    evaluate = partial(everything, layout, pool, operator=CODES[operator], masked=masked)
    together = evaluate(mixtures)
    for size in (1, 4, 26):
        parts = [evaluate(mixtures[first : first + size]) for first in range(0, len(mixtures), size)]
        assert_same(together, [np.concatenate(column) for column in zip(*parts, strict=True)])
    order = np.random.default_rng(seed).permutation(len(mixtures))
    assert_same([column[order] for column in together], evaluate(mixtures[order]))
    doubled = np.concatenate([mixtures, mixtures[::-1]])
    assert_same([np.concatenate([column, column[::-1]]) for column in together], evaluate(doubled))


@pytest.mark.parametrize("operator", sorted(CODES))
def test_the_order_of_members_does_not_matter(operator):
    pool, mixtures = pool_of(*similar_tables(ROOM, seed=1, members=9)), product_of(3, 3, 3)
    evaluate = partial(everything, ROOM, pool, operator=CODES[operator])
    assert_same(evaluate(mixtures), evaluate(np.ascontiguousarray(mixtures[:, [2, 0, 1]])))


@pytest.mark.parametrize("threads", [0, 2, 3])
def test_threads_change_nothing(threads, monkeypatch):
    monkeypatch.setattr(offline, "_BLOCK", 10)
    monkeypatch.setattr(successor, "_BLOCK", 10)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    pool, mixtures = pool_of(*similar_tables(ROOM, seed=2, members=12)), product_of(4, 4, 4)
    assert_same(everything(ROOM, pool, mixtures, threads=1), everything(ROOM, pool, mixtures, threads=threads))


def test_kernels_may_run_beside_each_other():
    pool, mixtures = pool_of(*random_tables(ROOM, seed=3, members=12)), product_of(4, 4, 4)
    expected = everything(ROOM, pool, mixtures)
    with ThreadPoolExecutor(4) as executor:
        for answer in executor.map(lambda _: everything(ROOM, pool, mixtures), range(8)):
            assert_same(expected, answer)


def test_a_tie_after_rounding_is_a_tie_in_a_batch_too():
    """Two sums that differ by less than float32 can tell are equal, however many mixtures say so."""
    layout, mixtures = Layout(3, (0, 0), (0, 2)), product_of(4, 4)
    q = np.zeros((8, 9, 4), np.float32)
    q[:4, :, RIGHT] = q[:4, :, DOWN] = 2.0**25
    for more, end in ((1.0, "exit"), (8.0, "truncated")):
        q[4:, :, DOWN] = more
        pool = pool_of(q, np.ones(q.shape, np.uint32))
        _, ends = offline_returns(layout.compile("path"), pool, mixtures, SUM, True, True)
        assert [OFFLINE_ENDS[code] for code in ends] == [end] * 16


def test_all_agree_but_one_member_never_took_the_action():
    """The bound must not speak for mixtures none of whose members took what the values prefer."""
    layout = Layout(3, (0, 0), (0, 2))
    q, visits = np.zeros((6, 9, 4), np.float32), np.ones((6, 9, 4), np.uint32)
    q[:, :, RIGHT] = 9.0
    visits[[0, 3], :, RIGHT] = 0
    mixtures, task = product_of(3, 3), layout.compile("path")
    for masked, end in ((True, "truncated"), (False, "off-support")):
        _, ends = offline_returns(task, pool_of(q, visits), mixtures, SUM, masked, True)
        assert [OFFLINE_ENDS[code] for code in ends] == [end, *["exit"] * 8]


def test_no_mixtures_give_no_answers():
    pool, none = pool_of(*random_tables(ROOM, seed=0, members=2)), np.empty((0, 2), np.int32)
    totals, ends, *psis = everything(ROOM, pool, none)
    assert len(totals) == len(ends) == 0
    assert [psi.shape for psi in psis] == [(0, 73)] * 2


def test_mixtures_of_any_type_and_layout_are_taken():
    pool, mixtures = pool_of(*random_tables(ROOM, seed=0, members=9)), product_of(3, 3, 3)
    read_only = mixtures.copy()
    read_only.flags.writeable = False
    expected = everything(ROOM, pool, mixtures)
    for other in (mixtures.astype(np.int64), np.asfortranarray(mixtures), read_only):
        assert_same(expected, everything(ROOM, pool, other))


def test_a_block_holds_the_rows_that_its_mixtures_use():
    block = make_block(
        np.zeros((9, 4, 4), np.float32), np.zeros((9, 4, 1), np.uint8), np.array([[7, 2], [2, 8]], np.int32)
    )
    assert list(block.rows) == [2, 7, 8]
    assert block.mixtures.tolist() == [[1, 0], [0, 2]]
    assert block.used.tolist() == [[1, 1, 0], [1, 0, 1]]
    assert block.cell_q.shape == (4, 3, 4)


# Blocks and threads.


@pytest.mark.parametrize(("given_cores", "expected"), [("3", 3), ("2,4", 2), ("0", None), ("many", None), ("", None)])
def test_kernels_take_the_cores_that_a_task_was_given(given_cores, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given_cores)
    monkeypatch.setattr(blocks.os, "sched_getaffinity", lambda _: {0, 3, 5, 6, 7}, raising=False)
    assert cores() == (expected or 5)


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_cover_everything_once_and_errors_come_through(threads):
    filled = np.zeros(23, int)

    def fill(block):
        filled[block] += 1

    in_blocks(fill, 23, size=5, threads=threads)
    assert (filled == 1).all()
    with pytest.raises(ZeroDivisionError):
        in_blocks(lambda block: 1 // block.start, 23, size=5, threads=threads)


def test_support_bits_reach_the_kernels():
    q, visits = random_tables(ROOM, seed=5, members=2, tried=0.0)
    _, ends = offline_returns(
        ROOM.compile("path"), make_pool(q, support_bits(visits)), np.array([[0, 1]], np.int32), SUM, True, True
    )
    assert OFFLINE_ENDS[ends[0]] == "off-support"
