"""What a worker does: a batch of cells, one after the other; a cell that fails is a result like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from lever_ray.errors import is_full
from lever_ray.experiment.case import Case, held_groups
from lever_ray.experiment.controls import ScratchRun, best_known
from lever_ray.experiment.plan import ExperimentPlan
from lever_ray.experiment.recorded import recorded_optima, return_inside
from lever_ray.library.reader import LibraryReader
from lever_ray.policies.group import GroupKey, PolicyGroup
from lever_ray.query.parse import parse_query
from lever_ray.query.warm import warm_up_for, warm_up_recipe
from lever_ray.reproduction.cells import (
    AnswerCell,
    Cell,
    InsideCell,
    ModelCell,
    ParseCell,
    ScratchCell,
    WorldCell,
    environment,
)
from lever_ray.reproduction.sizes import layout
from lever_ray.reproduction.store import Finished
from lever_ray.tasks import registry
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import random_return

Row = dict[str, Any]
_PARSED = 15
"""Times that a text is read, of which the median counts."""


@dataclass(frozen=True)
class Asked:
    """What the answers of a family's layouts share at one training budget.

    Attributes:
        plan: the study there, as an experiment.
        lessons: layouts that regressors learn from.
    """

    plan: ExperimentPlan
    lessons: tuple[str, ...]


def run_batch(batch: Sequence[Cell], library: LibraryReader, asked: Mapping[str, Asked]) -> list[Finished]:
    """Results of some cells of one family, in their order.

    Args:
        batch: the cells.
        library: with the family's policies.
        asked: by training budget.
    """
    bench = Bench(library, asked)
    return [bench.finish(cell) for cell in batch]


@dataclass
class Bench:
    """Runs cells, and keeps what those that follow each other share.

    Attributes:
        library: with the policies.
        asked: by training budget.
    """

    library: LibraryReader
    asked: Mapping[str, Asked]
    _kept: tuple[Any, Any] = (None, None)

    def finish(self, cell: Cell) -> Finished:
        """The result of a cell, whether it fails or not."""
        if cell.seed >= 0:
            warm_up_for(layout(cell.family, cell.seed))
        if isinstance(cell, AnswerCell):
            warm_up_recipe(layout(cell.family, cell.seed), cell.way)
        begun, begun_cpu, row, error = perf_counter(), process_time(), None, ""
        try:
            row = _RUN[type(cell)](self, cell)
        except Exception as failure:
            if is_full(failure):
                raise
            error = f"{type(failure).__name__}: {failure}"
        seconds, cpu = perf_counter() - begun, process_time() - begun_cpu
        return Finished(cell.address, cell.kind, cell.like, seconds, cpu, row, error, cell.size)

    def shared(self, key: Any, make: Callable[[], Any]) -> Any:
        """What was made for the cell before, where that was of the same key."""
        if self._kept[0] != key:
            self._kept = (key, make())
        return self._kept[1]

    def parse(self, cell: ParseCell) -> Row:
        """Seconds of reading an objective from its description, once the vocabulary is loaded."""
        words = registry.source(cell.family).words
        text = words.describe(cell.objective)
        found = parse_query(text, words=words).objective
        seconds = []
        for _ in range(_PARSED):
            begun = perf_counter()
            parse_query(text, words=words)
            seconds.append(perf_counter() - begun)
        return {"seconds/parse": median(seconds), "understood": found}

    def world(self, cell: WorldCell) -> Row:
        """J* and J_rand."""
        task = layout(cell.family, cell.seed)
        best = best_known(task, cell.objective)
        chance = random_return(task, cell.objective, episodes=cell.rollouts)
        return {"optimum": best.total, "exact": bool(best.exact), "random": chance}

    def scratch(self, cell: ScratchCell) -> Row:
        """One training from scratch."""
        task = layout(cell.family, cell.seed)
        run = ScratchRun.train(task, cell.objective, episodes=cell.episodes, gamma=cell.gamma, seed=cell.run)
        return run._asdict()

    def model(self, cell: ModelCell) -> Row:
        """J*_D and J^ml_D."""
        task = layout(cell.family, cell.seed)
        best, memoryless = recorded_optima(task, Objective.of(cell.objective).resolved(task.terms), self._union(cell))
        return {"optimum": best, "memoryless": memoryless}

    def inside(self, cell: InsideCell) -> Row:
        """One training inside the recorded transitions."""
        task, wanted = layout(cell.family, cell.seed), Objective.of(cell.objective)
        episodes, union = cell.trained.episodes, self._union(cell)
        return {"final": return_inside(task, wanted.resolved(task.terms), union, episodes, cell.gamma, cell.run)}

    def _union(self, cell: ModelCell) -> np.ndarray:
        """uint8[S, B]: the recorded transitions of a cell."""
        keys = [
            GroupKey(environment(cell), objective, gamma, cell.trained.episodes)
            for objective in cell.union.objectives
            for gamma in cell.union.gammas
        ]
        made: np.ndarray = self.shared(tuple(keys), lambda: _support_of(self.library.groups(keys)))
        return made

    def answer(self, cell: AnswerCell) -> Row:
        """One way of answering, measured."""
        asked = self.asked[cell.trained.budget]
        case: Case = self.shared(cell.bench, lambda: self._case(cell, asked))
        gamma = cell.gamma if cell.gamma in asked.plan.gammas else None
        return case.measured(cell.way.override(gamma=gamma, episodes=asked.plan.episodes))

    def _case(self, cell: AnswerCell, asked: Asked) -> Case:
        name, plan = environment(cell), asked.plan
        held, task = held_groups(self.library, name, cell.gamma, plan), self.library.environment(name).task
        return Case(name, task, self.library, plan, cell.setup, cell.gamma, held, asked.lessons)


def _support_of(groups: Sequence[PolicyGroup]) -> np.ndarray:
    """uint8[S, B]: what any member of some groups took."""
    union: np.ndarray = np.bitwise_or.reduce([np.bitwise_or.reduce(group.support, axis=0) for group in groups])
    return union


_RUN: dict[type[Cell], Callable[[Bench, Any], Row]] = {
    ParseCell: Bench.parse,
    WorldCell: Bench.world,
    ScratchCell: Bench.scratch,
    ModelCell: Bench.model,
    InsideCell: Bench.inside,
    AnswerCell: Bench.answer,
}
