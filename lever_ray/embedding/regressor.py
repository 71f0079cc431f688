"""Regressors that predict a policy's return from its behavioural embedding; fitted on demand, never stored."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from lever_ray.errors import InvalidValue, check_known

MODELS: tuple[str, ...] = ("ridge", "hist-gradient-boosting")
"""``ridge`` is the default; ``hist-gradient-boosting`` has the published settings."""
TARGETS: tuple[str, ...] = ("composite", "own")
"""``composite``: policies relabelled offline with the new objective; ``own``: their own returns, as published."""


class Predictor(Protocol):
    """Predicts returns from embeddings."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """float64[K] predicted returns, in reward units, of embeddings float32[K, D]."""
        ...


@dataclass(frozen=True, eq=False)
class LinearPredictor:
    """``x @ coefficients + intercept``, with coefficients float64[D].

    Summed row by row: a matrix product rounds differently with the number of rows, and predictions must not depend on
    how candidates are batched.
    """

    coefficients: np.ndarray
    intercept: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        """See :class:`Predictor`."""
        return np.einsum("kd,d->k", x.astype(np.float64), self.coefficients) + self.intercept


@dataclass(frozen=True)
class FittedRegressor:
    """A fitted predictor and what the fit cost.

    Attributes:
        model: one of :data:`MODELS`.
        target: one of :data:`TARGETS`.
        kind: the embedding that it reads, ``psi`` or ``psi_static``.
        predictor: the fitted model.
        seconds: of fitting.
        rows: how many policies it was fitted on.
    """

    model: str
    target: str
    kind: str
    predictor: Predictor
    seconds: float
    rows: int


def fit_regressor(
    x: np.ndarray, y: np.ndarray, *, model: str = "ridge", target: str = "composite", kind: str = "psi"
) -> FittedRegressor:
    """Fit a return regressor.

    Args:
        x: float32[P, D], embeddings of policies of other environments.
        y: float64[P], their returns.
        model: one of :data:`MODELS`.
        target: what ``y`` is, for the record.
        kind: what ``x`` is, for the record.

    Raises:
        UnknownName: the model is not known.
        InvalidValue: there are fewer than two policies to learn from.
    """
    check_known("regressor model", model, MODELS)
    if len(x) < 2:
        raise InvalidValue(
            f"a return regressor needs at least 2 policies of other environments at the same gamma, and the library "
            f"has {len(x)}; add environments to it, or choose ranker 'offline-return'"
        )
    fitter = _ridge if model == "ridge" else _hist_gradient_boosting
    estimators = _estimators()
    begun = perf_counter()
    predictor = fitter(estimators, x, y)
    return FittedRegressor(model, target, kind, predictor, perf_counter() - begun, len(x))


def _estimators() -> Any:
    """scikit-learn's estimators; imported late, since that takes more than a second."""
    from sklearn import ensemble, linear_model

    return {"ridge": linear_model.Ridge, "hist-gradient-boosting": ensemble.HistGradientBoostingRegressor}


def _ridge(estimators: Any, x: np.ndarray, y: np.ndarray) -> LinearPredictor:
    centre, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    scale[scale < 1e-9] = 1.0
    fitted = estimators["ridge"](alpha=1.0).fit((x - centre) / scale, y)
    coefficients = fitted.coef_ / scale
    return LinearPredictor(coefficients, float(fitted.intercept_ - centre @ coefficients))


def _hist_gradient_boosting(estimators: Any, x: np.ndarray, y: np.ndarray) -> Any:
    settings = {
        "max_iter": 300,
        "learning_rate": 0.05,
        "max_depth": 3,
        "min_samples_leaf": 10,
        "l2_regularization": 1.0,
        "early_stopping": False,
    }
    return estimators["hist-gradient-boosting"](**settings, random_state=0).fit(x, y)
