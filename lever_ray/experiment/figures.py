"""Figures of an experiment's summary and of a tuning study; they show every control beside the result.

A summary is what :func:`lever_ray.experiment.statistics.summarise` returns: one line per gamma, mode, setup, strategy
and ranker. Intervals are its 95% bootstrap intervals over layouts; one that is missing (NaN) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lever_ray import plot
from lever_ray.errors import InvalidValue, UnknownName

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Line = dict[str, Any]

MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X")
REFERENCES: tuple[tuple[str, str, str, Any], ...] = (
    ("return/best_single_oracle", "best single policy, by oracle", plot.GREEN, (0, (1, 1))),
    ("return/scratch_best_gamma", "scratch, best γ", "#e58a4e", (0, (4, 2))),
    ("return/scratch", "scratch, same γ", plot.ORANGE, "-"),
)
"""Horizontal lines of :func:`quality_versus_speedup`: column, label, colour, dashes."""
BARS: tuple[tuple[str, str, str], ...] = (
    ("return/composed", "composed", plot.BLUE),
    ("return/scratch", "scratch, same γ", plot.ORANGE),
    ("return/scratch_best_gamma", "scratch, best γ", "#f2b48c"),
    ("return/best_single", "best single policy, by ranker", "#80cdb8"),
    ("return/best_single_oracle", "best single policy, by oracle", plot.GREEN),
    ("return/random_q", "random Q-tables, composed", "#8d99a6"),
    ("return/random", "random actions", "#c3cad2"),
)
"""Bars of :func:`controls`: column, label, colour."""
STAGES: tuple[tuple[str, str, str], ...] = (
    ("seconds/retrieve", "retrieve", plot.SKY),
    ("seconds/rank", "rank", plot.BLUE),
    ("seconds/compose", "compose", plot.PINK),
)
"""Stages of a query in :func:`time_by_stage`: column, label, colour."""


def quality_versus_speedup(summary: Iterable[Line]) -> Figure:
    """Normalised quality against speed-up over training from scratch.

    One panel per objective (rows) and gamma with ranker (columns); the marker is the strategy, the colour the mode.
    Scratch and the best single library policy are horizontal lines, normalised from mean returns; left of the vertical
    line at 1 a query takes longer than training.

    Args:
        summary: lines of :func:`lever_ray.experiment.statistics.summarise`.

    Raises:
        InvalidValue: the summary is empty.
    """
    lines = _checked(summary)
    setups, modes, strategies = (_distinct(lines, name) for name in ("setup", "mode", "strategy"))
    columns = sorted({(line["gamma"], line["ranker"]) for line in lines})
    figure = plot.canvas(_width(len(columns), each=2.1), 1.5 + 1.7 * len(setups))
    grid = figure.subplots(len(setups), len(columns), squeeze=False, sharex=True, sharey=True)
    for down, setup in enumerate(setups):
        for axes, column in zip(grid[down], columns, strict=True):
            shown = [line for line in lines if (line["gamma"], line["ranker"], line["setup"]) == (*column, setup)]
            plot.plain_axes(axes, rules="both")
            axes.axvline(1.0, color=plot.INK, linewidth=0.8, zorder=1.5)
            _draw_references(axes, shown)
            for line in shown:
                _draw_point(axes, line, _pick(plot.PALETTE, modes, line["mode"]), _pick(MARKERS, strategies, line["strategy"]))
            subtitle = f"γ = {column[0]:g}, {_ranker(lines, column[1])}" if down == 0 else ""
            plot.headline(axes, setup, subtitle)
    grid[0, 0].set(xscale="log", ylim=_quality_limits(lines), xlim=_speedup_limits(lines))
    _annotate(figure, lines, x="speed-up: seconds to train from scratch / seconds of the query", y=QUALITY_LABEL)
    keys = [_key(grid[0, 0], name, color=_pick(plot.PALETTE, modes, name), marker="o") for name in modes]
    keys += [_key(grid[0, 0], name, color=plot.MUTED, marker=_pick(MARKERS, strategies, name)) for name in strategies]
    keys += [_key(grid[0, 0], label, color=colour, linestyle=dashes) for _, label, colour, dashes in REFERENCES]
    _legend(figure, keys, columns=3)
    return figure


QUALITY_LABEL = "normalised quality: 0 = random policy, 1 = optimum"


def controls(summary: Iterable[Line], *, strategy: str | None = None, ranker: str | None = None) -> Figure:
    """Mean return of the composition beside every control, per setup; the optimum is the line above them.

    Args:
        summary: lines of :func:`lever_ray.experiment.statistics.summarise`.
        strategy: whose compositions are shown; that which evaluates most candidates if None.
        ranker: whose compositions are shown; the first in alphabetical order if None. Neither choice looks at returns.

    Returns:
        A figure with one axes per gamma.

    Raises:
        InvalidValue: the summary is empty.
        UnknownName: the summary has no such strategy or ranker, or not both together.
    """
    lines = _checked(summary)
    chosen = _choose(lines, strategy, ranker)
    gammas, groups = _distinct(chosen, "gamma"), _groups(chosen)
    figure = plot.canvas(_width(len(groups), each=1.5, least=5.5), 1.5 + 2.3 * len(gammas))
    grid = figure.subplots(len(gammas), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, gamma in zip(grid, gammas, strict=True):
        plot.plain_axes(axes)
        for place, group in enumerate(groups):
            for line in chosen:
                if (line["gamma"], line["setup"], line["mode"]) == (gamma, *group):
                    _draw_bars(axes, line, place)
        axes.axhline(0, color=plot.INK, linewidth=0.8)
        plot.headline(axes, f"γ = {gamma:g}", f"{chosen[0]['strategy']}, {_ranker(chosen, chosen[0]['ranker'])}")
    labels = [f"{_broken(setup)}\n({mode})" for setup, mode in groups]
    grid[-1].set_xticks(range(len(groups)), labels, color=plot.INK)
    grid[-1].tick_params(axis="x", length=0, labelcolor=plot.INK)
    grid[-1].set_xlim(-0.55, len(groups) - 0.45)
    _annotate(figure, lines, y="mean return, reward units")
    keys = [_key(grid[0], label, color=colour, marker="s") for _, label, colour in BARS]
    _legend(figure, [*keys, _key(grid[0], "optimum", color=plot.INK, linestyle="-")], columns=4)
    return figure


def time_by_stage(summary: Iterable[Line]) -> Figure:
    """Seconds of every stage of a query beside the seconds to train from scratch, on a log scale.

    Stages are dots rather than stacked bars: they span four orders of magnitude, and parts of a bar have no meaning on
    a log scale. What is paid before a query, fetching the environment's policies and fitting a regressor, stands
    outside the speed-up and is shown apart.

    Args:
        summary: lines of :func:`lever_ray.experiment.statistics.summarise`.

    Returns:
        A figure with one axes per gamma and ranker.

    Raises:
        InvalidValue: the summary is empty.
    """
    lines = _checked(summary)
    groups, strategies = _groups(lines), _distinct(lines, "strategy")
    columns = sorted({(line["gamma"], line["ranker"]) for line in lines})
    places = {(*group, name): -(place * (len(strategies) + 1.6) + row) for place, group in enumerate(groups) for row, name in enumerate(strategies)}
    figure = plot.canvas(_width(len(columns), each=1.9, least=5.5), 1.5 + 0.17 * (1 - min(places.values())))
    grid = figure.subplots(1, len(columns), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (gamma, ranker) in zip(grid, columns, strict=True):
        plot.plain_axes(axes, rules="x")
        for line in lines:
            if (line["gamma"], line["ranker"]) == (gamma, ranker):
                _draw_times(axes, line, places[line["setup"], line["mode"], line["strategy"]])
        plot.headline(axes, f"γ = {gamma:g}", _ranker(lines, ranker))
    return figure
