"""Settings from ``conf/`` and the command line; the only module that imports Hydra, where they need it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lever_ray.app.conf import OWN_GROUP, checked_overrides, plain_settings
from lever_ray.building.settings import check_settings
from lever_ray.config import Settings, conf_folder, home
from lever_ray.errors import InvalidValue, SettingsError, check_known
from lever_ray.experiment.plan import ExperimentPlan, Setup, make_plan
from lever_ray.learning.budgets import training_budget
from lever_ray.tasks import registry
from lever_ray.tasks.objective import Objective
from lever_ray.tuning.settings import check_tuning

EXECUTORS: tuple[str, ...] = ("ray", "serial")
EXPERIMENT, TUNING = "experiment", "tuning"
"""Groups with composition problems, which must be of the source that the library is of."""


def _search_path(own: Path) -> list[str]:
    """Hydra's override that adds the strategies of ``lever-ray recommend``, where there are any."""
    if not (own / OWN_GROUP).is_dir():
        return []
    quoted = f"file://{own}".replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.searchpath=['{quoted}']"]


def load_settings(overrides: Sequence[str] = (), *, about: Sequence[str] = (EXPERIMENT, TUNING)) -> Settings:
    """Compose ``conf/`` with command-line overrides into typed, checked settings; nothing is written.

    Args:
        overrides: ``group=option`` and ``group.key=value``.
        about: groups whose composition problems are asked; those of others are not held against the library's source.

    Raises:
        UnknownName: a group, option, key or name does not exist; the message has the nearest match.
        SettingsError: a value has the wrong type, or an override cannot be read.
        InvalidValue: a value lies outside its domain.
    """
    own = home()
    overrides = checked_overrides(overrides, own)
    settings = plain_settings(overrides, own) or hydra_settings(overrides, own)
    if settings.seeds:
        if any(override.startswith("library.layouts=") for override in overrides):
            raise SettingsError(
                f"seeds={settings.seeds} is short for library.layouts={settings.seeds}; give one of the two"
            )
        settings.library.layouts = settings.seeds
    check(settings, about=about)
    return settings


def hydra_settings(overrides: Sequence[str], own: Path) -> Settings:
    """The same by Hydra, whatever the overrides are; unchecked.

    Args:
        overrides: see :func:`load_settings`; their keys exist.
        own: folder with strategies beside those of ``conf/``.

    Raises:
        SettingsError: a value has the wrong type, or an override cannot be read.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    ConfigStore.instance().store(name="settings", node=Settings)
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            composed = compose("config", overrides=[*_search_path(own), *overrides])
        settings = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingsError(_one_line(error, overrides)) from error
    assert isinstance(settings, Settings)
    return settings


def _one_line(error: BaseException, overrides: Sequence[str]) -> str:
    """The innermost message of a Hydra error, on one line, with the overrides that were given."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key:").strip() for line in lines if line.startswith("full_key:")), "")
    place = f" for {key}" if key else ""
    given = f" (given: {' '.join(overrides)})" if overrides else ""
    return f"configuration{place}: {lines[0] if lines else type(error).__name__}{given}"


def check(settings: Settings, *, about: Sequence[str] = (EXPERIMENT, TUNING)) -> None:
    """Refuse settings that some part would refuse later, before anything is started or written.

    Args:
        settings: everything.
        about: see :func:`load_settings`.

    Raises:
        UnknownName, InvalidValue, UncoveredObjective, SettingsError: naming the value and the remedy.
    """
    if settings.seeds < 0:
        raise InvalidValue(f"seeds is {settings.seeds}; at least 1 layout is needed")
    check_known("executor", settings.cluster.executor, EXECUTORS)
    check_settings(settings.library)
    check_tuning(settings.tuning, settings.library.gammas)
    if TUNING in about:
        _check_tuning_problem(settings)
    for key, name in (("experiment.name", settings.experiment.name), ("tuning.study", settings.tuning.study)):
        if not name or Path(name).name != name:
            raise InvalidValue(f"{key} is {name!r}; use a plain name, it becomes part of a path")
    if settings.cluster.window < 1:
        raise InvalidValue(f"cluster.window is {settings.cluster.window}; at least 1 task per core is needed")
    if EXPERIMENT in about:
        experiment_plan(settings)
    home()


def tuning_setup(settings: Settings) -> Setup:
    """The composition problem that the settings tune on; see :meth:`Setup.of` for the errors."""
    setup = settings.tuning.setup
    return Setup.of(setup.mode, setup.objective, registry.source(settings.library.family))


def _check_tuning_problem(settings: Settings) -> None:
    library = settings.library
    terms = registry.source(library.family).terms
    held = {Objective.of(objective).resolved(terms).name for objective in library.objectives}
    missing = set(tuning_setup(settings).groups) - held
    if missing:
        raise InvalidValue(f"tuning.setup needs policies for {sorted(missing)}; add them to library.objectives")


def experiment_plan(settings: Settings) -> ExperimentPlan:
    """The experiment that the settings describe; see :func:`lever_ray.experiment.plan.make_plan` for the errors."""
    episodes = training_budget(settings.library.budget).episodes
    return make_plan(settings.experiment, settings.library, settings.strategy, episodes=episodes)


def read_pairs(overrides: Sequence[str]) -> dict[str, Any]:
    """Values by key of ``key=value`` texts, read as YAML.

    Raises:
        SettingsError: a text has no ``=`` or its value cannot be read.
    """
    for override in overrides:
        if "=" not in override:
            raise SettingsError(f"{override!r} is no setting; write key=value, e.g. layouts=20")
    from omegaconf import OmegaConf

    try:
        pairs = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))
    except Exception as error:
        raise SettingsError(f"cannot read {' '.join(overrides)!r}: {str(error).splitlines()[0]}") from error
    assert isinstance(pairs, dict)
    return {str(key): value for key, value in pairs.items()}
