"""Policies as a return regressor learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from lever_ray.embedding.regressor import term_weights
from lever_ray.errors import InvalidValue
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment


@dataclass(frozen=True, eq=False)
class RankingRows:
    """Policies as a return regressor learns from them.

    Attributes:
        environments: str[P], environment of each policy.
        layouts: str[P], digest of that environment's task.
        ids: str[P], its id.
        terms: float64[P, K], weights of its own objective in the order of the environments' terms, see
            :func:`lever_ray.embedding.regressor.term_weights`.
        x: float32[P, D], features of its behaviour.
        y: float64[P], returns on the target objective.
    """

    environments: np.ndarray
    layouts: np.ndarray
    ids: np.ndarray
    terms: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def without(self, environment: str, task: Environment) -> RankingRows:
        """The rows of all other environments, those with the same task under another name left out, too."""
        return self.taken((self.environments != environment) & (self.layouts != task.digest))

    @classmethod
    def merge(cls, parts: Sequence[RankingRows]) -> RankingRows:
        """Concatenate and sort by environment and id.

        Raises:
            InvalidValue: features or terms of the parts differ in number.
        """
        widths = {(part.terms.shape[1], part.x.shape[1]) for part in parts}
        if len(widths) > 1:
            raise InvalidValue(
                f"environments have differing numbers of (terms, features): {sorted(widths)}; learn from those of "
                "equal terms (terms=), by embedding 'outcome'"
            )
        names = [part.name for part in fields(cls)]
        whole = cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
        return whole.taken(np.lexsort((whole.ids, whole.environments)))

    def of_other_objectives(self, objective: Objective, terms: Sequence[str]) -> RankingRows:
        """The rows of policies that want something else: what an experiment about composing it may learn from.

        Args:
            objective: the composite objective.
            terms: those of the environments.
        """
        shares = np.abs(self.terms).sum(axis=1, keepdims=True)
        wanted = term_weights(objective, terms)
        return self.taken((self.terms * np.abs(wanted).sum() != wanted * shares).any(axis=1))

    def taken(self, rows: np.ndarray) -> RankingRows:
        """Some of the rows, bool[P] or int[n]."""
        return RankingRows(*(getattr(self, part.name)[rows] for part in fields(self)))
