"""Which groups a query takes its members from, and who the members are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from lever_ray.composition.groups import check_cover, cover
from lever_ray.composition.recipe import Recipe
from lever_ray.config import conf_folder
from lever_ray.errors import InvalidValue, LibraryError, SettingsError
from lever_ray.library.reader import LibraryReader
from lever_ray.library.search.wording import Wording
from lever_ray.policies.group import GroupKey, PolicyGroup
from lever_ray.policies.retrieval import Retrieval
from lever_ray.tasks.objective import Objective

RECOMMENDED = "recommended.yaml"
"""File of ``conf/`` with the discounts of members by operator, the best first; see ``lever-ray study defaults``."""


def retrieve(library: LibraryReader, keys: Sequence[GroupKey], retrieval: Retrieval) -> list[PolicyGroup]:
    """The members of some groups of one environment.

    Args:
        library: where they are looked for.
        keys: the groups.
        retrieval: by own objective or by description; text is read only where some policy is found by it.

    Raises:
        LibraryError: a group has no member; the message says what the environment has, or what came closest.
    """
    if retrieval.rule == "objective" and not any(_undeclared(library, key.environment) for key in keys):
        return library.groups(keys)
    words = library.environment(keys[0].environment).task.describe()
    unwanted = words.describe(retrieval.without) if retrieval.without else ""
    return library.groups(keys, [Wording(words.describe(key.objective), retrieval, unwanted) for key in keys])


def _undeclared(library: LibraryReader, environment: str) -> list[GroupKey]:
    """The groups of policies that carry a description and no objective."""
    return [key for key in library.keys(environment) if not key.objective]


@cache
def recommended_gammas(operator: str) -> tuple[float, ...]:
    """Discounts of members where nobody says which, the best first; none where nothing was measured.

    Raises:
        SettingsError: the file holds something else.
    """
    import yaml

    file = conf_folder() / RECOMMENDED
    if not file.is_file():
        return ()
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        return tuple(float(gamma) for gamma in found.get("gammas", {}).get(operator, ()))
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{file} cannot be read; write discounts by operator, e.g. gammas: {{sum: [0.9, 0]}}, as `lever-ray study "
            "defaults` does"
        ) from error


def asked_keys(
    library: LibraryReader, environment: str, objective: Objective, groups: Sequence[str] | None, recipe: Recipe
) -> tuple[list[GroupKey], str]:
    """The groups that a query takes members from, and a warning where one of several discounts or budgets was chosen.

    Operators without candidates take every policy, of any discount and budget.

    Raises:
        LeverError: see :func:`group_keys` and :func:`pool_keys`.
    """
    operator = recipe.make_operator()
    pooled = operator.pools_members or not (operator.needs_candidates or _undeclared(library, environment))
    if not pooled:
        best = recommended_gammas(operator.name)
        return group_keys(library, environment, objective, groups, recipe.gamma, recipe.episodes, best)
    found = pool_keys(library, environment, objective, groups, recipe.gamma, recipe.episodes)
    if groups is None or operator.pools_members:
        return found, ""
    terms = library.environment(environment).task.terms
    order = [Objective.of(name).resolved(terms).id for name in groups]
    return sorted(found, key=lambda key: order.index(key.objective)), ""


def group_keys(
    library: LibraryReader,
    environment: str,
    objective: Objective,
    groups: Sequence[str] | None,
    gamma: float | None,
    episodes: int | None,
    best: Sequence[float] = (),
) -> tuple[list[GroupKey], str]:
    """The groups of a cover, of one discount and budget; what is said of these where there were several.

    Where several are left, the largest budget is taken, of these the discount that is known to do best, else that with
    most members, and the smallest.

    Args:
        library: where they are looked for.
        environment: its name.
        objective: the composite objective, resolved.
        groups: sub-objectives; by default the smallest exact cover of the objective that the library holds, where
            policies without an objective stand for any single term.
        gamma: discount of the members; None for the usual one.
        episodes: training budget of the members; likewise.
        best: discounts, the best first.

    Raises:
        UncoveredObjective: no exact cover exists, or ``groups`` is none.
        InvalidValue: gamma lies outside [0, 1], or groups have weights.
        LibraryError: the environment has no such policies.
    """
    usable = _trained_at(library, environment, gamma, episodes)
    if groups is None:
        stand_in = objective.terms if any(not key.objective for key in usable) else ()
        names: Sequence[str] = cover(objective, {key.objective for key in usable if key.objective} | set(stand_in))
    else:
        terms = library.environment(environment).task.terms
        asked = [Objective.of(name).resolved(terms) for name in groups]
        if weighted := [each.id for each in asked if each.id != each.name]:
            raise InvalidValue(
                f"groups {', '.join(weighted)} have weights; groups are named by their terms alone: weights belong to "
                "the objective, factors= multiplies action values"
            )
        names = [each.name for each in asked]
        check_cover(objective, names)
    pairs = _settings_of(usable, {*names}) or _settings_of(usable, {""}) or _settings_of(usable[:1])
    taken = pairs[0] if len(pairs) == 1 else _usual_setting(library, environment, names, pairs, best)
    told = "" if len(pairs) == 1 else _choice_told(taken, pairs)
    return [GroupKey(environment, name, *taken) for name in names], told


def _usual_setting(
    library: LibraryReader,
    environment: str,
    names: Sequence[str],
    pairs: Sequence[tuple[float, int]],
    best: Sequence[float],
) -> tuple[float, int]:
    """The largest budget, then the discount known to do best, then most members, then the smallest discount."""
    census = library.census()

    def members(pair: tuple[float, int]) -> int:
        return sum(census.get(GroupKey(environment, name, *pair), 0) for name in names)

    def known(gamma: float) -> int:
        return best.index(gamma) if gamma in best else len(best)

    whole = [pair for pair in pairs if all(census.get(GroupKey(environment, name, *pair)) for name in names)]
    return min(whole or pairs, key=lambda pair: (-pair[1], known(pair[0]), -members(pair), pair[0]))


def _choice_told(taken: tuple[float, int], pairs: Sequence[tuple[float, int]]) -> str:
    others = ", ".join(
        f"gamma {gamma:g} with {episodes:,} episodes" for gamma, episodes in pairs if (gamma, episodes) != taken
    )
    return (
        f"members of gamma {taken[0]:g} with {taken[1]:,} episodes were taken; the library also holds {others}: choose "
        "with gamma and episodes, or take operator options or plan, which mix them"
    )


def pool_keys(
    library: LibraryReader,
    environment: str,
    objective: Objective,
    groups: Sequence[str] | None,
    gamma: float | None,
    episodes: int | None,
) -> list[GroupKey]:
    """The groups of a pool: every one of an environment, or of some objectives, of any discount and budget.

    Args:
        library: where they are looked for.
        environment: its name.
        objective: the composite objective; a pool need not cover it.
        groups: objectives of the members; by default all.
        gamma: discount of the members; None for all.
        episodes: training budget of the members; likewise.

    Raises:
        InvalidValue: gamma lies outside [0, 1].
        LibraryError: there is no such policy.
        UnknownName: an objective term is not known.
    """
    terms = library.environment(environment).task.terms
    wanted = None if groups is None else {Objective.of(name).resolved(terms).id for name in groups}
    usable = [key for key in _trained_at(library, environment, gamma, episodes) if key.objective]
    found = [key for key in usable if wanted is None or key.objective in wanted]
    missing = sorted((wanted or set()) - {key.objective for key in found})
    if missing or not found:
        have = sorted({key.objective for key in usable})
        raise LibraryError(
            f"environment {environment!r} has no policy for {', '.join(missing) or objective.name} at "
            f"{_told(gamma, episodes)}; it has some for {', '.join(have) or 'no objective, only descriptions'}"
        )
    return found


def _trained_at(library: LibraryReader, environment: str, gamma: float | None, episodes: int | None) -> list[GroupKey]:
    """The groups of an environment with a discount and a budget; None says nothing of one."""
    if gamma is not None and not 0.0 <= gamma <= 1.0:
        raise InvalidValue(f"gamma is {gamma:g}; it must lie in [0, 1]")
    held = library.keys(environment)
    if not held:
        raise LibraryError(f"environment {environment!r} has no policies; train some with `lever-ray build`")
    usable = [key for key in held if gamma in (None, key.gamma) and episodes in (None, key.episodes)]
    if not usable:
        pairs = sorted({(key.gamma, key.episodes) for key in held})
        raise LibraryError(
            f"environment {environment!r} has no policies at {_told(gamma, episodes)}; it has (gamma, episodes) {pairs}"
        )
    return usable


def _told(gamma: float | None, episodes: int | None) -> str:
    return f"gamma {'any' if gamma is None else gamma} and {'any' if episodes is None else episodes} episodes"


def _settings_of(keys: Sequence[GroupKey], names: set[str] | None = None) -> list[tuple[float, int]]:
    """(gamma, episodes) of the groups with some objectives; of all, if None."""
    return sorted({(key.gamma, key.episodes) for key in keys if names is None or key.objective in names})
