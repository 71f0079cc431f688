"""Feature vectors phi of an observation and a memory, put together from an environment's tables."""

from __future__ import annotations

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.tasks.kernel import Memory, popcount
from lever_ray.tasks.protocol import Environment, FeatureTables


def initial_features(tables: FeatureTables) -> np.ndarray:
    """float32[S, D]: phi of every observation with every item left and the switch off."""
    observations, items = tables.ordered.shape
    initial, slots = tables.fixed.copy(), tables.slots
    if items:
        listed = np.take_along_axis(tables.distances, tables.ordered, axis=1)[:, : tables.dimension - slots.first_item]
        nearest = tables.item_vector[np.arange(observations), tables.nearest[:, 0]]
        initial[:, slots.nearest : slots.nearest + 3] = nearest
        initial[:, slots.items_left] = items
        initial[:, slots.first_item : slots.first_item + listed.shape[1]] = listed
    return initial


def used_features(tables: FeatureTables) -> int:
    """How many of the first features can differ from 0: none lies beyond the slots of the items that there are."""
    first, items = tables.slots.first_item, tables.ordered.shape[1]
    return first + min(items, tables.dimension - first)


@compiled()
def fill_features(tables, state, memory, out):
    """Write phi of an observation and a memory into ``out``, float[D]."""
    items, switch = memory
    slots = tables.slots
    for feature in range(len(out)):
        out[feature] = tables.fixed[state, feature]
    if switch:
        for axis in range(3):
            out[slots.switch_vector + axis] = 0.0
        out[slots.switch_on] = 1.0
    if items == 0:
        return
    out[slots.items_left] = popcount(items)
    for item in tables.nearest[state]:
        if (items >> np.uint64(item)) & np.uint64(1):
            for axis in range(3):
                out[slots.nearest + axis] = tables.item_vector[state, item, axis]
            break
    slot = slots.first_item
    for item in tables.ordered[state]:
        if (items >> np.uint64(item)) & np.uint64(1) and slot < len(out):
            out[slot] = tables.distances[state, item]
            slot += 1


def features(environment: Environment, *, state: int, memory: Memory) -> np.ndarray:
    """float32[D]: phi of an observation and a memory; empty where the environment has no features."""
    tables = environment.features()
    if tables is None:
        return np.empty(0, np.float32)
    out = np.empty(tables.dimension, np.float32)
    fill_features(tables, state, (np.uint64(memory[0]), np.uint64(memory[1])), out)
    return out
