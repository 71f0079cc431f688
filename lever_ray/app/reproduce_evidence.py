"""What the page of the study shows beside its main rows: coverage, chains, learning curves and routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lever_ray.app.commands import study, study_folder
from lever_ray.app.session import Session
from lever_ray.executor import gathered
from lever_ray.experiment.run import read_rows
from lever_ray.experiment.statistics import Row
from lever_ray.library.library import PolicyLibrary
from lever_ray.progress import working
from lever_ray.reproduction.merge import sound
from lever_ray.reproduction.report.data import ReportSettings
from lever_ray.reproduction.report.figures_routes import Routes, picked, routes_of
from lever_ray.reproduction.report.learning import learning_curve_rows
from lever_ray.reproduction.report.sections import Evidence
from lever_ray.reproduction.sizes import CONTRASTS, StudyPlan, layout
from lever_ray.studies.chain_study import ChainStudy
from lever_ray.studies.coverage_fit import predictors, thresholds
from lever_ray.studies.coverage_study import CoverageStudy
from lever_ray.studies.groups import PUBLISHED_SETUPS

CURVE_OBJECTIVE = PUBLISHED_SETUPS[-1][1]
"""Whose learning is followed: all terms."""


def evidence(parts: Session, plan: StudyPlan, rows: Sequence[Row], libraries: Path) -> Evidence:
    """Everything that the page shows; studies and trainings that are missing are run.

    A study that was run at its own size in this home is taken as it is; one at the size of the plan is kept likewise.

    Args:
        parts: of the command.
        plan: the study.
        rows: of it.
        libraries: folder of the policy libraries that answered.
    """
    settings = ReportSettings(
        size=plan.size, contrasts=CONTRASTS, training_seeds=plan.training_seeds, bootstrap=plan.bootstrap
    )
    return Evidence(
        rows,
        _studied(parts, "coverage", CoverageStudy(), plan.coverage_layouts),
        _studied(parts, "chain", ChainStudy(cut="bottleneck"), plan.chain_layouts),
        _curves(parts, plan),
        settings,
        thresholds,
        predictors,
        _routes(plan, sound(rows), settings, libraries),
    )


def _studied(parts: Session, name: str, whole: Any, layouts: int) -> Sequence[Row]:
    """Rows of a study with so many layouts, or of the whole one where it has been run; none for no layouts."""
    if not layouts:
        return ()
    for settings in (whole, replace(whole, layouts=layouts)):
        kept = study_folder(name, settings) / "rows.parquet"
        if kept.exists():
            return read_rows(kept)
    return read_rows(study(parts, name, replace(whole, layouts=layouts)) / "rows.parquet")


def _curves(parts: Session, plan: StudyPlan) -> list[Row]:
    counts = {part.family: min(part.layouts, plan.curve_layouts) for part in plan.parts}
    places = [
        (family, seed)
        for family, count in counts.items()
        for seed in range(plan.first_layout, plan.first_layout + count)
    ]
    with working(parts.console, "Following training from scratch") as watch:
        found = gathered(
            parts.executor, _curve, places, shared=(plan.gammas, plan.training_seeds), watch=watch, stage="layouts"
        )
    return [row for each in found for row in each]


def _curve(place: tuple[str, int], gammas: tuple[float, ...], training_seeds: int) -> list[Row]:
    family, seed = place
    task = layout(family, seed)
    return learning_curve_rows(
        task, family=family, objective=CURVE_OBJECTIVE, gammas=gammas, training_seeds=training_seeds
    )


def _routes(plan: StudyPlan, rows: Sequence[Row], settings: ReportSettings, libraries: Path) -> list[Routes]:
    """Answers over layouts of the first family."""
    part = plan.parts[0]
    path = libraries / plan.library(part).name
    shown = picked([row for row in rows if row["family"] == part.family], settings)
    return routes_of(shown, PolicyLibrary.open(path)) if shown else []
