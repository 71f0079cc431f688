"""Rankers that learn from a library's other environments, made ready for a question."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from lever_ray.behaviour.ranking import ranking_rows
from lever_ray.behaviour.rows import RankingRows
from lever_ray.composition.rankers.protocol import Ranker
from lever_ray.composition.rankers.regressor import FittedRanker, Regressor
from lever_ray.composition.recipe import Recipe
from lever_ray.embedding.outcome import states_that_matter
from lever_ray.embedding.regressor import TERM_MODELS, FittedRegressor, fit_regressor
from lever_ray.errors import NothingToLearnFrom
from lever_ray.library.reader import LibraryReader
from lever_ray.policies.group import GroupKey
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment


def ready(
    ranker: Ranker,
    library: LibraryReader,
    objective: Objective,
    keys: Sequence[GroupKey],
    lessons: Collection[str] = (),
) -> Ranker:
    """A ranker that can be bound to problems: a regressor is fitted, others are as they were.

    Args:
        ranker: it.
        library: whose other environments a regressor learns from.
        objective: the composite objective, resolved.
        keys: the question's groups, of one environment.
        lessons: environments that a regressor learns from; all others, if empty.

    Raises:
        LibraryError, InvalidValue: see :func:`fit`.
    """
    return FittedRanker(fit(library, objective, keys, ranker, lessons)) if isinstance(ranker, Regressor) else ranker


def heedless(ranker: Ranker, objective: Objective) -> tuple[str, ...]:
    """A warning where a regressor predicts returns without heeding the objective's weights."""
    if not isinstance(ranker, FittedRanker) or all(weight == 1.0 for weight in objective.weights):
        return ()
    model, target = ranker.fitted.model, ranker.fitted.target
    if model in TERM_MODELS or target == "composite":
        return ()
    told = f"regressor model {model!r} on target {target!r} knows nothing of weights"
    return (f"{told}: predicted returns are as if all were 1",)


def open_for_ranking(library: LibraryReader, recipes: Iterable[Recipe], objectives: Iterable[str], near: str) -> None:
    """Have the shards embed their policies once; the answer travels with the library to every worker.

    Args:
        library: it.
        recipes: with gamma and episodes of the members; those that rank without learning are passed over.
        objectives: the composite objectives that will be asked.
        near: an environment of the kind that will be asked.
    """
    learning = [(recipe, ranker) for recipe in recipes if isinstance(ranker := recipe.make_ranker(), Regressor)]
    asked = dict.fromkeys(
        (gamma, recipe.episodes, ranker)
        for recipe, ranker in learning
        for gamma in discounts(library, near, recipe, recipe.episodes)
    )
    terms = library.environment(near).task.terms
    for gamma, episodes, ranker in asked:
        assert episodes is not None, "what shards embed has one budget"
        for objective in dict.fromkeys(objectives):
            ranking_rows(
                library,
                terms=terms,
                target=ranker.regressor_target,
                objective=Objective.of(objective).resolved(terms),
                gamma=gamma,
                episodes=episodes,
                kind=ranker.embedding,
                canonical=ranker.canonical,
            )


def discounts(library: LibraryReader, environment: str, recipe: Recipe, episodes: int | None) -> tuple[float, ...]:
    """Of the members that a recipe takes: its own, or all that the library holds of an environment."""
    if recipe.gamma is not None:
        return (recipe.gamma,)
    return tuple(sorted({key.gamma for key in library.keys(environment) if episodes in (None, key.episodes)}))


def fit(
    library: LibraryReader,
    objective: Objective,
    keys: Sequence[GroupKey],
    settings: Regressor,
    lessons: Collection[str] = (),
    *,
    task: Environment | None = None,
) -> FittedRegressor:
    """Fit a return regressor on the environments of a library other than the one asked about, at the members' gammas.

    Args:
        library: the policies to learn from.
        objective: what returns are predicted on, resolved.
        keys: environment, gammas and episodes that are asked about.
        settings: which regressor.
        lessons: environments that are learnt from, whatever others there are; all, if empty.
        task: the environment asked about, where the library does not hold it.

    Raises:
        NothingToLearnFrom: the library holds too few other policies.
        InvalidValue: see :func:`lever_ray.embedding.regressor.fit_regressor`.
    """
    environment = keys[0].environment
    task = library.environment(environment).task if task is None else task
    pairs = sorted({(key.gamma, key.episodes) for key in keys})
    parts = [
        ranking_rows(
            library,
            terms=task.terms,
            target=settings.regressor_target,
            objective=objective,
            gamma=gamma,
            episodes=episodes,
            kind=settings.embedding,
            canonical=settings.canonical,
        )
        for gamma, episodes in pairs
    ]
    rows = (parts[0] if len(parts) == 1 else RankingRows.merge(parts)).without(environment, task)
    if lessons:
        rows = rows.taken(np.isin(rows.environments, sorted(lessons)))
    if settings.regressor_target != "composite":
        rows = rows.of_other_objectives(objective, task.terms)
    if len(rows.x) < 2:
        raise NothingToLearnFrom(
            f"ranker 'regressor' learns from other environments at (gamma, episodes) {pairs}, and "
            f"the library has {len(rows.x)} such policies; add environments to it, or use ranker='offline-return'"
        )
    fitted = fit_regressor(
        rows.x,
        rows.y,
        model=settings.regressor_model,
        target=settings.regressor_target,
        kind=settings.embedding,
        terms=rows.terms,
        names=task.terms,
        objective=objective,
    )
    return replace(fitted, canonical=states_that_matter(settings.embedding, settings.canonical))
