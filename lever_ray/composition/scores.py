"""Predicted returns of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Scores:
    """Predicted returns of K mixtures.

    Attributes:
        values: float64[K], in reward units.
        left_support: bool[K], True where the prediction is the return of a prefix; such mixtures rank last.
    """

    values: np.ndarray
    left_support: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """One after the other."""
        return cls(
            np.concatenate([part.values for part in parts]), np.concatenate([part.left_support for part in parts])
        )

    def best(self) -> int:
        """Index of the best mixture, the first on a tie."""
        candidates = np.flatnonzero(~self.left_support) if not self.left_support.all() else np.arange(len(self.values))
        return int(candidates[np.argmax(self.values[candidates])])

    def comparable(self) -> np.ndarray:
        """float64[K]: values in the order of the ranking, mixtures that left the support below all others."""
        if not self.left_support.any():
            return self.values
        drop = np.ptp(self.values) + 1.0
        return self.values - drop * self.left_support

    def ranked(self) -> np.ndarray:
        """int64[K]: indices from best to worst, ties in the given order."""
        return np.lexsort((-self.values, self.left_support))
