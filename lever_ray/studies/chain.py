"""Chains of an optimal route that no policy of a library ever took, and libraries that are trained without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lever_ray.errors import InvalidValue, check_known
from lever_ray.learning.sarsa import Snapshot, TrainingRun, train
from lever_ray.policies.group import PolicyGroup
from lever_ray.studies.groups import group_of_snapshots
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import Rollout
from lever_ray.tasks.support import support_bits

CUTS: tuple[str, ...] = ("route", "bottleneck")
"""``route``: the chain's transitions are all that is taken out; other ways may lead round it. ``bottleneck``: other
ways onto the cells between its transitions are closed to everyone, so that what lies there is reached by it alone."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Successive transitions of a route.

    Attributes:
        pairs: bool[S, A], the chain; scratch may take it, no policy of the library does.
        barred: bool[S, A], other ways onto its inner cells, which nobody may take; none where ``cut`` is ``route``.
    """

    pairs: np.ndarray
    barred: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """bool[S, A]: what the policies of the library are trained without."""
        return self.pairs | self.barred


def chain_of(task: Environment, route: Rollout, *, length: int, position: float, cut: str = "route") -> Chain:
    """The chain of ``length`` transitions at a place of a route; longer ones at the same place hold shorter ones.

    A transition that the route takes twice counts once among its pairs. Ways onto the chain's inner cells that the
    route itself takes elsewhere are never barred, so that its return can still be had.

    Args:
        task: the environment.
        route: the route, as it was played.
        length: transitions of the chain; 0 for none.
        position: 0 for a chain that begins with the route, 1 for one that ends with it.
        cut: one of :data:`CUTS`.

    Raises:
        InvalidValue: the route is shorter, or ``length`` or ``position`` lies outside its domain.
        UnknownName: ``cut`` is not known.
    """
    check_known("cut", cut, CUTS)
    if not 0 <= length <= len(route.actions):
        raise InvalidValue(f"length is {length}; this route has 0 to {len(route.actions)} transitions")
    check_position(position)
    first = int(position * (len(route.actions) - length))
    part, shape = slice(first, first + length), (task.observations, task.actions)
    pairs, walked, moves = np.zeros(shape, bool), np.zeros(shape, bool), task.dynamics.moves
    pairs[route.observations[:-1][part], route.actions[part]] = True
    walked[route.observations[:-1], route.actions] = True
    inner = route.observations[first + 1 : first + length]
    enters = np.isin(moves, inner) & (moves != np.arange(task.observations)[:, None])
    return Chain(pairs, enters & ~walked if cut == "bottleneck" else np.zeros(shape, bool))


def check_position(position: float) -> None:
    """Refuse a place outside a route.

    Raises:
        InvalidValue: naming it.
    """
    if not 0.0 <= position <= 1.0:
        raise InvalidValue(f"position is {position}; 0 is a route's beginning, 1 its end")


def train_without(
    task: Environment,
    objective: str,
    missing: np.ndarray,
    *,
    gamma: float,
    shaping: float,
    episodes: int,
    seeds: int,
) -> list[TrainingRun]:
    """One training run per seed in the environment without some transitions: there the agent stays where it is.

    Args:
        task: the environment.
        objective: what is rewarded.
        missing: bool[S, A], the pairs that cannot be taken.
        gamma: discount.
        shaping: see :meth:`lever_ray.tasks.protocol.Environment.compile`.
        episodes: of each run.
        seeds: how many runs.
    """
    allowed = support_bits(~missing)
    return [
        train(task, objective=objective, episodes=episodes, gamma=gamma, seed=seed, shaping=shaping, support=allowed)
        for seed in range(seeds)
    ]


def library_group(objective: str, runs: Sequence[TrainingRun], missing: np.ndarray) -> PolicyGroup:
    """Worst, median and best snapshot of some runs as members that know nothing of the missing pairs.

    They have no record of these, and the value 0, with which tables begin.
    """
    snapshots = (snapshot for run in runs for snapshot in run.labelled().values())
    return group_of_snapshots(objective, (_without(snapshot, missing) for snapshot in snapshots))


def _without(snapshot: Snapshot, missing: np.ndarray) -> Snapshot:
    return replace(
        snapshot,
        q=np.where(missing, np.float32(0), snapshot.q),
        visits=np.where(missing, np.uint32(0), snapshot.visits),
        successors=np.where(missing, np.int32(-1), snapshot.successors),
        mean_rewards=np.where(missing, np.float32(0), snapshot.mean_rewards),
    )


def with_records(groups: Sequence[PolicyGroup], pairs: np.ndarray) -> list[PolicyGroup]:
    """The same members where pairs bool[S, A] are recorded beside their own; values stay as they were learnt."""
    bits = support_bits(pairs)
    return [replace(group, support=group.support | bits) for group in groups]


def reachable_part(task: Environment, taken: np.ndarray) -> np.ndarray:
    """bool[S, A]: the pairs among ``taken`` that can be come to from the start by pairs among them."""
    moves, seen = task.dynamics.moves, np.zeros(task.observations, bool)
    frontier = np.unique(task.dynamics.starts)
    while len(frontier):
        seen[frontier] = True
        after = np.unique(moves[frontier][taken[frontier]])
        frontier = after[~seen[after]]
    return taken & seen[:, None]
