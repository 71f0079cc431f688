"""Typed settings of everything that is configured; ``conf/`` holds their defaults as Hydra groups."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from lever_ray.errors import SettingsError

HOME_VARIABLE = "LEVER_RAY_HOME"


@dataclass
class LibrarySettings:
    """A policy library to train.

    Attributes:
        name: folder under ``LEVER_RAY_HOME/libraries``.
        family: layout family.
        layouts: how many environments; their layout seeds are ``first_layout``, ``first_layout + 1``, ...
        first_layout: first layout seed.
        training_seeds: policies trained per environment, objective and gamma; three snapshots of each are kept.
        gammas: discounts.
        budget: training budget, ``X1``, ``X5`` or ``X10``.
        objectives: what policies are trained for.
        actors: Ray actors that hold the library's shards.
    """

    name: str = "grid8"
    family: str = "grid8"
    layouts: int = 20
    first_layout: int = 0
    training_seeds: int = 3
    gammas: list[float] = field(default_factory=lambda: [0.0, 0.99])
    budget: str = "X1"
    objectives: list[str] = field(default_factory=list)
    actors: int = 2


@dataclass
class SetupSettings:
    """One composition problem: a composite objective and the pool that its groups are taken from."""

    mode: str = "trivial"
    objective: str = "path-gold"


@dataclass
class ExperimentSettings:
    """Which cells are run and how.

    Attributes:
        name: of the experiment in MLflow and under ``LEVER_RAY_HOME/experiments``.
        setups: composition problems.
        strategies: candidate strategies; the group ``strategy`` narrows them to one.
        rankers: what predicts returns.
        operator: how members combine.
        support: ``mask`` or ``ignore``.
        regressor_model: ``ridge`` or ``hist-gradient-boosting``.
        regressor_target: ``composite`` or ``own``.
        embedding: ``psi`` or ``psi_static``.
        random_rollouts: episodes of the uniformly random policy.
        bootstrap: resamples of the layouts for 95% intervals.
        resume: go on from the finished environments of an interrupted run with the same settings.
    """

    name: str = "demo"
    setups: list[SetupSettings] = field(default_factory=list)
    strategies: list[str] = field(default_factory=lambda: ["targeted", "hybrid", "exhaustive"])
    rankers: list[str] = field(default_factory=lambda: ["regressor", "offline-return"])
    operator: str = "sum"
    support: str = "mask"
    regressor_model: str = "ridge"
    regressor_target: str = "composite"
    embedding: str = "psi"
    random_rollouts: int = 100
    bootstrap: int = 2_000
    resume: bool = True


@dataclass
class StrategySettings:
    """Narrows an experiment to one strategy, and holds its parameters.

    Attributes:
        name: ``targeted``, ``hybrid``, ``exhaustive``, or ``all`` for those that the experiment names.
        k: members per group that ``hybrid`` combines.
    """

    name: str = "all"
    k: int = 3


@dataclass
class TuningSettings:
    """A search for good candidate budgets.

    Attributes:
        study: name of the Optuna study; a second run with the same name goes on with it.
        trials: how many trials the study shall have in the end.
        sampler: ``tpe``, ``nsga2`` or ``random``.
        seed: of the sampler.
        strategies, operators, rankers: the choices.
        k_max: largest k of ``hybrid``.
        gamma: discount of the members.
        setup: the composition problem that choices are tried on.
    """

    study: str = "budget"
    trials: int = 20
    sampler: str = "tpe"
    seed: int = 0
    strategies: list[str] = field(default_factory=lambda: ["targeted", "hybrid", "exhaustive"])
    operators: list[str] = field(default_factory=lambda: ["sum", "max"])
    rankers: list[str] = field(default_factory=lambda: ["regressor", "offline-return"])
    k_max: int = 8
    gamma: float = 0.0
    setup: SetupSettings = field(default_factory=lambda: SetupSettings("trivial", "path-gold-hazard-lever"))


@dataclass
class TrackingSettings:
    """Where runs are logged.

    Attributes:
        enabled: False logs nothing.
        uri: MLflow tracking URI; the environment variable ``MLFLOW_TRACKING_URI``, else a SQLite file, if empty.
        experiment: name of the MLflow experiment.
    """

    enabled: bool = True
    uri: str = ""
    experiment: str = "lever-ray"


@dataclass
class ClusterSettings:
    """Where work runs.

    Attributes:
        executor: ``ray`` or ``serial``.
        address: of a Ray cluster; ``RAY_ADDRESS``, else a local one, if empty.
        window: tasks in flight per worker.
    """

    executor: str = "ray"
    address: str = ""
    window: int = 2


@dataclass
class Settings:
    """Everything that a job or console command can be told.

    Attributes:
        seeds: shorthand for ``library.layouts``; 0 leaves it alone.
    """

    library: LibrarySettings = field(default_factory=LibrarySettings)
    experiment: ExperimentSettings = field(default_factory=ExperimentSettings)
    strategy: StrategySettings = field(default_factory=StrategySettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    seeds: int = 0


def home() -> Path:
    """Where everything is written: ``LEVER_RAY_HOME``, else ``runs/`` of the checkout, else ``./runs``.

    Raises:
        SettingsError: the variable holds a relative path, or the place lies inside a Ray session folder, whose
            contents vanish with the cluster.
    """
    given = os.environ.get(HOME_VARIABLE)
    if given and not Path(given).is_absolute():
        raise SettingsError(f"{HOME_VARIABLE} is {given!r}; set it to an absolute path")
    place = Path(given) if given else _default_home()
    if "runtime_resources" in place.parts or any(part.startswith("session_") for part in place.parts):
        raise SettingsError(
            f"results would be written to {place}, inside a Ray session folder that is deleted with the cluster; "
            f"set {HOME_VARIABLE} to an absolute path in the job's runtime environment"
        )
    return place


def make_home() -> Path:
    """The home, made where it does not exist.

    Raises:
        SettingsError: it cannot be made or is no folder; also see :func:`home`.
    """
    place = home()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"results cannot be written to {place} ({error.strerror}); set {HOME_VARIABLE} to a folder that can be made"
        ) from error
    return place


def _default_home() -> Path:
    return _checkout_or_here() / "runs"


def _checkout_or_here() -> Path:
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def default_store() -> Path:
    """The MLflow store's SQLite file: under ``LEVER_RAY_HOME`` where that is set, else in the checkout."""
    return home() / "mlflow.db" if os.environ.get(HOME_VARIABLE) else _checkout_or_here() / "mlflow.db"


def library_path(settings: LibrarySettings) -> Path:
    """Folder of a library."""
    return home() / "libraries" / settings.name
