"""What the grid adds to the seam: its optimum, its planner, self-avoiding routes, an upper bound and captions."""

from __future__ import annotations

import numpy as np

from lever_ray.tasks.gridworld.bounds import upper_bound
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.memoryless import best_self_avoiding
from lever_ray.tasks.gridworld.optimum import best_route, is_exact
from lever_ray.tasks.gridworld.planner import plan
from lever_ray.tasks.gridworld.text import caption_of
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Hooks, Plan


def _plan(environment: Layout, objective: Objective, *, width: int, support: np.ndarray | None = None) -> Plan:
    return plan(environment.compile(objective), width=width, support=support)


def _memoryless(environment: Layout, objective: Objective, *, support: np.ndarray) -> float:
    return best_self_avoiding(environment, objective=objective, support=support).total


def _bound(environment: Layout, objective: Objective, *, shaping: float = 1.0) -> float:
    return upper_bound(environment, objective=objective, shaping=shaping)


HOOKS = Hooks(optimum=best_route, plan=_plan, memoryless=_memoryless, bound=_bound, exact=is_exact, caption=caption_of)
