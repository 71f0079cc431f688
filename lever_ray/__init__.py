"""lever-ray: find, predict and compose trained reinforcement-learning policies, offline, for a new objective.

Public names are loaded on first use, so that ``import lever_ray`` is fast and starts nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lever_ray.kernel_room import find_room

if TYPE_CHECKING:
    from lever_ray import plot
    from lever_ray.composition.recipe import Recipe
    from lever_ray.errors import LeverError, UnmatchedQuery
    from lever_ray.learning.sarsa import TrainingRun, train
    from lever_ray.library.library import PolicyLibrary
    from lever_ray.library.memory import MemoryLibrary
    from lever_ray.library.ports.exporting import export
    from lever_ray.library.ports.importing import read_policies
    from lever_ray.library.record import PolicyRecord
    from lever_ray.query.compose import compose
    from lever_ray.query.parse import parse_query
    from lever_ray.query.result import CompositionResult
    from lever_ray.ray_execution import ShardedLibrary
    from lever_ray.tasks.finite.task import FiniteTask
    from lever_ray.tasks.gridworld.env import GridWorld
    from lever_ray.tasks.gridworld.layout import Layout
    from lever_ray.tasks.objective import Objective
    from lever_ray.tasks.optimum import optimum
    from lever_ray.tasks.protocol import Optimum
    from lever_ray.tasks.rollout import Rollout, rollout

__version__ = "0.2.0"

_HOMES = {
    "CompositionResult": "query.result",
    "FiniteTask": "tasks.finite.task",
    "GridWorld": "tasks.gridworld.env",
    "Layout": "tasks.gridworld.layout",
    "LeverError": "errors",
    "MemoryLibrary": "library.memory",
    "Objective": "tasks.objective",
    "Optimum": "tasks.protocol",
    "PolicyLibrary": "library.library",
    "PolicyRecord": "library.record",
    "Recipe": "composition.recipe",
    "Rollout": "tasks.rollout",
    "ShardedLibrary": "ray_execution",
    "TrainingRun": "learning.sarsa",
    "UnmatchedQuery": "errors",
    "compose": "query.compose",
    "export": "library.ports.exporting",
    "optimum": "tasks.optimum",
    "parse_query": "query.parse",
    "read_policies": "library.ports.importing",
    "rollout": "tasks.rollout",
    "train": "learning.sarsa",
}

__all__ = [
    "CompositionResult",
    "FiniteTask",
    "GridWorld",
    "Layout",
    "LeverError",
    "MemoryLibrary",
    "Objective",
    "Optimum",
    "PolicyLibrary",
    "PolicyRecord",
    "Recipe",
    "Rollout",
    "ShardedLibrary",
    "TrainingRun",
    "UnmatchedQuery",
    "compose",
    "export",
    "optimum",
    "parse_query",
    "plot",
    "read_policies",
    "rollout",
    "train",
]


find_room()


def __getattr__(name: str) -> Any:
    if name == "plot":
        return import_module("lever_ray.plot")
    if name in _HOMES:
        return getattr(import_module(f"lever_ray.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lever_ray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
