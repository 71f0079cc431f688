"""What settings ask of a library: which environments, and whether anything can be built from them."""

from __future__ import annotations

from pathlib import Path

from lever_ray.config import LibrarySettings
from lever_ray.errors import InvalidValue, check_known
from lever_ray.learning.budgets import training_budget
from lever_ray.library.search.index import INDEXES
from lever_ray.tasks import registry
from lever_ray.tasks.objective import Objective


def environment_name(settings: LibrarySettings, seed: int) -> str:
    """Name of the environment that is sampled with a seed: that of its source, and the seed."""
    return f"{settings.family}-{seed}"


def environment_names(settings: LibrarySettings) -> list[str]:
    """Names of the environments that a library's settings ask for."""
    seeds = range(settings.first_layout, settings.first_layout + settings.layouts)
    return [environment_name(settings, seed) for seed in seeds]


def check_settings(settings: LibrarySettings) -> None:
    """Refuse settings that no library can be built from.

    Raises:
        UnknownName: source, budget or an objective term is not known.
        InvalidValue: a count below 1, no objectives or gammas, or a gamma outside [0, 1].
    """
    source = registry.source(settings.family)
    training_budget(settings.budget)
    check_known("index", settings.index, INDEXES)
    for name in ("layouts", "training_seeds", "actors"):
        if getattr(settings, name) < 1:
            raise InvalidValue(f"library.{name} is {getattr(settings, name)}; at least 1 is needed")
    if settings.first_layout < 0:
        raise InvalidValue(f"library.first_layout is {settings.first_layout}; it must be >= 0")
    if not settings.objectives or not settings.gammas:
        raise InvalidValue("library.objectives and library.gammas must not be empty")
    for objective in settings.objectives:
        Objective.of(objective).resolved(source.terms)
    if len(set(settings.gammas)) < len(settings.gammas):
        raise InvalidValue(f"library.gammas {settings.gammas} holds a gamma twice")
    for gamma in settings.gammas:
        if not 0.0 <= gamma <= 1.0:
            raise InvalidValue(f"library.gammas holds {gamma}; a gamma must lie in [0, 1]")
    if not settings.name or Path(settings.name).name != settings.name:
        raise InvalidValue(f"library.name is {settings.name!r}; use a plain folder name")
