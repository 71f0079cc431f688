"""Regressors that predict a policy's return from its behaviour; fitted on demand, never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from lever_ray.errors import InvalidValue, check_known
from lever_ray.tasks.canonical import CANONICAL_STATES
from lever_ray.tasks.objective import Objective

MODELS: tuple[str, ...] = ("ridge", "hist-gradient-boosting")
"""Models of features alone; ``hist-gradient-boosting`` has the published settings."""
TERM_MODELS: tuple[str, ...] = ("additive-ridge",)
"""Models that add up over the terms of an objective; they learn from returns on own objectives, and need ``terms``."""
TARGET_TIERS: dict[str, str] = {"composite": "I3", "own": "I1", "recorded": "I2"}
"""Information that a regressor uses, by target."""
TARGETS: tuple[str, ...] = tuple(TARGET_TIERS)
"""``composite``: policies relabelled offline with the new objective; ``own``: their own returns, as published;
``recorded``: the mean recorded rewards along their own rollouts, see :mod:`lever_ray.embedding.recorded`."""
_ADDITIVE_ALPHA = 3.0
_INTERCEPT_SCALE = 30.0
"""Factor on the constant feature of every term, so that its penalty does not count."""


class Predictor(Protocol):
    """Predicts returns from features of behaviour."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """float64[K] predicted returns, in reward units, of features float32[K, D]."""
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


@dataclass(frozen=True, eq=False)
class FittedRegressor:
    """A fitted predictor and what the fit cost.

    Attributes:
        model: one of :data:`MODELS` or :data:`TERM_MODELS`.
        target: one of :data:`TARGETS`.
        kind: the features that it reads, one of :data:`lever_ray.embedding.outcome.BEHAVIOUR_KINDS`.
        predictor: the fitted model.
        seconds: of fitting.
        rows: how many policies it was fitted on.
        canonical: canonical states that the features are averaged over.
        identified: bool[D], features that differ between the policies learnt from; what others are worth is not known.
            None where that was not asked.
    """

    model: str
    target: str
    kind: str
    predictor: Predictor
    seconds: float
    rows: int
    canonical: int = CANONICAL_STATES
    identified: np.ndarray | None = None


def fit_regressor(
    x: np.ndarray,
    y: np.ndarray,
    *,
    model: str = "ridge",
    target: str = "composite",
    kind: str = "psi",
    terms: np.ndarray | None = None,
    names: Sequence[str] = (),
    objective: Objective | None = None,
) -> FittedRegressor:
    """Fit a return regressor.

    ``additive-ridge`` writes the returns of policies on their own objectives (targets ``own``, ``recorded``) as sums
    over the terms of those objectives, every term a linear function of the features; it predicts with the sum over the
    terms of the new objective. The terms' coefficients are drawn towards a common vector (regularised
    multi-task learning, Evgeniou and Pontil, KDD 2004): policies of one objective alone seldom show what others do, and
    cannot tell what that would cost.

    Args:
        x: float32[P, D], features of policies of other environments.
        y: float64[P], their returns.
        model: one of :data:`MODELS` or :data:`TERM_MODELS`.
        target: what ``y`` is, for the record.
        kind: what ``x`` is, for the record.
        terms: float64[P, T], weights of the terms of each policy's own objective, see :func:`term_weights`.
        names: of these T terms.
        objective: what returns are predicted on; ``additive-ridge`` needs it and ``terms``.

    Raises:
        UnknownName: the model is not known.
        InvalidValue: there are fewer than two policies to learn from, or ``additive-ridge`` lacks ``terms``, the
            objective, or a policy whose objective has one of its terms.
    """
    check_known("regressor model", model, (*MODELS, *TERM_MODELS))
    if len(x) < 2:
        raise InvalidValue(
            f"a return regressor needs at least 2 policies of other environments at the same gamma, and the library "
            f"has {len(x)}; add environments to it, or choose ranker 'offline-return'"
        )
    if model == "additive-ridge":
        _check_terms(target, terms, names, objective)
    fit = _late(model)
    begun = perf_counter()
    if model == "additive-ridge":
        predictor: Predictor = _additive_ridge(fit, x, y, np.asarray(terms), term_weights(objective, names))  # type: ignore[arg-type]
    else:
        predictor = (_ridge if model == "ridge" else _hist_gradient_boosting)(fit, x, y)
    seconds, differ = perf_counter() - begun, np.ptp(x, axis=0) > 0
    return FittedRegressor(model, target, kind, predictor, seconds, len(x), identified=differ)


def term_weights(objective: Objective | str, terms: Sequence[str]) -> np.ndarray:
    """float64[T]: an objective's weight of every one of some terms; 0 where it lacks the term."""
    wanted = Objective.of(objective)
    return np.array([wanted.weight(term) for term in terms])


def _check_terms(target: str, terms: np.ndarray | None, names: Sequence[str], objective: Objective | None) -> None:
    if target == "composite" or terms is None or objective is None:
        raise InvalidValue(
            f"regressor model 'additive-ridge' adds up what single terms are worth, from returns on the policies' own "
            f"objectives, terms= and objective=; here target is {target!r}: use target 'own' or 'recorded', or model "
            "'ridge'"
        )
    most = np.abs(terms).max(axis=0)
    missing = [term for term, known in zip(names, most, strict=True) if objective.weight(term) != 0 and known == 0]
    if missing:
        raise InvalidValue(
            f"no policy of another environment tells what {', '.join(missing)} of objective {objective.name!r} is "
            "worth; train some for an objective with that term, or choose ranker 'offline-return'"
        )


def _late(model: str) -> Any:
    """What a model is fitted by: SciPy's solver, or scikit-learn's estimator, whose import takes more than a second."""
    if model == "hist-gradient-boosting":
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor
    from scipy.linalg import solve

    return solve


def _ridge_coefficients(solve: Any, x: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    """float64[D]: the minimum of ``|x b - y|^2 + alpha |b|^2``, by Cholesky, over rows where there are fewer of them.

    Step by step as scikit-learn's ``Ridge`` does it, so that results are the same to the last bit.
    """
    over_rows = x.shape[1] > len(x)
    products, wanted = (x @ x.T, y) if over_rows else (x.T @ x, x.T @ y)
    products.flat[:: len(products) + 1] += alpha
    found = solve(products, wanted[:, None], assume_a="pos", overwrite_a=True)[:, 0]
    return np.asarray(x.T @ found if over_rows else found)


def _centre_and_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation float64[D] of every feature; 1 for the latter where it is constant."""
    centre, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    scale[scale < 1e-9] = 1.0
    return centre, scale


def _ridge(solve: Any, x: np.ndarray, y: np.ndarray) -> LinearPredictor:
    centre, scale = _centre_and_scale(x)
    z = (x - centre) / scale
    z_mean, y_mean = np.average(z, axis=0), float(np.average(y))
    fitted = _ridge_coefficients(solve, z - z_mean, y - y_mean, 1.0)
    coefficients = fitted / scale
    return LinearPredictor(coefficients, float(y_mean - z_mean @ fitted - centre @ coefficients))


def _additive_ridge(solve: Any, x: np.ndarray, y: np.ndarray, terms: np.ndarray, wanted: np.ndarray) -> LinearPredictor:
    """The return on ``wanted`` float64[T], as one linear function."""
    count = terms.shape[1]
    centre, scale = _centre_and_scale(x)
    z = (x - centre) / scale
    shared = z * terms.sum(axis=1, keepdims=True)
    own = [z * terms[:, [term]] for term in range(count)]
    design = np.hstack([shared, *own, _INTERCEPT_SCALE * terms])
    fitted = _ridge_coefficients(solve, design, y, _ADDITIVE_ALPHA)
    by_term = fitted[:-count].reshape(1 + count, -1)
    coefficients = wanted @ (by_term[0] + by_term[1:]) / scale
    constant = _INTERCEPT_SCALE * float(wanted @ fitted[-count:])
    return LinearPredictor(coefficients, constant - float(centre @ coefficients))


def _hist_gradient_boosting(estimator: Any, x: np.ndarray, y: np.ndarray) -> Any:
    settings = {
        "max_iter": 300,
        "learning_rate": 0.05,
        "max_depth": 3,
        "min_samples_leaf": 10,
        "l2_regularization": 1.0,
        "early_stopping": False,
    }
    return estimator(**settings, random_state=0).fit(x, y)
