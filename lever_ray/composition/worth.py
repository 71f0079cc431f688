"""What beginnings of routes are worth: the score that a search over segments follows."""

from __future__ import annotations

from dataclasses import dataclass

from lever_ray.tasks.kernel import CompiledTask


@dataclass(frozen=True, eq=False)
class Worth:
    """A score, as a task that kernels follow in place of the rewarded one.

    Attributes:
        task: the environment, with the score in place of the reward.
        laps: whether a loop that is followed to the horizon scores in every lap.
        constant: what every route's score is raised by, in reward units.
        warnings: what a careful reader should know.
    """

    task: CompiledTask
    laps: bool = True
    constant: float = 0.0
    warnings: tuple[str, ...] = ()
