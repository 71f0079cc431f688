"""From finished cells to rows: every answer beside its controls, normalised by the best that anything reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np

from lever_ray.errors import LeverError
from lever_ray.experiment.case import Row
from lever_ray.experiment.controls import Controls, Scratch, ScratchRun
from lever_ray.experiment.derived import derived, highest_reached
from lever_ray.experiment.plan import ALL_GAMMAS, Setup, cell_id
from lever_ray.experiment.recorded import RecordedModel
from lever_ray.experiment.statistics import METRICS
from lever_ray.order import natural_key
from lever_ray.reproduction.cells import (
    AnswerCell,
    Cell,
    ParseCell,
    answer_cells,
    environment,
    inside_cells,
    model_cell,
    scratch_cells,
    world_cell,
)
from lever_ray.reproduction.sizes import Part, StudyPlan, layout
from lever_ray.reproduction.store import CellStore
from lever_ray.tasks.protocol import Optimum

T = TypeVar("T")

ERROR = "error"
"""Column that says why a row has no numbers; empty where it has."""
_WORDS = ("support", "support_source", "retrieval", "regime", "tier", "policy_ids")
"""Columns of text that a failed answer cannot tell."""


class Missing(LeverError):
    """A cell that a row needs has failed, or was not run."""


@dataclass(frozen=True)
class Results:
    """Finished cells, and why others are not.

    Attributes:
        store: results by address.
        failures: error by address.
    """

    store: CellStore
    failures: dict[str, str]

    def row(self, cell: Cell) -> Row:
        """What a cell gave.

        Raises:
            Missing: it failed, or was not run.
        """
        found = self.store.get(cell.address)
        if found is None or found.row is None:
            why = self.failures.get(cell.address, "it was not run")
            raise Missing(why if isinstance(cell, AnswerCell) else f"{cell.told}: {why}")
        return found.row


@dataclass(frozen=True)
class _Case:
    """A setup at a discount in one layout, as far as its cells are there.

    Attributes:
        part, setup: of it.
        key: layout and objective, which have one J*.
        cells: its answers.
        measured: what each gave, or why there is nothing.
        beside: controls and what recorded transitions allow, or why these are not known.
        parse: seconds of reading the objective from text.
    """

    part: Part
    setup: Setup
    key: tuple[int, str]
    cells: tuple[AnswerCell, ...]
    measured: tuple[Row | Missing, ...]
    beside: tuple[Controls, RecordedModel] | Missing
    parse: Row | Missing

    @property
    def highest(self) -> float:
        """The highest return that anything reached; minus infinity where that is not known."""
        if isinstance(self.beside, Missing):
            return -math.inf
        controls, model = self.beside
        return highest_reached([row for row in self.measured if not isinstance(row, Missing)], controls, [model])


def merged_rows(plan: StudyPlan, results: Results) -> list[Row]:
    """All rows of the study, by family, budget, setup, discount, layout and way.

    J* of a layout and objective is the optimum where it is exact, else the highest return that anything reached there
    at any budget, discount and mode. A row whose answer or control failed has an error and no numbers.
    """
    rows: list[Row] = []
    for family in plan.families:
        cases = [case for part in plan.parts_of(family) for case in _cases(plan, results, part)]
        best: dict[tuple[int, str], float] = {}
        for case in cases:
            best[case.key] = max(best.get(case.key, -math.inf), case.highest)
        for case in cases:
            rows += _rows_of(plan, case, best[case.key])
    return order(rows)


def _cases(plan: StudyPlan, results: Results, part: Part) -> Iterator[_Case]:
    for seed, setup, gamma in product(plan.seeds(part), plan.setups_of(part.family), plan.member_gammas):
        cells = tuple(answer_cells(plan, part, seed, setup, gamma))
        yield _Case(
            part,
            setup,
            (seed, setup.objective),
            cells,
            tuple(_or_missing(results.row, cell) for cell in cells),
            _or_missing(_beside, plan, results, part, seed, setup, gamma),
            _or_missing(results.row, ParseCell(part.family, -1, setup.objective)),
        )


def _or_missing(make: Callable[..., T], *arguments: Any) -> T | Missing:
    try:
        return make(*arguments)
    except Missing as error:
        return error


def _beside(
    plan: StudyPlan, results: Results, part: Part, seed: int, setup: Setup, gamma: float
) -> tuple[Controls, RecordedModel]:
    """Controls of a case, and what its recorded transitions allow.

    Raises:
        Missing: a cell of them failed.
    """
    world = results.row(world_cell(plan, part, seed, setup.objective))
    optimum = Optimum(world["optimum"], exact=world["exact"], path=(), actions=np.empty(0, np.int16))
    times = len(setup.groups)
    once, longer = (
        {gamma: _scratch(plan, results, part, seed, setup, gamma, each) for gamma in plan.gammas} for each in (1, times)
    )
    cell = model_cell(plan, part, seed, setup, gamma)
    model = results.row(cell)
    inside = [float(np.mean([results.row(run)["final"] for run in runs])) for runs in inside_cells(plan, cell).values()]
    controls = Controls(optimum, world["random"], once, {times: longer})
    return controls, RecordedModel(model["optimum"], model["memoryless"], max(inside))


def _scratch(
    plan: StudyPlan, results: Results, part: Part, seed: int, setup: Setup, gamma: float, times: int
) -> Scratch:
    cells = scratch_cells(plan, part, seed, setup.objective, gamma=gamma, times=times)
    return Scratch.of([ScratchRun(**results.row(cell)) for cell in cells])


def _rows_of(plan: StudyPlan, case: _Case, best_known: float) -> Iterator[Row]:
    for cell, measured in zip(case.cells, case.measured, strict=True):
        lacking = next((each for each in (measured, case.beside, case.parse) if isinstance(each, Missing)), None)
        if isinstance(measured, Missing) or isinstance(case.beside, Missing) or isinstance(case.parse, Missing):
            yield failed_row(plan, case.part, cell, str(lacking))
            continue
        row = derived(measured, *case.beside, best_known)
        parse = case.parse["seconds/parse"]
        yield row | {"seconds/parse": parse, "seconds/end_to_end": parse + row["seconds/query"], ERROR: ""}


def failed_row(plan: StudyPlan, part: Part, cell: AnswerCell, error: str) -> Row:
    """The row of an answer that there is not: what was asked, why it failed, and no numbers."""
    task, way = layout(cell.family, cell.seed), cell.way
    identity = {
        "cell": cell_id(plan.experiment(part), cell.setup, cell.gamma, environment(cell), cell.seed),
        "family": cell.family,
        "environment": environment(cell),
        "layout_seed": cell.seed,
        "trivial_layout": task.trivial,
        "gamma": cell.gamma,
        "discount": task.discount,
        "budget": part.budget,
        "mode": cell.setup.mode,
        "setup": cell.setup.objective,
        "groups": " + ".join(cell.setup.groups),
        "strategy": way.make_strategy().id,
        "operator": way.make_operator().name,
        "ranker": way.make_ranker().name,
        "recipe": way.id,
    }
    unknown = dict.fromkeys((*METRICS, "quality/ratio", "speedup/seconds"), math.nan)
    return identity | dict.fromkeys(_WORDS, "") | unknown | {"optimum_exact": False, ERROR: error}


def sound(rows: Iterable[Row]) -> list[Row]:
    """The rows that have numbers."""
    return [row for row in rows if not row[ERROR]]


def order(rows: Iterable[Row]) -> list[Row]:
    """Rows by family, budget, setup, mode, discount, layout and way, numbers by their size."""
    return sorted(
        rows,
        key=lambda row: (
            natural_key(row["family"]),
            natural_key(row["budget"]),
            row["setup"],
            row["mode"],
            math.inf if row["gamma"] == ALL_GAMMAS else row["gamma"],
            row["layout_seed"],
            row["operator"],
            row["ranker"],
            natural_key(row["strategy"]),
        ),
    )
