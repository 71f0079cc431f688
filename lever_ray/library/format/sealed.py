"""What a library keeps of environments whose family of tasks is not installed: rows as they stand, never decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lever_ray.errors import LibraryError
from lever_ray.library.record import EnvironmentRecord, PolicyRecord


class ForeignFamily(LibraryError):
    """An environment was asked for whose family of tasks is not installed; nothing is damaged.

    Attributes:
        family: its name.
    """

    def __init__(self, message: str, family: str) -> None:
        super().__init__(message, family)
        self.family = family

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, eq=False)
class SealedEnvironment:
    """An environment whose family is not installed.

    Attributes:
        name: of the environment.
        family: of its task.
        row: of the environments file, by column.
    """

    name: str
    family: str
    row: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class SealedPolicy:
    """A policy of such an environment; its checksum has been checked, its content cannot be.

    Attributes:
        row: of the policies file, by column.
        q: float32[S, A], as for the next see :class:`~lever_ray.library.serving.mapped.Tables`.
        support: uint8[S, B].
        visits: uint32[S, A]; None where nobody counted.
        mean_rewards: float32[S, A]; None where they are unknown.
    """

    row: Mapping[str, Any]
    q: np.ndarray
    support: np.ndarray
    visits: np.ndarray | None
    mean_rewards: np.ndarray | None

    @property
    def id(self) -> str:
        """As it is stored."""
        return str(self.row["id"])

    @property
    def environment(self) -> str:
        """Name of its environment."""
        return str(self.row["environment"])


AnyEnvironment = EnvironmentRecord | SealedEnvironment
AnyPolicy = PolicyRecord | SealedPolicy
Lookup = Callable[[str], AnyEnvironment]
"""Gives an environment by name, whether or not its family is installed."""
