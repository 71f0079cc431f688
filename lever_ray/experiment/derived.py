"""From what was measured of an answer to a row of an experiment: controls beside it, quality, gap, speed-up."""

from __future__ import annotations

import math

from lever_ray.experiment.case import Row
from lever_ray.experiment.controls import Controls, Scratch
from lever_ray.experiment.gap import decompose_gap
from lever_ray.experiment.plan import ALL_GAMMAS
from lever_ray.experiment.recorded import RecordedModel
from lever_ray.experiment.statistics import offered

IDENTITY: tuple[str, ...] = (
    "cell",
    "family",
    "environment",
    "layout_seed",
    "trivial_layout",
    "gamma",
    "discount",
    "budget",
    "mode",
    "setup",
    "groups",
    "strategy",
    "operator",
    "ranker",
    "support",
    "support_source",
    "retrieval",
    "regime",
    "tier",
    "recipe",
    "policy_ids",
)
"""Columns that say which answer a row is about."""


def highest_reached(measured: list[Row], controls: Controls, models: list[RecordedModel]) -> float:
    """J* of an environment and objective: the optimum where it is exact, else the highest return that anything reached.

    Args:
        measured: its answers, see :meth:`~lever_ray.experiment.case.Case.measured`.
        controls: of it.
        models: recorded models of its cases.
    """
    if controls.optimum.exact:
        return controls.optimum.total
    columns = ("return/candidates", "return/best_single_oracle", "return/walk_planner")
    reached = [row[column] for row in measured for column in columns]
    reached += [value for model in models for value in (model.optimum, model.memoryless, model.scratch)]
    return max(controls.highest, *(value for value in reached if not math.isnan(value)))


def derived(measured: Row, controls: Controls, model: RecordedModel, best_known: float) -> Row:
    """The row of an answer, with every control beside it.

    Args:
        measured: see :meth:`~lever_ray.experiment.case.Case.measured`.
        controls: of the environment and composite objective.
        model: what the recorded transitions allow.
        best_known: J*, what all rows of the environment and objective are measured against.
    """
    scratch = controls.best_scratch if measured["gamma"] == ALL_GAMMAS else controls.scratch[measured["gamma"]]
    return (
        {name: measured[name] for name in IDENTITY}
        | _returns(measured, controls, scratch, model, best_known)
        | _quality(measured, controls, scratch, model, best_known)
        | _costs(measured, scratch)
    )


def _returns(measured: Row, controls: Controls, scratch: Scratch, model: RecordedModel, best_known: float) -> Row:
    longer = controls.best_longer(len(measured["groups"].split(" + ")))
    return {
        "return/composed": measured["return/composed"],
        "return/predicted": measured["return/predicted"],
        "return/best_candidate": measured["return/best_candidate"],
        "return/scratch": scratch.final,
        "return/scratch_best_snapshot": scratch.best_snapshot,
        "return/scratch_best_gamma": controls.best_scratch.final,
        "return/scratch_best_gamma_best_snapshot": controls.best_scratch_snapshot,
        "return/scratch_longer": longer.final,
        "return/scratch_longer_best_snapshot": longer.best_snapshot,
        "return/scratch_recorded_model": model.scratch,
        "return/best_single": measured["return/best_single"],
        "return/best_single_oracle": measured["return/best_single_oracle"],
        "return/random_q": measured["return/random_q"],
        "return/random": controls.random,
        "return/walk_planner": measured["return/walk_planner"],
        "return/recorded_optimum": model.optimum,
        "return/memoryless": model.memoryless,
        "return/optimum": best_known,
        "optimum_exact": controls.optimum.exact,
    }


def _quality(measured: Row, controls: Controls, scratch: Scratch, model: RecordedModel, best_known: float) -> Row:
    total, random, scale = measured["return/composed"], controls.random, offered(best_known, controls.random)
    strongest = max(measured["return/best_single_oracle"], controls.best_scratch.final, controls.best_scratch_snapshot)
    return {
        "quality/ratio": _ratio(total, scratch.final),
        "quality/normalised": (total - random) / scale,
        "quality/over_controls": (total - strongest) / scale,
        "regret": (measured["return/best_candidate"] - total) / scale,
        "rank_correlation": measured["rank_correlation"],
        "coverage/library": measured["coverage/library"],
        "coverage/on_policy": measured["coverage/on_policy"],
        "coverage/value": (model.optimum - random) / scale,
        **_gap(measured, model, best_known),
        **{name: share for name, share in measured.items() if name.startswith("ends/")},
    }


def _gap(measured: Row, model: RecordedModel, best_known: float) -> Row:
    tables = not measured["route"] and not math.isnan(model.memoryless)
    gap = decompose_gap(
        best_known,
        recorded_optimum=model.optimum,
        memoryless=model.memoryless if tables else None,
        best_candidate=measured["return/best_candidate"],
        chosen=measured["return/composed"],
    )
    return gap.to_row()


def _costs(measured: Row, scratch: Scratch) -> Row:
    steps = measured["environment_steps/library"]
    return {
        "candidates/evaluated": measured["candidates/evaluated"],
        "candidates/members_scored": measured["candidates/members_scored"],
        "segments/simulated": measured["segments/simulated"],
        "seconds/retrieve": measured["seconds/retrieve"],
        "seconds/rank": measured["seconds/rank"],
        "seconds/compose": measured["seconds/compose"],
        "seconds/query": measured["seconds/query"],
        "seconds/fit": measured["seconds/fit"],
        "seconds/scratch": scratch.seconds,
        "seconds/library": measured["seconds/library"],
        "speedup/seconds": scratch.seconds / measured["seconds/query"],
        "environment_steps/saved": scratch.environment_steps,
        "environment_steps/library": steps,
        "break_even_queries": steps / scratch.environment_steps,
    }


def _ratio(value: float, reference: float) -> float:
    """Ratio of returns; NaN where the reference is not positive and a ratio would mislead."""
    return value / reference if reference > 0 else math.nan
