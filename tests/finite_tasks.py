"""A small corridor as a finite task, and Hypothesis strategies of finite tasks and problems on them."""

from __future__ import annotations

from functools import partial

import numpy as np
from hypothesis import strategies as st

from lever_ray.tasks.finite.task import FiniteTask
from lever_ray.tasks.objective import Objective

MOVES = [[1, 0], [2, 0], [2, 2]]
PAYS = {"prize": [[0.0, 0.0], [5.0, 0.0], [0.0, 0.0]], "time": [[-1.0, -1.0]] * 3}
corridor = partial(FiniteTask, MOVES, PAYS, [2])


@st.composite
def tasks(draw, *, most=4, horizon=6, discounts=(0.5, 0.9, 0.99, 1.0)):
    size, actions = draw(st.integers(1, most)), draw(st.integers(1, 3))
    live = draw(st.integers(1, size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    start = rng.integers(1, 5, live) * (rng.random(live) < 0.6)
    start[rng.integers(live)] += 1
    return FiniteTask(
        rng.integers(0, size, (size, actions)),
        rng.integers(-3, 4, (2, size, actions)) / draw(st.sampled_from([1, 7])),
        range(live, size),
        terms=("a", "b"),
        start=np.pad(start / start.sum(), (0, size - live)),
        horizon=draw(st.integers(1, horizon)),
        discount=draw(st.sampled_from(discounts)),
    )


@st.composite
def problems(draw, **options):
    """A task, an objective with weights of any sign, and allowed actions bool[S, A]."""
    task = draw(tasks(**options))
    weights = draw(st.sampled_from([(1, 1), (1, -1), (-0.5, 2), (0, 1), (-1, -1)]))
    objective = Objective.of("a-b", weights=dict(zip("ab", weights, strict=True)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    shape = (task.observations, task.actions)
    return task, objective, rng.random(shape) < draw(st.sampled_from([1.0, 0.7]))
