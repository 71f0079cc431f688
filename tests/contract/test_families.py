"""One suite that every family of tasks passes, and one from the tests' own folder: registering a family runs it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from lever_ray.building.build import train_environment
from lever_ray.building.records import records_of
from lever_ray.composition.operators import OPERATORS
from lever_ray.composition.rankers.registry import RANKERS
from lever_ray.composition.strategies.registry import STRATEGIES
from lever_ray.config import LibrarySettings
from lever_ray.embedding.offline import MAX, SUM, make_pool, offline_returns
from lever_ray.errors import InvalidValue, LibraryError, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.learning.sarsa import train
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.memory import MemoryLibrary
from lever_ray.query.compose import compose
from lever_ray.query.warm import warm_up_for, warm_up_options, warm_up_routes
from lever_ray.tasks.finite.ready import random_task
from lever_ray.tasks.kernel import TERMINAL, enter, nearest_item, step
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.protocol import Family
from lever_ray.tasks.registry import UnknownFamily, decode, families, family, register, source
from lever_ray.tasks.rollout import random_return, rollout
from lever_ray.tasks.support import full_support, support_bits
from tests import toy_family

register(toy_family.FAMILY)
every_family = pytest.mark.parametrize("name", families())
ROOT = Path(__file__).resolve().parents[2]


def example(name: str):
    return family(name).example()


def objectives(task):
    """One per term, all of them, and one with weights."""
    return [*task.terms, "-".join(task.terms), f"{task.terms[0]}[2.5]"]


# Twins of the kernels: plain Python over the arrays of the compiled task.


class TwinTask:
    """Moves and rewards of a compiled task, read entry by entry."""

    def __init__(self, compiled):
        self.task, self.rules = compiled, compiled.rules

    def nearest(self, state, items):
        return next((entry >> 8 for entry in self.task.near[state] if entry >= 0 and items >> (entry & 255) & 1), -1)

    def step(self, state, memory, action):
        (items, switch), rules = memory, self.rules
        after = int(self.task.moves[state, action])
        flag, pressed = int(self.task.flags[after]), False
        if flag & 4 and not switch:
            switch, pressed = 1, True
        row = (rules.switch_rows if switch else 0) + (rules.item_rows if items == 0 else 0)
        reward = float(self.task.rewards[row, state, action]) + (rules.switch_reward if pressed else 0.0)
        if flag & 2 or after == state:
            return after, (items, switch), reward, bool(flag & TERMINAL)
        near = [self.nearest(place, items) for place in (state, after)]
        if rules.item_shaping > 0 and min(near) >= 0:
            reward += rules.item_shaping * (near[0] - near[1])
        if flag & 8 and items >> (flag >> 8) & 1:
            items ^= 1 << (flag >> 8)
            reward += rules.item_reward
        if flag & 1:
            reward += rules.item_left_cost * bin(items).count("1")
        return after, (items, switch), reward, bool(flag & TERMINAL)

    def start_memory(self):
        return tuple(int(word) for word in self.rules.memory)

    def follow(self, choose):
        """Expected discounted return over the starts; ``choose(state)`` is an action, or None to leave the support."""
        total = 0.0
        for start, weight in zip(self.task.starts.tolist(), self.task.weights, strict=True):
            state, memory, factor = start, self.start_memory(), 1.0
            for _ in range(self.rules.horizon):
                action = choose(state)
                if action is None:
                    break
                state, memory, reward, over = self.step(state, memory, action)
                total += weight * factor * reward
                factor *= self.rules.discount
                if over:
                    break
        return total

    def best(self):
        """Highest expected return over the starts, by trying every action everywhere."""

        @cache
        def value(state, memory, left):
            if not left:
                return 0.0
            found = []
            for action in range(self.task.actions):
                after, kept, reward, over = self.step(state, memory, action)
                found.append(reward + self.rules.discount * (0.0 if over else value(after, kept, left - 1)))
            return max(found)

        begin = self.start_memory()
        starts = zip(self.task.starts.tolist(), self.task.weights, strict=True)
        return sum(weight * value(start, begin, self.rules.horizon) for start, weight in starts)


@every_family
def test_the_step_kernel_does_what_its_plain_twin_does(name):
    task, rng = example(name), np.random.default_rng(0)
    for objective in objectives(task):
        compiled = task.compile(objective)
        twin, (moves, flags, rewards, near, starts, _, rules) = TwinTask(compiled), compiled
        for start in starts.tolist() * 20:
            state, memory = int(start), rules.memory
            nearest = nearest_item(near, state, memory)
            for _ in range(rules.horizon):
                action = int(rng.integers(task.actions))
                expected = twin.step(state, tuple(map(int, memory)), action)
                state, memory, nearest, reward, flag = step(
                    moves, flags, rewards, near, rules, state, memory, nearest, action
                )
                assert (state, tuple(map(int, memory)), bool(flag & TERMINAL)) == (*expected[:2], expected[3])
                assert reward == pytest.approx(expected[2], abs=1e-9)
                assert tuple(map(int, enter(flag, memory))) == tuple(map(int, memory))
                if flag & TERMINAL:
                    break


@every_family
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("operator", [SUM, MAX])
def test_offline_returns_are_those_of_the_plain_twin(name, operator, masked):
    task, rng = example(name), np.random.default_rng(1)
    q = rng.integers(-3, 4, (6, task.observations, task.actions)).astype(np.float32)
    taken = rng.random(q.shape) < 0.7
    pool, mixtures = make_pool(q, support_bits(taken)), np.array([[0, 1], [2, 3], [4, 5], [0, 5]], np.int32)
    compiled = task.compile("-".join(task.terms))
    totals, _ = offline_returns(compiled, pool, mixtures, operator, masked, True)

    def choose(mixture, state):
        values = (np.sum if operator == SUM else np.max)(q[mixture, state], axis=0)
        tried = taken[mixture, state].any(axis=0)
        allowed = [a for a in range(task.actions) if tried[a] or not masked or not tried.any()]
        best = max(allowed, key=lambda action: (values[action], -action))
        return best if tried[best] else None

    for mixture, total in zip(mixtures, totals, strict=True):
        expected = TwinTask(compiled).follow(lambda state, mixture=mixture: choose(mixture, state))
        assert total == pytest.approx(expected, abs=1e-9)


@every_family
def test_a_rollout_of_a_table_earns_what_the_twin_earns(name):
    task = example(name)
    q = np.random.default_rng(2).random((task.observations, task.actions)).astype(np.float32)
    for objective in objectives(task):
        found = rollout(task, objective=objective, q=q)
        expected = TwinTask(task.compile(objective)).follow(lambda state: int(q[state].argmax()))
        assert found.total == pytest.approx(expected, abs=1e-9)
        assert sum(found.ends.values()) == pytest.approx(1.0)
        assert set(found.ends) == {*task.ends, "truncated"}


# What an environment says of itself.


@every_family
def test_an_environment_is_encoded_and_decoded_without_loss(name):
    for task in (example(name), *(each.sample(3) for each in family(name).sources.values())):
        copy = decode(json.loads(json.dumps(task.encode() | {"family": name})))
        assert (copy, copy.digest, copy.seed, copy.family) == (task, task.digest, task.seed, name)
        assert pickle.loads(pickle.dumps(task)).digest == task.digest  # noqa: S301
        objective = "-".join(task.terms)
        assert np.array_equal(copy.compile(objective).rewards, task.compile(objective).rewards)


@every_family
def test_sources_sample_what_they_say_and_the_seed_is_a_field(name):
    for each in family(name).sources.values():
        task = each.sample(5)
        assert (task.seed, task.family, task.terms) == (5, name, each.terms)
        assert each.sample(5) == task
        assert source(each.name) is each
        assert set(each.words.descriptions) == set(each.terms)


@every_family
def test_the_optimum_is_what_trying_everything_finds(name):
    task = example(name)
    if task.hooks.optimum is None:
        with pytest.raises(InvalidValue, match="has no way to find optima"):
            optimum(task, objective=task.terms[0])
        return
    for objective in objectives(task):
        best = optimum(task, objective=objective)
        assert best.total == pytest.approx(TwinTask(task.compile(objective)).best(), abs=1e-5)
        assert random_return(task, objective) <= best.total + 1e-9


@every_family
def test_no_bound_lies_below_the_optimum_and_a_plan_on_full_support_does_not_beat_it(name):
    task = example(name)
    everything = full_support(task.observations, task.actions)
    for objective in map(Objective.of, task.terms):
        best = TwinTask(task.compile(objective)).best()
        if task.hooks.bound is not None:
            assert task.hooks.bound(task, objective) >= best - 1e-6
        if task.hooks.plan is not None:
            found = task.hooks.plan(task, objective, width=10, support=everything)
            played = rollout(task, objective=objective, q=found.q, actions=found.actions)
            assert found.total == pytest.approx(played.total, abs=1e-6)
            assert found.total <= best + 1e-6


# Refusals.


@every_family
def test_what_an_environment_does_not_know_is_refused_by_name(name):
    task = example(name)
    with pytest.raises(UnknownName, match="unknown objective term 'silver'"):
        task.compile("silver")
    with pytest.raises(InvalidValue, match="shape"):
        rollout(task, objective=task.terms[0], q=np.zeros((task.observations, task.actions + 1)))
    with pytest.raises(InvalidValue, match=r"use a list of 0 to|answers one start"):
        rollout(task, objective=task.terms[0], actions=np.array([task.actions]))
    if not task.admits(Objective.of(task.terms[0], weights={task.terms[0]: -1.0})):
        with pytest.raises(InvalidValue):
            task.compile(f"{task.terms[0]}[-1]")


def test_an_unknown_family_is_named_with_those_that_are_installed():
    with pytest.raises(UnknownFamily, match=r"unknown task family 'maze'.*Known: .*Install the package"):
        decode({"family": "maze"})
    with pytest.raises(InvalidValue, match="'corridor' exists already"):
        register(Family("corridor", toy_family.decode, {}, toy_family.FAMILY.example))


# From training to an answer.


def library_of(name, **settings):
    """Policies of three environments of a family's first source, or of a source, in memory."""
    first = next(iter(family(name).sources.values())) if name in families() else source(name)
    chosen = LibrarySettings(
        name=name, family=first.name, training_seeds=1, gammas=[0.9], objectives=list(first.terms), **settings
    )
    return first, MemoryLibrary([record for seed in range(3) for record in train_environment(seed, chosen)])


@every_family
def test_every_operator_that_makes_sense_answers_from_a_library_in_memory(name):
    first, library = library_of(name)
    environment = library.environments[0]
    task, objective = library.environment(environment).task, "-".join(first.terms[:2])
    for operator in OPERATORS:
        ask = {"environment": environment, "objective": objective, "operator": operator, "ranker": "offline-return"}
        several = len(task.dynamics.starts) > 1
        if (operator == "plan" and task.hooks.plan is None) or (operator in ("gpi", "switch") and several):
            with pytest.raises(InvalidValue, match=r"has no planner|answers one start"):
                compose(library, **ask)
            continue
        found = compose(library, **ask)
        played = rollout(task, objective=objective, q=found.q, actions=found.actions)
        if found.coverage.leaves_at is None:
            assert played.total == pytest.approx(found.predicted_return, abs=1e-6)
    for ranker in ("regressor", "recorded-return"):
        assert compose(library, environment=environment, objective=objective, ranker=ranker).evaluated >= 1


def test_a_task_of_5000_observations_and_9_actions_runs_from_end_to_end(tmp_path):
    records = [
        record
        for seed in range(2)
        for task in [random_task(seed)]
        for objective in task.terms
        for run in [train(task, objective=objective, episodes=400, gamma=0.9, snapshot_every=100)]
        for record in records_of(run, environment=f"wild-{seed}", description=f"for {objective}")
    ]
    library, objective = MemoryLibrary(records), "-".join(records[0].task.terms)
    with pytest.raises(LibraryError, match=r"up to 8 actions.*has 9.*MemoryLibrary"):
        PolicyLibrary.create(tmp_path / "library").add(records)
    ask = {"environment": "wild-0", "objective": objective, "ranker": "offline-return"}
    best = optimum(records[0].task, objective=objective).total
    for operator in OPERATORS:
        found = compose(library, operator=operator, strategy="targeted", **ask)
        played = rollout(records[0].task, objective=objective, q=found.q, actions=found.actions)
        assert played.total <= best + 1e-6
        if found.coverage.leaves_at is None:
            assert played.total == pytest.approx(found.predicted_return, abs=1e-6)
    for strategy in STRATEGIES:
        limited = {"budget": 20} if "budget" in getattr(STRATEGIES[strategy], "parameters", ()) else {}
        found = compose(library, strategy=strategy, **limited, **ask)
        assert 0 < found.coverage.library <= 1
    for ranker in RANKERS:
        assert compose(library, strategy="targeted", **ask | {"ranker": ranker}).ranker == ranker


@every_family
def test_training_gives_equal_bytes_and_what_it_says_it_earns(name):
    task = example(name)
    runs = [train(task, objective=task.terms[0], episodes=300, gamma=0.9, seed=4) for _ in range(2)]
    assert np.array_equal(runs[0].q, runs[1].q)
    assert runs[0].total == pytest.approx(rollout(task, objective=task.terms[0], q=runs[0].q).total, abs=1e-9)
    seen = runs[0].snapshots[-1].visits > 0
    assert np.array_equal(np.where(seen, task.dynamics.moves, -1), runs[0].snapshots[-1].successors)


@every_family
def test_serial_and_ray_give_the_same_answers(name, local_ray):
    from lever_ray.ray_execution import RayExecutor

    first, library = library_of(name)
    objective = "-".join(first.terms[:2])
    answers = []
    for executor in (SerialExecutor(), RayExecutor()):
        found = compose(
            library,
            environment=library.environments[1],
            objective=objective,
            strategy="exhaustive",
            ranker="offline-return",
            executor=executor,
        )
        answers.append((found.policy_ids, found.predicted_return, found.q.tobytes()))
    assert answers[0] == answers[1]


# What is compiled, and when.


def compiled_kernels():
    """How many types each kernel is compiled for."""
    ours = [module for name, module in list(sys.modules.items()) if name.startswith("lever_ray")]
    found = {id(each): each for module in ours for each in vars(module).values() if isinstance(each, Dispatcher)}
    return {each.py_func.__qualname__: len(each.signatures) for each in found.values()}


OPTIONS = (("options", "regressor"), ("options", "offline-return"))


@pytest.mark.parametrize("name", [*families(), "random-deterministic"])
def test_a_query_compiles_nothing_once_its_task_is_warmed_up(name):
    first, library = library_of(name)
    task = library.environment(library.environments[0]).task
    warm_up_for(task)
    warm_up_routes()
    warm_up_options()
    before = compiled_kernels()
    several = len(task.dynamics.starts) > 1
    for operator, ranker in [*product(("sum", "max"), RANKERS), ("gpi", "offline-return"), *OPTIONS]:
        if operator == "gpi" and several:
            continue
        asked = {"objective": "-".join(first.terms[:2]), "operator": operator, "ranker": ranker}
        compose(library, environment=library.environments[0], strategy="exhaustive", **asked)
    assert compiled_kernels() == before


_WARM = """
import json, sys
from numba.core.dispatcher import Dispatcher
from lever_ray.tasks.registry import register
{register}
from lever_ray.query.warm import warm_up, warm_up_options
warm_up({name!r})
warm_up_options()
ours = [module for name, module in list(sys.modules.items()) if name.startswith("lever_ray")]
kernels = {{id(each): each for module in ours for each in vars(module).values() if isinstance(each, Dispatcher)}}
print(json.dumps({{each.py_func.__qualname__: sum(each.stats.cache_misses.values())
                  for each in kernels.values() if each.stats.cache_misses}}))
"""


@every_family
def test_a_second_process_finds_every_kernel_in_the_cache(name):
    mine = "from tests import toy_family; register(toy_family.FAMILY)" if name == "corridor" else ""
    script = _WARM.format(name=name, register=mine)
    found = [
        json.loads(subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True).stdout)
        for _ in range(2)
    ]
    assert found[1] == {}
