"""Training a policy library: one piece of work per environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from lever_ray.building.records import records_of
from lever_ray.building.settings import check_settings, environment_name
from lever_ray.config import LibrarySettings
from lever_ray.errors import LibraryError
from lever_ray.executor import Executor, Outcome, in_order
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import SNAPSHOTS_KEPT, train
from lever_ray.library.format.manifest import MANIFEST
from lever_ray.library.format.rows import objective_id
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.record import PolicyRecord
from lever_ray.policies.group import GroupKey
from lever_ray.tasks import registry
from lever_ray.tasks.objective import Objective


@dataclass(frozen=True)
class BuildReport:
    """What building a library cost.

    Attributes:
        policies: new policies in the library.
        trained: training runs.
        environment_steps: environment steps of all of them.
        seconds: wall-clock seconds of the build.
        training_seconds: seconds of training, added up over workers.
    """

    policies: int
    trained: int
    environment_steps: int
    seconds: float
    training_seconds: float


def train_environment(seed: int, settings: LibrarySettings) -> list[PolicyRecord]:
    """Train every objective, gamma and training seed in one environment; the library entries.

    Args:
        seed: that the environment is sampled with.
        settings: of the library.
    """
    name, source = environment_name(settings, seed), registry.source(settings.family)
    task, budget = source.sample(seed), training_budget(settings.budget)
    records = []
    for objective in _objectives(settings):
        description = source.words.describe(objective)
        for gamma in settings.gammas:
            for each in range(settings.training_seeds):
                run = train(task, objective=objective, episodes=budget.episodes, gamma=gamma, seed=each)
                records += records_of(run, environment=name, description=description)
    return records


def _objectives(settings: LibrarySettings) -> list[Objective]:
    terms = registry.source(settings.family).terms
    return [Objective.of(objective).resolved(terms) for objective in settings.objectives]


def build_library(
    path: Path,
    settings: LibrarySettings,
    *,
    executor: Executor,
    watch: Callable[[str], None] | None = None,
    kept_before: Callable[[int], None] | None = None,
) -> BuildReport:
    """Train what a library lacks of its settings; environments are added as they are finished.

    Environments that the library already holds completely are not trained again. Where one fails, all others are added
    before its error is raised.

    Args:
        path: of the library.
        settings: of it.
        executor: where environments are trained.
        watch: called with the name of every environment as it is added.
        kept_before: called first with how many environments the library holds completely, where it lacks others.

    Raises:
        UnknownName, InvalidValue: see :func:`check_settings`.
        LibraryError: see :class:`lever_ray.library.library.PolicyLibrary`.
    """
    check_settings(settings)
    begun = perf_counter()
    library = PolicyLibrary.open(path) if (path / MANIFEST).exists() else PolicyLibrary.create(path)
    seeds = list(range(settings.first_layout, settings.first_layout + settings.layouts))
    missing = [seed for seed in seeds if not _complete(library, settings, seed)]
    if kept_before is not None and 0 < len(missing) < len(seeds):
        kept_before(len(seeds) - len(missing))
    _note_seeds(library, settings, sorted({*seeds} - {*missing}))
    policies = 0
    runs: dict[tuple[str, str, float, int], tuple[int, float]] = {}
    failed: list[Outcome] = []
    for outcome in executor.map(train_environment, missing, shared=(settings,)):
        if outcome.error is not None:
            failed.append(outcome)
            continue
        records: list[PolicyRecord] = outcome.value
        policies += library.add(records)
        runs |= {_run_of(record): (record.environment_steps, record.seconds) for record in records}
        if watch is not None:
            watch(records[0].environment)
    in_order(failed)
    steps = sum(steps for steps, _ in runs.values())
    return BuildReport(policies, len(runs), steps, perf_counter() - begun, sum(seconds for _, seconds in runs.values()))


def _note_seeds(library: PolicyLibrary, settings: LibrarySettings, seeds: list[int]) -> None:
    """Say what environments were sampled with where the library, built by an older version, does not tell."""
    source = registry.source(settings.family)
    held = [(library.environment(environment_name(settings, seed)), seed) for seed in seeds]
    unsaid = [replace(record, task=source.sample(seed)) for record, seed in held if record.task.seed is None]
    if unsaid:
        library.restate(unsaid)


def _run_of(record: PolicyRecord) -> tuple[str, str, float, int]:
    return record.environment, objective_id(record), record.gamma, record.seed


def _complete(library: PolicyLibrary, settings: LibrarySettings, seed: int) -> bool:
    """Whether the library has every group that the settings ask of an environment.

    Raises:
        LibraryError: it has the environment's name with another task.
    """
    name = environment_name(settings, seed)
    if name not in library.environments:
        return False
    if library.environment(name).task.digest != registry.source(settings.family).sample(seed).digest:
        raise LibraryError(
            f"library {library.path} holds environment {name!r} with another task; choose another library.name"
        )
    episodes = training_budget(settings.budget).episodes
    wanted = {
        GroupKey(name, objective.id, gamma, episodes)
        for objective in _objectives(settings)
        for gamma in settings.gammas
    }
    if not wanted <= set(library.keys(name)):
        return False
    return all(len(group) >= SNAPSHOTS_KEPT * settings.training_seeds for group in library.groups(sorted(wanted)))
