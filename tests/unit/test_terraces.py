"""Terraces: a large Markov task whose gates cannot be passed twice."""

import numpy as np
import pytest

from lever_ray.errors import InvalidValue
from lever_ray.tasks.finite.terraces import (
    GOODS,
    LEAST_OBSERVATIONS,
    OBSERVATIONS,
    TERRACE_TERMS,
    TERRACES,
    terraces,
)

DOWN = 1


def gates(task):
    """Observations whose move down pays a good, int64[n]."""
    return np.flatnonzero((task.rewards[: len(GOODS), :, DOWN] > 0).any(axis=0))


@pytest.mark.parametrize("observations", [LEAST_OBSERVATIONS, 400, 1_440])
def test_every_place_is_reached_and_no_gate_leads_back(observations):
    task = terraces(3, observations=observations)
    columns = int(task.coordinates[:, 1].max()) + 1
    depth = task.observations // (TERRACES * columns)
    assert task.observations <= observations and not task.warnings
    terrace = task.coordinates[:, 0] // depth
    moved = terrace[task.successors] - terrace[:, None]
    assert moved.min() == 0 and moved.max() == 1
    live = ~task.terminal
    assert (np.flatnonzero((moved[:, DOWN] == 1) & live) == gates(task)).all()
    assert (moved[:, [0, 2, 3]][live] == 0).all()
    # a maze within the terrace: wherever one comes to it, all of it and so every gate is reached
    assert (task._steps[terrace == 0] >= 0).all()
    assert set(terrace[task._steps >= 0]) == set(range(TERRACES))


def test_terms_pay_what_is_said():
    task = terraces(5, observations=1_440)
    assert task.terms == TERRACE_TERMS
    goods = task.rewards[: len(GOODS)]
    assert ((goods > 0).sum(axis=0) <= 1).all()
    paid = goods[goods > 0]
    assert paid.min() >= 10 and paid.max() <= 100 * (1 + (TERRACES - 2) / 4)
    live = ~task.terminal
    assert (task.rewards[-1][live] == -1).all() and (task.rewards[:, task.terminal] == 0).all()
    assert set(np.unique(task.rewards[-2])) == {-2.0, 0.0}
    stays = task.successors == np.arange(task.observations)[:, None]
    assert (task.rewards[:-1][:, stays] == 0).all()


def test_seeds_tell_them_apart():
    assert terraces(1, observations=400) == terraces(1, observations=400)
    assert terraces(1, observations=400) != terraces(2, observations=400)


def test_the_usual_size_is_exact():
    task = terraces(0)
    assert task.observations == OBSERVATIONS == 100_000
    assert not task.warnings


def test_what_cannot_be_is_refused():
    with pytest.raises(InvalidValue, match=r"observations is 191; a whole number .* at least 192"):
        terraces(0, observations=191)
    with pytest.raises(InvalidValue, match="seed is -1"):
        terraces(-1)
