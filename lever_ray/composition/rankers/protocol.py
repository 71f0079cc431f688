"""What a ranker is: bound to a problem, it scores candidates."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import Operator
from lever_ray.composition.problem import Problem
from lever_ray.composition.scores import Scores


class Scorer(Protocol):
    """Predicts the returns of mixtures of a space's members, for one problem."""

    def score(self, space: CandidateSpace, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """Predicted returns of mixtures int32[K, m], rows of ``space.pool``."""
        ...

    def member_scores(self, space: CandidateSpace, /) -> np.ndarray | None:
        """float64[P], what is known of single members without evaluating them; None where they must be scored."""
        ...


@runtime_checkable
class Ranker(Protocol):
    """Makes scorers; a small frozen object, fixed before any reward is seen."""

    @property
    def name(self) -> str:
        """As users write it."""
        ...

    @property
    def tier(self) -> str:
        """Information used: ``I0`` Q-tables, ``I1`` successors, ``I2`` mean rewards, ``I3`` reward function."""
        ...

    @property
    def ranks_routes(self) -> bool:
        """Whether it can rank candidates of operators that answer with a route."""
        ...

    def bind(self, problem: Problem) -> Scorer:
        """The scorer of one problem's candidates."""
        ...
