"""The best return that an environment, or its recorded part, allows: as its family finds it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lever_ray.errors import InvalidValue
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment, Optimum


def optimum(
    task: Environment, *, objective: Objective | str, support: np.ndarray | None = None, shaping: float = 1.0
) -> Optimum:
    """J*: the highest expected return within the horizon; on a support, J*_D: by recorded transitions alone.

    Where an observation has no supported action the episode is stuck: its return so far counts. An inexact value may
    lie below that of another method on the same support, or of this one on less of it: compare with the maximum of all.

    Args:
        task: the environment.
        objective: what is rewarded.
        support: uint8[S, B], see :mod:`lever_ray.tasks.support`; all actions by default.
        shaping: see :meth:`lever_ray.tasks.protocol.Environment.compile`.

    Raises:
        UnknownName, InvalidTask: see :meth:`lever_ray.tasks.protocol.Environment.compile`.
        InvalidValue: the family has no way to find it, or ``support`` is of another shape.
    """
    wanted = Objective.of(objective).resolved(task.terms)
    if support is None:
        return _optimum(task, wanted, float(shaping))
    return _found(task, wanted, support, shaping)


@lru_cache(maxsize=1024)
def _optimum(task: Environment, objective: Objective, shaping: float) -> Optimum:
    return _found(task, objective, None, shaping)


def _found(task: Environment, objective: Objective, support: np.ndarray | None, shaping: float) -> Optimum:
    find = task.hooks.optimum
    if find is None:
        raise InvalidValue(f"family {task.family!r} has no way to find optima; compare with other policies instead")
    return find(task, objective, support=support, shaping=shaping)
