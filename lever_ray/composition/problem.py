"""What a query asks: a task, an objective, and the policies that may answer it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from lever_ray.policies.group import PolicyGroup
from lever_ray.tasks.canonical import CanonicalStates
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment


@dataclass(frozen=True, eq=False)
class Problem:
    """One query, made once and handed on.

    Attributes:
        task: the environment.
        objective: the composite objective, resolved against its terms.
        members: the groups whose policies may be composed.
        environment: what the library calls the environment.
        states: at which embeddings are averaged; None where nothing is embedded.
    """

    task: Environment
    objective: Objective
    members: tuple[PolicyGroup, ...]
    environment: str = ""
    states: CanonicalStates | None = None

    @cached_property
    def compiled(self) -> CompiledTask:
        """The task under the objective, as kernels take it."""
        return self.task.compile(self.objective)
