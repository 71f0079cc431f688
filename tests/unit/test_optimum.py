"""The exact optimum and the planner of gridworlds: no route beats them, and what they say is earned."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lever_ray.composition.coverage import route_coverage
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.planner import plan
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import rollout
from lever_ray.tasks.support import support_bits
from tests import twin
from tests.twin import layouts, objectives, random_tables

ROOM = Layout(4, (0, 0), (3, 3), ((0, 2), (2, 0)), ((1, 1),), ((0, 3),), (3, 0))
seeds = st.integers(0, 10_000)


@settings(max_examples=25)
@given(layouts(largest=3, golds=2), st.data(), st.sampled_from([0.0, 1.0]))
def test_the_exact_optimum_agrees_with_trying_everything(layout, data, shaping):
    objective = data.draw(objectives(layout))
    best = optimum(layout, objective=objective, shaping=shaping)
    weights = dict(zip(objective.terms, objective.weights, strict=True))
    assert best.exact
    everything = twin.twin_optimum(layout, objective.name, weights=weights, shaping=shaping)
    assert best.total == pytest.approx(everything, abs=1e-9)
    assert best.path == rollout(layout, objective=objective, actions=best.actions).path


@settings(max_examples=25)
@given(layouts(largest=4), st.data(), seeds, st.sampled_from([1, 5, 100]))
def test_no_route_beats_the_optimum_and_a_beam_returns_what_its_route_earns(layout, data, seed, width):
    objective = data.draw(objectives(layout))
    best, task = optimum(layout, objective=objective).total, layout.compile(objective)
    walk = rollout(layout, objective=objective, actions=np.random.default_rng(seed).integers(0, 4, 30))
    assert walk.total <= best + 1e-9
    q, visits = random_tables(layout, seed=seed, members=1)
    assert rollout(layout, objective=objective, q=q[0]).total <= best + 1e-9
    total, actions, *_ = plan(task, width=width)
    assert total <= best + 1e-9
    assert rollout(layout, objective=objective, actions=actions).total == pytest.approx(total, abs=1e-9)
    support = support_bits(visits[0])
    total, actions, *_ = plan(task, width=width, support=support)
    assume(len(actions))
    route = rollout(layout, objective=objective, actions=actions)
    assert route.total == pytest.approx(total, abs=1e-9)
    assert route_coverage(layout, support, route.observations, route.actions).on_policy == 1.0


def test_where_the_optimum_is_too_large_to_prove_a_beams_route_stands_in():
    golds = tuple((row, col) for row in range(1, 5) for col in range(5))[:19]
    best = optimum(Layout(5, (0, 0), (4, 4), golds), objective="gold")
    assert not best.exact
    assert best.total == rollout(Layout(5, (0, 0), (4, 4), golds), objective="gold", actions=best.actions).total
    assert best.total > 19 * 5


def test_what_a_caller_does_to_an_optimum_does_not_change_the_next_answer():
    with pytest.raises(ValueError, match="read-only"):
        optimum(ROOM, objective="path").actions[:] = 2
    assert rollout(ROOM, objective="path", actions=optimum(ROOM, objective="path").actions).end == "exit"
