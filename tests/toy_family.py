"""A family of tasks that lives in the tests alone: a corridor with coins and a button, three actions, no hooks.

The agent starts in the middle; ``left`` and ``right`` move, ``stay`` does not. The right end is the way out and the
left end a pit. Every step costs, coins pay once, and the way out pays more once the button has been pressed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from lever_ray.errors import InvalidTask
from lever_ray.tasks.kernel import GOAL, ITEM, SWITCH, TRAP, CompiledTask, Dynamics, Rules, compiled_task
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Family, FeatureTables, Hooks, Source, Words, check_admitted

TERMS = ("way_out", "coins")
WORDS = Words({"way_out": "Leave by the right end.", "coins": "Take the coins."})
STEP, COIN, OUT, OUT_PRESSED, PIT = -0.5, 3.0, 4.0, 10.0, -7.0


@dataclass(frozen=True)
class Corridor:
    """Cells 0 to ``length - 1``: a pit, then free ones with ``coins`` and a ``button``, then the way out."""

    length: int
    coins: tuple[int, ...] = ()
    button: int | None = None
    discount: float = 1.0
    seed: int | None = field(default=None, compare=False)

    family: ClassVar[str] = "corridor"
    actions: ClassVar[int] = 3
    terms: ClassVar[tuple[str, ...]] = TERMS
    ends: ClassVar[tuple[str, ...]] = ("out", "pit")
    trivial: ClassVar[bool] = False
    warnings: ClassVar[tuple[str, ...]] = ()
    hooks: ClassVar[Hooks] = Hooks()

    def __post_init__(self) -> None:
        if self.length < 4:
            raise InvalidTask(f"corridor has {self.length} cells; it needs at least 4")

    @property
    def digest(self) -> str:
        plain = {name: value for name, value in self.encode().items() if name != "seed"}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def observations(self) -> int:
        return self.length

    @property
    def horizon(self) -> int:
        return 3 * self.length

    @property
    def dynamics(self) -> Dynamics:
        cells = np.arange(self.length)
        moves = np.stack([np.maximum(cells - 1, 0), cells, np.minimum(cells + 1, self.length - 1)], axis=1)
        flags = np.zeros(self.length, np.int32)
        flags[0], flags[-1] = TRAP, GOAL
        for coin, cell in enumerate(self.coins):
            flags[cell] |= ITEM | coin << 8
        if self.button is not None:
            flags[self.button] |= SWITCH
        starts, memory = np.array([self.length // 2], np.int32), (np.uint64((1 << len(self.coins)) - 1), np.uint64(0))
        return Dynamics(moves.astype(np.int32), flags, starts, np.ones(1), memory)

    def admits(self, objective: Objective) -> bool:
        return all(term in TERMS for term in objective.terms) and min(objective.weights) >= 0

    def compile(self, objective: Objective | str, *, shaping: float = 1.0) -> CompiledTask:
        wanted = Objective.of(objective).resolved(TERMS)
        check_admitted(self, wanted)
        dynamics, out = self.dynamics, wanted.weight("way_out")
        rewards = np.full((2, self.length, 3), STEP)
        for pressed, paid in ((0, OUT), (1, OUT_PRESSED)):
            rewards[pressed][dynamics.moves == self.length - 1] += out * paid
            rewards[pressed][dynamics.moves == 0] = PIT
        rules = Rules(
            self.horizon, self.discount, dynamics.memory, item_reward=COIN * wanted.weight("coins"), switch_rows=1
        )
        return compiled_task(dynamics, rewards, rules)

    def features(self) -> FeatureTables | None:
        return None

    def describe(self) -> Words:
        return WORDS

    def label(self, observation: int) -> Hashable:
        return observation

    def action_label(self, action: int) -> str:
        return ("left", "stay", "right")[action]

    def text(self, path: Iterable[Hashable] = ()) -> str:
        return ""

    def draw(self, axes: Any, path: Iterable[Hashable] = (), *, label: str = "") -> None:
        axes.plot(list(path), label=label)

    def encode(self) -> dict[str, Any]:
        plain = {"family": self.family, "length": self.length, "coins": list(self.coins), "button": self.button}
        return plain | {"discount": self.discount} | ({} if self.seed is None else {"seed": self.seed})


def decode(data: Mapping[str, Any]) -> Corridor:
    return Corridor(data["length"], tuple(data["coins"]), data["button"], data["discount"], data.get("seed"))


def sample(seed: int) -> Corridor:
    rng = np.random.default_rng(seed)
    free = rng.permutation(np.setdiff1d(np.arange(1, 9), [5]))
    return Corridor(10, tuple(int(cell) for cell in sorted(free[:2])), int(free[2]), seed=seed)


FAMILY = Family(
    "corridor",
    decode,
    {"corridor": Source("corridor", "corridor", TERMS, {"trivial": TERMS}, WORDS, sample)},
    lambda: Corridor(6, (2, 4), 1),
)
