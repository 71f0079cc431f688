"""All cells of one environment, from its policies to rows with every control beside the result."""

from __future__ import annotations

from lever_ray.experiment.case import Case, Row, held_groups
from lever_ray.experiment.controls import measure_controls
from lever_ray.experiment.derived import derived, highest_reached
from lever_ray.experiment.plan import ExperimentPlan
from lever_ray.experiment.recorded import RecordedModel, recorded_model
from lever_ray.library.reader import LibraryReader
from lever_ray.query.warm import warm_up_for


def run_environment(environment: str, library: LibraryReader, plan: ExperimentPlan) -> list[Row]:
    """Run every cell of one environment.

    Controls are measured once per composite objective and shared by the cells that need them. Quality is measured in
    the real environment after composition has finished, apart from its clock. Where the optimum is not known exactly,
    every cell of an objective is measured against the highest return that any of them reached.
    """
    task = library.environment(environment).task
    warm_up_for(task)
    names = dict.fromkeys(setup.objective for setup in plan.setups)
    controls = {name: measure_controls(task, name, plan) for name in names}
    cases: list[Case] = []
    for gamma in plan.member_gammas:
        held = held_groups(library, environment, gamma, plan)
        cases += [Case(environment, task, library, plan, setup, gamma, held) for setup in plan.setups]
    found = [
        ([case.measured(recipe) for recipe in case.recipes], _model_of(case), case.setup.objective) for case in cases
    ]
    best = {
        name: highest_reached(
            [row for rows, _, objective in found if objective == name for row in rows],
            controls[name],
            [model for _, model, objective in found if objective == name],
        )
        for name in names
    }
    return [derived(row, controls[name], model, best[name]) for rows, model, name in found for row in rows]


def _model_of(case: Case) -> RecordedModel:
    """What the transitions of a case's members allow."""
    plan = case.plan
    return recorded_model(
        case.task,
        case.objective,
        case.union,
        episodes=plan.episodes,
        gammas=plan.gammas,
        training_seeds=plan.training_seeds,
    )
