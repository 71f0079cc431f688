"""One query, from text or objective to a composed policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from lever_ray.composition.operators import Combine, Operator, check_composable, composition_operator
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers import (
    OfflineReturnRanker,
    Ranker,
    RecordedReturnRanker,
    RegressorRanker,
    check_ranker,
)
from lever_ray.composition.routes import ROUTE_CODES
from lever_ray.composition.search import Strategy
from lever_ray.embedding.canonical import CANONICAL_STATES, check_canonical
from lever_ray.embedding.outcome import states_that_matter
from lever_ray.embedding.regressor import FittedRegressor, fit_regressor
from lever_ray.embedding.successor import make_embedder
from lever_ray.errors import InvalidValue, LibraryError, UnknownName
from lever_ray.executor import Executor
from lever_ray.library.reader import LibraryReader
from lever_ray.library.record import EnvironmentRecord
from lever_ray.library.retrieval import THRESHOLD, Retrieval
from lever_ray.library.stored import GroupKey
from lever_ray.query.composer import PLAN_WIDTH, Composer
from lever_ray.query.members import group_keys, retrieve
from lever_ray.query.parse import parse_query
from lever_ray.query.result import CompositionResult
from lever_ray.query.warm import warm_up_for, warm_up_routes
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment


@dataclass(frozen=True)
class RegressorSettings:
    """Which return regressor the ranker ``regressor`` uses.

    Attributes:
        model: ``ridge``, ``additive-ridge`` (a sum over the objective's terms; not for target ``composite``) or
            ``hist-gradient-boosting`` (as published).
        target: ``composite`` (policies relabelled offline with the new objective), ``own`` (as published) or
            ``recorded`` (mean recorded rewards along their own rollouts).
        embedding: ``psi``, ``psi_static`` or ``outcome``.
        canonical: how many of an environment's canonical states the first two are averaged over; all that are stored,
            if more. The start is always among them.

    Raises:
        InvalidValue: ``canonical`` is below 1.
    """

    model: str = "additive-ridge"
    target: str = "own"
    embedding: str = "outcome"
    canonical: int = CANONICAL_STATES

    def __post_init__(self) -> None:
        check_canonical(self.canonical)


def compose(
    library: LibraryReader,
    query: str | None = None,
    *,
    environment: str,
    objective: Objective | str | None = None,
    groups: Sequence[str] | None = None,
    strategy: str | Strategy = "hybrid",
    k: int = 3,
    operator: str | Operator | Combine = "sum",
    ranker: str | None = None,
    regressor: RegressorSettings | FittedRegressor = RegressorSettings(),
    support: str = "mask",
    weights: Mapping[str, float] | None = None,
    gamma: float | None = None,
    episodes: int | None = None,
    width: int = PLAN_WIDTH,
    retrieval: str | Retrieval = "objective",
    threshold: float = THRESHOLD,
    executor: Executor | None = None,
) -> CompositionResult:
    """Answer a new composite objective from a library, without touching the environment.

    Args:
        library: a :class:`~lever_ray.library.store.PolicyLibrary`, or one sharded over actors.
        query: what is wanted, in words; or give ``objective``.
        environment: name of the environment in the library.
        objective: the composite objective; bypasses text.
        groups: sub-objectives to take members from; by default the smallest exact cover that the library holds.
        strategy: one of :data:`~lever_ray.composition.search.STRATEGIES`, or a
            :class:`~lever_ray.composition.search.Strategy` with its parameters.
        k: members per group for ``hybrid``.
        operator: one of :data:`~lever_ray.composition.operators.OPERATORS`, or a function of float64[m, S, A], the
            members' Q-tables, that gives float[S, A] (slower: every candidate is composed in full).
        ranker: ``regressor``, ``recorded-return`` or ``offline-return``; by default ``regressor``, and
            ``offline-return`` for operators that answer with a route.
        regressor: which one, for the ranker ``regressor``; or one fitted beforehand (:func:`fit`).
        support: ``mask`` leaves out actions that no member ever took, ``ignore`` does not.
        weights: factor on the action values of each group, by sub-objective.
        gamma: discount of the members; needed where the library holds several.
        episodes: training budget of the members; needed where the library holds several.
        width: beam width of the operator ``plan``.
        retrieval: who the members of a group are, see :class:`~lever_ray.library.retrieval.Retrieval`: ``objective``,
            policies trained for it; ``description``, policies of which a similar text tells; or one with its settings.
        threshold: least similarity of a member's description to the group's, where ``retrieval`` is a name.
        executor: where large candidate sets are scored; in this process if None.

    Raises:
        UnmatchedQuery: the text names no objective.
        UnknownName: environment, objective term, strategy, operator, ranker, support or retrieval rule is not known.
        UncoveredObjective: no exact cover exists, or ``groups`` is none.
        InvalidValue: both or neither of ``query`` and ``objective``, a number outside its domain, or a ranker, weights
            or support rule that the operator gives no meaning to.
        LibraryError: a group has no policy, or none whose description is similar enough; the library is damaged, or
            too small for a regressor.
    """
    chosen = strategy if isinstance(strategy, Strategy) else Strategy.of(strategy, k=k)
    found_by = retrieval if isinstance(retrieval, Retrieval) else Retrieval(retrieval, threshold)
    combine = composition_operator(operator)
    ranked_by = ranker or ("offline-return" if combine.is_route else "regressor")
    check_composable(combine, support=support, weighted=weights is not None)
    check_ranker(ranked_by, combine)
    if width < 1:
        raise InvalidValue(f"width is {width}; a beam keeps at least 1 state")
    begun = perf_counter()
    held = library.environment(environment)
    opened = perf_counter()
    wanted = _objective(query, objective, held.task)
    parsed = perf_counter()
    keys = group_keys(library, environment, wanted, groups, gamma, episodes)
    members = retrieve(library, keys, found_by)
    retrieved = perf_counter()
    fitted: FittedRegressor | None = None
    if ranked_by == "regressor":
        if isinstance(regressor, FittedRegressor):
            fitted = regressor
        else:
            fitted = fit(library, environment, wanted, keys[0], regressor)
    warm_up_for(held.task)
    if combine.name in ROUTE_CODES:
        warm_up_routes()
    prepared = perf_counter()
    scorer = make_ranker(ranked_by, held, wanted, regressor=fitted)
    making = perf_counter() - prepared
    composer = Composer(chosen, combine, scorer, support, executor, width=width)
    problem = Problem(held.task, wanted, tuple(members), environment)
    factors = None if weights is None else _group_weights(keys, weights, held.task.terms)
    answer = composer.compose(problem, weights=factors)
    finding = opened - begun + retrieved - parsed
    stages = {"parse": parsed - opened, "retrieve": finding + answer.timings["retrieve"]}
    timings = {**stages, "rank": making + answer.timings["rank"], "compose": answer.timings["compose"]}
    timings |= {"total": sum(timings.values()), "coverage": answer.timings["coverage"]}
    timings |= {"fit": 0.0 if fitted is None else fitted.seconds}
    return replace(answer, timings=timings, retrieval=found_by.label)


def _objective(query: str | None, objective: Objective | str | None, task: Environment) -> Objective:
    if query is not None and objective is None:
        objective = parse_query(query, words=task.describe()).objective
    elif objective is None or query is not None:
        raise InvalidValue("give either a query in words or objective=, and not both")
    return Objective.of(objective).resolved(task.terms)


def make_ranker(
    name: str, environment: EnvironmentRecord, objective: Objective, *, regressor: FittedRegressor | None = None
) -> Ranker:
    """The ranker of that name for one environment; ``regressor`` needs a fitted one."""
    if name == "regressor":
        assert regressor is not None
        states = environment.canonical.thinned(regressor.canonical)
        return RegressorRanker(make_embedder(environment.task, states), regressor)
    if name == "recorded-return":
        task = environment.task
        return RecordedReturnRanker(task.dynamics, task.horizon, task.discount)
    return OfflineReturnRanker(environment.task.compile(objective))


def fit(
    library: LibraryReader, environment: str, objective: Objective, key: GroupKey, settings: RegressorSettings
) -> FittedRegressor:
    """Fit the return regressor on the library's other environments, at the members' gamma."""
    task = library.environment(environment).task
    rows = library.ranking_rows(
        terms=task.terms,
        target=settings.target,
        objective=objective,
        gamma=key.gamma,
        episodes=key.episodes,
        kind=settings.embedding,
        canonical=settings.canonical,
    ).without(environment, task)
    if settings.target != "composite":
        rows = rows.of_other_objectives(objective, task.terms)
    if len(rows.x) < 2:
        raise LibraryError(
            f"ranker 'regressor' learns from other environments at gamma {key.gamma:g}, {key.episodes} episodes, and "
            f"the library has {len(rows.x)} such policies; add environments to it, or use ranker='offline-return'"
        )
    fitted = fit_regressor(
        rows.x,
        rows.y,
        model=settings.model,
        target=settings.target,
        kind=settings.embedding,
        terms=rows.terms,
        names=task.terms,
        objective=objective,
    )
    return replace(fitted, canonical=states_that_matter(settings.embedding, settings.canonical))


def _group_weights(keys: Sequence[GroupKey], weights: Mapping[str, float], terms: Sequence[str]) -> list[float]:
    given = {Objective.of(name).resolved(terms).name: weight for name, weight in weights.items()}
    for name in given:
        if name not in {key.objective for key in keys}:
            raise UnknownName("group", name, [key.objective for key in keys], hint="Weights are given per group.")
    return [given.get(key.objective, 1.0) for key in keys]
