"""Slow, obviously right twins of the compiled kernels, in plain Python, from the science page alone.

A cell is ``(row, col)``, golds are frozen sets of cells, and of the project only a layout's fields are read.
At the end stand the Hypothesis strategies that feed kernels and twins alike.
"""

from collections import deque
from dataclasses import dataclass
from functools import cache, lru_cache
from math import hypot, sqrt

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from lever_ray.embedding.offline import make_pool
from lever_ray.library.record import PolicyRecord
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import TERMS
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.support import support_bits

RIGHT, DOWN, LEFT, UP = range(4)
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))
STEP_COST = {"path": 0.1, "gold": 0.01, "hazard": 0.1, "lever": 0.1}
GAMMA_PSI = 0.99
OFFLINE_ENDS = ("exit", "hazard", "truncated", "off-support")
"""Of offline rollouts on the grid, by code."""

settings.register_profile("lever-ray", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2_000)
if settings.get_current_profile_name() != "search":
    settings.load_profile("lever-ray")


def neighbours(cell):
    return [(cell[0] + rows, cell[1] + cols) for rows, cols in MOVES]


def inside(layout, cell):
    return 0 <= cell[0] < layout.size and 0 <= cell[1] < layout.size


def moved(layout, cell, action):
    """Where a move leads; the cell itself for a bump."""
    target = neighbours(cell)[action]
    return target if inside(layout, target) and target not in layout.blocks else cell


@lru_cache(maxsize=1_024)
def distances_to(layout, target):
    """Breadth-first steps to ``target`` around blocks and hazards, by cell; unreachable cells are missing."""
    distance, queue = {target: 0}, deque([target])
    while queue:
        cell = queue.popleft()
        for other in neighbours(cell):
            closed = not inside(layout, other) or other in layout.blocks or other in layout.hazards
            if not closed and other not in distance:
                distance[other] = distance[cell] + 1
                queue.append(other)
    return distance


@dataclass(frozen=True)
class Move:
    """A move that was neither a bump nor into a hazard; ``golds`` as before it, ``lever_on`` as after it."""

    before: tuple
    after: tuple
    golds: frozenset
    lever_on: bool
    entered_lever: bool


class TwinRules:
    """Transitions and rewards of one layout under one objective (science, section 1)."""

    def __init__(self, layout, objective, *, weights=None, shaping=1.0):
        self.layout, self.shaping = layout, shaping
        self.terms = objective.split("-")
        self.weight = dict.fromkeys(self.terms, 1.0) | dict(weights or {})
        self.to_exit = distances_to(layout, layout.exit)
        self.to_lever = {} if layout.lever is None else distances_to(layout, layout.lever)
        self.to_gold = {gold: distances_to(layout, gold) for gold in layout.golds}

    def transition(self, cell, golds, lever_on, action):
        """``(cell, golds, lever_on, reward, end)`` after a move; end is ``exit``, ``hazard`` or None."""
        target = moved(self.layout, cell, action)
        if target == cell:
            return cell, golds, lever_on, -0.1, None
        if target in self.layout.hazards:
            return target, golds, lever_on, -100.0, "hazard"
        entered = target == self.layout.lever and not lever_on
        move = Move(cell, target, golds, lever_on or entered, entered)
        reward = sum(self.weight[term] * getattr(self, f"_{term}")(move) for term in self.terms)
        return target, golds - {target}, move.lever_on, reward, "exit" if self._exits(move) else None

    def _path(self, move):
        return self.shaping * self._exit_progress(move) - STEP_COST["path"] + 100 * self._exits(move)

    def _gold(self, move):
        left = len(move.golds - {move.after})
        value = self.shaping * self._gold_progress(move) - STEP_COST["gold"] + 5 * (move.after in move.golds)
        if not move.golds and "path" not in self.terms and ("lever" not in self.terms or move.lever_on):
            value += self.shaping * self._exit_progress(move)
        if self._exits(move):
            value += -10 * left / len(self.layout.golds) if left else 100
        return value

    def _hazard(self, move):
        proximity = 2 * (self._hazards_around(move.before) - self._hazards_around(move.after))
        value = self.shaping * proximity - STEP_COST["hazard"] + 100 * self._exits(move)
        golds_done = "gold" not in self.terms or not move.golds
        lever_done = "lever" not in self.terms or move.lever_on
        if "path" not in self.terms and golds_done and lever_done:
            value += self.shaping * self._exit_progress(move)
        return value

    def _lever(self, move):
        value = 20 * move.entered_lever - STEP_COST["lever"]
        if not move.lever_on:
            value += self.shaping * self._progress(self.to_lever, move)
        elif "path" not in self.terms:
            value += self.shaping * self._exit_progress(move)
        if self._exits(move):
            value += 80 if move.lever_on else 20
        return value

    def _exits(self, move):
        return move.after == self.layout.exit

    def _progress(self, distance, move):
        far = self.layout.size**2
        return distance.get(move.before, far) - distance.get(move.after, far)

    def _exit_progress(self, move):
        return self._progress(self.to_exit, move)

    def _gold_progress(self, move):
        reachable = [self.to_gold[gold] for gold in move.golds]
        here = [distance[move.before] for distance in reachable if move.before in distance]
        there = [distance[move.after] for distance in reachable if move.after in distance]
        return min(here) - min(there) if here and there else 0

    def _hazards_around(self, cell):
        return sum(other in self.layout.hazards for other in neighbours(cell))


def reachable_cells(layout):
    """Cells that some episode can act in."""
    met, waiting = {layout.start}, [layout.start]
    while waiting:
        cell = waiting.pop()
        ahead = {moved(layout, cell, action) for action in range(4)} - met - {layout.exit, *layout.hazards}
        met |= ahead
        waiting += ahead
    return met


class TwinEnvironment:
    """An episode of :class:`TwinRules`, cut after N^2 steps."""

    def __init__(self, layout, objective, *, weights=None, shaping=1.0):
        self.layout = layout
        self.rules = TwinRules(layout, objective, weights=weights, shaping=shaping)
        self.reset()

    def reset(self):
        self.cell, self.golds, self.lever_on = self.layout.start, frozenset(self.layout.golds), False
        self.steps, self.total, self.end = 0, 0.0, None

    def step(self, action):
        """The reward; ``end`` turns to ``exit``, ``hazard`` or ``truncated`` when the episode is over."""
        assert self.end is None
        after = self.rules.transition(self.cell, self.golds, self.lever_on, action)
        self.cell, self.golds, self.lever_on, reward, self.end = after
        self.steps += 1
        self.total += reward
        if self.end is None and self.steps == self.layout.size**2:
            self.end = "truncated"
        return reward


def twin_features(layout, cell, golds, lever_on):
    """The 70 features of a full state (science, section 3)."""
    size, (row, col) = layout.size, cell

    def vector(target):
        rows, cols = target[0] - row, target[1] - col
        return [cols / size, rows / size, hypot(rows, cols) / (sqrt(2) * size)]

    nearest = sorted(golds, key=lambda gold: (hypot(gold[0] - row, gold[1] - col), gold))[:1]
    sides = [(row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)]
    hazards = [vector(hazard)[2] for hazard in layout.hazards if hazard != cell]
    steps_to_golds = sorted((abs(gold[0] - row) + abs(gold[1] - col)) / (2 * size) for gold in golds)[:50]
    return [
        col / size,
        row / size,
        *(vector(nearest[0]) if nearest else [0, 0, 0]),
        len(golds),
        *vector(layout.exit),
        *[float(not inside(layout, side) or side in layout.blocks) for side in sides],
        *(vector(layout.lever) if layout.lever is not None and not lever_on else [0, 0, 0]),
        float(lever_on),
        len(hazards) / size**2,
        min(hazards, default=0),
        0,
        *steps_to_golds,
        *[0] * (50 - len(steps_to_golds)),
    ]


def twin_choice(tables, visits, state, *, operator, masked):
    """``(action, supported)``: what a mixture of Q-tables does in one cell (science, section 4)."""
    values = [float(value) for value in tables[0][state]]
    for table in tables[1:]:
        for action in range(4):
            other = float(table[state][action])
            values[action] = values[action] + other if operator == "sum" else max(values[action], other)
    taken = [any(visited[state][action] > 0 for visited in visits) for action in range(4)]
    allowed = [action for action in range(4) if taken[action] or not (masked and any(taken))]
    best = max(allowed, key=lambda action: (values[action], -action))
    return best, taken[best]


def twin_offline_return(environment, choose):
    """``(return, end)`` of following ``choose(state) -> (action, supported)`` while it is supported."""
    environment.reset()
    while environment.end is None:
        action, supported = choose(environment.layout.index(environment.cell))
        if not supported:
            return environment.total, "off-support"
        environment.step(action)
    return environment.total, environment.end


def twin_psi(layout, choose, canonical, *, static=False, steps=3_000):
    """Psi, 73 numbers: discounted sums over long rollouts from full states ``(cell, golds, lever_on)``."""
    phi = cache(lambda cell, golds, on: np.array(twin_features(layout, cell, golds, on)))
    total = np.zeros(73)
    for start, golds_there, lever_there in canonical:
        cell, golds, lever_on = start, golds_there, lever_there
        for time in range(steps):
            frozen = (cell, frozenset(layout.golds), False)
            total[:70] += GAMMA_PSI**time * phi(*(frozen if static else (cell, golds, lever_on)))
            ends = [cell == layout.exit, cell in layout.hazards]
            action, supported = choose(layout.index(cell)) if not any(ends) else (None, True)
            if any(ends) or not supported:
                total[70:] += GAMMA_PSI**time * np.array([*ends, not supported])
                break
            cell = moved(layout, cell, action)
            golds, lever_on = golds - {cell}, lever_on or cell == layout.lever
    return total / len(canonical)


def twin_optimum(layout, objective, *, weights=None, shaping=1.0):
    """Highest return within N^2 steps, by trying every action everywhere; for tiny layouts."""
    rules = TwinRules(layout, objective, weights=weights, shaping=shaping)

    @cache
    def best(cell, golds, lever_on, steps_left):
        if not steps_left:
            return 0.0
        outcomes = []
        for action in range(4):
            *state, reward, end = rules.transition(cell, golds, lever_on, action)
            outcomes.append(reward + (0.0 if end else best(*state, steps_left - 1)))
        return max(outcomes)

    return best(layout.start, frozenset(layout.golds), False, layout.size**2)


def twin_sarsa(environment, *, episodes, gamma, seed, decay):
    """``(q, visits, reward sums)``, lists [S][4], of SARSA in a Gymnasium world (science, section 2)."""
    rng, epsilon = np.random.default_rng(seed), 1.0
    q, visits, sums = ([[0.0] * 4 for _ in range(environment.layout.states)] for _ in range(3))

    def choose(state):
        draw = rng.random()
        if draw < epsilon:
            return min(3, int(draw * (4 / epsilon)))
        return max(range(4), key=lambda action: (q[state][action], -action))

    for _ in range(episodes):
        state, over = int(environment.reset()[0]), False
        action = choose(state)
        while not over:
            after, reward, terminated, truncated, _ = environment.step(action)
            visits[state][action] += 1
            sums[state][action] += reward
            over = terminated or truncated
            if terminated:
                q[state][action] += 0.1 * (reward - q[state][action])
                break
            following = choose(int(after))
            q[state][action] += 0.1 * (reward + gamma * q[int(after)][following] - q[state][action])
            state, action = int(after), following
        epsilon = max(0.01, epsilon * decay)
    return q, visits, sums


# What kernels and twins are fed with.


def pool_of(q, visits):
    return make_pool(q, support_bits(visits))


@st.composite
def layouts(draw, *, largest=5, golds=4, blocks=4, hazards=3):
    """Small layouts of any kind: without golds or lever, and with things that cannot be reached."""
    size = draw(st.integers(2, largest))
    cells = draw(st.permutations([(row, col) for row in range(size) for col in range(size)]))
    given_cells = iter(cells[2:])
    counts = [draw(st.integers(0, most)) for most in (golds, blocks, hazards)]
    kinds = [tuple(cell for _, cell in zip(range(count), given_cells, strict=False)) for count in counts]
    lever = next(given_cells, None) if draw(st.booleans()) else None
    return Layout(size, cells[0], cells[1], *kinds, lever)


@st.composite
def objectives(draw, layout):
    """Objectives that the layout admits, with weights."""
    admitted = [
        term for term in TERMS if (term != "gold" or layout.golds) and (term != "lever" or layout.lever is not None)
    ]
    terms = draw(st.lists(st.sampled_from(admitted), min_size=1, unique=True))
    weights = {term: draw(st.sampled_from([1.0, 1.0, 0.0, 0.25, 3.5])) for term in terms}
    return Objective.of(terms, weights=weights if any(weights.values()) else None)


def twin_of(layout, objective, *, shaping=1.0):
    weights = dict(zip(objective.terms, objective.weights, strict=True))
    return TwinEnvironment(layout, objective.name, weights=weights, shaping=shaping)


def random_tables(layout, *, seed, members, tried=0.7):
    """``(q float32[P, S, 4], visits uint32[P, S, 4])`` with many ties; ``tried`` is the share visited."""
    rng = np.random.default_rng(seed)
    shape = (members, layout.states, 4)
    q = (rng.integers(-3, 4, shape) / 4).astype(np.float32)
    return q, (rng.random(shape) < tried).astype(np.uint32)


def made_up_record(environment, layout, *, objective="path", seed=0, tried=0.7, **settings):
    """A policy for a library with a made-up Q-table and history."""
    q, visits = random_tables(layout, seed=seed, members=1, tried=tried)
    history = {"visits": visits[0], "successors": np.where(visits[0] > 0, layout.terrain.moves, -1)}
    plain = {"description": f"number {seed}", "q": q[0], "seed": seed, "total": float(seed)}
    return PolicyRecord(environment, layout, objective, **(plain | history | settings))
