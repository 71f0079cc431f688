"""The grid as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from lever_ray.errors import InvalidValue
from lever_ray.tasks.features import features
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.terrain import ACTIONS
from lever_ray.tasks.gridworld.text import as_text
from lever_ray.tasks.kernel import TERMINAL, nearest_item, step
from lever_ray.tasks.objective import Objective

ENVIRONMENT_ID = "lever_ray/GridWorld-v0"
_COLOURS = {".": (255, 255, 255), "S": (190, 210, 240), "E": (60, 160, 90), "$": (240, 190, 40), "#": (70, 70, 70),
            "x": (200, 60, 50), "L": (130, 90, 190), "*": (150, 200, 235), "@": (30, 110, 200)}  # fmt: skip
_PIXELS_PER_CELL = 16


class GridWorld(gymnasium.Env[np.int64, np.int64]):
    """One layout under one objective; the observation is the state index ``row * N + col``.

    Args:
        layout: a :class:`Layout`, or its plain-data form (so that ``gymnasium.make`` can be given JSON).
        objective: a name such as ``"path-gold"`` or an :class:`Objective`.
        shaping: factor of the distance-shaping terms and of hazard proximity.
        render_mode: ``"ansi"`` (text), ``"rgb_array"`` (uint8[16 N, 16 N, 3]) or None.

    Raises:
        UnknownName, InvalidTask, InvalidValue: see :func:`lever_ray.tasks.gridworld.compile.compile_layout`.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 8}  # noqa: RUF012 - Gymnasium's own convention

    def __init__(
        self,
        layout: Layout | Mapping[str, Any],
        *,
        objective: Objective | str = "path",
        shaping: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise InvalidValue(f"render_mode is {render_mode!r}; choose 'ansi', 'rgb_array' or None")
        self.layout = layout if isinstance(layout, Layout) else Layout.from_dict(layout)
        self.objective = Objective.of(objective).resolved(self.layout.terms)
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Discrete(self.layout.states)
        self.action_space = gymnasium.spaces.Discrete(ACTIONS)
        self._task = self.layout.compile(self.objective, shaping=shaping)
        self._begin()

    def _begin(self) -> None:
        self._state, self._memory = self._task.start, self._task.rules.memory
        self._nearest = int(nearest_item(self._task.near, self._state, self._memory))
        self._steps, self._over = 0, False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Begin an episode at the start; the environment itself is deterministic."""
        super().reset(seed=seed, options=options)
        self._begin()
        return np.int64(self._state), self._info()

    def step(self, action: np.int64 | int) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Move; see :func:`lever_ray.tasks.kernel.step`. Truncates after N^2 steps.

        Raises:
            InvalidValue: the action is not 0, 1, 2 or 3, or the episode is over.
        """
        if action not in range(ACTIONS):
            raise InvalidValue(f"action is {action}; use 0 right, 1 down, 2 left or 3 up")
        if self._over:
            raise InvalidValue("the episode is over; call reset() before the next step()")
        moves, flags, rewards, near, _, _, rules = self._task
        moved = step(moves, flags, rewards, near, rules, self._state, self._memory, self._nearest, int(action))
        self._state, (golds, lever), self._nearest, reward, flag = moved
        self._memory = np.uint64(golds), np.uint64(lever)
        self._steps += 1
        terminated = bool(flag & TERMINAL)
        truncated = not terminated and self._steps >= rules.horizon
        self._over = terminated or truncated
        return np.int64(self._state), float(reward), terminated, truncated, self._info()

    def features(self) -> np.ndarray:
        """float32[70]: phi of the present state; see :mod:`lever_ray.tasks.gridworld.features`."""
        return features(self.layout, state=self._state, memory=self._memory)

    def render(self) -> str | np.ndarray | None:
        """Text or picture of the grid and the agent, as ``render_mode`` says."""
        if self.render_mode is None:
            return None
        text = as_text(self.layout, agent=self.layout.cell(self._state), taken=self._taken())
        return text if self.render_mode == "ansi" else _as_pixels(text)

    @property
    def _golds(self) -> int:
        """Golds left, as bits."""
        return int(self._memory[0])

    def _taken(self) -> list[tuple[int, int]]:
        return [cell for bit, cell in enumerate(self.layout.golds) if not self._golds >> bit & 1]

    def _info(self) -> dict[str, Any]:
        return {
            "cell": self.layout.cell(self._state),
            "golds_left": self._golds.bit_count(),
            "lever_on": bool(self._memory[1]),
            "steps": self._steps,
        }


def _as_pixels(text: str) -> np.ndarray:
    cells = np.array([[_COLOURS[symbol] for symbol in line.split()] for line in text.splitlines()], np.uint8)
    return cells.repeat(_PIXELS_PER_CELL, axis=0).repeat(_PIXELS_PER_CELL, axis=1)


def register() -> None:
    """Make ``gymnasium.make("lever_ray/GridWorld-v0", layout=..., objective=...)`` work.

    Gymnasium calls it as a plugin of an installed package, and this module when it is imported; idempotent.
    """
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(id=ENVIRONMENT_ID, entry_point="lever_ray.tasks.gridworld.env:GridWorld")


register()
