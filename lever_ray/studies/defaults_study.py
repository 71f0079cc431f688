"""Which discount members have where nobody says: the usual answer of every operator over candidates, at each discount.

Beside its report stands ``recommended.yaml``, for ``conf/``: the discounts of every operator, the best first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lever_ray.building.records import records_of
from lever_ray.composition.operators import OPERATORS
from lever_ray.errors import InvalidValue, look_up
from lever_ray.executor import Executor, gathered
from lever_ray.experiment.statistics import Row
from lever_ray.learning.budgets import training_budget
from lever_ray.learning.sarsa import train
from lever_ray.library.memory import MemoryLibrary
from lever_ray.library.record import PolicyRecord
from lever_ray.query.compose import compose
from lever_ray.tasks.gridworld.layout import Layout, layout_family
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import random_return, rollout
from lever_ray.watching import Watch


@dataclass(frozen=True)
class DefaultsStudy:
    """What is trained and asked.

    Attributes:
        family: layout family.
        layouts: how many; a regressor learns from all but the one that is asked about.
        first_layout: first layout seed.
        gammas: discounts of the members.
        operators: over candidates; all by default.
        objectives: what is asked, of policies for single terms.
        training_seeds: per policy.
        budget: training budget.

    Raises:
        InvalidValue: a number is too small, or an operator has no candidates.
        UnknownName: a family, operator or budget is not known.
    """

    family: str = "grid8"
    layouts: int = 60
    first_layout: int = 40_000
    gammas: tuple[float, ...] = (0.0, 0.9, 0.99)
    operators: tuple[str, ...] = tuple(name for name, each in OPERATORS.items() if each.needs_candidates)
    objectives: tuple[str, ...] = ("path-gold", "path-gold-hazard", "path-gold-hazard-lever")
    training_seeds: int = 3
    budget: str = "X1"

    def __post_init__(self) -> None:
        layout_family(self.family)
        training_budget(self.budget)
        if self.layouts < 2 or self.training_seeds < 1:
            raise InvalidValue(
                f"layouts is {self.layouts} and training_seeds {self.training_seeds}; at least 2 and 1 are needed"
            )
        for name in self.operators:
            if not look_up("operator", name, OPERATORS).needs_candidates:
                raise InvalidValue(
                    f"operator {name!r} has no candidates and takes policies of every discount; leave it out"
                )


def run_defaults_study(study: DefaultsStudy, *, executor: Executor, watch: Watch | None = None) -> list[Row]:
    """One row per layout, objective, operator and discount: quality of the usual answer."""
    seeds = list(range(study.first_layout, study.first_layout + study.layouts))
    trained = gathered(executor, _records, seeds, shared=(study,), watch=watch, stage="training")
    library = MemoryLibrary([record for records in trained for record in records])
    found = gathered(executor, _layout_rows, seeds, shared=(study, library), watch=watch, stage="layouts")
    return [row for rows in found for row in rows]


def _records(seed: int, study: DefaultsStudy) -> list[PolicyRecord]:
    layout = Layout.sample(study.family, seed=seed)
    episodes = training_budget(study.budget).episodes
    return [
        record
        for term in Layout.terms
        for gamma in study.gammas
        for repeat in range(study.training_seeds)
        for record in records_of(
            train(layout, objective=term, episodes=episodes, gamma=gamma, seed=repeat),
            environment=layout.name,
            description=term,
        )
    ]


def _layout_rows(seed: int, study: DefaultsStudy, library: MemoryLibrary) -> list[Row]:
    layout = Layout.sample(study.family, seed=seed)
    rows = []
    for objective in study.objectives:
        chance, best = random_return(layout, objective), optimum(layout, objective=objective).total
        for operator in study.operators:
            for gamma in study.gammas:
                found = compose(
                    library, environment=layout.name, objective=objective, operator=operator, gamma=gamma
                )  # fmt: skip
                total = rollout(layout, objective=objective, **found.played).total
                told = {"setup": objective, "operator": operator, "gamma": gamma}
                rows.append(told | {"quality/normalised": (total - chance) / (best - chance)})
    common = {"layout_seed": seed, "trivial_layout": layout.trivial, "family": study.family}
    return [common | row for row in rows]


def recommended(rows: Iterable[Row]) -> str:
    """``recommended.yaml``: discounts of every operator by mean quality, the best first."""
    qualities: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        by_gamma = qualities.setdefault(row["operator"], {})
        by_gamma.setdefault(row["gamma"], []).append(row["quality/normalised"])
    lines = [
        "# Discounts of members where nobody says which, the best first; written by `lever-ray study defaults`.",
        "gammas:",
    ]
    for operator, by_gamma in qualities.items():
        ordered = sorted(by_gamma, key=lambda gamma: -float(np.mean(by_gamma[gamma])))
        lines.append(f"  {operator}: [{', '.join(f'{gamma:g}' for gamma in ordered)}]")
    return "\n".join(lines) + "\n"
