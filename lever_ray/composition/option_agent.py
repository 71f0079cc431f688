"""Options in closed loop: an agent that follows its route, and searches again where it finds itself off it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lever_ray.composition.options import OptionRoute, OptionRules, OptionStart, search_options
from lever_ray.errors import InvalidValue
from lever_ray.tasks.kernel import TERMINAL, CompiledTask, Memory, enter


@dataclass(frozen=True, eq=False)
class OptionPlayer:
    """What a search over options needs, from wherever it begins.

    Attributes:
        task: the environment, with the score in place of the reward.
        actions: int16[P, S], see :func:`lever_ray.composition.routes.member_actions`.
        rules: how to search.
        events: uint64[S, A], see :class:`lever_ray.composition.segments.EventTerms`; None where the memory tells them.
        laps: whether the score of a loop counts lap by lap.
        toward: int16[1, S], see :func:`lever_ray.composition.options.exit_moves`; None without an estimate.
    """

    task: CompiledTask
    actions: np.ndarray
    rules: OptionRules
    events: np.ndarray | None = None
    laps: bool = True
    toward: np.ndarray | None = None

    def search(
        self, observation: int, memory: Memory | None = None, *, steps: int | None = None, paid: int = 0
    ) -> OptionRoute:
        """The best route from a full state.

        Args:
            observation: 0 to S - 1.
            memory: by default that with which episodes begin.
            steps: left until the horizon; by default all.
            paid: event terms that were paid, as bits.

        Raises:
            InvalidValue: the observation does not exist.
        """
        rules = self.task.rules
        left = rules.horizon if steps is None else steps
        start = OptionStart(observation, rules.memory if memory is None else memory, left, paid)
        return search_options(
            self.task,
            self.actions,
            rules=self.rules,
            start=start,
            events=self.events,
            toward=self.toward,
            laps=self.laps,
        )


class OptionAgent:
    """Plays an environment step by step.

    It keeps to its route for as long as it finds itself on it, and counts how often it had to search again.

    Args:
        player: what it searches with.

    Attributes:
        searches: how often it has searched since :meth:`reset`, the first time included.
    """

    def __init__(self, player: OptionPlayer) -> None:
        self._player = player
        self.searches = 0

    def reset(self, observation: int, memory: Memory | None = None) -> None:
        """Begin an episode.

        Args:
            observation: that it begins in.
            memory: with which; by default the environment's.

        Raises:
            InvalidValue: the observation does not exist.
        """
        self.searches, self._time, self._paid = 0, 0, 0
        self._plan(int(observation), self._words(memory))

    def act(self, observation: int, memory: Memory | None = None) -> int:
        """The next action.

        Args:
            observation: where the agent is.
            memory: with which; by default the one that its moves have led to.

        Raises:
            InvalidValue: no episode was begun, it is over, or no member has a recorded action here.
        """
        if not self.searches:
            raise InvalidValue("the agent acts before reset(observation, memory) was called")
        words = self._expected[1] if memory is None else self._words(memory)
        if (int(observation), words) != self._expected or self._place >= len(self._route.actions):
            self._plan(int(observation), words)
        if self._place >= len(self._route.actions):
            raise InvalidValue(
                f"no policy has a recorded action at observation {observation} after {self._time} steps, or the "
                "episode is over; call reset to begin another"
            )
        action = int(self._route.actions[self._place])
        self._move(int(observation), words, action)
        return action

    def _words(self, memory: Memory | None) -> tuple[int, int]:
        items, switch = self._player.task.rules.memory if memory is None else memory
        return int(items), int(switch)

    def _plan(self, observation: int, memory: tuple[int, int]) -> None:
        task, words = self._player.task, (np.uint64(memory[0]), np.uint64(memory[1]))
        steps = max(0, task.rules.horizon - self._time)
        self._route = self._player.search(observation, words, steps=steps, paid=self._paid)
        self.searches += 1
        self._place, self._expected = 0, (observation, memory)

    def _move(self, observation: int, memory: tuple[int, int], action: int) -> None:
        """Note where the move should lead."""
        task, events = self._player.task, self._player.events
        if events is not None:
            self._paid |= int(events[observation, action])
        after = int(task.moves[observation, action])
        flag = int(task.flags[after])
        words = memory
        if after != observation or not flag & TERMINAL:
            items, switch = enter(flag, (np.uint64(memory[0]), np.uint64(memory[1])))
            words = (int(items), int(switch))
        self._time, self._place, self._expected = self._time + 1, self._place + 1, (after, words)
