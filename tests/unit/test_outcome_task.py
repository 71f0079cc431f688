"""What outcomes are worth as a task: the same numbers as outcome features times coefficients, and searches over it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.composition.options import OptionRules, search_options
from lever_ray.composition.outcome_task import OutcomeWorth, outcome_task
from lever_ray.embedding.offline import LEFT_SUPPORT, SUM, offline_returns
from lever_ray.embedding.outcome import outcomes
from lever_ray.embedding.successor import make_embedder
from lever_ray.errors import InvalidTask, InvalidValue
from lever_ray.tasks.canonical import canonical_states
from lever_ray.tasks.gridworld.layout import Layout
from tests.twin import layouts, pool_of, random_tables

WORTH = OutcomeWorth(goal=300.0, trap=-80.0, item=20.0, switch=70.0)
CORRIDOR = Layout(4, (0, 0), (0, 3), golds=((0, 1),), hazards=((1, 0),), lever=(0, 2))


def constant(layout, *actions):
    return np.repeat(np.array(actions, np.int16)[:, None], layout.states, axis=1)


@given(layouts(), st.integers(0, 10_000), st.sampled_from([1.0, 0.8]))
def test_returns_are_outcome_features_times_coefficients(layout, seed, tried):
    pool = pool_of(*random_tables(layout, seed=seed, members=4, tried=tried))
    alone = np.arange(4, dtype=np.int32)[:, None]
    coefficients = np.array([310.0, -55.0, 0.0, 17.0, 63.0])
    embedder = make_embedder(layout, canonical_states(layout, layout.terrain.moves))
    expected = outcomes(embedder, pool, alone) @ coefficients
    task = outcome_task(layout.dynamics, layout.horizon, OutcomeWorth.of(coefficients))
    totals, ends = offline_returns(task, pool, alone, SUM, True, True)
    stays = ends != LEFT_SUPPORT
    assert totals[stays] == pytest.approx(expected[stays], abs=1e-4)


def test_a_search_takes_what_is_worth_it():
    """Right leads past the gold and the lever to the exit, down into the hazard."""
    task = outcome_task(CORRIDOR.dynamics, CORRIDOR.horizon, WORTH)
    found = search_options(task, constant(CORRIDOR, 0, 1))
    assert (found.total, found.actions.tolist()) == (390.0, [0, 0, 0])
    assert [part.ends for part in found.segments] == ["event", "event", "end"]
    bonus = outcome_task(CORRIDOR.dynamics, CORRIDOR.horizon, WORTH._replace(all_items=19.0))
    assert search_options(bonus, constant(CORRIDOR, 0, 1)).total == 409.0


def test_a_trap_of_unknown_worth_is_the_last_resort():
    worth = WORTH._replace(trap=None, goal=-1.0)
    assert worth.unidentified == ("trap",)
    task = outcome_task(CORRIDOR.dynamics, CORRIDOR.horizon, worth)
    found = search_options(task, constant(CORRIDOR, 0, 1, 2))
    assert found.total == 90.0
    assert search_options(task, constant(CORRIDOR, 1)).total < -100.0


def test_only_what_the_environment_has_need_be_known():
    bare = Layout(3, (0, 0), (2, 2))
    coefficients, known = np.array([5.0, 1, 2, 3, 4]), np.array([True, False, True, False, False])
    worth = OutcomeWorth.of(coefficients, 7.0, known=known)
    assert worth == OutcomeWorth(5.0, None, None, None, constant=7.0)
    task = outcome_task(bare.dynamics, bare.horizon, worth)
    assert search_options(task, constant(bare, 0, 1), rules=OptionRules(cut=1)).total == 5.0
    with pytest.raises(InvalidValue, match="'item' is worth"):
        outcome_task(CORRIDOR.dynamics, CORRIDOR.horizon, worth)
    with pytest.raises(InvalidValue, match="3 coefficients of outcomes"):
        OutcomeWorth.of(np.ones(3))
    with pytest.raises(InvalidTask):
        outcome_task(bare.dynamics, bare.horizon, worth._replace(goal=np.inf))
