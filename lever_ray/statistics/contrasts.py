"""What paired samples tell of each other: tests, their correction, agreement of orders."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def sign_flip(differences: np.ndarray, *, flips: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value of a paired sign-flip test that the mean difference over layouts is 0; NaN without data.

    Exact where all assignments of signs are at most ``flips``, i.e. for at most 14 layouts by default.

    Args:
        differences: float64[L], one per layout; NaN values are left out.
        flips: random assignments of signs, beside which the observed one counts.
        seed: of the assignments.
    """
    from scipy.stats import permutation_test

    known = differences[~np.isnan(differences)]
    if len(known) < 2:
        return 1.0 if len(known) else math.nan
    found = permutation_test(
        (known,),
        _size_of_mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=flips,
        alternative="greater",
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _size_of_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """|mean|, rounded so that assignments of signs which tie in exact arithmetic tie here."""
    return np.abs(np.mean(values, axis=axis)).round(12)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p-values; NaN ones stay, and do not count."""
    known = [place for place, p_value in enumerate(p_values) if not math.isnan(p_value)]
    corrected, highest = [math.nan] * len(p_values), 0.0
    for rank, place in enumerate(sorted(known, key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(known) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def rank_correlation(predicted: np.ndarray, real: np.ndarray) -> float:
    """Kendall tau-b of values that belong together; NaN where either ties throughout."""
    from scipy.stats import kendalltau

    return float(kendalltau(predicted, real).statistic) if len(real) > 1 else math.nan
