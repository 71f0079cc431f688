"""At most B candidates, chosen as scores come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.strategies.evolution import Archive, by_scale, rounds
from lever_ray.composition.strategies.protocol import Proposals, every_candidate
from lever_ray.errors import check_whole

BUDGET = 1_000
"""B, unless told otherwise."""


@dataclass(frozen=True)
class Budgeted:
    """At most B candidates, by rounds of designs and offspring; see :mod:`lever_ray.composition.strategies.evolution`.

    Attributes:
        budget: B; any prefix of the search is one with a smaller budget.
        restarts: populations of candidates that evolve apart.
        seed: of every draw.

    Raises:
        InvalidValue: ``budget`` or ``restarts`` is below 1, or the seed below 0.
    """

    budget: int = BUDGET
    restarts: int = 4
    seed: int = 0
    name: ClassVar[str] = "budgeted"
    needs_member_scores: ClassVar[bool] = False
    parameters: ClassVar[tuple[str, ...]] = ("budget", "restarts", "seed")

    def __post_init__(self) -> None:
        check_budget(self.budget)
        check_whole("restarts", self.restarts, 1, "populations")
        check_whole("seed", self.seed, 0, "a seed")

    @property
    def id(self) -> str:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`."""
        return f"{self.name}-{self.budget}"

    def propose(self, space: CandidateSpace, _scores: Sequence[np.ndarray] | None) -> Proposals:
        """See :class:`~lever_ray.composition.strategies.protocol.Strategy`; all where there are no more than B."""
        if self.budget >= space.candidates:
            yield every_candidate(space)
            return
        orders, archive = by_scale(space), Archive.of(space.sizes)
        for places, populations in rounds(archive, budget=self.budget, populations=self.restarts, seed=self.seed):
            scores = yield np.stack([order[places[:, axis]] for axis, order in enumerate(orders)], axis=1)
            assert scores is not None
            archive.add(places, populations, scores)


def check_budget(budget: int) -> None:
    """Refuse a budget that is no whole number or below 1.

    Raises:
        InvalidValue: naming it.
    """
    check_whole("budget", budget, 1, "candidates")
