"""Options on small worlds by hand: ties, cycles, what leaves the records, events, and what is refused."""

import numpy as np
import pytest

from lever_ray.composition.options import OptionRules, OptionStart, option_start, search_options
from lever_ray.composition.segments import SEGMENT_ENDS, event_terms
from lever_ray.embedding.offline import ENDED_WELL, TRUNCATED
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.support import full_support, support_bits
from tests.finite_tasks import corridor
from tests.option_twin import every_action

# Ties.


def test_equal_members_are_told_by_the_lowest_row_and_equal_routes_by_the_fewest_steps():
    task, forth = corridor().compile("prize"), np.zeros(3, np.int16)
    found = search_options(task, np.stack([forth, forth, forth]))
    assert [part.member for part in found.segments] == [0]
    # both ways pay 5; the one by observation 1 is longer
    world = FiniteTask([[1, 2], [2, 2], [2, 2]], {"pay": [[0, 5], [5, 5], [0, 0]]}, [2], discount=1)
    long, short = np.array([0, 0, 0], np.int16), np.array([1, 0, 0], np.int16)
    found = search_options(world.compile("pay"), np.stack([long, short]))
    assert found.actions.tolist() == [1]
    assert found.segments == ((1, 0, "end"),)


def test_equal_routes_are_told_by_the_lower_members_in_their_order():
    """Two ways to observation 3 pay 5; the one that the beam holds to be better at first has the higher members."""
    moves, pays = [[1, 2], [0, 3], [3, 0], [4, 4], [4, 4]], [[1, 2], [-9, 4], [3, -9], [1, 1], [0, 0]]
    task = FiniteTask(moves, {"pay": pays}, [4], discount=1).compile("pay")
    members = np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], np.int16)
    found = search_options(task, members, rules=OptionRules(cut=1))
    assert (found.total, [part.member for part in found.segments]) == (6.0, [0, 1, 0])


# Cycles, support, events.

RING_MOVES, RING_PAYS = [[1, 3], [2, 3], [0, 3], [3, 3]], {"pay": [[1, 0], [2, 0], [4, 9], [0, 0]]}
RING = FiniteTask(RING_MOVES, RING_PAYS, [3], discount=1, horizon=8)
ROUND, OUT = np.zeros(4, np.int16), np.ones(4, np.int16)


def test_a_cycle_is_followed_to_the_horizon_or_chosen_in():
    task = RING.compile("pay")
    found = search_options(task, ROUND[None])
    assert (found.total, found.end, found.segments) == (17.0, TRUNCATED, ((0, 0, "loop"),))
    assert found.actions.tolist() == [0] * 8
    alone = search_options(task, np.stack([ROUND, OUT]))
    assert alone.segments == ((0, 0, "loop"),)
    chosen = search_options(task, np.stack([ROUND, OUT]), rules=OptionRules(cycles="choose"))
    assert [part.ends for part in chosen.segments] == ["cycle", "cycle", "horizon"]
    best = search_options(task, np.stack([ROUND, OUT]), rules=OptionRules(cut=2, merge="pareto", width=0))
    assert (best.total, best.end) == (7 + 7 + 3, TRUNCATED)


def test_a_discounted_loop_is_closed_exactly():
    world = FiniteTask(RING_MOVES, RING_PAYS, [3], discount=0.9, horizon=1_000)
    found = search_options(world.compile("pay"), ROUND[None])
    pays = np.tile([1.0, 2.0, 4.0], 334)[:1_000]
    assert found.total == pytest.approx((pays * 0.9 ** np.arange(1_000)).sum(), abs=1e-9)
    assert len(found.actions) == 1_000


def test_what_leaves_the_support_is_the_answer_only_where_there_is_nothing_else():
    task = corridor().compile("prize-time")
    lost, idle = np.array([0, -1, 0], np.int16), np.array([1, 0, 0], np.int16)
    alone = search_options(task, lost[None])
    assert (alone.left_support, alone.total, alone.actions.tolist()) == (True, -1.0, [0])
    assert alone.segments == ((0, 0, "off-support"),)
    both = search_options(task, np.stack([lost, idle]))
    assert not both.left_support
    nowhere = search_options(task, np.full((2, 3), -1, np.int16))
    assert (nowhere.left_support, nowhere.segments, nowhere.simulated) == (True, (), 0)


def test_members_are_followed_for_good_where_every_choice_comes_back():
    """Waiting pays nothing, so with a cut nothing new is ever reached, and no route ends by itself."""
    world = FiniteTask([[0, 0]], {"pay": [[-1, -2]]}, discount=1, horizon=5)
    constant = np.array([[1], [0]], np.int16)
    found = search_options(world.compile("pay"), constant, rules=OptionRules(cut=1))
    assert (found.total, found.end, found.segments) == (-5.0, TRUNCATED, ((1, 0, "loop"),))
    assert found.simulated == 4
    cut = search_options(world.compile("pay"), constant, rules=OptionRules(cut=1, segments=2))
    assert (cut.unfinished, cut.cut_short, cut.simulated) == (True, True, 2)


def test_an_event_term_is_an_event_once_in_an_episode():
    """One member collects the coin and waits, the other one leaves: neither alone does both."""
    moves = [[1, 0], [1, 2], [2, 2]]
    world = FiniteTask(moves, {"coin": [[5, 0], [0, 0], [0, 0]], "out": [[0, 0], [0, 3], [0, 0]]}, [2], horizon=50)
    task = world.compile("coin-out")
    collect, leave = np.array([0, 0, 0], np.int16), np.array([1, 1, 0], np.int16)
    events = event_terms(world.terms, world.rewards, full_support(3, 2), named=["coin"])
    found = search_options(task, np.stack([collect, leave]), events=events.bits)
    assert found.segments == ((0, 0, "event"), (1, 1, "end"))
    assert found.total == pytest.approx(5 + 0.99 * 3)
    paid = option_start(task)._replace(paid=1)
    assert search_options(task, np.stack([collect, leave]), events=events.bits, start=paid).segments == (
        (0, 0, "loop"),
    )
    without = search_options(task, np.stack([collect, leave]))
    assert without.end == TRUNCATED


def test_event_terms_are_those_that_seldom_pay():
    rewards = np.zeros((4, 10, 2), np.float32)
    rewards[0], rewards[1, 3, 1], rewards[2, 4:6, 0] = -1, 7, 2
    terms = ("time", "rare", "seldom", "never")
    found = event_terms(terms, rewards, full_support(10, 2))
    assert found.terms == ("rare", "seldom")
    assert (found.bits[3, 1], found.bits[4, 0], found.bits.sum()) == (1, 2, 1 + 2 + 2)
    recorded = np.ones((10, 2), bool)
    recorded[4:6] = False
    assert event_terms(terms, rewards, support_bits(recorded)).terms == ("rare",)
    assert event_terms(terms, rewards, support_bits(recorded), named=["time"]).bits.sum() == 16
    with pytest.raises(UnknownName, match="event term 'rares'"):
        event_terms(terms, rewards, full_support(10, 2), named=["rares"])
    many = [f"t{place}" for place in range(65)]
    with pytest.raises(InvalidValue, match="65 event terms"):
        event_terms(many, np.ones((65, 1, 1)), full_support(1, 1), named=many)


def test_a_start_that_is_over_has_nothing_to_search():
    layout = Layout(3, (0, 0), (2, 2))
    task = layout.compile("path")
    over = search_options(task, every_action(layout), start=option_start(task)._replace(observation=8))
    assert (over.end, over.total, over.simulated) == (ENDED_WELL, 0.0, 0)
    late = search_options(task, every_action(layout), start=option_start(task)._replace(steps=0))
    assert (late.end, len(late.actions)) == (TRUNCATED, 0)


# Refusals.


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cut": -1}, "cut of options is -1"),
        ({"width": 1.5}, "width of options is 1.5"),
        ({"segments": True}, "segments of options is True"),
    ],
)
def test_rules_that_mean_nothing_are_refused(fields, said):
    with pytest.raises(InvalidValue, match=said):
        OptionRules(**fields)


@pytest.mark.parametrize(("field", "value"), [("cycles", "ends"), ("merge", "dominant"), ("estimate", "nothing")])
def test_unknown_rules_are_answered_with_the_nearest(field, value):
    with pytest.raises(UnknownName, match="Did you mean"):
        OptionRules(**{field: value})


def test_what_does_not_fit_the_task_is_refused():
    layout = Layout(3, (0, 0), (2, 2))
    task, actions = layout.compile("path"), every_action(layout)
    with pytest.raises(InvalidValue, match=r"shape \(4, 8\); this task needs \(members, 9\)"):
        search_options(task, actions[:, :8])
    with pytest.raises(InvalidValue, match="hold 4; this task has 0 to 3"):
        search_options(task, actions + 1)
    with pytest.raises(InvalidValue, match="events of options have shape"):
        search_options(task, actions, events=np.zeros((9, 3), np.uint64))
    with pytest.raises(InvalidValue, match="observation 9; this task has 0 to 8"):
        search_options(task, actions, start=OptionStart(9, task.rules.memory, 5))
    with pytest.raises(InvalidValue, match="steps left for options are -1"):
        search_options(task, actions, start=OptionStart(0, task.rules.memory, -1))
    for toward in (None, np.zeros((2, 9), np.int16)):
        with pytest.raises(InvalidValue, match=r"estimate 'exit' of options needs toward=int16\[1, 9\]"):
            search_options(task, actions, rules=OptionRules(estimate="exit"), toward=toward)
    several = FiniteTask([[0], [1]], {"pay": [[1], [2]]}, start=[0.5, 0.5]).compile("pay")
    with pytest.raises(InvalidValue, match="2; search from each"):
        search_options(several, np.zeros((1, 2), np.int16))


def test_ends_of_segments_are_named():
    assert SEGMENT_ENDS == ("event", "cut", "cycle", "end", "horizon", "loop", "off-support")
