"""Return predicted from how a policy behaves; tier I1 on own returns, I3 on relabelled ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import Operator
from lever_ray.composition.outcome_task import OutcomeWorth, outcome_task
from lever_ray.composition.problem import Problem
from lever_ray.composition.scores import Scores
from lever_ray.composition.table_operators import kernel_form
from lever_ray.composition.worth import Worth
from lever_ray.embedding.outcome import BEHAVIOUR_KINDS, behaviour_features
from lever_ray.embedding.regressor import MODELS, TARGET_TIERS, TARGETS, TERM_MODELS, FittedRegressor, LinearPredictor
from lever_ray.embedding.successor import Embedder, make_embedder
from lever_ray.errors import InvalidValue, check_known
from lever_ray.tasks.canonical import CANONICAL_STATES, check_canonical
from lever_ray.tasks.kernel import GOAL, ITEM, SWITCH, TRAP
from lever_ray.tasks.protocol import Environment


@dataclass(frozen=True)
class Regressor:
    """Which return regressor ranks; it is fitted on a library's other environments.

    Attributes:
        regressor_model: ``additive-ridge`` (a sum over the objective's terms; not for target ``composite``), ``ridge``
            or ``hist-gradient-boosting`` (as published).
        regressor_target: ``own`` (returns on own objectives, as published), ``composite`` (policies relabelled offline
            with the new objective) or ``recorded`` (mean recorded rewards along their own rollouts).
        embedding: what is read of a policy: ``outcome``, ``psi`` or ``psi_static``.
        canonical: how many of an environment's canonical states the last two are averaged over; all that are stored,
            if more. The start is always among them.

    Raises:
        UnknownName: model, target or embedding is not known.
        InvalidValue: ``canonical`` is below 1, or the model does not learn from the target.
    """

    regressor_model: str = "additive-ridge"
    regressor_target: str = "own"
    embedding: str = "outcome"
    canonical: int = CANONICAL_STATES
    name: ClassVar[str] = "regressor"
    ranks_routes: ClassVar[bool] = False
    parameters: ClassVar[tuple[str, ...]] = ("regressor_model", "regressor_target", "embedding", "canonical")

    def __post_init__(self) -> None:
        check_known("regressor model", self.regressor_model, (*MODELS, *TERM_MODELS))
        check_known("regressor target", self.regressor_target, TARGETS)
        check_known("embedding", self.embedding, BEHAVIOUR_KINDS)
        check_canonical(self.canonical)
        if self.regressor_model in TERM_MODELS and self.regressor_target == "composite":
            raise InvalidValue(
                f"regressor_model {self.regressor_model!r} learns from returns on own objectives; set regressor_target "
                "to own or recorded, or regressor_model to ridge"
            )

    @property
    def tier(self) -> str:
        """See :class:`~lever_ray.composition.rankers.protocol.Ranker`."""
        return TARGET_TIERS[self.regressor_target]

    @property
    def no_prefixes(self) -> str:
        """Why it cannot score beginnings of routes; empty where it can."""
        return _no_prefixes(self.regressor_model, self.embedding)

    def bind(self, _problem: Problem) -> RegressorScorer:
        """Nothing is learnt from a problem: see :func:`lever_ray.query.ranking.ready`, which fits it on a library.

        Raises:
            InvalidValue: always.
        """
        raise InvalidValue("ranker 'regressor' has to be fitted on a library first; see lever_ray.query.ranking.ready")


@dataclass(frozen=True, eq=False)
class FittedRanker:
    """A return regressor that was fitted.

    Attributes:
        fitted: it, on other environments than those that are asked about.
    """

    fitted: FittedRegressor
    name: ClassVar[str] = "regressor"
    ranks_routes: ClassVar[bool] = False

    @property
    def tier(self) -> str:
        """See :class:`~lever_ray.composition.rankers.protocol.Ranker`."""
        return TARGET_TIERS[self.fitted.target]

    @property
    def no_prefixes(self) -> str:
        """Why it cannot score beginnings of routes; empty where it can."""
        return _no_prefixes(self.fitted.model, self.fitted.kind)

    def bind(self, problem: Problem) -> RegressorScorer:
        """See :class:`~lever_ray.composition.rankers.protocol.Ranker`."""
        assert problem.states is not None, "what a library is asked has canonical states"
        return RegressorScorer(make_embedder(problem.task, problem.states.thinned(self.fitted.canonical)), self.fitted)


def _no_prefixes(model: str, embedding: str) -> str:
    if embedding != "outcome":
        return f"embedding {embedding!r} says nothing of a beginning"
    return "" if model in ("ridge", *TERM_MODELS) else f"model {model!r} is not linear in outcomes"


_OUTCOMES = {"goal": GOAL, "trap": TRAP, "item": ITEM, "switch": SWITCH}


def _has_outcome(task: Environment, name: str) -> bool:
    return bool((task.dynamics.flags & _OUTCOMES[name]).any())


def _unknown_told(task: Environment, name: str) -> str:
    """What is not known of an outcome, and what follows for routes."""
    ends = dict(zip(("goal", "trap"), task.ends, strict=False))
    if name == "trap":
        return f"no policy learnt from tells what ending in {ends.get(name, name)} costs; routes avoid it"
    what = {"goal": f"ending in {ends.get(name, name)}", "item": "taking an item", "switch": "turning the switch on"}
    return f"no policy learnt from tells what {what[name]} is worth; routes neither seek nor avoid it"


@dataclass(frozen=True)
class RegressorScorer:
    """Scores by a fitted regressor.

    Attributes:
        embedder: of the environment.
        regressor: fitted on other environments.
    """

    embedder: Embedder
    regressor: FittedRegressor

    def score(self, space: CandidateSpace, mixtures: np.ndarray, *, operator: Operator, masked: bool) -> Scores:
        """See :class:`~lever_ray.composition.rankers.protocol.Scorer`."""
        pool, rows, code = kernel_form(operator, space, mixtures)
        kind = self.regressor.kind
        x = behaviour_features(self.embedder, pool, rows, operator=code, masked=masked, kind=kind)
        return Scores(self.regressor.predictor.predict(x), np.zeros(len(mixtures), bool))

    def worth(self, problem: Problem, _space: CandidateSpace, /) -> Worth:
        """Outcomes so far, each with the coefficient that other environments' policies and their returns gave it."""
        predictor, known = self.regressor.predictor, self.regressor.identified
        assert isinstance(predictor, LinearPredictor), "the ranker was checked for it"
        worth = OutcomeWorth.of(predictor.coefficients, predictor.intercept, known=known)
        unknown = [name for name in worth.unidentified if _has_outcome(problem.task, name)]
        neutral = worth._replace(**{name: 0.0 for name in worth.unidentified if name != "trap"})
        task = outcome_task(problem.task.dynamics, problem.task.horizon, neutral)
        told = tuple(_unknown_told(problem.task, name) for name in unknown)
        return Worth(task, constant=worth.constant, warnings=told)

    def member_scores(self, _space: CandidateSpace, /) -> np.ndarray | None:
        """None: members are embedded."""
        return None
