"""The policies of one environment that share an objective, as arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lever_ray.tasks.support import taken_actions


class GroupKey(NamedTuple):
    """What the members of a group have in common; the objective is empty where only their descriptions tell it."""

    environment: str
    objective: str
    gamma: float
    episodes: int


class Run(NamedTuple):
    """A training run.

    Attributes:
        seed: of it.
        steps: environment steps that it took.
        seconds: that it took; NaN where they are not known.
    """

    seed: int
    steps: int
    seconds: float


@dataclass(frozen=True, eq=False)
class PolicyGroup:
    """The policies of one environment that share a sub-objective, ordered by id.

    Attributes:
        objective: the sub-objective's name.
        ids: n policy ids, ascending.
        q: float32[n, S, A], action values in reward units.
        support: uint8[n, S, B], which actions were taken in training, see :mod:`lever_ray.tasks.support`.
        totals: float64[n], recorded greedy returns on the own objective.
        mean_rewards: float32[n, S, A], mean recorded rewards on the own objective; None where any member lacks them.
        runs: every training run that members come from.
        world: digest of the members' environment; empty where it is not known.
        sources: what each member's support was derived from: ``visits``, ``transitions`` or ``unknown``; empty where
            all have visits.
    """

    objective: str
    ids: tuple[str, ...]
    q: np.ndarray
    support: np.ndarray
    totals: np.ndarray
    mean_rewards: np.ndarray | None = None
    runs: frozenset[Run] = frozenset()
    world: str = ""
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def all_sources(self) -> tuple[str, ...]:
        """Of every member what its support was derived from."""
        return self.sources or ("visits",) * len(self)

    @property
    def environment_steps(self) -> int:
        """Environment steps that training the members took."""
        return sum(run.steps for run in self.runs)

    @classmethod
    def merge(cls, objective: str, groups: Sequence[PolicyGroup]) -> PolicyGroup:
        """The members of several groups in the order given, as one group."""
        rewards = [group.mean_rewards for group in groups]
        return cls(
            objective=objective,
            ids=tuple(identity for group in groups for identity in group.ids),
            q=np.concatenate([group.q for group in groups]),
            support=np.concatenate([group.support for group in groups]),
            totals=np.concatenate([group.totals for group in groups]),
            mean_rewards=None if any(part is None for part in rewards) else np.concatenate(rewards),  # type: ignore[arg-type]
            runs=frozenset().union(*(group.runs for group in groups)),
            world=groups[0].world,
            sources=tuple(source for group in groups for source in group.all_sources),
        )

    def ordered(self) -> PolicyGroup:
        """The same members, ordered by id."""
        order = np.argsort(np.array(self.ids))
        rewards = None if self.mean_rewards is None else self.mean_rewards[order]
        return replace(
            self,
            ids=tuple(self.ids[row] for row in order),
            q=self.q[order],
            support=self.support[order],
            totals=self.totals[order],
            mean_rewards=rewards,
            sources=tuple(self.sources[row] for row in order) if self.sources else (),
        )

    def scales(self) -> np.ndarray:
        """float64[n]: standard deviation of each member's values over the entries it visited; 1 where that is 0."""
        visited = taken_actions(self.support, self.q.shape[2])
        values = np.where(visited, self.q.astype(np.float64), np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            scales = np.nanstd(values, axis=(1, 2))
        return np.where(np.isfinite(scales) & (scales > 0), scales, 1.0)
