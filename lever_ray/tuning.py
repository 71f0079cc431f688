"""Optuna: which candidate budget to pay for. One driver asks and tells; trials run on an executor."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from lever_ray.composition.search import STRATEGIES, Strategy
from lever_ray.config import TuningSettings
from lever_ray.errors import InvalidValue, SettingsError, check_known
from lever_ray.executor import Executor
from lever_ray.experiment.trial import Choice, Problem, TrialResult, try_choice
from lever_ray.library.reader import LibraryReader

DIRECTIONS: tuple[str, ...] = ("maximize", "minimize")
"""Of quality and of candidates evaluated."""
SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}
_QUESTION = "question"


@dataclass(frozen=True)
class TunedTrial:
    """A finished trial.

    Attributes:
        number: of the trial.
        label: the choice in words.
        quality: mean normalised quality.
        candidates: mean candidates evaluated.
        seconds: median seconds per query.
        on_front: whether no other trial is better in one objective and no worse in the other.
    """

    number: int
    label: str
    quality: float
    candidates: float
    seconds: float
    on_front: bool


def check_tuning(settings: TuningSettings) -> None:
    """Refuse settings that no study can be run with.

    Raises:
        InvalidValue: trials or k_max below 1, or an empty list of choices.
        UnknownName: sampler, strategy, operator or ranker is not known.
    """
    if settings.trials < 1:
        raise InvalidValue(f"tuning.trials is {settings.trials}; at least 1 is needed")
    if settings.k_max < 1:
        raise InvalidValue(f"tuning.k_max is {settings.k_max}; at least 1 is needed")
    check_known("sampler", settings.sampler, SAMPLERS)
    if settings.seed < 0:
        raise InvalidValue(f"tuning.seed is {settings.seed}; it must be >= 0")
    for name in ("strategies", "operators", "rankers"):
        if not getattr(settings, name):
            raise InvalidValue(f"tuning.{name} is empty; the search space needs at least one choice")
    for strategy in settings.strategies:
        check_known("strategy", strategy, STRATEGIES)
    for operator in settings.operators:
        for ranker in settings.rankers:
            Choice(Strategy(settings.strategies[0]), operator, ranker)


def open_study(settings: TuningSettings, journal: Path, *, problem: Problem, library: str = "") -> optuna.Study:
    """Create or resume a study; trials that a killed driver left running are failed and queued again.

    Args:
        settings: name, sampler and search space.
        journal: the study's file.
        problem: what choices are tried on.
        library: digest of the library's content.

    Raises:
        SettingsError: the journal holds a study of that name with other directions or another search space.
    """
    optuna.logging.set_verbosity(logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            study_name=settings.study,
            storage=JournalStorage(JournalFileBackend(str(journal))),
            sampler=SAMPLERS[settings.sampler](settings.seed),
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
    _check_same_question(study, _question(settings, problem, library))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _question(settings: TuningSettings, problem: Problem, library: str) -> dict[str, Any]:
    """Everything that trials of one study must have in common, as JSON keeps it."""
    space = {name: getattr(settings, name) for name in ("strategies", "operators", "rankers", "k_max", "sampler")}
    tried_on = {"setup": [problem.setup.mode, problem.setup.objective], "gamma": problem.gamma}
    return (
        space
        | tried_on
        | {"episodes": problem.episodes, "environments": list(problem.environments), "library": library}
    )


def _check_same_question(study: optuna.Study, question: dict[str, Any]) -> None:
    found = tuple(direction.name.lower() for direction in study.directions)
    if found != DIRECTIONS:
        raise SettingsError(
            f"study {study.study_name!r} exists with directions {found} instead of {DIRECTIONS}; "
            "choose another tuning.study"
        )
    known = study.user_attrs.get(_QUESTION)
    if known is None:
        study.set_user_attr(_QUESTION, question)
    elif known != question:
        changed = sorted(name for name in question if known.get(name) != question[name])
        raise SettingsError(
            f"study {study.study_name!r} was begun with another question (changed: {', '.join(changed)}); "
            "choose another tuning.study"
        )


def suggest(trial: optuna.Trial, settings: TuningSettings) -> Choice:
    """The choice that a trial tries; ``k`` exists for ``hybrid`` alone."""
    name = trial.suggest_categorical("strategy", settings.strategies)
    k = trial.suggest_int("k", 1, settings.k_max) if name == "hybrid" else 1
    operator = trial.suggest_categorical("operator", settings.operators)
    ranker = trial.suggest_categorical("ranker", settings.rankers)
    return Choice(Strategy(name, k=k), operator, ranker)


def tune(
    study: optuna.Study,
    settings: TuningSettings,
    *,
    library: LibraryReader,
    problem: Problem,
    executor: Executor,
    watch: Callable[[TunedTrial], None] | None = None,
) -> list[TunedTrial]:
    """Run trials until the study has as many as the settings say; returns all finished ones, in order.

    Raises:
        Exception: what a trial raised; it is told as failed first.
    """
    while (wanted := settings.trials - _finished(study)) > 0:
        trials = [study.ask() for _ in range(min(executor.workers, wanted))]
        choices = [suggest(trial, settings) for trial in trials]
        for outcome in executor.map(try_choice, choices, shared=(library, problem)):
            trial = trials[outcome.index]
            if outcome.error is not None:
                study.tell(trial, state=TrialState.FAIL)
                raise outcome.error
            _tell(study, trial, choices[outcome.index], outcome.value)
            if watch is not None:
                watch(_read(study.get_trials(deepcopy=False)[trial.number], frozenset()))
    return finished_trials(study)


def _finished(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _tell(study: optuna.Study, trial: optuna.Trial, choice: Choice, result: TrialResult) -> None:
    trial.set_user_attr("label", choice.label)
    trial.set_user_attr("seconds", result.seconds)
    study.tell(trial, [result.quality, result.candidates])


def finished_trials(study: optuna.Study) -> list[TunedTrial]:
    """Every finished trial, marked where it lies on the Pareto front."""
    front = frozenset(trial.number for trial in study.best_trials)
    return [_read(trial, front) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]


def _read(trial: FrozenTrial, front: frozenset[int]) -> TunedTrial:
    quality, candidates = trial.values
    label, seconds = trial.user_attrs["label"], trial.user_attrs["seconds"]
    return TunedTrial(trial.number, label, quality, candidates, seconds, trial.number in front)


def front_of(trials: Sequence[TunedTrial]) -> list[TunedTrial]:
    """The front, cheapest first; of choices that are equally good at equal cost the fastest stands for all."""
    best: dict[tuple[float, float], TunedTrial] = {}
    for trial in sorted(trials, key=lambda trial: (trial.candidates, trial.seconds, trial.number)):
        if trial.on_front:
            best.setdefault((trial.candidates, trial.quality), trial)
    return list(best.values())


def as_rows(trials: Sequence[TunedTrial]) -> list[dict[str, Any]]:
    """Trials as plain rows."""
    return [vars(trial) | {} for trial in trials]
