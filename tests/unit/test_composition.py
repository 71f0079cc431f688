"""Offline returns, operators, search, covers, candidate spaces and coverage."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.composition.coverage import library_coverage, route_coverage
from lever_ray.composition.groups import CandidateSpace, check_cover, cover
from lever_ray.composition.operators import OPERATORS, composition_operator, is_masked
from lever_ray.composition.rankers.offline_return import OfflineReturnScorer
from lever_ray.composition.scores import Scores
from lever_ray.composition.search import search
from lever_ray.composition.strategies.protocol import product_blocks
from lever_ray.composition.strategies.registry import STRATEGIES, named_strategy
from lever_ray.embedding.offline import mixture_table, offline_returns
from lever_ray.errors import InvalidValue, UncoveredObjective, UnknownName
from lever_ray.policies.group import PolicyGroup
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import TERMS
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import full_support, support_bits
from tests import twin
from tests.twin import OFFLINE_ENDS, layouts, objectives, pool_of, random_tables

ROOM = Layout(4, (0, 0), (3, 3), ((0, 2), (2, 0)), ((1, 1),), ((0, 3),), (3, 0))
shares = st.sampled_from([1.0, 0.8, 0.4])
operators = st.sampled_from(["sum", "max"])
seeds = st.integers(0, 10_000)


def table_of(pool, mixture, operator, masked):
    return mixture_table(
        pool.q, pool.support, pool.actions, np.array(mixture, np.int32), OPERATORS[operator].code, masked
    )


def returns_of(task, pool, mixtures, operator, masked, *, recorded=True):
    rows = np.array(mixtures, np.int32)
    return offline_returns(task, pool, rows, OPERATORS[operator].code, masked, recorded)


def group_of(objective, count, *, seed=0, layout=ROOM, tried=1.0):
    q, visits = random_tables(layout, seed=seed, members=count, tried=tried)
    ids = tuple(f"{objective}-{index}" for index in range(count))
    return PolicyGroup(objective, ids, q, support_bits(visits), np.zeros(count))


# Offline returns and operators.


@given(layouts(), st.data(), seeds, shares, operators, st.booleans(), st.booleans())
def test_offline_returns_agree_with_the_plain_twin(layout, data, seed, tried, operator, masked, recorded):
    objective = data.draw(objectives(layout))
    members = data.draw(st.integers(1, 3))
    q, visits = random_tables(layout, seed=seed, members=members, tried=tried)
    task, pool = layout.compile(objective), pool_of(q, visits)
    totals, ends = returns_of(task, pool, [range(members)], operator, masked, recorded=recorded)

    def choose(state):
        action, supported = twin.twin_choice(q, visits, state, operator=operator, masked=masked)
        return action, supported or not recorded

    total, end = twin.twin_offline_return(twin.twin_of(layout, objective), choose)
    assert totals[0] == pytest.approx(total, abs=1e-9)
    assert OFFLINE_ENDS[ends[0]] == end


@given(layouts(), st.data(), seeds, operators)
def test_on_full_support_the_offline_return_is_that_of_the_real_environment(layout, data, seed, operator):
    objective = data.draw(objectives(layout))
    q, visits = random_tables(layout, seed=seed, members=3)
    pool = pool_of(q, np.ones_like(visits))
    totals, ends = returns_of(layout.compile(objective), pool, [[0, 1, 2]], operator, True)
    route = rollout(layout, objective=objective, q=table_of(pool, [0, 1, 2], operator, True))
    assert totals[0] == pytest.approx(route.total, abs=1e-9)
    assert OFFLINE_ENDS[ends[0]] == route.end


def test_a_composed_table_breaks_near_ties_as_the_ranked_policy_does():
    layout = Layout(2, (0, 0), (1, 0))
    q, visits = np.zeros((2, 4, 4), np.float32), np.ones((2, 4, 4), np.uint32)
    q[0, 0, :2], q[1, 0, 1] = 1.0, 1e-9
    pool = pool_of(q, visits)
    totals, _ = returns_of(layout.compile("path"), pool, [[0, 1]], "sum", True)
    assert totals[0] == rollout(layout, objective="path", q=table_of(pool, [0, 1], "sum", True)).total


@given(layouts(), seeds, shares, operators, st.booleans())
def test_the_order_of_members_does_not_matter(layout, seed, tried, operator, masked):
    pool = pool_of(*random_tables(layout, seed=seed, members=3, tried=tried))
    orders = list(permutations(range(3)))
    totals, ends = returns_of(layout.compile("path"), pool, orders, operator, masked)
    assert (totals == totals[0]).all()
    assert (ends == ends[0]).all()
    tables = [table_of(pool, order, operator, masked) for order in orders]
    assert all(np.array_equal(table, tables[0]) for table in tables)


@given(layouts(), seeds, shares, operators)
def test_a_masked_composition_takes_an_action_that_was_tried_wherever_one_was(layout, seed, tried, operator):
    q, visits = random_tables(layout, seed=seed, members=2, tried=tried)
    pool, taken = pool_of(q, visits), (visits > 0).any(axis=0)
    some = taken.any(axis=1)
    table = table_of(pool, [0, 1], operator, True)
    assert taken[np.arange(layout.states), table.argmax(axis=1)][some].all()
    assert np.array_equal(np.isneginf(table), ~taken & some[:, None])
    unmasked = table_of(pool, [0, 1], operator, False)
    assert np.array_equal(np.where(np.isneginf(table), unmasked, table), unmasked)


@pytest.mark.parametrize(("operator", "expected"), [("sum", [3, 1, 0, 4]), ("max", [2, 3, 0, 4])])
def test_sum_adds_and_max_takes_the_larger_value(operator, expected):
    q = np.zeros((2, 4, 4), np.float32)
    q[:, 0] = [[2, -2, 0, 4], [1, 3, 0, 0]]
    assert list(table_of(pool_of(q, np.ones(q.shape, np.uint32)), [0, 1], operator, True)[0]) == expected


@pytest.mark.parametrize(
    ("read", "kind", "name", "nearest"),
    [
        (composition_operator, "operator", "summ", "sum"),
        (is_masked, "support rule", "masked", "mask"),
        (named_strategy, "strategy", "hybird", "hybrid"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_match(read, kind, name, nearest):
    with pytest.raises(UnknownName, match=f"unknown {kind} '{name}'.*Did you mean '{nearest}'"):
        read(name)


# Rankers.


def test_candidates_that_leave_the_support_rank_last():
    scores = Scores(np.array([9.0, 1.0, 5.0, 5.0, 10.0]), np.array([True, False, False, False, True]))
    assert scores.best() == 2
    assert list(scores.ranked()) == [2, 3, 1, 4, 0]
    assert Scores(np.array([1.0, 7.0, 7.0]), np.ones(3, bool)).best() == 1


def test_the_offline_return_ranker_simulates_and_flags_what_leaves_the_support():
    space = CandidateSpace.of([group_of("path", 6, tried=0.5), group_of("gold", 6, seed=1, tried=0.5)])
    task, mixtures = ROOM.compile("path-gold"), space.mixtures(next(product_blocks(space.sizes)))
    scores = OfflineReturnScorer(task).score(space, mixtures, operator=OPERATORS["sum"], masked=False)
    totals, ends = returns_of(task, space.pool, mixtures, "sum", False)
    assert np.array_equal(scores.values, totals)
    assert list(scores.left_support) == [OFFLINE_ENDS[end] == "off-support" for end in ends]
    assert set(scores.left_support) == {True, False}


# Search.


SPACE = CandidateSpace.of([group_of("path", 4), group_of("gold", 3, seed=1), group_of("lever", 5, seed=2)])
NAMES = [name for group in SPACE.groups for name in group.ids]


def scorer(values, *, seen=None, left=()):
    """An evaluator that looks scores of candidates and of single members up by policy ids."""

    def evaluate(blocks):
        for block in blocks:
            rows = [tuple(NAMES[row] for row in mixture) for mixture in block]
            if seen is not None:
                seen.extend(rows)
            yield Scores(np.array([values(row) for row in rows], float), np.array([row in left for row in rows]))

    return evaluate


def number(name):
    return int(name[-1])


def numbers(row):
    return sum(map(number, row))


@pytest.mark.parametrize(
    ("name", "k", "count"),
    [("targeted", 3, 1), ("hybrid", 1, 1), ("hybrid", 2, 8), ("hybrid", 9, 60), ("exhaustive", 3, 60)],
)
def test_a_search_evaluates_what_its_strategy_names_and_chooses_the_best_of_it(name, k, count):
    strategy, seen, rng = named_strategy(name, **({"k": k} if name == "hybrid" else {})), [], np.random.default_rng(5)
    drawn = {row: rng.integers(0, 1_000) for row in product(*(group.ids for group in SPACE.groups))}
    found = search(strategy, SPACE, scorer(lambda row: drawn.get(row, -numbers(row)), seen=seen))
    candidates = [row for row in seen if len(row) == 3]
    assert [row for row in seen if len(row) == 1] == [(name,) for name in NAMES if strategy.needs_member_scores]
    assert len(candidates) == len(set(candidates)) == found.evaluated == count
    assert [SPACE.ids(candidate) for candidate in found.candidates] == candidates
    assert list(found.scores.values) == [drawn[row] for row in candidates]
    assert SPACE.ids(found.candidate) == max(candidates, key=drawn.get)
    assert (found.predicted_return, found.left_support) == (max(drawn[row] for row in candidates), False)
    assert strategy.id == (f"hybrid-{k}" if name == "hybrid" else name)


def test_hybrid_combines_the_best_scored_members_of_every_group_and_targeted_the_best():
    merit = scorer(numbers)
    hybrid = search(named_strategy("hybrid", k=2), SPACE, merit)
    assert {tuple(row) for row in hybrid.candidates} == set(product((2, 3), (1, 2), (3, 4)))
    assert search(named_strategy("targeted"), SPACE, merit).candidate == (3, 2, 4)


def test_members_that_leave_the_support_are_shortlisted_last():
    merit = scorer(numbers, left={("path-3",), ("path-2",)})
    assert search(named_strategy("targeted"), SPACE, merit).candidate == (1, 2, 4)


@pytest.mark.parametrize("name", STRATEGIES)
def test_ties_go_to_the_first(name):
    assert search(named_strategy(name), SPACE, scorer(len)).candidate == (0, 0, 0)


def test_hybrid_with_as_many_members_as_the_groups_have_is_exhaustive():
    merit = scorer(lambda row: sum(7**place * (number(name) % 3) for place, name in enumerate(row)))
    hybrid, exhaustive = (search(named_strategy(name), SPACE, merit) for name in ("hybrid-5", "exhaustive"))
    assert sorted(map(tuple, hybrid.candidates)) == sorted(map(tuple, exhaustive.candidates))
    assert hybrid.candidate == exhaustive.candidate
    assert hybrid.predicted_return == exhaustive.predicted_return


@pytest.mark.parametrize("batch", [1, 7, 60, 1_000])
def test_the_size_of_blocks_does_not_matter(batch):
    def merit(row):
        return sum(place * number(name) for place, name in zip((31, 17, 13), row, strict=True)) % 23

    whole = search(named_strategy("exhaustive"), SPACE, scorer(merit))
    found = search(named_strategy("exhaustive"), SPACE, scorer(merit), batch=batch)
    assert [tuple(candidate) for candidate in found.candidates] == list(product(range(4), range(3), range(5)))
    assert np.array_equal(found.scores.values, whole.scores.values)
    assert found.candidate == whole.candidate


def test_an_empty_shortlist_is_refused():
    with pytest.raises(InvalidValue, match="k is 0"):
        named_strategy("hybrid", k=0)


# Covers.

FOUR = "path-gold-hazard-lever"


@pytest.mark.parametrize(
    ("objective", "pool", "parts"),
    [
        (FOUR, TERMS, ("path", "gold", "hazard", "lever")),
        (FOUR, (*TERMS, "path-gold", "hazard-lever"), ("path-gold", "hazard-lever")),
        (FOUR, (*TERMS, "path-gold-hazard"), ("path-gold-hazard", "lever")),
        ("path-gold-hazard", (*TERMS, "path-gold", "hazard-lever"), ("path-gold", "hazard")),
        (FOUR, (*TERMS, "path-gold", "hazard-lever", "path-gold-hazard"), ("path-gold-hazard", "lever")),
        (FOUR, ("path-lever", "gold-hazard", "path-gold", "hazard-lever"), ("path-lever", "gold-hazard")),
        ("path-gold", ("path-gold", "path", "gold"), ("path-gold",)),
    ],
)
def test_the_cover_is_the_smallest_then_the_coarser_then_the_first(objective, pool, parts):
    for order in (pool, tuple(reversed(pool)), pool * 2):
        assert cover(Objective.of(objective), order) == parts
    check_cover(Objective.of(objective), parts)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (("path",), "no policy covers gold, lever of objective 'path-gold-lever'.*held: path"),
        ((), "no policy covers path, gold, lever.*held: none"),
        (
            ("path-gold", "gold-lever"),
            "no exact cover by gold-lever, path-gold: every combination repeats a term",
        ),
    ],
)
def test_where_no_exact_cover_exists_the_uncovered_terms_are_named(pool, message):
    with pytest.raises(UncoveredObjective, match=message):
        cover(Objective.of("path-gold-lever"), pool)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (("path",), "missing: gold"),
        (("path", "path-gold"), "repeated or not asked for: path"),
        (("path", "gold", "lever"), "not asked for: lever"),
        (("gold", "gold"), "missing: path; repeated or not asked for: gold"),
    ],
)
def test_groups_that_are_no_exact_cover_are_refused(groups, message):
    with pytest.raises(UncoveredObjective, match=message):
        check_cover(Objective.of("path-gold"), groups)


# Candidate spaces.


def test_a_candidate_space_stacks_its_groups_and_weighs_their_values():
    path, gold = group_of("path", 2), group_of("gold", 3, seed=1)
    space = CandidateSpace.of([path, gold], weights=[1.0, 2.5])
    assert (space.candidates, space.sizes, list(space.offsets)) == (6, (2, 3), [0, 2])
    assert np.array_equal(space.pool.q, np.concatenate([path.q, gold.q * np.float32(2.5)]))
    assert np.array_equal(space.mixtures(np.array([[1, 2], [0, 0]])), [[1, 4], [0, 2]])
    assert space.ids((1, 2)) == ("path-1", "gold-2")


PATH, GOLD = group_of("path", 2), group_of("gold", 2)


@pytest.mark.parametrize(
    ("groups", "factors", "message"),
    [
        ([], None, "no groups"),
        ([PATH, group_of("gold", 0)], None, "group 'gold' has no policies"),
        ([PATH, group_of("gold", 1, layout=Layout(2, (0, 0), (1, 1)))], None, r"\(4, 4\).*one environment"),
        (
            [PATH, replace(GOLD, q=GOLD.q * np.nan)],
            None,
            r"policies \['gold-0', 'gold-1'\] of group 'gold' hold NaN",
        ),
        ([replace(PATH, q=PATH.q + np.inf), GOLD], None, "group 'path' hold NaN or infinite"),
        ([PATH, GOLD], [1.0, -1.0], "factors of groups are"),
        ([PATH, GOLD], [0.0, 0.0], "not all zero"),
        ([PATH, GOLD], [1.0], "1 factors for 2 groups"),
    ],
)
def test_groups_or_factors_that_make_no_composition_are_refused(groups, factors, message):
    with pytest.raises(InvalidValue, match=message):
        CandidateSpace.of(groups, factors=factors)


# Coverage.


@given(layouts(), seeds, shares)
def test_library_coverage_is_the_share_of_reachable_moves_that_were_taken(layout, seed, tried):
    _, visits = random_tables(layout, seed=seed, members=1, tried=tried)
    taken = [visits[0, layout.index(cell)] > 0 for cell in twin.reachable_cells(layout)]
    assert library_coverage(layout, support_bits(visits[0])) == pytest.approx(np.mean(taken))


def test_route_coverage_says_where_a_route_leaves_what_was_tried():
    support = full_support(16, 4)
    support[ROOM.index((0, 1))] = 0b1101
    states = np.array([ROOM.index(cell) for cell in ((0, 0), (0, 1), (1, 1), (1, 2))])
    actions = np.array([0, 1, 0])
    found = route_coverage(ROOM, support, states, actions)
    assert (found.on_policy, found.leaves_at) == (pytest.approx(2 / 3), (0, 1))
    found = route_coverage(ROOM, full_support(16, 4), states, actions)
    assert (found.library, found.on_policy, found.leaves_at) == (1.0, 1.0, None)
