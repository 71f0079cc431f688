"""Loading or compiling every kernel ahead of time, so that no clock sees it."""

from __future__ import annotations

from functools import cache
from time import perf_counter

import numpy as np

from lever_ray.composition.groups import PolicyGroup
from lever_ray.composition.operators import OPERATORS
from lever_ray.composition.rankers import OfflineReturnRanker, Ranker, RecordedReturnRanker, RegressorRanker
from lever_ray.composition.search import Strategy
from lever_ray.embedding.outcome import BEHAVIOUR_KINDS, OUTCOME_FEATURES
from lever_ray.embedding.regressor import FittedRegressor, LinearPredictor
from lever_ray.embedding.successor import EMBEDDING, make_embedder
from lever_ray.learning.sarsa import train
from lever_ray.library.index import make_index
from lever_ray.library.record import EnvironmentRecord
from lever_ray.query.composer import Composer
from lever_ray.tasks.gridworld.compile import make_task
from lever_ray.tasks.gridworld.features import features
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.optimum import optimum
from lever_ray.tasks.gridworld.planner import plan
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import random_return

_LAYOUT = Layout(size=3, start=(0, 0), exit=(2, 2), golds=((0, 2),), hazards=((2, 0),), lever=(1, 2))


@cache
def warm_up() -> float:
    """Run every kernel once on a 3 x 3 grid; returns the seconds it took. Free from the second call on.

    Half a minute of CPU time where nothing is compiled yet, about 1 s from numba's cache on disk.
    """
    begun = perf_counter()
    objective = Objective.of("path-gold")
    run = train(_LAYOUT, objective=objective, episodes=2)
    features(_LAYOUT, state=0, golds=1, lever=False)
    random_return(_LAYOUT, objective, episodes=1)
    optimum(_LAYOUT, objective=objective)
    plan(make_task(_LAYOUT, objective), width=2)
    record = EnvironmentRecord.of("warm-up", _LAYOUT, run.snapshots[-1].successors)
    embedder = make_embedder(_LAYOUT, record.canonical)
    everything = np.full((1, _LAYOUT.states), 15, np.uint8)
    rewards = run.snapshots[-1].mean_rewards[None]
    group = PolicyGroup("path-gold", ("a",), run.q[None], everything, np.zeros(1), rewards)
    widths = {kind: len(OUTCOME_FEATURES) if kind == "outcome" else EMBEDDING for kind in BEHAVIOUR_KINDS}
    predictors = {kind: LinearPredictor(np.zeros(width), 0.0) for kind, width in widths.items()}
    task = make_task(_LAYOUT, objective)
    exact = OfflineReturnRanker(task)
    rankers: list[Ranker] = [
        RecordedReturnRanker(task.moves, task.events, task.rules.start),
        *(
            RegressorRanker(embedder, FittedRegressor("ridge", "own", kind, predictor, 0.0, 0))
            for kind, predictor in predictors.items()
        ),
    ]
    for operator, ranker in [("sum", ranker) for ranker in (*rankers, exact)] + [("plan", exact)]:
        composer = Composer(Strategy("targeted"), OPERATORS[operator], ranker)
        composer.compose([group, group], layout=_LAYOUT, environment="warm-up", objective=objective)
    return perf_counter() - begun


def compile_all() -> None:
    """Compile every kernel into numba's cache on disk, so that nobody waits for them later."""
    warm_up()
    warm_up_routes()
    vectors = np.eye(4, dtype=np.float32)
    for kind in ("flat", "flat-int8"):
        index = make_index(kind, vectors, np.zeros(8, np.int32))
        index.top_k(vectors[:1], 1)
        index.top_k(np.repeat(vectors, 3, axis=0), 1)


@cache
def warm_up_routes() -> None:
    """Run the kernels of ``gpi`` and ``switch`` once; apart from the others, since few queries need them."""
    objective, states = Objective.of("path-gold"), _LAYOUT.states
    q, everything = np.zeros((1, states, 4), np.float32), np.full((1, states), 15, np.uint8)
    group = PolicyGroup("path-gold", ("a",), q, everything, np.zeros(1))
    composer = Composer(Strategy("targeted"), OPERATORS["gpi"], OfflineReturnRanker(make_task(_LAYOUT, objective)))
    composer.compose([group], layout=_LAYOUT, environment="warm-up", objective=objective)
