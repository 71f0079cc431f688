"""What operators answer with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from lever_ray.composition.option_agent import OptionPlayer

SUPPORT_LIMITED, EVALUATES_ROLLOUTS, PROPAGATES_VALUE = "support-limited", "evaluates rollouts", "propagates value"
"""Regimes: no value is propagated; members' rollouts are evaluated; a search propagates value over the union."""


class Followed(NamedTuple):
    """A part of a route along which one member is followed.

    Attributes:
        member: row of the pool.
        begins: step from which on.
        ends: why it ends, one of :data:`lever_ray.composition.segments.SEGMENT_ENDS`.
    """

    member: int
    begins: int
    ends: str


@dataclass(frozen=True, eq=False)
class Composed:
    """What an operator makes of a candidate, or of all members.

    Attributes:
        q: float32[S, A], action values (-inf for actions that are excluded); None where the answer is a route.
        actions: int16[T], the route; None for tables, and where there are several starts.
        routes: a route for each start, of operators that answer several.
        total: its return where the operator has searched for it, in reward units; None where a ranker tells.
        left_support: whether that is the return of a prefix.
        segments: segments simulated, of ``options``.
        followed: who is followed along the route from the likeliest start, of ``options``.
        warnings: what a careful reader should know.
        player: plays in closed loop, of ``options``.
    """

    q: np.ndarray | None = None
    actions: np.ndarray | None = None
    routes: tuple[np.ndarray, ...] = ()
    total: float | None = None
    left_support: bool = False
    segments: int | None = None
    followed: tuple[Followed, ...] = ()
    warnings: tuple[str, ...] = ()
    player: OptionPlayer | None = None
