"""Compiled tasks: one environment under one objective as arrays, and the step kernel that every rollout uses.

An environment's state is an observation (what Q-tables are indexed by) and a *memory*: two words, which items are left
and whether the switch is on. Entering an observation may take an item or turn the switch on; a Markov task has neither,
and its memory never changes. Outside this module and a family's own folder a memory is carried along and compared.

The reward of a move depends on the observation, the action and the memory. All of it but what items pay depends on the
memory only through two bits (switch on? all items taken?), so it is tabulated for them; the kernel adds the rest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.errors import InvalidTask

GOAL, TRAP, SWITCH, ITEM, WALL = 1, 2, 4, 8, 16
"""Bits of what an observation is: an end that is wanted, one that is not, a switch, an item (its bit of the memory from
bit 8 on), and one that is never entered."""
TERMINAL = GOAL | TRAP
MEMORY_WORDS = 2
"""Words of a memory: a bit for every item that is left, and 1 where the switch is on."""
MOST_PAIRS = 1 << 28
"""Pairs of observation and action that a task may have: a Q-table takes 1 GB then, training it 6."""
MOST_ACTIONS = 256

Memory = tuple[np.uint64, np.uint64]


class Dynamics(NamedTuple):
    """What an environment does, whatever is rewarded.

    Attributes:
        moves: int32[S, A], where each action leads; from terminal observations, too.
        flags: int32[S], bits :data:`GOAL`, :data:`TRAP`, :data:`SWITCH`, :data:`ITEM`, :data:`WALL`; an item's bit of
            the memory from bit 8 on.
        starts: int32[n], where episodes begin.
        weights: float64[n], how likely each start is; they add up to 1.
        memory: with which they begin.
    """

    moves: np.ndarray
    flags: np.ndarray
    starts: np.ndarray
    weights: np.ndarray
    memory: Memory


class Rules(NamedTuple):
    """The scalars of a task.

    Attributes:
        horizon: steps after which an episode is truncated.
        discount: of evaluation; 1 for undiscounted returns.
        memory: with which episodes begin.
        item_shaping: reward per step of progress towards the nearest item, 0 without it.
        item_reward: reward of taking one item.
        item_left_cost: reward at a goal per item left, as a rule a negative number.
        switch_reward: reward of turning the switch on.
        switch_rows: rows of rewards between the switch being off and on, 0 where it changes nothing.
        item_rows: rows of rewards between items being left and none, likewise.
        stay_reward: reward of a move that is held to lead nowhere since nobody recorded it.
    """

    horizon: int
    discount: float
    memory: Memory
    item_shaping: float = 0.0
    item_reward: float = 0.0
    item_left_cost: float = 0.0
    switch_reward: float = 0.0
    switch_rows: int = 0
    item_rows: int = 0
    stay_reward: float = 0.0


class CompiledTask(NamedTuple):
    """An environment under one objective, as compiled kernels take it.

    Kernels unpack it once, ``moves, flags, rewards, near, starts, weights, rules = task``, and hand the parts to
    :func:`step`: an array that is read through a tuple in a loop costs an atomic reference count each time (6 times
    slower).

    Attributes:
        moves: int32[S, A], see :class:`Dynamics`.
        flags: int32[S], see :class:`Dynamics`.
        rewards: float64[R, S, A], rewards without what items pay; the row is ``rules.switch_rows`` where the switch is
            on, plus ``rules.item_rows`` where no items are left.
        near: int32[S, I + 1], ``distance << 8 | item`` by (distance, item), then -1; only -1 where nothing needs it.
        starts: int32[n], see :class:`Dynamics`.
        weights: float64[n], see :class:`Dynamics`.
        rules: the scalars.
    """

    moves: np.ndarray
    flags: np.ndarray
    rewards: np.ndarray
    near: np.ndarray
    starts: np.ndarray
    weights: np.ndarray
    rules: Rules

    @property
    def observations(self) -> int:
        """S."""
        return len(self.flags)

    @property
    def actions(self) -> int:
        """A."""
        return int(self.moves.shape[1])

    @property
    def start(self) -> int:
        """The likeliest start, the first on a tie."""
        return int(self.starts[np.argmax(self.weights)])


def compiled_task(
    dynamics: Dynamics, rewards: np.ndarray, rules: Rules, *, near: np.ndarray | None = None
) -> CompiledTask:
    """A task of the types that kernels are compiled for, checked.

    Args:
        dynamics: of the environment.
        rewards: float[R, S, A], see :class:`CompiledTask`.
        rules: the scalars.
        near: int[S, I + 1], see there; None where no item is sought.

    Raises:
        InvalidTask: shapes differ, a reward is not finite, the memory is too long, an item or the switch lies on a
            start, or the task is too large; see also :func:`check_size`.
    """
    observations, actions = dynamics.moves.shape
    check_size(observations, actions)
    if rewards.ndim != 3 or rewards.shape[1:] != (observations, actions):
        raise InvalidTask(f"rewards have shape {rewards.shape}; this task needs (R, {observations}, {actions})")
    if not np.isfinite(rewards).all():
        raise InvalidTask("rewards hold NaN or infinite values; give finite ones, and end episodes by terminal states")
    if len(rules.memory) > MEMORY_WORDS:
        raise InvalidTask(f"memory has {len(rules.memory)} words; at most uint64[{MEMORY_WORDS}] is carried along")
    if len(rewards) <= rules.switch_rows + rules.item_rows:
        raise InvalidTask(f"rewards have {len(rewards)} rows; the rules tell {rules.switch_rows + rules.item_rows + 1}")
    if (dynamics.flags[dynamics.starts] & (ITEM | SWITCH)).any():
        raise InvalidTask(
            "an item or the switch lies on a start, which is never entered; begin with a memory without it"
        )
    words = (*rules.memory, 0)[:MEMORY_WORDS]
    typed: dict[str, Any] = {
        name: float(value) for name, value in rules._asdict().items() if name not in (*_WHOLE, "memory")
    }
    typed |= {name: int(getattr(rules, name)) for name in _WHOLE}
    return CompiledTask(
        moves=np.ascontiguousarray(dynamics.moves, np.int32),
        flags=np.ascontiguousarray(dynamics.flags, np.int32),
        rewards=np.ascontiguousarray(rewards, np.float64),
        near=np.full((observations, 1), -1, np.int32) if near is None else np.ascontiguousarray(near, np.int32),
        starts=np.ascontiguousarray(dynamics.starts, np.int32),
        weights=np.ascontiguousarray(dynamics.weights, np.float64),
        rules=Rules(**typed | {"memory": (np.uint64(words[0]), np.uint64(words[1]))}),
    )


_WHOLE = ("horizon", "switch_rows", "item_rows")
"""Fields of :class:`Rules` that are whole numbers."""


def check_size(observations: int, actions: int) -> None:
    """Refuse a task that no table of this machine holds.

    Raises:
        InvalidTask: naming the numbers.
    """
    if not 1 <= actions <= MOST_ACTIONS:
        raise InvalidTask(f"{actions} actions; a task has 1 to {MOST_ACTIONS}")
    if observations < 1:
        raise InvalidTask(f"{observations} observations; a task has at least 1")
    if observations * actions > MOST_PAIRS:
        raise InvalidTask(
            f"{observations} observations x {actions} actions are {observations * actions:.2g} pairs; tables of more "
            f"than {MOST_PAIRS:.2g} do not fit in memory: leave out what cannot be reached, or merge observations"
        )


def restrict_task(task: CompiledTask, taken: np.ndarray) -> CompiledTask:
    """The task as recorded transitions know it: an action that was not taken leaves the agent where it is.

    Args:
        task: the task in the environment.
        taken: bool[S, A], which actions were recorded.
    """
    stay = np.arange(task.observations, dtype=np.int32)[:, None]
    rewards = np.where(taken, task.rewards, task.rules.stay_reward)
    return task._replace(moves=np.where(taken, task.moves, stay), rewards=rewards)


@compiled()
def nearest_item(near, state, memory):
    """Steps from an observation to the nearest item left; -1 where none is reachable."""
    items = memory[0]
    position = 0
    entry = near[state, position]
    while entry >= 0 and not (items >> np.uint64(entry & 255)) & np.uint64(1):
        position += 1
        entry = near[state, position]
    return np.int64(entry) >> 8


@compiled()
def enter(flag, memory):
    """The memory after entering an observation with these flags: event rules without any reward."""
    items, switch = memory
    if flag & ITEM:
        items &= ~(np.uint64(1) << np.uint64(flag >> 8))
    if flag & SWITCH:
        switch = np.uint64(1)
    return items, switch


@compiled(forceinline=True)
def step(moves, flags, rewards, near, rules, state, memory, nearest, action):
    """Make one move.

    Args:
        moves: see :class:`CompiledTask`, as for the next three.
        flags: see there.
        rewards: see there.
        near: see there.
        rules: see :class:`Rules`.
        state: the observation before the move.
        memory: before the move.
        nearest: ``nearest_item(near, state, memory)``, carried along so that it is looked up once per move.
        action: 0 to A - 1.

    Returns:
        ``(state, memory, nearest, reward, flag)`` after the move; ``flag & TERMINAL`` says that it ended.
    """
    current = np.int64(moves[state, action])
    flag = np.int64(flags[current])
    items, switch = memory
    reward = 0.0
    if flag & SWITCH and switch == 0:
        switch = np.uint64(1)
        reward = rules.switch_reward
    row = (rules.switch_rows if switch else 0) + (rules.item_rows if items == 0 else 0)
    reward += rewards[row, state, action]
    if flag & TRAP or current == state:
        return current, (items, switch), nearest, reward, flag
    if rules.item_shaping > 0.0:
        reached = nearest_item(near, current, (items, switch))
        if nearest >= 0 and reached >= 0:
            reward += rules.item_shaping * (nearest - reached)
        nearest = reached
    if flag & ITEM:
        bit = np.uint64(1) << np.uint64(flag >> 8)
        if items & bit:
            items ^= bit
            reward += rules.item_reward
            nearest = nearest_item(near, current, (items, switch))
    if flag & GOAL and items != 0:
        reward += rules.item_left_cost * popcount(items)
    return current, (items, switch), nearest, reward, flag


@compiled()
def popcount(mask):
    """Number of bits set in a uint64."""
    count = 0
    while mask:
        mask &= mask - np.uint64(1)
        count += 1
    return count


@compiled()
def draw_start(starts, weights, rng):
    """A start by its weight; nothing is drawn where there is one."""
    if len(starts) == 1:
        return np.int64(starts[0])
    draw, place = rng.random(), 0
    while place < len(starts) - 1 and draw >= weights[place]:
        draw -= weights[place]
        place += 1
    return np.int64(starts[place])
