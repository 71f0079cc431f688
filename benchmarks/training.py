"""Speed of the compiled trainer, and its ratio to plain Python stepping of the same environment."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import numpy as np

from lever_ray.learning.sarsa import train
from lever_ray.tasks.gridworld.env import GridWorld
from lever_ray.tasks.gridworld.layout import Layout

OBJECTIVE = "path-gold-hazard-lever"
LAYOUTS = 12
REPEATS = 3
PLAIN_STEPS = 20_000


def figures() -> dict[str, float]:
    """Median over layouts and repeats of environment steps per second of one core; gamma 0.99, 10,000 episodes."""
    result = {}
    for family in ("grid8", "grid16", "grid32"):
        layouts = [Layout.sample(family, seed=seed) for seed in range(LAYOUTS)]
        runs = [train(layout, objective=OBJECTIVE, gamma=0.99) for _ in range(REPEATS) for layout in layouts]
        speed = median(run.steps_per_second for run in runs)
        result[f"learning.sarsa.{family}.steps_per_second"] = speed
        result[f"learning.sarsa.{family}.milliseconds_per_10000_episodes"] = 1e3 * median(run.seconds for run in runs)
        result[f"learning.sarsa.{family}.ratio_to_gymnasium_stepping"] = speed / _stepping_speed(layouts[0])
    return result


def _stepping_speed(layout: Layout) -> float:
    """Environment steps per second through the Gymnasium interface, random actions, without any learning."""
    env = GridWorld(layout, objective=OBJECTIVE)
    actions = np.random.default_rng(0).integers(0, 4, PLAIN_STEPS)
    env.reset()
    env.step(0)
    env.reset()
    begun = perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return PLAIN_STEPS / (perf_counter() - begun)
