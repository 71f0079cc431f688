"""What a library holds: policies, and once per environment what all its policies share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np

from lever_ray.errors import InvalidValue, LeverError
from lever_ray.tasks.canonical import CanonicalStates, canonical_states
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment, check_admitted
from lever_ray.tasks.support import full_support, support_bits

T = TypeVar("T")


def _text(value: object) -> str:
    text = str(value)
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InvalidValue(f"{text!r} is not valid Unicode text; write it without lone surrogates")
    return text


_READ_AS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("environment", "description", "label", "algorithm"), _text),
    **dict.fromkeys(("gamma", "total", "seconds"), float),
    **dict.fromkeys(("episodes", "snapshot", "seed", "environment_steps"), int),
}
"""Fields that are stored as text, double or integer, whatever kind of number they are given as."""
PLAIN: tuple[str, ...] = (
    "environment",
    "description",
    "label",
    "gamma",
    "algorithm",
    "episodes",
    "snapshot",
    "seed",
    "environment_steps",
    "seconds",
    "total",
)
"""Fields of a record that are stored as they are."""
_INTEGERS: tuple[str, ...] = tuple(name for name, kind in _READ_AS.items() if kind is int)
_ARRAYS: dict[str, type] = {"q": np.float32, "visits": np.uint32, "successors": np.int32, "mean_rewards": np.float32}

SUPPORT_SOURCES: tuple[str, ...] = ("visits", "transitions", "unknown")
"""What tells which actions a policy took in training: visit counts, recorded transitions, or nothing."""


def _takes_layout(cls: type[T]) -> type[T]:
    """Let a record be made with ``layout=``, the name of a grid's task, in place of ``task=``."""
    plain: Callable[..., None] = cls.__init__

    @wraps(plain)
    def init(self: T, *args: Any, **kwargs: Any) -> None:
        if "layout" in kwargs:
            if "task" in kwargs or len(args) > 1:
                raise InvalidValue("both task and layout= are given, which are one field; give one of them")
            kwargs["task"] = kwargs.pop("layout")
        plain(self, *args, **kwargs)

    cls.__init__ = init  # type: ignore[method-assign, assignment]
    return cls


@_takes_layout
@dataclass(frozen=True, eq=False)
class PolicyRecord:
    """One policy: a snapshot of a training run, or a Q-table from elsewhere.

    Attributes:
        environment: name of the environment; equal names mean equal tasks.
        task: what it was trained in; ``layout=`` says the same.
        objective: what it was trained for; a name is read as an :class:`Objective`, and resolved against the task's
            terms. None (or an empty name) where only the description says it.
        description: one sentence on what it does.
        q: float32[S, A], action values in reward units; finite.
        visits: uint32[S, A], how often each action was taken; 0 = never. None where nobody counted.
        successors: int32[S, A], recorded observations; -1 = never seen. Derived from ``visits`` where None.
        label: ``worst``, ``median``, ``best`` or the owner's own word.
        gamma: discount it was trained with.
        mean_rewards: float32[S, A], mean recorded reward; None where unknown.
        total: recorded greedy return on its own objective; NaN where unknown.
        algorithm: what trained it.
        episodes: training budget of the run, in episodes.
        snapshot: episodes trained when it was taken.
        seed: of training; negative ones are taken, since other code marks unknown ones so.
        environment_steps: environment steps of the whole run.
        seconds: wall-clock seconds of the whole run.

    Raises:
        UnknownName: the task has no such objective term.
        InvalidValue: an array has the wrong shape or dtype or non-finite entries, recorded successors contradict the
            visits or the task, the task does not admit the objective, gamma lies outside [0, 1], a count is negative,
            the environment has no name, or there is neither an objective nor a description; the message names the
            record.
    """

    environment: str
    task: Environment
    objective: Objective | None
    description: str
    q: np.ndarray
    visits: np.ndarray | None = None
    successors: np.ndarray | None = None
    label: str = ""
    gamma: float = 0.0
    mean_rewards: np.ndarray | None = None
    total: float = float("nan")
    algorithm: str = "sarsa"
    episodes: int = 0
    snapshot: int = 0
    seed: int = 0
    environment_steps: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        wanted = Objective.of(self.objective).resolved(self.task.terms) if self.objective else None
        object.__setattr__(self, "objective", wanted)
        for name, kind in _READ_AS.items():
            object.__setattr__(self, name, kind(getattr(self, name)))
        for name, dtype in _ARRAYS.items():
            if getattr(self, name) is not None:
                self._adopt(name, dtype)
        self._check_plain()
        self._check_admitted()
        for name in ("q", "mean_rewards"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                raise InvalidValue(
                    f"{self._who()}: {name} holds NaN or infinite values; leave the policy out or retrain it"
                )
        self._check_successors()

    def _who(self) -> str:
        purpose = self.objective.name if self.objective else repr(self.description[:40])
        label = f" {self.label!r}" if self.label else ""
        return f"policy{label} for {purpose} in environment {self.environment!r}"

    def _check_plain(self) -> None:
        if not self.environment.strip():
            raise InvalidValue(f"{self._who()}: its environment has no name; give one, e.g. 'maze'")
        if not 0.0 <= self.gamma <= 1.0:
            raise InvalidValue(f"{self._who()}: gamma is {self.gamma}; it must lie in [0, 1]")
        if self.objective is None and not self.description.strip():
            raise InvalidValue(f"{self._who()}: it has neither an objective nor a description; give one of them")

        for name in _INTEGERS:
            least = -(1 << 63) if name == "seed" else 0
            if not least <= getattr(self, name) < 1 << 63:
                wanted = "fit 64 bits" if name == "seed" else "be 0 or more, and fit 64 bits"
                raise InvalidValue(f"{self._who()}: {name} is {getattr(self, name)}; it must {wanted}")

    def _check_admitted(self) -> None:
        if self.objective is None or self.task.admits(self.objective):
            return
        try:
            self.task.compile(self.objective)
            check_admitted(self.task, self.objective)
        except LeverError as error:
            raise InvalidValue(f"{self._who()}: {error}") from error

    def _adopt(self, name: str, dtype: type) -> None:
        given = np.asarray(getattr(self, name))
        wanted = (self.task.observations, self.task.actions)
        if given.shape != wanted:
            raise InvalidValue(
                f"{self._who()}: {name} has shape {given.shape}; its task needs {wanted}, observations by actions: "
                "give the environment that it was trained in"
            )
        if given.dtype.kind not in "iufb":
            raise InvalidValue(f"{self._who()}: {name} has dtype {given.dtype}; give numbers")
        with np.errstate(over="ignore"):
            adopted: np.ndarray = np.array(given, dtype, order="C")
        adopted.setflags(write=False)
        object.__setattr__(self, name, adopted)

    def _check_successors(self) -> None:
        moves = self.task.dynamics.moves
        if self.successors is None:
            if self.visits is not None:
                object.__setattr__(self, "successors", np.where(self.visits > 0, moves, -1).astype(np.int32))
            return
        seen = self.successors >= 0
        if (seen & (self.successors != moves)).any() or (self.successors < -1).any():
            raise InvalidValue(
                f"{self._who()}: recorded successors contradict its task; was it trained in another environment?"
            )
        if self.visits is not None and (seen != (self.visits > 0)).any():
            raise InvalidValue(
                f"{self._who()}: visits and successors disagree on which actions were taken; "
                "visits must be 0 exactly where successors are -1"
            )

    @property
    def layout(self) -> Environment:
        """The task."""
        return self.task

    @cached_property
    def id(self) -> str:
        """Hash of environment, objective, weights, Q and training settings: adding the same policy twice is a no-op."""
        settings = [
            self.environment,
            self.task.digest,
            self.objective.id if self.objective else self.description,
            self.gamma,
            self.algorithm,
            self.episodes,
            self.snapshot,
            self.seed,
        ]
        return hashlib.sha256(json.dumps(settings).encode() + self.q.tobytes()).hexdigest()[:20]

    @property
    def support_source(self) -> str:
        """What ``support`` was derived from, one of :data:`SUPPORT_SOURCES`."""
        if self.visits is not None:
            return "visits"
        return "unknown" if self.successors is None else "transitions"

    @property
    def support(self) -> np.ndarray:
        """uint8[S, B]: a bit per action that was taken in training; all of them where nothing was recorded."""
        if self.successors is None:
            return full_support(self.task.observations, self.task.actions)
        return support_bits(self.successors >= 0)


class HeldPolicy(PolicyRecord):
    """A policy as a file of a library holds it: whether its task admits its objective was for its writer to see."""

    def _check_admitted(self) -> None:
        pass


@dataclass(frozen=True, eq=False)
class EnvironmentRecord:
    """What all policies of one environment share; stored once.

    Attributes:
        name: of the environment.
        task: what its policies act in.
        successors: int32[S, A], union of the recorded successors; -1 = never seen.
        canonical: the states at which embeddings are averaged.
    """

    name: str
    task: Environment
    successors: np.ndarray
    canonical: CanonicalStates

    @property
    def layout(self) -> Environment:
        """The task."""
        return self.task

    @classmethod
    def of(cls, name: str, task: Environment, successors: np.ndarray) -> EnvironmentRecord:
        """Draw the canonical states and put the record together.

        They are drawn from recorded transitions; from the task's own where none was recorded.
        """
        walked = successors if (successors >= 0).any() else task.dynamics.moves
        return cls(name, task, successors, canonical_states(task, walked))
