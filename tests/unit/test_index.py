"""Indexes of text vectors: exact answers with ties, whatever the batch, the shards and the filter; what is refused."""

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.errors import InvalidValue, LeverError, UnknownName
from lever_ray.library.search.index import INDEXES, NOTHING, FaissIndex, FlatIndex, make_index, merge_top_k
from lever_ray.library.search.scan import quantize

EXACT = ("flat", "flat-int8")
APPROXIMATE = ("ivf", "hnsw")
D = 24


def slow_score(vector, query):
    """float32: summed in float64 from the first product to the last."""
    total = 0.0
    for one, other in zip(vector.tolist(), query.tolist(), strict=True):
        total += one * other
    return np.float32(total)


def slow_top_k(vectors, codes, query, k, items=None):
    """The twin: score every item, sort by score (descending), then item."""
    codes = range(len(vectors)) if codes is None else codes
    items = slice(None) if items is None else items
    chosen = range(len(codes))[items] if isinstance(items, slice) else items
    ranked = sorted((-slow_score(vectors[codes[item]], query), item) for item in chosen)[:k]
    return [-score for score, _ in ranked], [int(item) for _, item in ranked]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def hard_vectors(rng, n, *, d=D):
    """Vectors with what makes ranking hard: few directions, equal rows, rows one rounding apart, and zeros."""
    rows = unit(rng.normal(size=(max(1, n // 3), d)))[rng.integers(0, max(1, n // 3), n)]
    nudged = np.flatnonzero(rng.random(n) < 0.3)
    place = rng.integers(0, d, len(nudged))
    rows[nudged, place] = np.nextafter(rows[nudged, place], np.float32(2))
    rows[rng.random(n) < 0.1] = 0
    return rows


@st.composite
def cases(draw):
    """Vectors, codes, queries, k and a filter."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.sampled_from([1, 2, 5, 40, 150]))
    vectors = hard_vectors(rng, n)
    kind = draw(st.sampled_from(["none", "same", "few", "permuted"]))
    codes = {"none": None, "same": np.arange(n), "few": rng.integers(0, n, 2 * n), "permuted": rng.permutation(n)}[kind]
    codes = None if codes is None else codes.astype(np.int32)
    m = n if codes is None else len(codes)
    b = draw(st.sampled_from([1, 2, 4, 12]))
    queries = np.where(rng.random((b, 1)) < 0.5, vectors[rng.integers(0, n, b)], unit(rng.normal(size=(b, D))))
    first, last = sorted(rng.integers(0, m + 1, 2).tolist())
    some = np.flatnonzero(rng.random(m) < 0.4)
    items = draw(st.sampled_from([None, slice(first, last), some]))
    return vectors, codes, queries.astype(np.float32), draw(st.sampled_from([1, 2, 7, 60, 1000])), items


def assert_answer(found, case):
    vectors, codes, queries, k, items = case
    for scores, which, query in zip(*found, queries, strict=True):
        wanted = slow_top_k(vectors, codes, query, k, items)
        assert (scores.tolist(), which.tolist()) == wanted
    assert [part.dtype for part in found] == [np.float32, np.int64]


@pytest.mark.parametrize("kind", EXACT)
@settings(max_examples=30, deadline=None)
@given(case=cases())
def test_exact_indexes_agree_with_the_twin(kind, case):
    vectors, codes, queries, k, items = case
    assert_answer(make_index(kind, vectors, codes).top_k(queries, k, items), case)


@pytest.mark.parametrize("kind", EXACT)
def test_many_rows_and_ties_across_blocks(kind):
    rng = np.random.default_rng(1)
    vectors = hard_vectors(rng, 2000, d=256)
    vectors[rng.integers(0, 2000, 200)] = vectors[17]
    queries = np.concatenate([vectors[17:18], unit(rng.normal(size=(11, 256)))])
    products = [[slow_score(vector, query) for vector in vectors] for query in queries]
    for k in (1, 10, 190, 500):
        wanted = [sorted(range(2000), key=lambda item, of=of: (-of[item], item))[:k] for of in products]
        assert np.array_equal(make_index(kind, vectors).top_k(queries, k)[1], wanted)
        assert np.array_equal(make_index(kind, vectors).top_k(queries[:1], k)[1], wanted[:1])


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("b", [1, 12])
def test_ties_that_only_rounding_tells_apart(kind, b):
    """Sums of the same numbers in other orders: equal scores, but unequal sums of float32."""
    rng = np.random.default_rng(2)
    vectors = rng.permuted(np.tile(unit(rng.normal(size=(1, 256))) + np.float32(0.06), (999, 1)), axis=1)
    queries = np.full((b, 256), 1 / 16, np.float32)
    scores = {float(slow_score(vector, queries[0])) for vector in vectors}
    assert len(scores) == 1
    assert len(set((vectors @ queries[0]).tolist())) > 1
    assert make_index(kind, vectors).top_k(queries, 5)[1].tolist() == [[0, 1, 2, 3, 4]] * b


@pytest.mark.parametrize("kind", EXACT)
@settings(max_examples=30, deadline=None)
@given(case=cases(), cuts=st.lists(st.integers(0, 150), max_size=3))
def test_neither_shards_nor_batches_show(kind, case, cuts):
    vectors, _, queries, k, _ = case
    whole = make_index(kind, vectors).top_k(queries, k)
    bounds = sorted({0, len(vectors), *(cut for cut in cuts if cut < len(vectors))})
    parts = []
    for first, last in itertools.pairwise(bounds):
        scores, items = make_index(kind, vectors[first:last]).top_k(queries, k)
        parts.append((scores, items + first))
    for one, other in zip(merge_top_k(parts[::-1], k), whole, strict=True):
        assert np.array_equal(one, other)
    alone = [make_index(kind, vectors).top_k(query[None], k) for query in queries]
    for place, part in enumerate(whole):
        assert np.array_equal(np.concatenate([each[place] for each in alone]), part)


def test_read_only_memory_is_searched_in_place():
    vectors = unit(np.random.default_rng(0).normal(size=(50, D)))
    mapped = np.frombuffer(vectors.tobytes(), np.float32).reshape(50, D)
    index = FlatIndex(mapped)
    assert not mapped.flags.writeable
    assert np.shares_memory(index.data.vectors, mapped)
    assert index.bytes == 0
    assert FlatIndex(mapped, quantized=True).bytes == 50 * (D + 8)
    assert index.top_k(mapped[7:8], 1)[1].tolist() == [[7]]


@pytest.mark.parametrize("kind", EXACT)
def test_nothing_to_find(kind):
    empty, some = np.empty((0, D), np.float32), np.ones((3, D), np.float32) / 5
    assert make_index(kind, empty).top_k(some, 4)[1].shape == (3, 0)
    assert make_index(kind, some).top_k(empty, 4)[1].shape == (0, 3)
    assert make_index(kind, some).top_k(some, 4, slice(2, 2))[1].shape == (3, 0)
    assert make_index(kind, some, np.empty(0, np.int32)).top_k(some, 4)[0].shape == (3, 0)
    assert make_index(kind, empty, np.empty(0, np.int32)).top_k(some, 4, np.empty(0, np.int64))[0].shape == (3, 0)


def test_rows_that_no_item_has_are_not_found():
    vectors = np.eye(4, dtype=np.float32)
    index = FlatIndex(vectors, np.array([3, 1, 1, 3, 1], np.int32))
    scores, items = index.top_k(vectors[[0, 3]], 3)
    assert items.tolist() == [[0, 1, 2], [0, 3, 1]]
    assert scores.tolist() == [[0, 0, 0], [1, 1, 0]]
    assert index.top_k(vectors[3:4], 2, slice(1, 5))[1].tolist() == [[3, 1]]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1e-20, 1e-3, 1.0, 2.0]))
def test_quantisation_keeps_its_word(seed, size):
    vectors = (hard_vectors(np.random.default_rng(seed), 30) * size).astype(np.float32)
    codes, scales, errors = np.empty((30, D), np.int8), np.empty(30, np.float32), np.empty(30, np.float32)
    quantize(vectors, codes, scales, errors)
    rest = vectors.astype(np.float64) - codes.astype(np.float64) * scales[:, None].astype(np.float64)
    assert (np.linalg.norm(rest, axis=1) <= errors).all()
    assert (errors <= 0.02 * size + 2e-6).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
def test_queries_that_are_not_finite_are_refused(bad):
    queries = np.ones((3, D), np.float32)
    queries[1, 5] = bad
    with pytest.raises(InvalidValue, match="query 1 has length"):
        FlatIndex(np.ones((2, D), np.float32)).top_k(queries, 1)


def test_what_else_is_refused():
    vectors, query = np.ones((2, D), np.float32) / 5, np.ones((1, D), np.float32)
    index = FlatIndex(vectors)
    with pytest.raises(InvalidValue, match="k is 0"):
        index.top_k(query, 0)
    with pytest.raises(InvalidValue, match=r"queries have shape \(24,\)"):
        index.top_k(query[0], 1)
    with pytest.raises(InvalidValue, match="step 1"):
        index.top_k(query, 1, slice(None, None, 2))
    for items in ([0, 2], [-1, 0], [1, 0], [1, 1]):
        with pytest.raises(InvalidValue, match="ascending"):
            index.top_k(query, 1, np.array(items))
    with pytest.raises(InvalidValue, match="flatnonzero"):
        index.top_k(query, 1, np.array([False, True]))
    with pytest.raises(InvalidValue, match="float64"):
        FlatIndex(vectors.astype(np.float64))
    with pytest.raises(InvalidValue, match=r"lie in 0\.\.2"):
        FlatIndex(vectors, np.array([0, 2], np.int32))
    with pytest.raises(InvalidValue, match="int64"):
        FlatIndex(vectors, np.array([0, 1]))
    with pytest.raises(UnknownName, match="flat"):
        make_index("flatt", vectors)
    with pytest.raises(InvalidValue, match="0 parts"):
        merge_top_k([], 3)


def test_merging_orders_ids_of_any_kind():
    scores = np.array([[0.5, 0.25]], np.float32)
    merged = merge_top_k([(scores, np.array([["b", "d"]])), (scores, np.array([["a", "c"]]))], 3)
    assert merged[1].tolist() == [["a", "b", "c"]]
    assert merged[0].tolist() == [[0.5, 0.5, 0.25]]


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_approximate_indexes_find_most_and_score_exactly(kind):
    pytest.importorskip("faiss")
    rng = np.random.default_rng(3)
    vectors = unit(rng.normal(size=(2000, D)))
    codes = rng.integers(0, 2000, 4000).astype(np.int32)
    queries = unit(vectors[:20] + 0.05 * rng.normal(size=(20, D)))
    approximate, exact = make_index(kind, vectors, codes, effort=32), make_index("flat", vectors, codes)
    scores, items = approximate.top_k(queries, 10)
    wanted = exact.top_k(queries, 10)[1]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(items, wanted, strict=True)]) > 0.9
    assert scores[0].tolist() == [slow_score(vectors[codes[item]], queries[0]) for item in items[0]]
    assert (np.diff(scores, axis=1) <= 0).all()
    confined = approximate.top_k(queries, 10, slice(100, 300)), exact.top_k(queries, 10, slice(100, 300))
    assert np.array_equal(confined[0][1], confined[1][1])
    assert approximate.bytes > 2000 * D
    assert kind in INDEXES
    assert not approximate.exact


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_approximate_indexes_of_little(kind):
    pytest.importorskip("faiss")
    vectors = np.eye(D, dtype=np.float32)[:3]
    assert make_index(kind, vectors[:0]).top_k(vectors, 2)[1].shape == (3, 0)
    assert make_index(kind, vectors).top_k(vectors, 9)[1].tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1]]


def test_what_is_not_found_is_filled_up():
    pytest.importorskip("faiss")
    vectors = np.repeat(np.eye(2, D, dtype=np.float32), 78, axis=0)
    scores, items = FaissIndex("ivf", vectors, effort=1).top_k(vectors[:1], 100)
    assert items[0, :78].tolist() == list(range(78))
    assert (items[0, 78:] == NOTHING).all()
    assert (scores[0, 78:] == -np.inf).all()


def test_missing_faiss_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(LeverError, match=r"pip install 'lever-ray\[faiss\]'"):
        make_index("hnsw", np.eye(3, dtype=np.float32))
