"""What can still be gained from a full state: an admissible bound, from the compiled task alone.

The task is relaxed: items are counted, not told apart (an observation with an item pays for one whenever it is entered
while any is left), and an episode may stop anywhere for nothing. Its value is found by sweeps over observations, number
of items left and switch, along moves that some member makes. Progress towards the nearest item telescopes between two
items: it pays at most the distance where it begins, which is known at the node, and is bounded where an item is taken
by the farthest that the nearest of those left can be.

For outcomes (tier I1) this is at most items left x max(0, item) + max(0, switch) where it is not on + max(0, all items)
+ max(0, goal, trap).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.tasks.kernel import GOAL, ITEM, SWITCH, TERMINAL, TRAP, CompiledTask, popcount


@compiled()
def _relaxed(moves, flags, rewards, rules, allowed, farthest, items, horizon):
    """float64[items + 1, 2, S]: what is still to gain by items left, switch and observation; see the module.

    Args:
        moves: see :class:`lever_ray.tasks.kernel.CompiledTask`, as for the next three.
        flags: see there.
        rewards: see there.
        rules: see there.
        allowed: bool[S, A], moves that some member makes.
        farthest: float64[items + 1, S], what progress towards the next item pays at most after one was taken in an
            observation and so many are left.
        items: left at first.
        horizon: steps at most.
    """
    gains = np.zeros((items + 1, 2, len(flags)))
    for left in range(items + 1):
        for on in range(1, -1, -1):
            here, sweeps, grows = gains[left, on], 0, True
            while grows and sweeps < horizon:
                grows = False
                sweeps += 1
                for state in range(len(flags)):
                    if flags[state] & TERMINAL:
                        continue
                    for action in range(moves.shape[1]):
                        if not allowed[state, action]:
                            continue
                        after = np.int64(moves[state, action])
                        flag = flags[after]
                        lit = 1 if on == 1 or flag & SWITCH else 0
                        row = (rules.switch_rows if lit else 0) + (rules.item_rows if left == 0 else 0)
                        gain = rewards[row, state, action] + (rules.switch_reward if lit > on else 0.0)
                        ends = flag & TERMINAL
                        rest = 0.0 if ends else rules.discount * gains[left, lit, after]
                        stays = flag & TRAP or after == state
                        best = gain + rest + (rules.item_left_cost * left if flag & GOAL and not stays else 0.0)
                        if flag & ITEM and left and not stays:
                            fewer = left - 1
                            rest = 0.0 if ends else rules.discount * gains[fewer, lit, after]
                            taken = gain + rules.item_reward + farthest[fewer, after] + rest
                            best = max(best, taken + (rules.item_left_cost * fewer if flag & GOAL else 0.0))
                        if best > here[state] + 1e-12:
                            here[state], grows = best, True
    return gains


@dataclass(frozen=True, eq=False)
class GainBound:
    """Bounds what routes of some members can still gain.

    Attributes:
        task: with the score in place of the reward.
        actions: int16[P, S] of the members.
        items: uint64, the items that are left where the search begins.
        horizon: steps that are left there.
    """

    task: CompiledTask
    actions: np.ndarray
    items: int
    horizon: int

    @cached_property
    def table(self) -> np.ndarray:
        """float64[items + 1, 2, S], without the progress towards the item that is nearest at the node."""
        moves, flags, rewards, _, _, _, rules = self.task
        allowed = (self.actions[:, :, None] == np.arange(self.task.actions)).any(axis=0)
        count = int(popcount(np.uint64(self.items)))
        return _relaxed(moves, flags, rewards, rules, allowed, self._farthest(count), count, np.int64(self.horizon))

    def _farthest(self, count: int) -> np.ndarray:
        """float64[items + 1, S], see :func:`_relaxed`; 0 where nothing is shaped."""
        found = np.zeros((count + 1, self.task.observations))
        if self.task.rules.item_shaping <= 0:
            return found
        for state in np.flatnonzero(self.task.flags & ITEM).tolist():
            own = int(self.task.flags[state]) >> 8
            entries = [int(entry) for entry in self.task.near[state] if entry >= 0]
            others = [entry >> 8 for entry in entries if entry & 255 != own and self.items >> (entry & 255) & 1]
            for left in range(1, count):
                if others:
                    found[left, state] = others[min(count - 1 - left, len(others) - 1)]
        return found * self.task.rules.item_shaping

    def __call__(self, state: int, items: int, switch: int, nearest: int) -> float:
        """The most that can be gained from a full state on, before the discount of its step.

        Args:
            state: observation.
            items: left, as bits; some of those at the beginning.
            switch: 1 where it is on.
            nearest: steps to the nearest item left, see :func:`lever_ray.tasks.kernel.nearest_item`.
        """
        left = items.bit_count()
        progress = self.task.rules.item_shaping * nearest if left and nearest > 0 else 0.0
        return float(self.table[left, 1 if switch else 0, state]) + max(0.0, progress)
