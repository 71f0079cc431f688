"""What tuning buys: samplers at equal trials, halving, overhead, a study's time, and the tuned strategy elsewhere.

Samplers are compared on one grid16 library whose whole (reduced) search space is measured beforehand, every choice once
in every environment; studies then look their results up. So ten seeds are cheap and every one sees the same truth.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np

from lever_ray.building.build import build_library
from lever_ray.building.settings import environment_names
from lever_ray.composition.recipe import Recipe
from lever_ray.config import LibrarySettings, SetupSettings, SpaceSettings, TuningSettings
from lever_ray.executor import Executor, SerialExecutor
from lever_ray.experiment.plan import Setup
from lever_ray.learning.budgets import training_budget
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.reader import LibraryReader
from lever_ray.optuna_adapter import open_study, tune
from lever_ray.query.warm import warm_up
from lever_ray.statistics.intervals import iqm_interval, mean_interval
from lever_ray.tasks.registry import source
from lever_ray.tuning.front import TunedTrial, front_of, held_out_rows
from lever_ray.tuning.pareto import Evaluate, Point, hypervolume
from lever_ray.tuning.recommendation import Wish, recommend
from lever_ray.tuning.settings import search_space
from lever_ray.tuning.trial import Bench, Measured, TuningProblem, split_environments

OBJECTIVES = ["path", "gold", "hazard", "lever", "path-gold", "hazard-lever", "path-gold-hazard"]
LIBRARY = LibrarySettings("tuning", "grid16", layouts=20, gammas=[0.0, 0.99], objectives=OBJECTIVES)
SEEDS = range(10)
TRIALS = (20, 40, 80)
REDUCED = SpaceSettings(
    strategies=["targeted", "hybrid", "exhaustive"],
    operators=["sum", "max", "normalized-sum", "switch"],
    k=[2, 8],
    models=["ridge"],
    targets=["composite", "own"],
    embeddings=["psi"],
    canonical=[64],
)
WORDED = ["objective", "description"]
"""Rules of retrieval, as in ``conf/tuning/candidates.yaml``."""
STUDY = TuningSettings(
    study="bench", trials=40, setup=SetupSettings("trivial", "path-gold-hazard-lever"), space=REDUCED, repeats=1
)
DEAREST = 9.0**4
"""Candidates of the whole product: four groups of nine."""


Truth = dict[Recipe, dict[str, Measured]]
"""What was measured of every choice, by environment."""


def figures() -> dict[str, float]:
    """Serially, on whatever else the machine does; see the functions below for what each figure means."""
    from lever_ray.ray_execution import RayExecutor, ShardedLibrary, connect, disconnect

    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        joined = connect("local", num_cpus=2, include_dashboard=False)
        try:
            ray = RayExecutor()
            build_library(place / "library", LIBRARY, executor=ray)
            library = PolicyLibrary.open(place / "library")
            sharded = ShardedLibrary.open(place / "library", actors=2)
            result, tuned = _whole_study(sharded, ray, place)
            same_tier = _tuned_like_published(sharded, ray, place)
            truth = _measured_space(library, ray)
        finally:
            if joined:
                disconnect()
        result |= _side_by_side({"tuned": tuned, "tuned_i1": same_tier}, library)
        return result | _samplers(truth, place) | _halving(truth, place) | _overhead(place)


def _problem(*, repeats: int = 1) -> TuningProblem:
    tuning, held_out = split_environments(environment_names(LIBRARY), STUDY.held_out)
    setup = Setup.of(STUDY.setup.mode, STUDY.setup.objective, source(LIBRARY.family))
    return TuningProblem(setup, training_budget(LIBRARY.budget).episodes, tuning, held_out, "bench", repeats)


def _run(settings: TuningSettings, evaluate: Evaluate, journal: Path, problem: TuningProblem) -> list[TunedTrial]:
    study = open_study(settings, journal, problem=problem)
    return tune(study, settings, space=search_space(settings, LIBRARY.gammas), problem=problem, evaluate=evaluate)


def _whole_study(library: LibraryReader, executor: Executor, place: Path) -> tuple[dict[str, float], Recipe]:
    """100 trials of ``tuning=candidates``, Ray on 2 cores; its front held out, and the choice that it recommends."""
    settings = replace(STUDY, study="whole", trials=100, space=SpaceSettings(retrievals=WORDED), repeats=3)
    problem = _problem(repeats=settings.repeats)
    bench = Bench(library, problem, executor)
    begun = perf_counter()
    trials = _run(settings, bench, place / "whole.journal", problem)
    result = {"tuning.grid16.100_trials.seconds": perf_counter() - begun}
    result["tuning.grid16.100_trials.stopped_early"] = float(sum(trial.state == "pruned" for trial in trials))
    serial = Bench(library, problem, SerialExecutor())
    front = front_of(trials)
    rows = held_out_rows(
        front, serial([point.choice for point in front], problem.held_out), cost="candidates", bootstrap=2_000
    )
    confirmed = sum(row["verdict"] in ("cheapest", "confirmed") for row in rows)
    result |= {"tuning.front.points": float(len(rows)), "tuning.front.confirmed_on_held_out": float(confirmed)}
    return result, _recommended(trials, rows)


def _recommended(trials: Sequence[TunedTrial], rows: Sequence[Mapping[str, Any]]) -> Recipe:
    chosen = recommend(rows, Wish(share=STUDY.share))["number"]
    return next(trial.choice for trial in trials if trial.number == chosen)


def _tuned_like_published(library: LibraryReader, executor: Executor, place: Path) -> Recipe:
    """The recommendation of 60 trials among choices that use no more information than the published ranker does."""
    space = SpaceSettings(
        operators=["sum", "max", "normalized-sum"], rankers=["regressor"], targets=["own"], retrievals=WORDED
    )
    settings, problem = replace(STUDY, study="i1", trials=60, space=space), _problem()
    bench = Bench(library, problem, executor)
    trials = _run(settings, bench, place / "i1.journal", problem)
    front = front_of(trials)
    held_out = bench([point.choice for point in front], problem.held_out)
    return _recommended(trials, held_out_rows(front, held_out, cost="candidates", bootstrap=2))


def _side_by_side(tuned: Mapping[str, Recipe], library: LibraryReader) -> dict[str, float]:
    """Tuned choices beside hybrid k = 3, on held-out environments and in this process alone.

    ``published``: unmasked sums, HistGradientBoosting on own returns (tier I1; the publication rolled candidates out in
    the environment, I4). ``default``: mask, this project's regressor. ``tuned`` may use tier I3,
    ``tuned_i1`` may not.
    """
    published = Recipe(regressor_model="hist-gradient-boosting", embedding="psi", support="ignore")
    problem, choices = _problem(repeats=3), dict(tuned)
    bench = Bench(library, problem, SerialExecutor())
    for gamma in LIBRARY.gammas:
        choices[f"published_g{gamma:g}"] = published.override(gamma=gamma)
        choices[f"default_g{gamma:g}"] = Recipe(gamma=gamma)
    measured = dict(zip(choices, bench(list(choices.values()), problem.held_out), strict=True))
    result: dict[str, float] = {}
    for name, found in measured.items():
        quality = np.array([each.quality for each in found])
        interval = iqm_interval(quality, count=2_000)
        figures = {
            "quality": interval.value,
            "quality.ci_low": interval.low,
            "quality.ci_high": interval.high,
            "candidates": mean(each.candidates for each in found),
            "milliseconds": 1e3 * float(np.median([each.seconds for each in found])),
        }
        for better in tuned if name not in tuned else ():
            differences = np.array([each.quality for each in measured[better]]) - quality
            gain, key = mean_interval(differences, count=2_000), f"{better}_gain"
            figures |= {key: gain.value, f"{key}.ci_low": gain.low, f"{key}.ci_high": gain.high}
        result |= {f"tuning.held_out.{name}.{key}": float(value) for key, value in figures.items()}
    return result


def _measured_space(library: PolicyLibrary, executor: Executor) -> Truth:
    problem = _problem()
    choices = list(search_space(STUDY, LIBRARY.gammas).choices())
    found = Bench(library, problem, executor)(choices, problem.tuning)
    return {
        choice: dict(zip(problem.tuning, measured, strict=True))
        for choice, measured in zip(choices, found, strict=True)
    }


class _LookedUp:
    """Answers from what was measured beforehand, and counts how many (choice, environment) pairs were asked for."""

    def __init__(self, truth: Truth) -> None:
        self.truth, self.visits = truth, 0

    def __call__(self, choices: Sequence[Recipe], environments: Sequence[str]) -> list[list[Measured]]:
        self.visits += len(choices) * len(environments)
        return [[self.truth[choice][name] for name in environments] for choice in choices]


def _area(points: Sequence[Point]) -> float:
    return hypervolume(points, cheapest=1.0, dearest=DEAREST)


def _best_area(truth: Truth) -> float:
    found = [list(measured.values()) for measured in truth.values()]
    return _area([Point.of(each, cost="candidates", limits=STUDY.limits) for each in found])


def _areas(settings: TuningSettings, truth: Truth, place: Path) -> tuple[np.ndarray, float]:
    """float64[seeds]: hypervolume of each study as a share of the whole space's; and the mean number of visits."""
    shares, visits = [], []
    for seed in SEEDS:
        evaluate, problem = _LookedUp(truth), _problem()
        with tempfile.TemporaryDirectory(dir=place) as folder, _without_fsync():
            trials = _run(replace(settings, seed=seed), evaluate, Path(folder) / "journal", problem)
        shares.append(_area([trial.point for trial in trials if trial.feasible]) / _best_area(truth))
        visits.append(evaluate.visits)
    return np.array(shares), mean(visits)


def _samplers(truth: Truth, place: Path) -> dict[str, float]:
    """Hypervolume after equal trials, as a share of the whole space's: means over seeds, and TPE less random, paired.

    It is the best quality that a number of candidates buys, averaged over its logarithm from 1 to the whole product.
    """
    result = {"tuning.hypervolume.choices_in_space": float(len(truth))}
    for trials in TRIALS:
        name = f"tuning.hypervolume.{trials}_trials"
        shares = {}
        for sampler in ("tpe", "nsga2", "random"):
            settings = replace(STUDY, sampler=sampler, halving=False, trials=trials)
            shares[sampler], _ = _areas(settings, truth, place)
            result[f"{name}.{sampler}"] = float(shares[sampler].mean())
        better, key = mean_interval(shares["tpe"] - shares["random"], count=10_000), f"{name}.tpe_less_random"
        result |= {key: better.value, f"{key}.ci_low": better.low, f"{key}.ci_high": better.high}
    return result


def _halving(truth: Truth, place: Path) -> dict[str, float]:
    """What halving saves of the visits to environments, and what it costs in hypervolume, TPE at equal trials."""
    whole, visits = _areas(replace(STUDY, halving=False), truth, place)
    halved, fewer = _areas(STUDY, truth, place)
    return {
        "tuning.halving.visits_share": fewer / visits,
        "tuning.halving.hypervolume_less_whole": float((halved - whole).mean()),
    }


def _overhead(place: Path) -> dict[str, float]:
    """Milliseconds per trial that asking, journalling and telling take, over 100 trials that measure nothing.

    With the disk's acknowledgement of every entry, as it is, and without it.
    """
    result = {}
    for name, way in (("", nullcontext), (".without_fsync", _without_fsync)):
        settings = replace(STUDY, study=f"overhead{name}", trials=100, halving=False)
        with way():
            begun = perf_counter()
            _run(settings, _nothing, place / f"overhead{name}.journal", _problem())
            result[f"tuning.overhead.milliseconds_per_trial{name}"] = 10.0 * (perf_counter() - begun)
    return result


@contextmanager
def _without_fsync() -> Iterator[None]:
    wait = os.fsync
    os.fsync = lambda _: None  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync = wait


def _nothing(choices: Sequence[Recipe], environments: Sequence[str]) -> list[list[Measured]]:
    return [[Measured(len(choice.label) / 97, float(choice.k), 1e-3, 1.0)] * len(environments) for choice in choices]
