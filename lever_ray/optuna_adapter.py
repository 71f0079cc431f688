"""Optuna: which way of answering queries to pay for. One driver asks and tells; trials run on an executor."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from lever_ray.composition.recipe import Recipe
from lever_ray.config import SpaceSettings, TuningSettings
from lever_ray.errors import SettingsError
from lever_ray.tuning.front import COMPLETE, PRUNED, TunedTrial
from lever_ray.tuning.pareto import Evaluate, Point, run_batch, violations
from lever_ray.tuning.space import Given, SearchSpace
from lever_ray.tuning.study_file import mend_journal
from lever_ray.tuning.trial import Averages, Measured, TuningProblem

T = TypeVar("T", str, float)

DIRECTIONS: tuple[str, ...] = ("maximize", "minimize")
"""Of quality and cost."""
POPULATION = 20
"""Trials per generation of ``nsga2``."""
_SAMPLERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
}
FEWEST_FOR_IMPORTANCE = 20
"""Complete trials from which parameter importances are told: PED-ANOVA compares the best tenth with all."""
_QUESTION, _MEASURED = "question", "measured"
_TOLD = (TrialState.COMPLETE, TrialState.PRUNED)

Watch = Callable[[TunedTrial], Mapping[str, str]]
"""Called with each trial before it is told; what it returns is kept with the trial, e.g. a link to its run."""


def open_study(settings: TuningSettings, journal: Path, *, problem: TuningProblem) -> optuna.Study:
    """Create or resume a study; trials that a killed driver left running are failed and queued again.

    Args:
        settings: name, storage, sampler and search space.
        journal: the study's file, where the settings name no database; this process must be its only driver.
        problem: what choices are tried on.

    Raises:
        SettingsError: the storage cannot be used, holds another study, or the study was begun with other directions,
            another search space or on another problem; the message names what changed.
    """
    optuna.logging.set_verbosity(logging.ERROR)
    storage = _database(settings.storage) if settings.storage else _journal(journal, settings.study)
    study = optuna.create_study(
        study_name=settings.study, storage=storage, directions=["maximize", "minimize"], load_if_exists=True
    )
    _check_same_question(study, _question(settings, problem))
    with _quiet():
        study.set_metric_names(["quality", settings.cost])
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
    return study


def check_question(settings: TuningSettings, journal: Path, *, problem: TuningProblem) -> None:
    """Refuse a study that was begun with another question; the library's content, where trained later, is left out.

    Args:
        settings: name the study.
        journal: its file; this process must be its only driver.
        problem: what choices are tried on; its library is not compared.

    Raises:
        SettingsError: see :func:`open_study`.
    """
    storage = _database(settings.storage) if settings.storage else _journal(journal, settings.study)
    if settings.study in optuna.get_all_study_names(storage):
        optuna.logging.set_verbosity(logging.ERROR)
        study = optuna.load_study(study_name=settings.study, storage=storage)
        if known := study.user_attrs.get(_QUESTION):
            _check_same_question(study, _question(settings, problem) | {"library": known.get("library")})


def _database(url: str) -> BaseStorage:
    try:
        return RDBStorage(url)
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"tuning.storage {url!r} cannot be used ({reason}); check the URL") from error


def _journal(file: Path, study: str) -> BaseStorage:
    file.parent.mkdir(parents=True, exist_ok=True)
    mend_journal(file)
    try:
        storage = JournalStorage(JournalFileBackend(str(file)))
        held = [each.study_name for each in storage.get_all_studies()]
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise SettingsError(
            f"{file} is no journal of a study ({error}); move it away, or choose another study"
        ) from error
    if held and study not in held:
        raise SettingsError(
            f"{file} holds study {held[0]!r} and not {study!r}; move it away, or set tuning.study={held[0]}"
        )
    return storage


def _question(settings: TuningSettings, problem: TuningProblem) -> dict[str, Any]:
    """Everything that trials of one study must have in common, as JSON keeps it."""
    everything = asdict(settings)
    question = {f"space.{name}": value for name, value in everything["space"].items()}
    question |= {f"limits.{name}": value for name, value in everything["limits"].items()}
    question |= {name: everything[name] for name in ("sampler", "cost", "halving", "repeats")}
    return question | {
        "setup": [problem.setup.mode, problem.setup.objective],
        "episodes": problem.episodes,
        "environments": [list(problem.tuning), list(problem.held_out)],
        "library": problem.library,
    }


def _check_same_question(study: optuna.Study, question: dict[str, Any]) -> None:
    found = tuple(direction.name.lower() for direction in study.directions)
    if found != DIRECTIONS:
        raise SettingsError(
            f"study {study.study_name!r} exists with directions {found} instead of {DIRECTIONS}; "
            "choose another tuning.study"
        )
    known = study.user_attrs.get(_QUESTION)
    if known is None and study.get_trials(deepcopy=False):
        raise SettingsError(f"study {study.study_name!r} was begun by another program; choose another tuning.study")
    if known is None:
        study.set_user_attr(_QUESTION, question)
    elif (asked := _before_it_was_asked(known) | known) != question:
        changed = sorted(name for name in asked.keys() | question.keys() if asked.get(name) != question.get(name))
        raise SettingsError(
            f"study {study.study_name!r} was begun with another question (changed: {', '.join(changed)}); "
            "choose another tuning.study"
        )


def _before_it_was_asked(known: Mapping[str, Any]) -> dict[str, Any]:
    """What parts of the space stood at, of which an older study does not tell."""
    return {f"space.{name}": value for name, value in asdict(SpaceSettings()).items() if f"space.{name}" not in known}


class _Asked:
    """A chooser that asks a trial; a parameter with one value is no parameter of the study."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def among(self, name: str, values: Sequence[T]) -> T:
        """See :class:`lever_ray.tuning.space.Chooser`."""
        return values[0] if len(values) == 1 else self._trial.suggest_categorical(name, values)

    def whole(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """See :class:`lever_ray.tuning.space.Chooser`."""
        return low if low == high else self._trial.suggest_int(name, low, high, log=log)

    def stepped(self, name: str, low: float, high: float, step: float) -> float:
        """See :class:`lever_ray.tuning.space.Chooser`."""
        return low if low == high else self._trial.suggest_float(name, low, high, step=step)


def tune(
    study: optuna.Study,
    settings: TuningSettings,
    *,
    space: SearchSpace,
    problem: TuningProblem,
    evaluate: Evaluate,
    watch: Watch | None = None,
) -> list[TunedTrial]:
    """Run trials until the study has as many as the settings say; returns all that were told, in order.

    A study that was interrupted and resumed asks for the same choices as one that was not, with ``tpe`` and ``random``:
    every trial is drawn with a seed of its own, and batches begin where they would have.

    Args:
        study: see :func:`open_study`.
        settings: of tuning.
        space: what is chosen from.
        problem: its tuning environments are visited; the held-out ones are not.
        evaluate: measures choices; see :class:`lever_ray.tuning.trial.Bench`.
        watch: see :data:`Watch`.

    Raises:
        Exception: what a trial raised; it is told as failed first.
    """
    told = told_trials(study, space, settings)
    while (wanted := settings.trials - len(told)) > 0:
        count = min(wanted, settings.batch - len(told) % settings.batch)
        asked = [_ask(study, settings, space, len(told) + place) for place in range(count)]
        with _failing(study, [trial for trial, _ in asked]):
            measured = _measure([choice for _, choice in asked], told, settings, problem, evaluate)
        for (trial, choice), results in zip(asked, measured, strict=True):
            state = COMPLETE if len(results) == len(problem.tuning) else PRUNED
            point = Point.of(results, cost=settings.cost, limits=settings.limits)
            told.append(TunedTrial(trial.number, choice, tuple(results), state, point))
            _tell(study, trial, told[-1], settings, {} if watch is None else watch(told[-1]))
    return told_trials(study, space, settings)


def _ask(study: optuna.Study, settings: TuningSettings, space: SearchSpace, place: int) -> tuple[optuna.Trial, Recipe]:
    """The next trial and its choice, drawn with a seed that follows from its place among those told."""
    seed = int(np.random.SeedSequence([settings.seed, place]).generate_state(1)[0])
    with _quiet():
        study.sampler = _SAMPLERS[settings.sampler](seed)
        trial = study.ask()
        return trial, space.draw(_Asked(trial))


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


@contextmanager
def _failing(study: optuna.Study, trials: Sequence[optuna.Trial]) -> Iterator[None]:
    """Tell trials as failed where the block raises; an interruption leaves them to be queued again."""
    try:
        yield
    except Exception:
        for trial in trials:
            study.tell(trial, state=TrialState.FAIL)
        raise


def _measure(
    choices: Sequence[Recipe],
    told: Sequence[TunedTrial],
    settings: TuningSettings,
    problem: TuningProblem,
    evaluate: Evaluate,
) -> list[list[Measured]]:
    """Results of a batch; a choice that was tried before keeps the results that it had."""
    known = {trial.choice: list(trial.measured) for trial in told}
    new = list(dict.fromkeys(choice for choice in choices if choice not in known))

    def place(results: Sequence[Measured]) -> Point:
        return Point.of(results, cost=settings.cost, limits=settings.limits)

    found = run_batch(
        new, problem.tuning, evaluate, earlier=list(known.values()), place=place, halving=settings.halving
    )
    known |= dict(zip(new, found, strict=True))
    return [known[choice] for choice in choices]


def _tell(
    study: optuna.Study, trial: optuna.Trial, told: TunedTrial, settings: TuningSettings, notes: Mapping[str, str]
) -> None:
    averages = Averages.of(told.measured)
    attributes: dict[str, Any] = {"label": told.choice.label, "averages": averages._asdict()}
    attributes |= {_MEASURED: [list(each) for each in told.measured], **notes}
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    for name, value in violations(averages, settings.limits).items():
        trial.set_constraint(name, value)
    if told.state == COMPLETE:
        study.tell(trial, [told.point.quality, told.point.cost])
    else:
        study.tell(trial, state=TrialState.PRUNED)


def told_trials(study: optuna.Study, space: SearchSpace, settings: TuningSettings) -> list[TunedTrial]:
    """Every trial that was told a result, in order."""
    return [_read(trial, space, settings) for trial in study.get_trials(deepcopy=False, states=_TOLD)]


def _read(trial: FrozenTrial, space: SearchSpace, settings: TuningSettings) -> TunedTrial:
    measured = tuple(Measured(*numbers) for numbers in trial.user_attrs[_MEASURED])
    state = COMPLETE if trial.state == TrialState.COMPLETE else PRUNED
    point = Point.of(measured, cost=settings.cost, limits=settings.limits)
    return TunedTrial(trial.number, space.draw(Given(trial.params)), measured, state, point)


def importances(study: optuna.Study) -> dict[str, dict[str, float]]:
    """How much each parameter decides ``quality``, ``cost`` and ``front`` (reaching the Pareto front); each sums to 1.

    By PED-ANOVA (arXiv 2304.10255; conditional parameters by arXiv 2601.20800), which explains *low* values of its
    target: quality is negated. Empty below :data:`FEWEST_FOR_IMPORTANCE` complete trials, or where nothing was chosen.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # which load scikit-learn

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST_FOR_IMPORTANCE or not any(trial.params for trial in complete):
        return {}
    targets: dict[str, Callable[[FrozenTrial], float] | None] = {
        "quality": lambda trial: -trial.values[0],
        "cost": lambda trial: trial.values[1],
        "front": None,
    }
    evaluator = PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            name: get_param_importances(study, evaluator=evaluator, target=target) for name, target in targets.items()
        }
    return {name: dict(sorted(shares.items())) for name, shares in found.items()}
