"""Candidate search: every strategy, its budget, its determinism, and that nothing but its settings decides."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lever_ray.composition import search as search_module
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.scores import Scores
from lever_ray.composition.search import search
from lever_ray.composition.strategies.evolution import LARGEST_ROUND, by_scale, design
from lever_ray.composition.strategies.registry import STRATEGIES, named_strategy
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.executor import SerialExecutor, in_order
from lever_ray.policies.group import PolicyGroup
from lever_ray.studies.search_study import SearchStudy, run_search_study

BUDGETED = ("budgeted", "random", "best-first")
seeds = st.integers(0, 1_000)


def space_of(sizes, *, seed=0):
    rng = np.random.default_rng(seed)
    groups = []
    for place, size in enumerate(sizes):
        ids = tuple(f"{place}-{index}" for index in range(size))
        q = rng.standard_normal((size, 4, 4), dtype=np.float32) * rng.uniform(0.1, 10, (size, 1, 1)).astype(np.float32)
        groups.append(PolicyGroup(f"group-{place}", ids, q, np.full((size, 4), 15, np.uint8), np.zeros(size)))
    return CandidateSpace.of(groups)


class Landscape:
    """Few distinct scores per candidate and member, some of them off the support; counts what it is asked."""

    def __init__(self, space, *, seed=0, levels=6, left=0.2):
        rng = np.random.default_rng(seed)
        self.space = space
        self.values = rng.integers(0, levels, space.sizes).astype(float)
        self.left = rng.random(space.sizes) < left
        self.members = rng.integers(0, levels, sum(space.sizes)).astype(float)
        self.rows, self.calls, self.member_calls = [], 0, 0

    def score(self, block):
        if block.shape[1] == 1 < len(self.space.sizes):
            self.member_calls += len(block)
            return Scores(self.members[block[:, 0]], np.zeros(len(block), bool))
        places = tuple((block - self.space.offsets).T)
        self.rows.extend(zip(*(place.tolist() for place in places), strict=True))
        return Scores(self.values[places], self.left[places])

    def __call__(self, blocks):
        self.calls += 1
        return (self.score(block) for block in blocks)

    def merit(self, candidate):
        return (not self.left[candidate], self.values[candidate])


SPACES = {sizes: space_of(sizes) for sizes in [(1, 1), (5, 1), (3, 4), (2, 3, 4), (7, 1, 6), (6, 6, 6, 6)]}
sizes = st.sampled_from(sorted(SPACES))
untimed = settings(deadline=None)
PARAMETERS = {"k": st.integers(1, 4), "budget": st.integers(1, 400), "restarts": st.integers(1, 5), "seed": seeds}
strategies = st.sampled_from(list(STRATEGIES)).flatmap(
    lambda name: st.builds(named_strategy, st.just(name), **{part: PARAMETERS[part] for part in parameters_of(name)})
)


def parameters_of(name):
    return getattr(STRATEGIES[name], "parameters", ())


def key(found):
    scores = found.scores
    return found.candidate, found.predicted_return, found.candidates.tolist(), scores.values.tolist(), found.evaluated


@untimed
@given(sizes, strategies, seeds)
def test_the_choice_is_the_first_of_the_best_evaluated_and_nothing_is_paid_twice(sizes, strategy, seed):
    space = SPACES[sizes]
    landscape = Landscape(space, seed=seed)
    found = search(strategy, space, landscape)
    assert len(set(landscape.rows)) == len(landscape.rows) == found.evaluated
    assert found.candidates.tolist() == [list(row) for row in landscape.rows]
    best = max(landscape.merit(row) for row in landscape.rows)
    assert found.candidate == next(row for row in landscape.rows if landscape.merit(row) == best)
    assert (not found.left_support, found.predicted_return) == best
    assert found.members_scored == landscape.member_calls
    if strategy.name in BUDGETED:
        assert found.evaluated == min(strategy.budget, space.candidates)


@untimed
@given(sizes, seeds, seeds, st.integers(0, 50), st.integers(1, 5))
def test_a_budget_that_holds_the_product_is_exhaustive(sizes, seed, drawn, more, restarts):
    space = SPACES[sizes]
    strategy = named_strategy("budgeted", budget=space.candidates + more, restarts=restarts, seed=drawn)
    landscape = Landscape(space, seed=seed)
    assert key(search(strategy, space, landscape)) == key(search(named_strategy("exhaustive"), space, landscape))


@untimed
@given(sizes, strategies, seeds, st.integers(1, 50))
def test_neither_blocks_nor_executor_decide_anything(sizes, strategy, seed, batch):
    space = SPACES[sizes]
    landscape = Landscape(space, seed=seed)

    def executed(blocks):
        return in_order(reversed(list(SerialExecutor().map(landscape.score, blocks))))

    one = search(strategy, space, landscape)
    assert key(one) == key(search(strategy, space, landscape, batch=batch))
    assert key(one) == key(search(strategy, space, executed, batch=batch))


@untimed
@given(sizes, seeds, seeds, st.integers(1, 300), st.integers(1, 300), st.integers(1, 5))
def test_a_longer_budgeted_search_begins_with_the_shorter_one_and_is_never_worse(
    sizes, seed, drawn, budget, more, restarts
):
    short = named_strategy("budgeted", budget=budget, restarts=restarts, seed=drawn)
    long = named_strategy("budgeted", budget=budget + more, restarts=restarts, seed=drawn)
    space = SPACES[sizes]
    landscape = Landscape(space, seed=seed)
    one, other = (search(strategy, space, landscape) for strategy in (short, long))
    if long.budget < space.candidates:
        assert other.candidates[:budget].tolist() == one.candidates.tolist()
    assert landscape.merit(other.candidate) >= landscape.merit(one.candidate)


@untimed
@given(sizes, strategies, seeds)
def test_the_best_so_far_is_known_after_every_evaluation(sizes, strategy, seed):
    space = SPACES[sizes]
    landscape, seen = Landscape(space, seed=seed), []
    found = search(strategy, space, landscape, batch=16, watch=seen.append)
    assert [landscape.merit(best.candidate) for best in seen] == sorted(
        landscape.merit(best.candidate) for best in seen
    )
    after, first = found.best_after(), 0
    for place, row in enumerate(landscape.rows):
        if landscape.merit(row) > landscape.merit(landscape.rows[first]):
            first = place
        assert after[place] == first
    for best in seen:
        assert best.candidate == tuple(found.candidates[after[best.evaluated - 1]])
    assert (seen[-1].candidate, seen[-1].evaluated) == (found.candidate, found.evaluated)


@pytest.mark.parametrize("name", ["budgeted", "random"])
def test_the_seed_decides_what_is_drawn(name):
    space = SPACES[6, 6, 6, 6]
    landscape = Landscape(space)
    drawn = [
        search(named_strategy(name, budget=100, seed=seed), space, landscape).candidates.tolist() for seed in (3, 3, 4)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_best_first_goes_through_candidates_by_the_sum_of_their_members_scores():
    space = SPACES[2, 3, 4]
    scores = np.array([1.0, 5.0, 0.0, 2.0, 2.0, -1.0, 3.0, 3.0, 0.5])
    found = search(named_strategy("best-first", budget=7), space, Landscape(space), member_scores=scores)
    parts = np.split(scores, space.offsets[1:])
    sums = {row: sum(part[place] for part, place in zip(parts, row, strict=True)) for row in np.ndindex(space.sizes)}
    assert [tuple(row) for row in found.candidates] == sorted(sums, key=lambda row: (-sums[row], row))[:7]


@pytest.mark.parametrize("name", ["targeted", "hybrid", "best-first"])
def test_members_with_recorded_scores_are_not_paid_for(name):
    space = SPACES[7, 1, 6]
    landscape, strategy = Landscape(space), named_strategy(name, **({"budget": 5} if name == "best-first" else {}))
    paid = search(strategy, space, landscape)
    free = search(strategy, space, landscape, member_scores=landscape.members)
    assert (paid.members_scored, free.members_scored) == (14, 0)
    assert key(paid) == key(free)
    with pytest.raises(InvalidValue, match="3 member scores for 14 members"):
        search(strategy, space, landscape, member_scores=np.zeros(3))


def test_a_search_of_many_candidates_streams_and_keeps_the_first(monkeypatch):
    space, waiting = SPACES[6, 6, 6, 6], []

    def evaluate(blocks):
        for block in blocks:
            waiting.append(len(block))
            yield Scores(block.sum(axis=1).astype(float), np.zeros(len(block), bool))

    monkeypatch.setattr(search_module, "KEPT", 100)
    found = search(
        named_strategy("exhaustive"), space, evaluate, batch=64, watch=lambda best: waiting.append(best.evaluated)
    )
    assert waiting[:6] == [64, 64, 64, 128, 64, 192]
    assert (len(found.candidates), len(found.scores.values), found.evaluated) == (100, 100, 1296)
    assert found.candidate == (5, 5, 5, 5)


def test_a_round_is_one_call_and_does_not_outgrow_its_limit():
    space = space_of((12, 12, 12, 12))
    landscape = Landscape(space)
    seen = [0]
    search(named_strategy("budgeted", budget=3_000), space, landscape, watch=lambda best: seen.append(best.evaluated))
    sizes = np.diff(seen)
    assert landscape.calls == len(sizes)
    assert max(sizes) <= 2 * LARGEST_ROUND


@pytest.mark.parametrize("budget", [1, 40, 1_290, 1_295])
def test_a_budget_is_used_up_however_near_it_is_to_the_whole_product(budget):
    space = SPACES[6, 6, 6, 6]
    found = search(named_strategy("budgeted", budget=budget), space, Landscape(space, levels=1, left=0.0))
    assert len({tuple(row) for row in found.candidates.tolist()}) == found.evaluated == budget


@given(st.integers(1, 64), st.integers(0, 3), seeds)
def test_a_design_spreads_evenly_and_a_fold_moves_it_to_the_corners(points, folds, seed):
    def drawn(folds):
        return design(np.random.default_rng(seed), np.array([points, 10]), np.full(points, folds))

    assert sorted(drawn(0)[:, 0]) == list(range(points))
    edges = [np.abs(drawn(times) / [points, 10] - 0.5).sum() for times in range(folds + 1)]
    assert drawn(folds).max(axis=0).tolist() <= [points - 1, 9]
    assert len(edges) == 1 or edges[-1] >= edges[0] - points * 0.1


def test_members_are_ordered_by_the_spread_of_their_values():
    space = space_of((5, 3), seed=4)
    for group, order in zip(space.groups, by_scale(space), strict=True):
        assert (np.diff(group.q[order].std(axis=(1, 2))) >= 0).all()


def test_where_scale_matters_few_evaluations_find_what_random_draws_miss():
    space = space_of((20, 20, 20), seed=1)
    quiet = [np.argsort(order) for order in by_scale(space)]

    def evaluate(blocks):
        for block in blocks:
            rank = np.stack([place[column] for place, column in zip(quiet, (block - space.offsets).T, strict=True)])
            yield Scores((rank[0] >= 18) * 1.0 * (rank[1:] < 2).all(axis=0), np.zeros(len(block), bool))

    def found(name):
        return [
            search(named_strategy(name, budget=60, seed=seed), space, evaluate).predicted_return for seed in range(20)
        ]

    assert sum(found("budgeted")) >= 12
    assert sum(found("random")) <= 4


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ("hybrid-5", named_strategy("hybrid", k=5)),
        ("budgeted-100", named_strategy("budgeted", budget=100)),
        ("best-first-10", named_strategy("best-first", budget=10)),
        ("random", named_strategy("random")),
        ("exhaustive", named_strategy("exhaustive")),
    ],
)
def test_a_strategy_is_read_from_its_id(identity, expected):
    read = named_strategy(identity)
    assert read == expected
    assert named_strategy(read.id) == read
    assert read.id.startswith(identity)


def test_an_id_takes_what_it_does_not_say_from_elsewhere():
    assert named_strategy("budgeted-100", budget=7, seed=3) == named_strategy("budgeted", budget=100, seed=3)


@pytest.mark.parametrize(
    ("name", "wrong"), [(name, part) for name in STRATEGIES for part in parameters_of(name) if part != "seed"]
)
@pytest.mark.parametrize("value", [0, -3, 2.5, True, None])
def test_numbers_below_one_are_refused_by_name(name, wrong, value):
    with pytest.raises(InvalidValue, match=rf"{wrong} is {value!r};.*at least 1"):
        named_strategy(name, **{wrong: value})


def test_other_bad_input_is_refused_by_name():
    with pytest.raises(InvalidValue, match="seed is -1"):
        named_strategy("budgeted", seed=-1)
    for identity in ("exhaustive-3", "budgeted-", "targeted-x"):
        with pytest.raises(UnknownName, match=identity):
            named_strategy(identity)
    with pytest.raises(InvalidValue, match="budget is 0"):
        named_strategy("budgeted-0")


TINY = SearchStudy(
    family="grid8", layouts=2, gammas=(0.0,), training_seeds=2, snapshots=2, budgets=(5, 40), sample=100, repeats=2
)


def test_the_study_gives_a_row_for_every_layout_gamma_strategy_and_budget():
    told = []
    rows = run_search_study(TINY, executor=SerialExecutor(), watch=lambda *each: told.append(each))
    assert told[-1] == (2, 2, "layouts")
    assert [(row["layout_seed"], row["strategy"], row["budget"]) for row in rows] == list(
        product((0, 1), TINY.strategies, TINY.budgets)
    )
    assert all(row["return"] <= row["best"] or row["share"] > 1 for row in rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [("layouts", 0), ("budgets", ()), ("budget", (0,)), ("snapshots", 11), ("sample", 0), ("repeats", 0)],
)
def test_a_study_refuses_numbers_outside_their_domain(name, value):
    with pytest.raises(InvalidValue, match=name):
        SearchStudy(**{"budgets" if name == "budget" else name: value})
