"""What an environment is to everything that learns, composes and measures: the seam that families stand behind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from lever_ray.errors import InvalidTask
from lever_ray.tasks.kernel import CompiledTask, Dynamics
from lever_ray.tasks.objective import Objective


class Slots(NamedTuple):
    """Where the features that depend on the memory stand.

    Attributes:
        nearest: the first of three that tell the vector to the nearest item left, and its length.
        items_left: how many items are left.
        switch_vector: the first of three that are 0 once the switch is on.
        switch_on: 1 once the switch is on.
        first_item: the first of those that list the distances to the items left; D where none do.
    """

    nearest: int
    items_left: int
    switch_vector: int
    switch_on: int
    first_item: int


class FeatureTables(NamedTuple):
    """Arrays of one environment from which feature vectors float32[D] are put together.

    Attributes:
        fixed: float32[S, D], every feature with no item left and the switch off.
        nearest: int32[S, I], items by closeness, as the nearest one is told.
        item_vector: float32[S, I, 3], vector to each item and its length, scaled.
        ordered: int32[S, I], items by the distances that are listed.
        distances: float32[S, I], these distances, scaled.
        slots: where they go.
    """

    fixed: np.ndarray
    nearest: np.ndarray
    item_vector: np.ndarray
    ordered: np.ndarray
    distances: np.ndarray
    slots: Slots

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.fixed.shape[1])


@dataclass(frozen=True, eq=False)
class Words:
    """What the terms of an environment are called.

    Attributes:
        descriptions: one sentence per term, in the order of the terms.
        wanted: by term, phrases that ask for it; "not" before them turns them round.
        feared: by term, phrases of what it keeps away from: they ask for it with and without a "not".
        shunned: by term, phrases of its opposite, which ask for it when negated.
        example: a query and the objective that it means; made of the descriptions where it is not given.
    """

    descriptions: Mapping[str, str]
    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    feared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shunned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    example: tuple[str, str] | None = None

    def describe(self, objective: str | Objective | Iterable[str]) -> str:
        """A plain English sentence that says what an objective wants; its weights are left unsaid.

        Returns:
            e.g. ``"Collect as much gold as possible and avoid hazards at all cost."``

        Raises:
            UnknownName: a term has no description.
        """
        terms = Objective.of(objective).resolved(tuple(self.descriptions)).terms
        wishes = [self.descriptions[term].rstrip(".") for term in terms]
        wishes[1:] = [wish[0].lower() + wish[1:] for wish in wishes[1:]]
        listed = [", ".join(wishes[:-1]), wishes[-1]] if len(wishes) > 1 else wishes
        return " and ".join(listed) + "."


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best known return of an environment under an objective.

    Attributes:
        total: expected return over the starts, in reward units.
        exact: whether it is proven (to the error that the family names) over all behaviour within the horizon.
        path: labels along a route that earns it, from the likeliest start.
        actions: int[T], the actions of that route.
        q: float32[S, A] where a table earns it from every start; None elsewhere.
    """

    total: float
    exact: bool
    path: tuple[Hashable, ...]
    actions: np.ndarray
    q: np.ndarray | None = None


class Plan(NamedTuple):
    """What a search over supported transitions found: a route, or a table where that is the answer.

    Attributes:
        total: its expected return, in reward units; the environment's, for dynamics and rewards are known exactly.
        actions: int[T]; None where the answer is a table.
        q: float32[S, A], -inf for actions that are not supported; None where it is a route.
        left_support: whether a table cannot but come to an observation without a supported action, where it goes on
            unsupported; the total is that of the prefix then.
    """

    total: float
    actions: np.ndarray | None = None
    q: np.ndarray | None = None
    left_support: bool = False


class PlanHook(Protocol):
    """Searches the supported transitions of a family's environments."""

    def __call__(
        self, environment: Any, objective: Objective, /, *, width: int, support: np.ndarray | None = None
    ) -> Plan:
        """A plan by a beam of some width (which an exact planner does not heed), on support uint8[S, B]."""
        ...


class OptimumHook(Protocol):
    """Finds the best return of a family's environments."""

    def __call__(
        self, environment: Any, objective: Objective, /, *, support: np.ndarray | None = None, shaping: float = 1.0
    ) -> Optimum:
        """The best return, on support uint8[S, B] where it is given."""
        ...


class MemorylessHook(Protocol):
    """Finds what a policy over observations alone can earn."""

    def __call__(self, environment: Any, objective: Objective, /, *, support: np.ndarray) -> float:
        """The best return found, on support uint8[S, B]."""
        ...


class BoundHook(Protocol):
    """Bounds the return of every behaviour."""

    def __call__(self, environment: Any, objective: Objective, /, *, shaping: float = 1.0) -> float:
        """No behaviour earns more."""
        ...


class CaptionHook(Protocol):
    """Says what stands above a picture, and beside the return and the end of a route."""

    def __call__(self, environment: Any, path: Iterable[Hashable] = (), /) -> tuple[str, ...]:
        """What an environment is called, then what a route of labels does on its way, each in a few words."""
        ...


class Hooks(NamedTuple):
    """What a family may add, and others live without.

    Attributes:
        optimum, plan, memoryless, bound, caption: see their types.
        exact: whether an environment's optima are exact, and cheap, whatever the objective.
    """

    optimum: OptimumHook | None = None
    plan: PlanHook | None = None
    memoryless: MemorylessHook | None = None
    bound: BoundHook | None = None
    exact: Callable[[Any], bool] | None = None
    caption: CaptionHook | None = None


class Environment(Protocol):
    """One world; no weights in it. Immutable, and sent to other processes as it is.

    Attributes:
        family: name of its family.
        digest: SHA-256 of what it is: equal worlds have equal digests, whatever they are called.
        seed: that it was sampled with; None where it was not.
        observations: S.
        actions: A.
        terms: of its reward, in the family's order.
        ends: what its ends are called: the wanted one and, where there is one, the other.
        horizon: steps after which an episode is truncated.
        discount: of evaluation.
        trivial: whether it is so easy that it is reported apart.
        warnings: what is allowed and perhaps not meant, in sentences; answers about it repeat them.
        dynamics: what it does, whatever is rewarded.
        hooks: what its family adds.
    """

    @property
    def family(self) -> str: ...  # noqa: D102 - see the class
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int | None: ...  # noqa: D102
    @property
    def observations(self) -> int: ...  # noqa: D102
    @property
    def actions(self) -> int: ...  # noqa: D102
    @property
    def terms(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def ends(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def horizon(self) -> int: ...  # noqa: D102
    @property
    def discount(self) -> float: ...  # noqa: D102
    @property
    def trivial(self) -> bool: ...  # noqa: D102
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def dynamics(self) -> Dynamics: ...  # noqa: D102
    @property
    def hooks(self) -> Hooks: ...  # noqa: D102

    def __hash__(self) -> int:
        """Equal worlds have equal hashes: what is found out about one is remembered."""
        ...

    def admits(self, objective: Objective) -> bool:
        """Whether it has what an objective is about, and its weights a meaning."""
        ...

    def compile(self, objective: Objective | str, *, shaping: float = 1.0) -> CompiledTask:
        """The arrays of the environment under an objective; asking again costs nothing.

        Raises:
            UnknownName: an objective term does not exist.
            InvalidValue: the environment does not admit the objective, or shaping is negative or not finite.
        """
        ...

    def features(self) -> FeatureTables | None:
        """What feature vectors are made of; None where it has none: psi is off, outcomes still work."""
        ...

    def describe(self) -> Words:
        """Names, synonyms and descriptions of its terms."""
        ...

    def label(self, observation: int) -> Hashable:
        """What people call an observation, e.g. a cell ``(row, col)``."""
        ...

    def action_label(self, action: int) -> str:
        """What people call an action, e.g. ``right``."""
        ...

    def text(self, path: Iterable[Hashable] = ()) -> str:
        """A picture of it in characters with a route of labels marked, a legend at its end; empty where it has none."""
        ...

    def draw(self, axes: Any, path: Iterable[Hashable] = (), *, label: str = "") -> None:
        """Draw it on matplotlib axes, with a route of labels that is called ``label``.

        A legend that is not within the axes is put into their figure, one for everything that is drawn there.
        """
        ...

    def encode(self) -> dict[str, Any]:
        """Plain data from which :func:`lever_ray.tasks.registry.decode` makes it again; never a pickle."""
        ...


@dataclass(frozen=True)
class Source:
    """Where a library's environments are sampled from, e.g. ``grid8``.

    Attributes:
        name: of the source; environments are called ``NAME-SEED``.
        family: name of its family.
        terms: of its environments.
        pools: by mode, the objectives whose policies an experiment about composing may use.
        words: what the terms are called.
        sample: makes the environment of a seed.
    """

    name: str
    family: str
    terms: tuple[str, ...]
    pools: Mapping[str, tuple[str, ...]]
    words: Words
    sample: Callable[[int], Environment]


@dataclass(frozen=True)
class Family:
    """A family of environments.

    Attributes:
        name: of the family.
        decode: makes an environment of what its ``encode`` gave.
        sources: what libraries can be built from, by name.
        example: makes a small environment, for tests and for compiling kernels ahead of time.
        read_text: makes an environment of what its ``text`` gave, where people may write it as text.
    """

    name: str
    decode: Callable[[Mapping[str, Any]], Environment]
    sources: Mapping[str, Source]
    example: Callable[[], Environment]
    read_text: Callable[[str], Environment] | None = None


def check_admitted(environment: Environment, objective: Objective) -> None:
    """Refuse an objective that an environment does not admit.

    Raises:
        InvalidTask: naming both.
    """
    if not environment.admits(objective):
        raise InvalidTask(f"environment of family {environment.family!r} does not admit objective {objective.id!r}")
