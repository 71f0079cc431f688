"""Speed of options on one core, warm: segments and steps per second, and milliseconds of the search and of a query.

Five layouts of each family, all four terms, single-term policies of discounts 0 and 0.99: 24 are the best snapshots of
3 seeds, 72 all three snapshots. Cold: CPU seconds of compiling the kernels of this operator into an empty cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from statistics import median
from time import process_time
from typing import Any

import numpy as np

from lever_ray.building.records import records_of
from lever_ray.composition.option_operator import Options
from lever_ray.composition.options import OptionRoute, OptionRules, search_options
from lever_ray.composition.routes import member_actions
from lever_ray.experiment.plan import Setup
from lever_ray.learning.sarsa import train
from lever_ray.library.memory import MemoryLibrary
from lever_ray.query.compose import compose
from lever_ray.query.warm import warm_up, warm_up_options
from lever_ray.studies.option_study import OptionStudy, World
from lever_ray.studies.option_variants import Variant
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.kernel import CompiledTask
from lever_ray.tasks.registry import source

FAMILIES = ("grid8", "grid16", "grid32")
SEEDS = range(41_000, 41_005)
OBJECTIVE = "path-gold-hazard-lever"
RULES = {"events": Options(), "cut8": Options(cut=8)}
REPEATS = 5
_COLD = """
from time import process_time
from lever_ray.query import warm
warm.warm_up(); warm.warm_up_routes()
begun = process_time()
warm.warm_up_options()
print(process_time() - begun)
"""


def figures() -> dict[str, float]:
    """Medians over layouts; CPU time of this process."""
    warm_up()
    warm_up_options()
    result: dict[str, float] = {}
    for family in FAMILIES:
        pool = Setup.of("trivial", OBJECTIVE, source(family)).pool
        worlds = [World(Layout.sample(family, seed=seed), OptionStudy(family=family)) for seed in SEEDS]
        for members, labels in ((24, ("best",)), (72, ("worst", "median", "best"))):
            pools = [world.pool(Variant("", labels=labels), pool)[0] for world in worlds]
            tables = [member_actions(each) for each in pools]
            tasks = [world.layout.compile(OBJECTIVE) for world in worlds]
            for name, options in RULES.items():
                result |= _search(f"options.{family}.{members}.{name}", tasks, tables, options.rules)
    result |= _query()
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, "-c", _COLD], env=environment, capture_output=True, text=True, check=True
        )
        result["options.kernels.cold_cpu_seconds"] = float(done.stdout.split()[-1])
    return result


def _search(name: str, tasks: list[CompiledTask], tables: list[np.ndarray], rules: OptionRules) -> dict[str, float]:
    found = [_timed(task, actions, rules) for task, actions in zip(tasks, tables, strict=True)]
    seconds = [seconds for seconds, _ in found]
    segments = [route.simulated for _, route in found]
    followed = [route.followed for _, route in found]
    return {
        f"{name}.segments": median(segments),
        f"{name}.milliseconds": 1e3 * median(seconds),
        f"{name}.million_segments_per_second": median(np.divide(segments, seconds)) / 1e6,
        f"{name}.million_steps_per_second": median(np.divide(followed, seconds)) / 1e6,
        f"{name}.steps_per_segment": median(np.divide(followed, segments)),
    }


def _timed(task: CompiledTask, actions: np.ndarray, rules: OptionRules) -> tuple[float, OptionRoute]:
    route, times = search_options(task, actions, rules=rules), []
    for _ in range(REPEATS):
        begun = process_time()
        route = search_options(task, actions, rules=rules)
        times.append(process_time() - begun)
    return median(times), route


def _query() -> dict[str, float]:
    """A whole query of 24 policies in a library in memory, by tier."""
    layouts = [Layout.sample("grid8", seed=seed) for seed in SEEDS]
    records = [
        record
        for layout in layouts
        for objective in Layout.terms
        for gamma in (0.0, 0.99)
        for seed in range(3)
        for record in records_of(
            train(layout, objective=objective, episodes=10_000, gamma=gamma, seed=seed),
            environment=layout.name, description=objective,
        )
        if record.label == "best"
    ]  # fmt: skip
    library = MemoryLibrary(records)
    asked: dict[str, Any] = {"objective": OBJECTIVE, "operator": "options", "strategy": "exhaustive"}
    result = {}
    for tier, ranker in (("I1", "regressor"), ("I3", "offline-return")):
        answers = [
            compose(library, environment=layout.name, ranker=ranker, **asked)
            for layout in layouts
            for _ in range(REPEATS)
        ]
        result[f"options.query.grid8.24.{tier}.milliseconds"] = 1e3 * median(each.timings["total"] for each in answers)
    return result
