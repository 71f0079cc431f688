"""A question as an entrant sees it, and what it may answer with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lever_ray.tasks.kernel import GOAL, ITEM, SWITCH, TRAP
from lever_ray.tasks.protocol import Environment


@dataclass(frozen=True, eq=False)
class Members:
    """The policies of one environment and discount that were trained for one objective, in the order of candidates.

    Attributes:
        objective: it.
        policies: int32[n], their numbers in the benchmark's files.
        q: float32[n, S, A], action values in reward units.
        support: uint8[n, S, B], which actions were taken in training: action ``a`` is bit ``a % 8`` of byte ``a // 8``.
        totals: float64[n], recorded greedy returns on the own objective.
        descriptions: n sentences.
        successors: int32[n, S, A], recorded observations, -1 where an action was not taken; None below tier I1.
        mean_rewards: float32[n, S, A], mean recorded rewards on the own objective; None below tier I2.
    """

    objective: str
    policies: np.ndarray
    q: np.ndarray
    support: np.ndarray
    totals: np.ndarray
    descriptions: tuple[str, ...]
    successors: np.ndarray | None = None
    mean_rewards: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.policies)


@dataclass(frozen=True, eq=False)
class Question:
    """One question, with what a tier may know.

    Attributes:
        name: of the question.
        environment: its name.
        family: source of the environment.
        split: public or private.
        gamma: discount of the members.
        mode: which pool the groups are from.
        objective: id of the composite objective.
        groups: the members that candidates combine, a group for each part of the objective.
        pool: all policies that an operator may use; never any for the objective itself.
        candidates: int64[K, m], index tuples, a member of each group; a candidate's number is its row.
        horizon: steps after which an episode is cut.
        starts: int32[n], observations where episodes begin; None below tier I1.
        events: uint8[S], bits 1 goal, 2 trap, 4 switch, 8 item; None below tier I1 and where they are held out.
        task: the environment with its reward function; None below tier I3.
    """

    name: str
    environment: str
    family: str
    split: str
    gamma: float
    mode: str
    objective: str
    groups: tuple[Members, ...]
    pool: tuple[Members, ...]
    candidates: np.ndarray
    horizon: int
    starts: np.ndarray | None = None
    events: np.ndarray | None = None
    task: Environment | None = None


class Route(NamedTuple):
    """An operator's answer as a sequence of actions.

    Attributes:
        actions: int[T], from the start on; what is left of the horizon is not played.
    """

    actions: np.ndarray


Answer = np.ndarray | Route | None
"""float[K], a score for each candidate; float[S, A], a table whose greedy policy is played; a route; or None for no
answer, which counts as the random policy."""
Entrant = Callable[[Question], Answer]
"""What is scored: a ranker or an operator from outside."""


def events_of(task: Environment) -> np.ndarray:
    """uint8[S]: bits 1 goal, 2 trap, 4 switch, 8 item."""
    events: np.ndarray = (task.dynamics.flags & (GOAL | TRAP | SWITCH | ITEM)).astype(np.uint8)
    return events
