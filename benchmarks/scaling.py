"""A model of what a query costs on a cluster, fitted to measurements, and a simulated cluster that it is held against.

    a text search                    question(actors) + scan(policies / actors) * rounds + merge(actors)
    a query about one environment    question(1) + scan(its policies) + fetch(members) + evaluate(candidates)

Seconds. ``question`` is a message to so many actors and their answers, ``rounds`` how many actors share a core.
docs/scaling.md says what follows for libraries and clusters that no machine here can hold.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.cluster_utils import Cluster

from benchmarks.library import POLICIES
from benchmarks.made_up import library_of
from benchmarks.serving import GROUPS, OBJECTIVE
from benchmarks.timing import median_seconds
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.operators import OPERATORS
from lever_ray.composition.rankers.offline_return import OfflineReturnScorer
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.search.index import merge_top_k
from lever_ray.library.serving.nearest import Where
from lever_ray.library.serving.shard import Shard
from lever_ray.policies.group import GroupKey
from lever_ray.ray_execution import ShardedLibrary
from lever_ray.tasks.objective import Objective

TEXT, K, CORES = "grab the gold and keep away from hazards", 10, 2
ACTORS = (1, 2, 4, 8)
CASES = [(policies, nodes) for policies in (10**7, 10**9) for nodes in (10, 100)]
BYTES_PER_POLICY = {"vector": 1_024, "int8": 264, "table": 1_088, "psi": 292, "rest": 330}


class Line(NamedTuple):
    """Seconds as a linear function: ``fixed + slope * amount``."""

    fixed: float
    slope: float

    def at(self, amount: float) -> float:
        """Seconds of an amount."""
        return self.fixed + self.slope * amount


def figures() -> dict[str, float]:
    """The fitted parameters, what a simulated cluster of 4 nodes takes beside the model, and what the model says."""
    library, _ = library_of("grid8", POLICIES, 100)
    vector = library.encoder.encode([TEXT])
    scan, one = _scan(library, vector)
    fetch, evaluate = _fetch(library), _evaluate(library)
    merge = _fit([(count, _merge(count)) for count in (1, 4, 16, 64, 256)])
    simulated, question = _simulated(library)
    measured = {
        "scaling.scan.milliseconds_per_million_policies": 1e9 * scan.slope,
        "scaling.scan.fixed_milliseconds": 1e3 * scan.fixed,
        "scaling.scan_of_one_environment.milliseconds": 1e3 * one,
        "scaling.fetch.microseconds_per_member": 1e6 * fetch,
        "scaling.evaluate.microseconds_per_candidate": 1e6 * evaluate,
        "scaling.merge.microseconds_per_actor": 1e6 * merge.slope,
        "scaling.question.milliseconds_per_actor": 1e3 * question.slope,
        "scaling.question.fixed_milliseconds": 1e3 * question.fixed,
    }

    def search(policies: float, actors: int, cores: int) -> float:
        rounds = max(1.0, actors / cores)
        return question.at(actors) + scan.at(policies / actors) * rounds + merge.at(actors)

    for actors, seconds in simulated.items():
        measured[f"scaling.simulated.search.{actors}_actors.milliseconds"] = 1e3 * seconds
        measured[f"scaling.model.search.{actors}_actors.milliseconds"] = 1e3 * search(len(library), actors, CORES)
    for policies, nodes in CASES:
        name, cores = f"scaling.model.{policies:.0e}_policies.{nodes}_nodes".replace("e+0", "e"), nodes * CORES
        measured[f"{name}.search_milliseconds"] = 1e3 * search(policies, cores, cores)
        measured[f"{name}.question_share"] = (question.at(cores) + merge.at(cores)) / search(policies, cores, cores)
        measured[f"{name}.gigabytes_per_node"] = sum(BYTES_PER_POLICY.values()) * policies / nodes / 1e9
    query = question.at(1) + one + fetch * 4 * 1_429 + evaluate * 81
    return measured | {"scaling.model.query_about_one_environment.milliseconds": 1e3 * query}


def _fit(points: list[tuple[float, float]]) -> Line:
    slope, fixed = np.polyfit([amount for amount, _ in points], [seconds for _, seconds in points], 1)
    return Line(max(0.0, float(fixed)), float(slope))


def _scan(library: PolicyLibrary, vector: np.ndarray) -> tuple[Line, float]:
    """Seconds of a search by policies of one process, and of one that looks at one environment."""
    points, shards = [], library.manifest.shards
    for count in sorted({1, len(shards) // 4, len(shards) // 2, len(shards)} - {0}):
        part = Shard(library.path, library.manifest.part(shards[:count]), encoder=library.encoder)
        rows = sum(shard.rows for shard in shards[:count])
        points.append((float(rows), median_seconds(lambda part=part: part.top_k(vector, K), 9)))  # type: ignore[misc]
    where = Where(library.environments[0])
    whole = Shard(library.path, library.manifest, encoder=library.encoder)
    return _fit(points), median_seconds(lambda: whole.top_k(vector, K, where), 200)


def _keys(library: PolicyLibrary, environment: str) -> list[GroupKey]:
    return [key for key in library.keys(environment) if key.objective in GROUPS]


def _fetch(library: PolicyLibrary) -> float:
    """Seconds per member of reading groups that nobody has asked for."""
    asked = [_keys(library, name) for name in library.environments[:8]]
    fresh = Shard(library.path, library.manifest, encoder=library.encoder)
    fresh.groups(asked[0])
    times = []
    for keys in asked[1:]:
        begun = perf_counter()
        groups = fresh.groups(keys)
        times.append((perf_counter() - begun) / sum(len(group) for group in groups if group is not None))
    return median(times)


def _evaluate(library: PolicyLibrary) -> float:
    """Seconds per candidate: offline returns of sums of four members."""
    name = library.environments[0]
    space = CandidateSpace.of(library.groups(_keys(library, name)))
    ranker = OfflineReturnScorer(library.environment(name).task.compile(Objective.of(OBJECTIVE)))
    drawn = np.random.default_rng(0).integers(0, np.array(space.sizes), (20_000, len(space.sizes)))
    return median_seconds(lambda: ranker.score(space, drawn, operator=OPERATORS["sum"], masked=True), 5) / len(drawn)


def _merge(parts: int) -> float:
    scores = [
        (np.random.default_rng(part).random((1, K), np.float32), np.full((1, K), b"0" * 20)) for part in range(parts)
    ]
    return median_seconds(lambda: merge_top_k(scores, K), 50)


def _simulated(library: PolicyLibrary) -> tuple[dict[int, float], Line]:
    """Seconds of a search on 4 nodes of this machine by number of actors, and of a question that asks nothing."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(3):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(cluster.address, log_to_driver=False)
    searches, questions = {}, []
    for actors in ACTORS:
        sharded = ShardedLibrary.open(library.path, actors=actors)
        searches[actors] = median_seconds(lambda held=sharded: held.search([TEXT], K), 15)  # type: ignore[misc]
        asking: Any = lambda held=sharded: held.ask(None, Shard.keys, "nowhere")  # noqa: E731
        questions.append((float(actors), median_seconds(asking, 200)))
        sharded.close()
    ray.shutdown()
    cluster.shutdown()
    return searches, _fit(questions)
