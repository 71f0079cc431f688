"""Canonical states: where the successor features of an environment's policies are averaged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.errors import InvalidValue
from lever_ray.tasks.kernel import MEMORY_WORDS, TERMINAL, draw_start, enter
from lever_ray.tasks.protocol import Environment

CANONICAL_STATES = 64
"""How many are stored with an environment, where its recorded transitions lead to as many."""
_WALKS, _STEPS = 64, 1 << 14
"""Random walks, and the most steps of each."""


@dataclass(frozen=True, eq=False)
class CanonicalStates:
    """Full states sigma = (observation, memory) of one environment; the first is the likeliest start.

    Attributes:
        observations: int32[C].
        memories: uint64[C, 2], the items left as bits, and 1 where the switch is on.
    """

    observations: np.ndarray
    memories: np.ndarray

    def __len__(self) -> int:
        return len(self.observations)

    def thinned(self, count: int) -> CanonicalStates:
        """The start and ``count - 1`` of the others, evenly spaced; all of them where there are no more.

        States are stored in the order of their observations, so the first few would lie close together.

        Raises:
            InvalidValue: ``count`` is below 1.
        """
        check_canonical(count)
        if count >= len(self):
            return self
        others = np.linspace(1, len(self), count - 1, endpoint=False).astype(np.int64)
        kept = np.concatenate([[0], others]).astype(np.int64)
        return CanonicalStates(self.observations[kept], self.memories[kept])


def check_canonical(count: int) -> None:
    """Refuse a number of canonical states below 1 with InvalidValue."""
    if count < 1:
        raise InvalidValue(f"count of canonical states is {count}; at least 1 is needed")


@compiled()
def _walk(dynamics, successors, rng, walks, steps, observations, memories):
    """Uniformly random walks over recorded transitions; returns how many states were written."""
    _, flags, starts, weights, first_memory = dynamics
    filled, actions = 0, successors.shape[1]
    for _ in range(walks):
        state, memory = draw_start(starts, weights, rng), first_memory
        for _ in range(steps):
            known = 0
            for action in range(actions):
                known += successors[state, action] >= 0
            if known == 0:
                break
            choice = int(rng.random() * known)
            for action in range(actions):
                if successors[state, action] >= 0:
                    if choice == 0:
                        state = np.int64(successors[state, action])
                        break
                    choice -= 1
            flag = np.int64(flags[state])
            if flag & TERMINAL:
                break
            memory = enter(flag, memory)
            observations[filled], memories[filled, 0], memories[filled, 1] = state, memory[0], memory[1]
            filled += 1
    return filled


def canonical_states(task: Environment, successors: np.ndarray, *, count: int = CANONICAL_STATES) -> CanonicalStates:
    """Draw the likeliest start and ``count - 1`` distinct non-terminal states from walks over recorded transitions.

    The draw is seeded by the task, so the same task and transitions give the same states. Fewer come back where the
    walks met fewer.

    Args:
        task: the environment.
        successors: int32[S, A], recorded observations; -1 where never seen.
        count: how many states, at least 1.

    Raises:
        InvalidValue: ``count`` is below 1.
    """
    check_canonical(count)
    dynamics = task.dynamics
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(task.digest.encode()).digest()[:8], "little"))
    steps = min(task.observations, _STEPS)
    room = _WALKS * steps
    observations, memories = np.empty(room, np.int32), np.empty((room, MEMORY_WORDS), np.uint64)
    filled = _walk(dynamics, successors, rng, _WALKS, steps, observations, memories)
    met = np.unique(_records(observations[:filled], memories[:filled]))
    likeliest = np.argmax(dynamics.weights)
    start = _records(dynamics.starts[[likeliest]], np.array([dynamics.memory], np.uint64))
    others = met[met != start[0]] if filled else met
    drawn = rng.choice(len(others), size=min(count - 1, len(others)), replace=False)
    chosen = np.concatenate([start, others[np.sort(drawn)]])
    words = np.stack([chosen[f"f{1 + word}"] for word in range(MEMORY_WORDS)], axis=1)
    return CanonicalStates(np.ascontiguousarray(chosen["f0"]), words)


def _records(observations: np.ndarray, memories: np.ndarray) -> np.ndarray:
    """Full states as records, which sort by observation, then memory."""
    return np.rec.fromarrays([observations, *memories.T])
