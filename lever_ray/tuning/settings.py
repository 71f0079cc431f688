"""Checks of tuning settings, apart from the framework that carries them out: every command reads settings."""

from __future__ import annotations

from collections.abc import Sequence

from lever_ray.config import LimitSettings, TuningSettings
from lever_ray.errors import InvalidValue, SettingsError, check_known
from lever_ray.tuning.space import SearchSpace
from lever_ray.tuning.trial import COSTS

SAMPLERS: tuple[str, ...] = ("tpe", "nsga2", "random")


def search_space(settings: TuningSettings, gammas: Sequence[float]) -> SearchSpace:
    """The space of the settings.

    Args:
        settings: of tuning.
        gammas: discounts that the library holds.

    Raises:
        InvalidValue, UnknownName: see :class:`~lever_ray.tuning.space.SearchSpace`; also a discount that the
            library lacks.
    """
    chosen = settings.space.gammas or list(gammas)
    for gamma in chosen:
        if gamma not in gammas:
            raise InvalidValue(
                f"tuning.space.gammas has {gamma:g}, and library.gammas are {list(gammas)}; choose among them"
            )
    return SearchSpace(settings.space, tuple(chosen), settings.cost)


def check_tuning(settings: TuningSettings, gammas: Sequence[float]) -> None:
    """Refuse settings that no study can be run with.

    Raises:
        InvalidValue: a number outside its domain, a limit that nothing can keep, or an empty search space.
        UnknownName: sampler, cost, or something in the search space is not known.
        SettingsError: the storage is no URL.
    """
    for name in ("trials", "repeats", "batch", "bootstrap"):
        if getattr(settings, name) < 1:
            raise InvalidValue(f"tuning.{name} is {getattr(settings, name)}; at least 1 is needed")
    if settings.seed < 0:
        raise InvalidValue(f"tuning.seed is {settings.seed}; it must be >= 0")
    if not 0 < settings.held_out < 1:
        raise InvalidValue(f"tuning.held_out is {settings.held_out:g}; give a share between 0 and 1, e.g. 0.5")
    if not 0 < settings.share <= 1:
        raise InvalidValue(f"tuning.share is {settings.share:g}; give a share of the best quality in (0, 1], e.g. 0.95")
    check_known("sampler", settings.sampler, SAMPLERS)
    check_known("cost", settings.cost, COSTS)
    _check_limits(settings.limits)
    if settings.storage and "://" not in settings.storage:
        raise SettingsError(
            f"tuning.storage is {settings.storage!r}, no URL of a database; use e.g. sqlite:////absolute/study.db, or "
            "leave it empty for a journal file"
        )
    if settings.storage.startswith("sqlite:///") and not settings.storage.startswith("sqlite:////"):
        raise SettingsError(f"tuning.storage {settings.storage!r} is a relative path; use sqlite:////absolute/study.db")
    search_space(settings, gammas)


def _check_limits(limits: LimitSettings) -> None:
    if limits.seconds is not None and limits.seconds <= 0:
        raise InvalidValue(f"tuning.limits.seconds is {limits.seconds:g}; no query takes that little, raise it")
    if limits.quality is not None and limits.quality > 1:
        raise InvalidValue(f"tuning.limits.quality is {limits.quality:g}; 1 is the optimum, lower it")
    if limits.coverage is not None and not 0 <= limits.coverage <= 1:
        raise InvalidValue(f"tuning.limits.coverage is {limits.coverage:g}; it is a share, from 0 to 1")
