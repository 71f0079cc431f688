"""What a benchmark is made of: families, layouts by split, training, questions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lever_ray.config import LibrarySettings
from lever_ray.errors import InvalidValue, check_known, check_whole
from lever_ray.experiment.plan import Setup
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import SNAPSHOTS_KEPT
from lever_ray.studies.groups import PUBLISHED_SETUPS
from lever_ray.tasks.protocol import Source
from lever_ray.tasks.registry import source

TIERS: tuple[str, ...] = ("I0", "I1", "I2", "I3", "I4")
"""What an entrant may read, each with all before it; ``I4`` also tries things in the environment. They are
compared as texts."""
SPLITS: tuple[str, ...] = ("public", "private")
OPERATORS: tuple[str, ...] = ("sum", "max")
"""Operators of which every candidate's true return is kept."""
MOST_CANDIDATES = 100_000


@dataclass(frozen=True)
class BenchmarkSettings:
    """What is trained and asked.

    Attributes:
        families: sources of the environments.
        layouts: public ones, of each family.
        private: private ones, of each family; none where nobody keeps the answers.
        first_layout: seed of the first public layout; the others follow it.
        gammas: discounts of the policies; a question takes policies of one.
        setups: (mode, composite objective).
        training_seeds: per policy; three snapshots of each are members.
        budget: training budget.
        random_rollouts: for J_rand.

    Raises:
        UnknownName: a family, mode, objective or budget is not known.
        InvalidValue: a number is outside its domain, something is named twice, or a question has too many candidates.
        UncoveredObjective: a mode has no exact cover of an objective.
    """

    families: tuple[str, ...] = ("grid8", "grid16")
    layouts: int = 20
    private: int = 10
    first_layout: int = 0
    gammas: tuple[float, ...] = (0.0, 0.99)
    setups: tuple[tuple[str, str], ...] = PUBLISHED_SETUPS
    training_seeds: int = 3
    budget: str = LibrarySettings.budget
    random_rollouts: int = 100

    def __post_init__(self) -> None:
        for name, least in (("layouts", 1), ("private", 0), ("first_layout", 0)):
            check_whole(name, getattr(self, name), least, "layouts" if least else "layouts, or a seed")
        for name in ("training_seeds", "random_rollouts"):
            check_whole(name, getattr(self, name), 1, name.replace("_", " "))
        training_budget(self.budget)
        for name in ("families", "gammas", "setups"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise InvalidValue(f"{name} is {given!r}; name at least one, each once")
        if wrong := [gamma for gamma in self.gammas if not 0.0 <= gamma <= 1.0]:
            raise InvalidValue(f"gammas holds {wrong[0]:g}; a discount lies in [0, 1]")
        for family in self.families:
            for setup in self.problems(source(family)):
                self._check_size(setup)

    def _check_size(self, setup: Setup) -> None:
        count = math.prod([self.members] * len(setup.groups))
        if count > MOST_CANDIDATES:
            raise InvalidValue(
                f"question {setup.mode}/{setup.objective} would have {count:,} candidates; at most "
                f"{MOST_CANDIDATES:,} are listed: lower training_seeds ({self.training_seeds})"
            )

    @property
    def members(self) -> int:
        """Policies of a group."""
        return self.training_seeds * SNAPSHOTS_KEPT

    def problems(self, family: Source) -> tuple[Setup, ...]:
        """The setups, with their groups and pools."""
        return tuple(Setup.of(mode, objective, family) for mode, objective in self.setups)

    def trained(self, family: Source) -> tuple[str, ...]:
        """Objectives that policies are trained for: the pools of all setups."""
        return tuple(dict.fromkeys(name for setup in self.problems(family) for name in setup.pool))


def check_tier(tier: str) -> None:
    """Refuse a tier that does not exist with UnknownName."""
    check_known("tier", tier, TIERS)


def check_split(split: str) -> None:
    """Refuse a split that does not exist with UnknownName."""
    check_known("split", split, SPLITS)


def check_operator(operator: str) -> None:
    """Refuse an operator whose candidates were not measured with UnknownName."""
    check_known("operator of candidates", operator, OPERATORS)
