"""Tables of other code, as tests import them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lever_ray.errors import LeverError
from lever_ray.learning.sarsa import train
from lever_ray.library.ports.importing import records
from lever_ray.library.ports.options import ImportOptions
from lever_ray.library.ports.understanding import understand
from lever_ray.library.record import PolicyRecord
from lever_ray.tasks.gridworld.layout import Layout

LAYOUT = Layout.sample("grid8", seed=3)
ROOM = Layout(4, (0, 0), (3, 3), ((0, 2), (2, 0)), ((1, 1),), ((0, 3),), (3, 0), name="room")
OPTIONS = ImportOptions(environment="maze", layouts=LAYOUT, gamma=0.9)
TEXTS = ["fetch the treasure"] * 3 + ["run to the exit as fast as you can"] * 3


@pytest.fixture(scope="module")
def tables() -> np.ndarray:
    """float64[6, 64, 4]: three policies for gold, three for the exit."""
    runs = [
        train(LAYOUT, objective=term, episodes=500, gamma=0.9, seed=s) for term in ("gold", "path") for s in range(3)
    ]
    return np.array([run.q for run in runs], np.float64) + 1e-9


def read(source: Any, options: ImportOptions = OPTIONS) -> list[PolicyRecord]:
    return records(understand(source, options))


def refused(source: Any, options: ImportOptions = OPTIONS) -> str:
    with pytest.raises(LeverError) as caught:
        read(source, options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path
