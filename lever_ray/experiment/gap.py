"""Where the return that an environment offers is lost on the way to a composed policy (science, section 6)."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Gap:
    """J* - J(c), split into what is lost where; every term is at least 0, in reward units.

    Attributes:
        coverage: J* - J*_D, for lack of recorded transitions.
        memory: J*_D - J^ml_D, since a table over observations takes the same action whenever it is back; 0 for
            operators that answer with a route.
        operator: what the best candidate falls short of that.
        selection: what the chosen candidate falls short of the best one.
    """

    coverage: float
    memory: float
    operator: float
    selection: float

    @property
    def total(self) -> float:
        """J* - J(c)."""
        return self.coverage + self.memory + self.operator + self.selection

    def to_row(self) -> dict[str, float]:
        """Columns ``gap/coverage`` and so on."""
        return {f"gap/{name}": value for name, value in asdict(self).items()}


def decompose_gap(
    best_known: float,
    *,
    recorded_optimum: float,
    memoryless: float | None,
    best_candidate: float,
    chosen: float,
) -> Gap:
    """Split J* - J(c).

    Optima that are searched for (best known, recorded, memoryless) are lower bounds; each is raised to what was
    reached below it, so that no term is negative. A candidate that does better by leaving the recorded transitions
    raises them likewise.

    Args:
        best_known: J*.
        recorded_optimum: J*_D, the optimum on the recorded union.
        memoryless: J^ml_D, the best policy over observations in it; None for operators with memory, and where it is
            not known.
        best_candidate: max_c J(c).
        chosen: J(c) of the composition.
    """
    best_candidate = max(best_candidate, chosen)
    ceiling = best_candidate if memoryless is None else max(memoryless, best_candidate)
    recorded = max(recorded_optimum, ceiling)
    top = max(best_known, recorded)
    within = recorded if memoryless is None else ceiling
    return Gap(top - recorded, recorded - within, within - best_candidate, best_candidate - chosen)
