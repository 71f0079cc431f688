"""Composed routes beside the optimal ones, over a handful of layouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lever_ray import plot
from lever_ray.composition.recipe import Recipe
from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.plan import Setup
from lever_ray.experiment.statistics import Row
from lever_ray.library.reader import LibraryReader
from lever_ray.query.compose import compose
from lever_ray.reproduction.report import style
from lever_ray.reproduction.report.data import ReportSettings, gamma_words, of_reference_setting, of_reference_ways
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.registry import source

_PLACES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, eq=False)
class Routes:
    """Routes over one environment.

    Attributes:
        row: of the main study whose answer is shown.
        task: the environment.
        composed: the answer, as :func:`lever_ray.plot.path` takes it.
        best: the best known route, likewise; None where the family has no way to find it.
    """

    row: Row
    task: Environment
    composed: Any
    best: Any


def picked(
    rows: Sequence[Row], settings: ReportSettings, *, operators: Sequence[str] = ("sum", "options")
) -> list[Row]:
    """Rows whose routes are shown: of each operator the layouts at a tenth, a half and nine tenths of its quality.

    Args:
        rows: of the main study, of one family.
        settings: see :func:`~lever_ray.reproduction.report.data.of_reference_ways`; of the objectives the one with
            most terms is shown, of the discounts the highest.
        operators: whose routes.
    """
    found = []
    for operator in operators:
        same = [
            row
            for row in of_reference_setting(of_reference_ways(rows, settings), settings)
            if row["operator"] == operator
        ]
        same = _last(
            _last(same, lambda row: (row["setup"].count("-"), row["setup"], row["mode"])), lambda row: row["gamma"]
        )
        same.sort(key=lambda row: row["quality/normalised"])
        found += [same[round(place * (len(same) - 1))] for place in _PLACES] if same else []
    return found


def _last(rows: Sequence[Row], value: Callable[[Row], Any]) -> list[Row]:
    most = max(map(value, rows), default=None)
    return [row for row in rows if value(row) == most]


def routes_of(rows: Sequence[Row], library: LibraryReader) -> list[Routes]:
    """The answers of some rows, asked again, beside the best known routes.

    Args:
        rows: of the main study, see :func:`picked`.
        library: that answered them.

    Raises:
        LeverError: the library does not answer; see :func:`lever_ray.query.compose.compose`.
    """
    return [_routes(row, library) for row in rows]


def _routes(row: Row, library: LibraryReader) -> Routes:
    name, objective = row["environment"], row["setup"]
    task = library.environment(name).task
    recipe = Recipe.parse(row["recipe"])
    setup = Setup.of(row["mode"], objective, source(row["family"]))
    held = {key.objective for key in library.keys(name)}
    groups = setup.pooled(sorted(held)) if recipe.make_operator().pools_members else setup.groups
    answer = compose(library, environment=name, objective=objective, groups=groups, recipe=recipe, without=setup.name)
    best = None if task.hooks.optimum is None else optimum(task, objective=objective)
    return Routes(row, task, answer, best)


def route_figure(routes: Routes) -> Drawn:
    """The composed route beside the best known one."""
    row = routes.row
    panels = [("composed", routes.composed), *([] if routes.best is None else [("best known", routes.best)])]
    figure = plot.canvas(style.COLUMN, 3.2)
    for axes, (name, result) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        plot.draw_route(axes, routes.task, result, name, objective=row["setup"])
        axes.tick_params(labelsize=style.SMALL)
        for text in axes.texts:
            text.set_fontsize(style.SMALL)
    way = f"{row['operator']}, {row['strategy']}, {gamma_words(row['gamma'])}"
    lost = row["return/optimum"] - row["return/composed"]
    finding = f"On {row['environment']} {way} earns {row['return/composed']:.1f} for {row['setup']}, " + (
        "the best known return." if lost < 1e-9 else f"{lost:.1f} less than the best known return."
    )
    told = f"Its quality of {row['quality/normalised']:.2f} is picked for its rank among the layouts."
    name = f"routes_{row['environment']}_{row['operator']}"
    return Drawn(name, f"Routes on {row['environment']}, {row['operator']}", f"{finding} {told}", figure)
