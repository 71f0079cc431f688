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
        family: source that environments are sampled from, see :func:`lever_ray.tasks.registry.source`.
        layouts: how many environments; their layout seeds are ``first_layout``, ``first_layout + 1``, ...
        first_layout: first layout seed.
        training_seeds: policies trained per environment, objective and gamma; three snapshots of each are kept.
        gammas: discounts.
        budget: training budget, ``X1``, ``X5`` or ``X10``.
        objectives: what policies are trained for.
        actors: Ray actors that hold the library's shards.
        shared: whether the actors outlive the driver and serve others, too; ``lever-ray library release`` ends them.
        index: what searches all policies by text: ``flat``, ``flat-int8`` (both exact), ``ivf`` or ``hnsw`` (faiss).
        environments: names of environments that the library holds: these are asked instead of sampled ones, and nothing
            is trained.
    """

    name: str = ""
    family: str = ""
    layouts: int = 20
    first_layout: int = 0
    training_seeds: int = 3
    gammas: list[float] = field(default_factory=lambda: [0.0, 0.99])
    budget: str = "X1"
    objectives: list[str] = field(default_factory=list)
    actors: int = 2
    shared: bool = False
    index: str = "flat-int8"
    environments: list[str] = field(default_factory=list)


@dataclass
class SetupSettings:
    """One composition problem.

    Attributes:
        mode: pool that its groups are taken from, one of the source's.
        objective: composite objective.
    """

    mode: str = ""
    objective: str = ""


@dataclass
class ContrastSettings:
    """A comparison fixed before the run: one column against another, over the rows that have some values.

    A sign-flip test asks whether it ``differs``, two one-sided tests whether it ``matches`` within a margin.

    Attributes:
        name: what is asked.
        where: value by column, e.g. ``{operator: sum, gamma: "0"}``.
        column: e.g. ``return/composed``.
        against: e.g. ``return/best_single_oracle``.
        claim: ``differs`` or ``matches``.
        margin: of ``matches``, as a share of what layouts offer over chance.
    """

    name: str = ""
    where: dict[str, str] = field(default_factory=dict)
    column: str = "return/composed"
    against: str = "return/best_single_oracle"
    claim: str = "differs"
    margin: float = 0.05


@dataclass
class AnswerSettings:
    """Parameters of answers, each a field of a :class:`~lever_ray.composition.recipe.Recipe`; None says nothing of it.

    Attributes:
        k, budget, restarts, seed, width, cut, cycles, merge, segments, estimate, regressor_model, regressor_target,
            embedding, canonical, support, retrieval, threshold: see there, for their defaults too.
    """

    k: int | None = None
    budget: int | None = None
    restarts: int | None = None
    seed: int | None = None
    width: int | None = None
    cut: int | None = None
    cycles: str | None = None
    merge: str | None = None
    segments: int | None = None
    estimate: str | None = None
    regressor_model: str | None = None
    regressor_target: str | None = None
    embedding: str | None = None
    canonical: int | None = None
    support: str | None = None
    retrieval: str | None = None
    threshold: float | None = None


@dataclass
class ExperimentSettings(AnswerSettings):
    """Which cells are run and how; every answer has the parameters that it has a use for.

    Attributes:
        name: of the experiment in MLflow and under ``LEVER_RAY_HOME/experiments``.
        setups: composition problems.
        strategies: candidate strategies; the group ``strategy`` narrows them to one.
        rankers: what predicts returns.
        operators: how members combine; those that answer with a route are ranked by ``offline-return`` alone.
        random_rollouts: episodes of the uniformly random policy.
        repeats: times that a fast query is asked; the median of each stage's seconds is reported.
        bootstrap: resamples of the layouts for 95% intervals.
        contrasts: at most 8 comparisons that ``lever-ray report`` tests.
        resume: go on from the finished environments of an interrupted run with the same settings.
    """

    name: str = "demo"
    setups: list[SetupSettings] = field(default_factory=list)
    strategies: list[str] = field(default_factory=lambda: ["targeted", "hybrid", "exhaustive"])
    rankers: list[str] = field(default_factory=lambda: ["regressor", "offline-return"])
    operators: list[str] = field(default_factory=lambda: ["sum"])
    random_rollouts: int = 100
    repeats: int = 5
    bootstrap: int = 2_000
    contrasts: list[ContrastSettings] = field(default_factory=list)
    resume: bool = True


@dataclass
class StrategySettings(AnswerSettings):
    """Narrows an experiment to one strategy, and holds its parameters; ``lever-ray recommend`` writes such settings.

    Attributes:
        name: one of :data:`lever_ray.composition.strategies.registry.STRATEGIES`, or ``all`` for those that the
            experiment names.
        operator, ranker: the one that the strategy was tuned with; None for those that the experiment names.
        gamma: discount of the members that it was tuned with; None for all of the library's.
    """

    name: str = "all"
    operator: str | None = None
    ranker: str | None = None
    gamma: float | None = None


@dataclass
class SpaceSettings:
    """What tuning chooses from; narrow it by shortening lists and ranges. Parameters exist only where they matter.

    Attributes:
        strategies: candidate strategies.
        k: least and greatest members per group of ``hybrid``.
        budget: least and greatest B of strategies with a budget; drawn on a logarithmic scale.
        restarts: least and greatest restarts of ``budgeted``.
        operators: how members combine; ``options`` and ``plan`` have no candidates and need ``tuning.cost=seconds``.
        width: least and greatest beam width of ``options`` and ``plan``; drawn on a logarithmic scale.
        cut: steps after which a segment of ``options`` ends; 0 for events alone.
        supports: support rules of operators over Q-tables; routes know ``mask`` alone.
        rankers: of operators over Q-tables; routes are ranked by ``offline-return`` alone.
        models, targets, embeddings: of the ranker ``regressor``.
        canonical: numbers of canonical states that the embeddings ``psi`` and ``psi_static`` are averaged over.
        retrievals: who is a member of a group: ``objective`` or ``description``.
        threshold: least and greatest similarity that ``description`` asks for; drawn in steps of 0.05.
        gammas: discounts of the members; all of the library's, if empty.
    """

    strategies: list[str] = field(default_factory=lambda: ["targeted", "hybrid", "budgeted", "exhaustive"])
    k: list[int] = field(default_factory=lambda: [2, 8])
    budget: list[int] = field(default_factory=lambda: [10, 3_000])
    restarts: list[int] = field(default_factory=lambda: [1, 8])
    operators: list[str] = field(default_factory=lambda: ["sum", "max", "normalized-sum", "gpi", "switch"])
    width: list[int] = field(default_factory=lambda: [10, 300])
    cut: list[int] = field(default_factory=lambda: [0, 8])
    supports: list[str] = field(default_factory=lambda: ["mask", "ignore"])
    rankers: list[str] = field(default_factory=lambda: ["regressor", "recorded-return", "offline-return"])
    models: list[str] = field(default_factory=lambda: ["additive-ridge", "ridge"])
    targets: list[str] = field(default_factory=lambda: ["own", "composite"])
    embeddings: list[str] = field(default_factory=lambda: ["outcome", "psi"])
    canonical: list[int] = field(default_factory=lambda: [1, 4, 16, 64])
    retrievals: list[str] = field(default_factory=lambda: ["objective"])
    threshold: list[float] = field(default_factory=lambda: [0.7, 0.9])
    gammas: list[float] = field(default_factory=list)


@dataclass
class LimitSettings:
    """What a choice must keep to; None where there is no limit.

    Attributes:
        seconds: most seconds per query (median).
        quality: least normalised quality (interquartile mean over environments).
        coverage: least share of the composed route's steps on recorded transitions (mean over environments).
    """

    seconds: float | None = None
    quality: float | None = None
    coverage: float | None = None


@dataclass
class TuningSettings:
    """A search for good candidate budgets.

    Attributes:
        study: name of the Optuna study; a second run with the same name goes on with it.
        trials: how many trials the study shall have in the end.
        sampler: ``tpe``, ``nsga2`` or ``random``.
        seed: of the sampler.
        storage: URL of a database; a journal file under ``LEVER_RAY_HOME/tuning``, if empty.
        setup: the composition problem that choices are tried on.
        space: what is chosen from.
        cost: ``candidates`` (evaluated per query; deterministic) or ``seconds`` (per query, compilation excluded).
        limits: constraints.
        repeats: times that a query is timed; the median counts.
        batch: trials that are tried side by side; part of what decides the result, so it does not follow the cluster.
        halving: stop trials that are hopeless after a part of the environments.
        held_out: share of the environments that tuning never sees and the front is measured on afterwards.
        share: of the best quality that the recommended strategy keeps.
        bootstrap: resamples of the held-out environments for 95% intervals.
    """

    study: str = "budget"
    trials: int = 20
    sampler: str = "tpe"
    seed: int = 0
    storage: str = ""
    setup: SetupSettings = field(default_factory=SetupSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    cost: str = "candidates"
    limits: LimitSettings = field(default_factory=LimitSettings)
    repeats: int = 3
    batch: int = 4
    halving: bool = True
    held_out: float = 0.5
    share: float = 0.95
    bootstrap: int = 2_000


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
        SettingsError: it cannot be made, takes no files or is no folder; also see :func:`home`.
    """
    place = home()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"results cannot be written to {place} ({error.strerror}); set {HOME_VARIABLE} to a folder that can be made"
        ) from error
    if not _takes_files(place):
        raise SettingsError(
            f"results cannot be written to {place} (no permission); set {HOME_VARIABLE} to a folder that takes files"
        )
    return place


def unwritable(file: Path) -> str:
    """Why a file cannot be written, before the work that leads to it; empty where it can."""
    folder = file.absolute().parent
    if not folder.is_dir():
        return f"{file} cannot be written: there is no folder {folder}; make it, or choose another place"
    if not _takes_files(folder):
        return f"{file} cannot be written: folder {folder} takes no files; choose another place"
    if file.is_dir():
        return f"{file} cannot be written: it is a folder; name a file in it"
    if file.exists() and not os.access(file, os.W_OK):
        return f"{file} cannot be written: it is there and protected; choose another place"
    return ""


def _takes_files(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _default_home() -> Path:
    return _checkout_or_here() / "runs"


def _checkout_or_here() -> Path:
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def default_store() -> Path:
    """The MLflow store's SQLite file: under ``LEVER_RAY_HOME`` where that is set, else in the checkout."""
    return home() / "mlflow.db" if os.environ.get(HOME_VARIABLE) else _checkout_or_here() / "mlflow.db"


def conf_folder() -> Path:
    """The configuration tree: ``conf/`` of the checkout, or the copy that an installed package carries."""
    package = Path(__file__).resolve().parent
    beside = package.parent / "conf"
    return beside if (beside / "config.yaml").is_file() else package / "conf"


def library_path(settings: LibrarySettings) -> Path:
    """Folder of a library."""
    return home() / "libraries" / settings.name
