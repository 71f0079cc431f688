"""What the grid adds to the seam: its optimum, its planner, self-avoiding routes, an upper bound and captions.

Their modules are imported when they are first used: each brings kernels of its own.
"""

from __future__ import annotations

import numpy as np

from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.text import caption_of
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Hooks, Optimum, Plan


def _optimum(
    environment: Layout, objective: Objective, *, support: np.ndarray | None = None, shaping: float = 1.0
) -> Optimum:
    from lever_ray.tasks.gridworld.optimum import best_route

    return best_route(environment, objective, support=support, shaping=shaping)


def _is_exact(environment: Layout) -> bool:
    from lever_ray.tasks.gridworld.optimum import is_exact

    return is_exact(environment)


def _plan(environment: Layout, objective: Objective, *, width: int, support: np.ndarray | None = None) -> Plan:
    from lever_ray.tasks.gridworld.planner import plan

    return plan(environment.compile(objective), width=width, support=support)


def _memoryless(environment: Layout, objective: Objective, *, support: np.ndarray) -> float:
    from lever_ray.tasks.gridworld.memoryless import best_self_avoiding

    return best_self_avoiding(environment, objective=objective, support=support).total


def _bound(environment: Layout, objective: Objective, *, shaping: float = 1.0) -> float:
    from lever_ray.tasks.gridworld.bounds import upper_bound

    return upper_bound(environment, objective=objective, shaping=shaping)


HOOKS = Hooks(optimum=_optimum, plan=_plan, memoryless=_memoryless, bound=_bound, exact=_is_exact, caption=caption_of)
