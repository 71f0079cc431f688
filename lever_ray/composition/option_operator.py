"""Operator ``options``: follow one policy until an event, then choose again among all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np

from lever_ray.composition.composed import EVALUATES_ROLLOUTS, Composed, Followed
from lever_ray.composition.groups import CandidateSpace
from lever_ray.composition.option_agent import OptionPlayer
from lever_ray.composition.options import OPTION_WIDTH, OptionRoute, OptionRules, exit_moves
from lever_ray.composition.problem import Problem
from lever_ray.composition.routes import member_actions
from lever_ray.composition.segments import event_terms
from lever_ray.composition.worth import Worth
from lever_ray.embedding.offline import TRUNCATED
from lever_ray.errors import InvalidValue, check_whole
from lever_ray.tasks.kernel import SWITCH, CompiledTask
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.support import taken_actions

PLANS_MOVES = "plans over single moves"
"""Regime of options whose segments are so short, or that choose again in cycles, that no policy is needed: random
tables do as well."""
FEW_STEPS = 4
"""The longest cut of which that holds."""


@runtime_checkable
class ScoresPrefixes(Protocol):
    """A scorer that can score beginnings of routes."""

    def worth(self, problem: Problem, space: CandidateSpace, /) -> Worth:
        """The worth of beginnings in a problem."""
        ...


@dataclass(frozen=True)
class Options:
    """A beam over segments, each of one member; see :mod:`lever_ray.composition.options`.

    Attributes:
        width: choice points kept per level.
        cut: steps after which a segment ends at the latest; None for events alone.
        cycles, merge: see :class:`~lever_ray.composition.options.OptionRules`.
        segments: segments simulated at most; None for no limit. The best route so far is the answer.
        estimate: see there; ``exit`` asks for the reward (tier I3) and for a task whose memory changes.

    Raises:
        InvalidValue: a number is below 1.
        UnknownName: a rule is not known.
    """

    width: int = OPTION_WIDTH
    cut: int | None = None
    cycles: str = OptionRules.cycles
    merge: str = OptionRules.merge
    segments: int | None = None
    estimate: str = OptionRules.estimate
    name: ClassVar[str] = "options"
    normalised: ClassVar[bool] = False
    tier: ClassVar[str] = "I1"
    is_route: ClassVar[bool] = True
    needs_candidates: ClassVar[bool] = False
    pools_members: ClassVar[bool] = True
    usual_ranker: ClassVar[str] = "regressor"
    parameters: ClassVar[tuple[str, ...]] = ("width", "cut", "cycles", "merge", "segments", "estimate")

    def __post_init__(self) -> None:
        for name, what in (("width", "choice points"), ("cut", "steps"), ("segments", "segments simulated")):
            if name == "width" or getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1, what)
        assert self.rules  # checks the rest

    @cached_property
    def rules(self) -> OptionRules:
        """The same, as the search takes it."""
        return OptionRules(self.cut or 0, self.cycles, self.merge, self.width, self.segments or 0, self.estimate)

    @property
    def regime(self) -> str:
        """See :class:`~lever_ray.composition.operators.Operator`."""
        short = self.cut is not None and self.cut <= FEW_STEPS
        return PLANS_MOVES if short or self.cycles == "choose" else EVALUATES_ROLLOUTS

    def check_ranker(self, ranker: object) -> None:
        """Refuse a ranker that scores no beginnings of routes.

        Raises:
            InvalidValue: naming it.
        """
        why = getattr(ranker, "no_prefixes", "it scores candidates alone")
        if getattr(ranker, "events_only", False) and (self.cut is not None or self.cycles != "end"):
            raise InvalidValue(
                f"ranker {getattr(ranker, 'name', ranker)!r} scores segments that end at events alone, since recorded "
                f"shaping pays again round a loop; leave out cut ({self.cut}) and cycles ({self.cycles!r})"
            )
        if self.estimate != OptionRules.estimate and getattr(ranker, "tier", "I3") != "I3":
            raise InvalidValue(
                f"estimate {self.estimate!r} adds what leaving pays, which ranker {getattr(ranker, 'name', ranker)!r} "
                "does not know; use ranker='offline-return', or estimate='none'"
            )
        if why:
            raise InvalidValue(
                f"ranker {getattr(ranker, 'name', ranker)!r} cannot score the segments of operator 'options': {why}; "
                "use ranker='regressor' with embedding='outcome', or ranker='offline-return'"
            )

    def check_task(self, task: Environment) -> None:
        """Several starts are answered by routes of their own.

        Raises:
            InvalidValue: the estimate ``exit`` for a task whose memory never changes.
        """
        if self.estimate != OptionRules.estimate and not _remembers(task):
            raise InvalidValue(
                f"estimate {self.estimate!r} of operator 'options' would be the optimum itself in {task.family!r}, a "
                "task without a memory; use estimate='none'"
            )

    def compose(
        self, problem: Problem, space: CandidateSpace, members: np.ndarray, *, masked: bool, scorer: object = None
    ) -> Composed:
        """See :class:`~lever_ray.composition.operators.Operator`."""
        assert isinstance(scorer, ScoresPrefixes)
        worth = scorer.worth(problem, space)
        rows = np.asarray(members)
        events = events_of(problem.task, problem.objective, space.union)
        actions = member_actions(space.pool)[rows]
        player = OptionPlayer(worth.task, actions, self.rules, events, worth.laps, self._toward(worth, space))
        starts, weights = problem.task.dynamics.starts.tolist(), problem.task.dynamics.weights
        found = [player.search(start) for start in starts]
        total = float(
            sum(weight * (route.total + worth.constant) for weight, route in zip(weights, found, strict=True))
        )
        likeliest = found[int(np.argmax(weights))]
        return Composed(
            actions=found[0].actions if len(found) == 1 else None,
            routes=tuple(route.actions for route in found),
            total=total,
            left_support=any(route.left_support for route in found),
            segments=sum(route.simulated for route in found),
            followed=tuple(Followed(int(rows[part.member]), part.begins, part.ends) for part in likeliest.segments),
            warnings=(*worth.warnings, *self._warnings(found)),
            player=player,
        )

    def returns(
        self, task: CompiledTask, space: CandidateSpace, mixtures: np.ndarray, *, masked: bool, recorded: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Nothing: there are no candidates."""
        raise NotImplementedError("operator 'options' has no candidates")

    def _toward(self, worth: Worth, space: CandidateSpace) -> np.ndarray | None:
        """What the estimate needs."""
        if self.estimate == OptionRules.estimate:
            return None
        return exit_moves(worth.task, taken_actions(space.union, worth.task.actions))

    def _warnings(self, found: list[OptionRoute]) -> list[str]:
        told = []
        if any(route.unfinished for route in found):
            told.append(f"{self.segments} segments were spent before any route had ended; the answer is a beginning")
        elif any(route.cut_short for route in found):
            told.append(f"{self.segments} segments were spent with more to try; the answer is the best so far")
        if any(route.segments and route.segments[0].ends == "loop" and route.end == TRUNCATED for route in found):
            told.append("whichever policy is followed from a start circles at once; the best circle is the answer")
        return told


def _remembers(task: Environment) -> bool:
    """Whether its memory can change."""
    return any(map(int, task.dynamics.memory)) or bool((task.dynamics.flags & SWITCH).any())


def events_of(task: Environment, objective: Objective, union: np.ndarray) -> np.ndarray | None:
    """uint64[S, A]: where event terms pay, in a task without a memory; None where the memory tells events.

    Args:
        task: the environment.
        objective: whose terms may be event terms.
        union: uint8[S, B], the recorded pairs.
    """
    if _remembers(task):
        return None
    names = objective.terms
    rewards = np.stack([task.compile(Objective.of(term)).rewards[0] for term in names])
    return event_terms(names, rewards, union).bits
