"""Learning curves of scratch, with what compositions reach as levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lever_ray import plot
from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.statistics import Row
from lever_ray.reproduction.report import style
from lever_ray.reproduction.report.data import (
    ReportSettings,
    Sample,
    Way,
    gamma_words,
    in_operator_order,
    of_reference_ways,
    ways,
)
from lever_ray.reproduction.report.learning import caught_up, episodes_of
from lever_ray.reproduction.report.words import listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_GAMMAS = (plot.INK, plot.BLUE, plot.GREEN, plot.PINK)
_SHOWN = ("sum", "options", "plan")


def learning_curves(curves: Sequence[Sample], samples: Sequence[Sample], settings: ReportSettings) -> Drawn:
    """Quality of scratch by episodes; a panel a family.

    Args:
        curves: of rows of :func:`~lever_ray.reproduction.report.learning.learning_curve_rows`.
        samples: of the main study, for the levels: one way of ``sum``, ``options`` and ``plan`` each, on the same
            objectives.
        settings: which ways.
    """
    levels = {curve.family: levels_of(curve, samples, settings) for curve in curves}
    gammas = sorted({row["gamma"] for curve in curves for row in curve.rows})
    figure, axes_of = style.panels([each.family for each in curves], height=1.6, extra=0.9, sharex=False)
    for curve in curves:
        _draw_curves(axes_of[curve.family], curve, gammas, levels[curve.family])
    figure.supxlabel("episodes of training from scratch", fontsize=8)
    figure.supylabel("quality", fontsize=8)
    keys = [_key(gamma, place) for place, gamma in enumerate(gammas)]
    held = in_operator_order({way.operator for each in levels.values() for way in each})
    keys += [style.key(name, linestyle="-.", color=style.operator_style(name)[0], linewidth=1.6) for name in held]
    style.legend(figure, keys)
    told = "Bands are 95% intervals; levels are what answers from the library reach, for the discount that does best."
    return Drawn("learning_curves", "How long scratch must train", f"{finding(curves, levels)} {told}", figure)


def _key(gamma: float, place: int) -> Line2D:
    return style.key(f"scratch, {gamma_words(gamma)}", linestyle=style.dashes(gamma), color=_GAMMAS[place])


def levels_of(curve: Sample, samples: Sequence[Sample], settings: ReportSettings) -> dict[Way, float]:
    """Quality that some ways reach on a curve's layouts and objectives; of each operator at its best discount."""
    setups, seeds = {row.get("setup") for row in curve.rows}, {row["layout_seed"] for row in curve.rows}
    rows: list[Row] = []
    for sample in samples:
        if sample.family == curve.family:
            rows = [row for row in sample.rows if row["setup"] in setups or None in setups]
    asked = [row for row in of_reference_ways(rows, settings) if row["layout_seed"] in seeds]
    found = {
        way: Sample.of(same, bootstrap=1).mean(same, "quality/normalised").value for way, same in ways(asked).items()
    }
    best: dict[str, Way] = {}
    for way, quality in found.items():
        if way.operator in _SHOWN and quality > found.get(best.get(way.operator, way), -math.inf):
            best[way.operator] = way
        best.setdefault(way.operator, way) if way.operator in _SHOWN else None
    return {way: found[way] for way in best.values()}


def finding(curves: Sequence[Sample], levels: dict[str, dict[Way, float]]) -> str:
    """After how many episodes scratch, at the discount that gets there first, reaches each level."""
    told = []
    for curve in curves:
        gammas = {row["gamma"] for row in curve.rows}
        most = max(row["episodes"] for row in curve.rows)
        said = []
        for way, level in levels[curve.family].items():
            reached = min(caught_up(curve, gamma, level) for gamma in gammas)
            when = f"after {reached:,.0f} episodes" if math.isfinite(reached) else f"not within {most:,}"
            said.append(f"the {level:.3f} of {way} {when}")
        told.append(f"on {curve.family} scratch reaches {listed(said)}" if said else "")
    text = "; ".join(filter(None, told)) or "No composition was asked on these layouts"
    return f"{text[:1].upper()}{text[1:]}."


def _draw_curves(axes: Axes, curve: Sample, gammas: Sequence[float], levels: dict[Way, float]) -> None:
    for gamma, colour in zip(gammas, _GAMMAS, strict=False):
        by_episodes = episodes_of(curve, gamma)
        found = [curve.mean(rows, "quality") for rows in by_episodes.values()]
        low, high = (np.array([getattr(each, end) for each in found]) for end in ("low", "high"))
        axes.fill_between(list(by_episodes), low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(list(by_episodes), [each.value for each in found], color=colour, linestyle=style.dashes(gamma))
    for way, level in levels.items():
        axes.axhline(level, color=style.operator_style(way.operator)[0], linestyle="-.", linewidth=1.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(style.thousands)
    axes.minorticks_off()
