"""Results that a redesign must not change: collected from the code as it is, and kept in ``tests/golden``.

``python -m tests.golden.results`` writes them anew; do that only where a difference is explained and wanted.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import lever_ray as lever
from lever_ray.app.settings import experiment_plan, load_settings
from lever_ray.behaviour.ranking import ranking_rows
from lever_ray.building.build import build_library
from lever_ray.composition.operators import OPERATORS
from lever_ray.composition.rankers.registry import RANKERS
from lever_ray.composition.strategies.registry import STRATEGIES
from lever_ray.config import LibrarySettings, SetupSettings, SpaceSettings, TuningSettings
from lever_ray.executor import SerialExecutor
from lever_ray.experiment.cell import run_environment
from lever_ray.experiment.plan import Setup
from lever_ray.tasks.registry import source

FOLDER = Path(__file__).parent
COMMON = {
    "training_seeds": 2,
    "gammas": [0.0, 0.99],
    "budget": "X1",
    "objectives": ["path", "gold", "hazard", "lever", "path-gold", "hazard-lever", "path-gold-hazard"],
}
LIBRARIES = (
    LibrarySettings(name="golden8", family="grid8", layouts=4, **COMMON),
    LibrarySettings(name="golden16", family="grid16", layouts=2, **COMMON),
)
SETUPS = {
    "grid8-0": ("double", "path-gold-hazard", 0.0),
    "grid8-1": ("triple", "path-gold-hazard-lever", 0.99),
    "grid8-2": ("trivial", "path-gold-hazard", 0.0),
    "grid8-3": ("trivial", "path-gold", 0.99),
    "grid16-0": ("double", "path-gold-hazard-lever", 0.0),
    "grid16-1": ("double", "path-gold-hazard", 0.99),
}
"""Mode, objective and gamma that each environment is asked."""
OPERATORS_THEN = ("sum", "max", "normalized-sum", "gpi", "switch", "plan")
"""Operators that there were when the results were kept."""
KINDS = ("psi", "psi_static", "outcome")
PARAMETERS = {"hybrid": 2, "budgeted": 20, "random": 20, "best-first": 20}
CLOCKS = ("seconds/", "speedup/")


def digest(values: Any) -> str:
    """Of an array's bytes."""
    return "" if values is None else hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def bytes_of(actions: Any) -> Any:
    """A byte per action, whatever integers they are told in."""
    return None if actions is None else np.asarray(actions).astype(np.int8)


def strategies() -> list[str]:
    """Every strategy with its parameter."""
    return [f"{name}-{PARAMETERS[name]}" if name in PARAMETERS else name for name in STRATEGIES]


def combinations() -> Iterator[tuple[str, str, str, str, str]]:
    """Strategy, operator, ranker, support rule and retrieval, where they are valid together."""
    for found in product(strategies(), OPERATORS_THEN, RANKERS, ("mask", "ignore"), ("objective", "description")):
        strategy, operator, ranker, support, _ = found
        if OPERATORS[operator].is_route and (ranker != "offline-return" or support != "mask"):
            continue
        if not OPERATORS[operator].needs_candidates and strategy != "targeted":
            continue
        yield found


def answers(library: Any, environment: str) -> Iterator[dict[str, Any]]:
    """What every way of answering gives in one environment."""
    mode, objective, gamma = SETUPS[environment]
    groups = Setup.of(mode, objective, source(environment.partition("-")[0])).groups
    world = library.environment(environment).layout
    for strategy, operator, ranker, support, retrieval in combinations():
        found = lever.compose(
            library, environment=environment, objective=objective, groups=groups, strategy=strategy,
            operator=operator, ranker=ranker, support=support, gamma=gamma, retrieval=retrieval, threshold=0.8,
        )  # fmt: skip
        played = lever.rollout(world, objective=objective, q=found.q, actions=found.actions)
        learnt = ranker == "regressor"
        scores = found.search.scores
        yield {
            "environment": environment,
            "asked": f"{strategy} {operator} {ranker} {support} {retrieval}",
            "policy_ids": " ".join(found.policy_ids),
            "predicted_return": found.predicted_return,
            "return": played.total,
            "end": played.end,
            "path": digest(np.array(played.path)),
            "q": digest(found.q),
            "actions": digest(bytes_of(played.actions)),
            "route": digest(bytes_of(found.actions)),
            "evaluated": found.evaluated,
            "members_scored": found.search.members_scored,
            "candidates": digest(found.search.candidates),
            "scores": "" if learnt else digest(scores.values),
            "scores_sum": float(scores.values.sum()),
            "order": digest(scores.ranked()),
            "coverage": repr(sorted(found.coverage.to_dict().items())),
            "warnings": " | ".join(found.warnings),
            "says": " ".join((found.regime, found.tier, found.support_source, found.retrieval)),
        }


def rows(library: Any, environment: str) -> list[dict[str, Any]]:
    """The cells of one environment, with every control."""
    mode, objective, gamma = SETUPS[environment]
    family = environment.partition("-")[0]
    settings = load_settings(["experiment=demo", f"library={family}", "library.training_seeds=2"])
    settings.experiment = replace(
        settings.experiment,
        setups=[SetupSettings(mode, objective)],
        strategies=strategies(),
        operators=list(OPERATORS_THEN),
        rankers=list(RANKERS),
        repeats=1,
    )
    settings.strategy.gamma = gamma
    return [
        {name: value for name, value in row.items() if not name.startswith((*CLOCKS, "segments/"))}
        for row in run_environment(environment, library, experiment_plan(settings))
    ]


def regressors(library: Any) -> Iterator[dict[str, Any]]:
    """What every kind of regressor predicts of one question, and in which order."""
    kinds = (*product(("ridge", "hist-gradient-boosting"), ("composite", "own", "recorded"), KINDS),)
    kinds += (*product(("additive-ridge",), ("own", "recorded"), KINDS),)
    for model, target, embedding in kinds:
        found = lever.compose(
            library, environment="grid8-2", objective="path-gold-hazard", groups=["path", "gold", "hazard"],
            strategy="exhaustive", gamma=0.0, regressor_model=model, regressor_target=target, embedding=embedding,
        )  # fmt: skip
        yield {
            "asked": f"{model} {target} {embedding}",
            "policy_ids": " ".join(found.policy_ids),
            "scores": found.search.scores.values.tolist(),
        }


def trained() -> Iterator[dict[str, Any]]:
    """What training gives, byte for byte."""
    for name, objective, gamma in product(("grid8", "grid16"), ("path", "gold-lever", "path-gold-hazard"), (0.0, 0.99)):
        layout = lever.Layout.sample(name, seed=7)
        run = lever.train(layout, objective=objective, episodes=2_500, gamma=gamma, seed=3)
        for snapshot in run.snapshots:
            yield {
                "asked": f"{name} {objective} {gamma}",
                "episode": snapshot.episode,
                "steps": run.environment_steps,
                "total": snapshot.total,
                **{part: digest(getattr(snapshot, part)) for part in ("q", "visits", "successors", "mean_rewards")},
            }


def embeddings(library: Any) -> Iterator[dict[str, Any]]:
    """Embeddings of one environment's policies, and a look at those of all."""
    for environment in library.environments:
        for target, kind in product(("own", "composite"), KINDS):
            found = ranking_rows(library, target=target, objective="path-gold", gamma=0.0, episodes=10_000, kind=kind)
            mine = found.environments == environment
            yield {
                "asked": f"{environment} {target} {kind}",
                "ids": " ".join(found.ids[mine].tolist()),
                "x": found.x[mine].astype(np.float64).sum(axis=0).tolist(),
                "first": found.x[mine][0].astype(np.float64).tolist(),
                "y": found.y[mine].tolist(),
            }


def front(path: Path, folder: Path) -> list[dict[str, Any]]:
    """Trials of a small study with a fixed seed."""
    from lever_ray.optuna_adapter import open_study, tune
    from lever_ray.tuning.settings import search_space
    from lever_ray.tuning.trial import Bench, TuningProblem

    setup = SetupSettings("double", "path-gold-hazard")
    space = SpaceSettings(budget=[5, 30], embeddings=["outcome", "psi"], k=[2, 5])
    settings = TuningSettings(study="golden", trials=20, setup=setup, space=space, seed=5, repeats=1)
    library = lever.PolicyLibrary.open(path)
    asked = Setup.of(setup.mode, setup.objective, source("grid8"))
    problem = TuningProblem(asked, 10_000, ("grid8-0", "grid8-1", "grid8-3"), ("grid8-2",))
    trials = tune(
        open_study(settings, folder / "journal", problem=problem),
        settings,
        space=search_space(settings, COMMON["gammas"]),
        problem=problem,
        evaluate=Bench(library, problem, SerialExecutor()),
    )
    return [
        {"number": each.number, "choice": each.choice.label, "quality": each.point.quality, "cost": each.point.cost}
        for each in trials
    ]


def collect(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Everything, by table."""
    libraries = {}
    for settings in LIBRARIES:
        path = folder / settings.name
        build_library(path, settings, executor=SerialExecutor())
        libraries[settings.family] = lever.PolicyLibrary.open(path)
    found: dict[str, list[dict[str, Any]]] = {"answers": [], "rows": []}
    for environment in SETUPS:
        library = libraries[environment.partition("-")[0]]
        found["answers"] += answers(library, environment)
        found["rows"] += rows(library, environment)
    found["regressors"] = list(regressors(libraries["grid8"]))
    found["trained"] = list(trained())
    found["embeddings"] = list(embeddings(libraries["grid8"]))
    found["front"] = front(folder / "golden8", folder)
    return found


def write(folder: Path = FOLDER) -> None:
    """Keep what the code as it is gives."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, table in collect(Path(scratch)).items():
            pq.write_table(pa.Table.from_pylist(table), folder / f"{name}.parquet", compression="zstd")


if __name__ == "__main__":
    write()
