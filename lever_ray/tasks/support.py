"""Which actions were taken, as bits: action ``a`` is bit ``a % 8`` of byte ``a // 8``."""

from __future__ import annotations

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.errors import InvalidValue


def support_bytes(actions: int) -> int:
    """B, bytes of one observation's support."""
    return (actions + 7) // 8


def support_bits(taken: np.ndarray) -> np.ndarray:
    """uint8[..., B] of bool[..., A]."""
    return np.packbits(taken, axis=-1, bitorder="little")


def taken_actions(support: np.ndarray, actions: int) -> np.ndarray:
    """bool[..., A] of uint8[..., B]."""
    return np.unpackbits(support, axis=-1, count=actions, bitorder="little").astype(bool)


def full_support(observations: int, actions: int) -> np.ndarray:
    """uint8[S, B] with every action's bit."""
    return support_bits(np.ones((observations, actions), bool))


def read_support(support: np.ndarray | None, observations: int, actions: int) -> np.ndarray:
    """uint8[S, B] of allowed actions as kernels take it, all of them by default.

    Raises:
        InvalidValue: it is of another shape.
    """
    if support is None:
        return full_support(observations, actions)
    shape = (observations, support_bytes(actions))
    if support.shape != shape:
        raise InvalidValue(f"support has shape {support.shape}; this task needs {shape}, a bit per action")
    return np.array(support, np.uint8, order="C")


@compiled()
def is_taken(support, state, action):
    """Whether an action's bit is set, for uint8[S, B]."""
    return (support[state, action >> 3] >> np.uint8(action & 7)) & 1 == 1


@compiled()
def none_taken(support, state):
    """Whether no action's bit is set, for uint8[S, B]."""
    together = 0
    for byte in range(support.shape[1]):
        together |= support[state, byte]
    return together == 0
