"""Figures of an experiment's summary; they show every control beside the result.

A summary is what :func:`lever_ray.experiment.statistics.summarise` returns: one line per gamma, mode, setup, strategy
and ranker. Intervals are its 95% bootstrap intervals over layouts; one that is missing (NaN) is left out.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lever_ray import plot
from lever_ray.composition.strategies.registry import STRATEGIES
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.experiment.plan import gamma_told, modes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Line = dict[str, Any]

QUALITY_LABEL = "normalised quality: 0 = random, 1 = optimum"
CONTROLS: dict[str, tuple[str, str]] = {
    "return/composed": ("composed", plot.BLUE),
    "return/scratch": ("scratch, same γ", plot.ORANGE),
    "return/scratch_best_gamma": ("scratch, best γ", "#efa678"),
    "return/best_single": ("best single policy, by ranker", "#80cdb8"),
    "return/best_single_oracle": ("best single policy, by oracle", plot.GREEN),
    "return/random_q": ("random Q-tables, composed", "#8d99a6"),
    "return/random": ("random actions", "#c3cad2"),
}
"""Bars of :func:`controls`: label and colour of a column."""
REFERENCES = {"return/best_single_oracle": ":", "return/scratch_best_gamma": "--", "return/scratch": "-"}
"""Horizontal lines of :func:`quality_versus_speedup`: dashes of a column."""
TIMES: dict[str, tuple[str, dict[str, Any]]] = {
    "seconds/retrieve": ("retrieve", {"color": plot.SKY}),
    "seconds/rank": ("rank", {"color": plot.BLUE}),
    "seconds/compose": ("compose", {"color": plot.PINK}),
    "seconds/query": ("whole query", {"color": plot.INK, "marker": "|", "markersize": 9, "markeredgewidth": 1.6}),
    "seconds/once": ("with the fit, paid once", {"color": plot.MUTED, "markerfacecolor": plot.PAPER}),
    "seconds/scratch": ("train from scratch", {"color": plot.ORANGE, "marker": "D"}),
}
"""Marks of :func:`time_by_stage`: label and style of a column."""

_COLOURS = (plot.BLUE, plot.PINK, plot.INK, plot.YELLOW, plot.SKY)
_MARKERS = ("s", "o", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Drawn:
    """A figure with what files and readers call it.

    Attributes:
        name: of a file, e.g. ``controls_sum``.
        title: e.g. ``sum: returns beside their controls``.
        told: how to read it, in a sentence.
        figure: it.
    """

    name: str
    title: str
    told: str
    figure: Figure

    @cached_property
    def svg(self) -> bytes:
        """It as the bytes of an SVG file, drawn once; equal figures give equal bytes."""
        from matplotlib import rc_context

        written = io.BytesIO()
        with rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
        return written.getvalue()


def all_figures(summary: Iterable[Line]) -> Iterator[Drawn]:
    """Every figure of an experiment: those of one operator after those of another.

    Args:
        summary: lines of :func:`lever_ray.experiment.statistics.summarise`.
    """
    lines = list(summary)
    for operator in dict.fromkeys(line["operator"] for line in lines):
        for draw, (title, told) in _TOLD.items():
            figure = draw([line for line in lines if line["operator"] == operator])
            yield Drawn(f"{draw.__name__}_{operator}", f"{operator}: {title}", told, figure)


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
    setups = _distinct(lines, "setup")
    colours, markers = _assigned(_COLOURS, lines, "mode"), _assigned(_MARKERS, lines, "strategy")
    figure, panels = _panels(lines, rows=len(setups), height=2.0 + 1.7 * len(setups), label="speed-up over scratch")
    for (gamma, ranker), down in panels.items():
        for axes, setup in zip(down, setups, strict=True):
            shown = [line for line in lines if (line["gamma"], line["ranker"], line["setup"]) == (gamma, ranker, setup)]
            _draw_references(axes, shown)
            for line in shown:
                _draw_point(axes, line, colour=colours[line["mode"]], marker=markers[line["strategy"]])
    left = next(iter(panels.values()))
    for axes, setup in zip(left, setups, strict=True):
        axes.set_ylabel(setup, fontweight="bold")
    slowest, fastest = _span(lines, "speedup/seconds", 1.0)
    references = [_normalised(line, column) for line in lines for column in REFERENCES]
    worst, best = _span(lines, "quality/normalised", *references)
    left[0].set(xlim=(min(0.5, slowest / 1.4), max(12.0, fastest * 1.4)), ylim=(worst - 0.05, best + 0.05))
    left[0].xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    figure.supylabel(QUALITY_LABEL, fontsize=8.5, color=plot.INK)
    keys = [_key(left[0], f"{name} mode", color=colour, marker="o") for name, colour in colours.items()]
    keys += [_key(left[0], name, color=plot.MUTED, marker=marker) for name, marker in markers.items()]
    named = [(*CONTROLS[column], dashes) for column, dashes in REFERENCES.items()]
    keys += [_key(left[0], name, color=colour, linestyle=dashes) for name, colour, dashes in named]
    _finish(figure, lines, keys, columns=3)
    return figure


def controls(summary: Iterable[Line], *, strategy: str | None = None, ranker: str | None = None) -> Figure:
    """Mean return of the composition beside every control, per setup; the optimum is the line above them.

    Args:
        summary: lines of :func:`lever_ray.experiment.statistics.summarise`.
        strategy: whose compositions are shown; the one that evaluates most candidates if None.
        ranker: whose compositions are shown; the first in alphabetical order if None. Neither choice looks at returns.

    Returns:
        A figure with one axes per gamma.

    Raises:
        InvalidValue: the summary is empty.
        UnknownName: the summary has no such ranker, or not that strategy with it.
    """
    lines = _checked(summary)
    ranked = _only(lines, "ranker", ranker or min(line["ranker"] for line in lines))
    largest = max(ranked, key=lambda line: np.nan_to_num(_number(line, "candidates/evaluated")))
    chosen = _only(ranked, "strategy", strategy or largest["strategy"])
    gammas, groups = _distinct(chosen, "gamma"), _groups(chosen)
    figure = plot.canvas(max(7.2, 0.6 + 1.4 * len(groups)), 1.5 + 2.3 * len(gammas))
    grid = figure.subplots(len(gammas), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, gamma in zip(grid, gammas, strict=True):
        plot.plain_axes(axes)
        for line in chosen:
            if line["gamma"] == gamma:
                _draw_bars(axes, line, groups.index((line["setup"], line["mode"])))
        axes.axhline(0, color=plot.INK, linewidth=0.8)
        axes.tick_params(axis="x", length=0, labelcolor=plot.INK)
        plot.headline(
            axes, f"γ = {gamma_told(gamma)}", f"{chosen[0]['strategy']}, {_ranker(chosen, chosen[0]['ranker'])}"
        )
    grid[-1].set_xticks(range(len(groups)), [f"{textwrap.fill(setup, 14)}\n({mode})" for setup, mode in groups])
    grid[-1].set_xlim(-0.55, len(groups) - 0.45)
    figure.supylabel("mean return, reward units", fontsize=8.5, color=plot.INK)
    keys = [_key(grid[0], label, color=colour, marker="s") for label, colour in CONTROLS.values()]
    _finish(figure, lines, [*keys, _key(grid[0], "optimum", color=plot.INK, linestyle="-")], columns=4)
    return figure


def time_by_stage(summary: Iterable[Line]) -> Figure:
    """Time of every stage of a query beside the time to train from scratch, on a log scale.

    Stages are marks, not stacked bars: they span four orders of magnitude, and parts of a bar mean nothing on a log
    scale. Fetching policies and fitting a regressor, paid before a query, stand outside the speed-up and are marked.

    Args:
        summary: lines of :func:`lever_ray.experiment.statistics.summarise`.

    Returns:
        A figure with one axes per gamma and ranker.

    Raises:
        InvalidValue: the summary is empty.
    """
    lines = _checked(summary)
    groups, strategies = _groups(lines), _distinct(lines, "strategy")
    heads = {group: place * (len(strategies) + 1.5) for place, group in enumerate(groups)}
    rows = {(*group, name): top + 1 + row for group, top in heads.items() for row, name in enumerate(strategies)}
    figure, panels = _panels(lines, rows=1, height=1.7 + 0.175 * max(rows.values()), label="time, log scale")
    (left,) = next(iter(panels.values()))
    shortest, longest = _span(lines, "seconds/query", *(_seconds(line, column) for line in lines for column in TIMES))
    left.set_xlim(shortest / 1.6, longest * 1.6)
    for line in lines:
        (axes,) = panels[line["gamma"], line["ranker"]]
        _draw_times(axes, line, rows[line["setup"], line["mode"], line["strategy"]])
    left.set_yticks(list(rows.values()), [name for _, _, name in rows])
    left.set_ylim(max(rows.values()) + 0.7, -0.7)
    left.xaxis.set_major_formatter(_time)
    left.locator_params(axis="x", numticks=4)
    _name_groups(left, heads)
    _finish(figure, lines, [_key(left, label, **{"marker": "o"} | style) for label, style in TIMES.values()], columns=3)
    return figure


_TOLD: dict[Callable[[Iterable[Line]], Figure], tuple[str, str]] = {
    quality_versus_speedup: (
        "quality against speed-up",
        "Higher is better, further right is faster. Left of the line at 1 a query takes longer than training from "
        "scratch; lines across are what compositions have to beat.",
    ),
    controls: (
        "returns beside their controls",
        "Mean return of the composition beside everything that it is held against; the optimum is the line above.",
    ),
    time_by_stage: (
        "time by stage",
        "Time of every stage of a query beside the time to train from scratch, on a log scale.",
    ),
}
FIGURES: dict[str, Callable[[Iterable[Line]], Figure]] = {figure.__name__: figure for figure in _TOLD}
"""Every figure of a summary by its name."""


def drawn(item: tuple[str, str], summary: Iterable[Line]) -> bytes:
    """A figure as PNG: its name and the operator whose lines it shows."""
    name, operator = item
    return plot.as_png(FIGURES[name]([line for line in summary if line["operator"] == operator]))


def _draw_point(axes: Axes, line: Line, *, colour: str, marker: str) -> None:
    x, y = _number(line, "speedup/seconds"), _number(line, "quality/normalised")
    errors = _error(line, "quality/normalised"), _error(line, "speedup/seconds")
    axes.errorbar(x, y, *errors, fmt="none", ecolor=colour, elinewidth=0.7, alpha=0.6, zorder=3)
    axes.plot(x, y, marker, color=colour, markersize=5.5, markeredgecolor=plot.PAPER, markeredgewidth=0.5, zorder=4)


def _draw_references(axes: Axes, lines: Sequence[Line]) -> None:
    """Lines at the normalised controls, each at its strongest over the modes, and at speed-up 1."""
    axes.axvline(1.0, color=plot.INK, linewidth=0.8, zorder=1.5)
    for column, dashes in REFERENCES.items():
        known = (value for line in lines if math.isfinite(value := _normalised(line, column)))
        level, colour = max(known, default=math.nan), CONTROLS[column][1]
        axes.axhline(level, color=colour, linestyle=dashes, linewidth=1.3, zorder=2, gid=column)


def _draw_bars(axes: Axes, line: Line, place: int) -> None:
    """The bars of one setup around ``place``, and the optimum across them."""
    width = 0.84 / len(CONTROLS)
    style: dict[str, Any] = {"fmt": "none", "ecolor": plot.INK, "elinewidth": 0.8}
    for bar, (column, (_, colour)) in enumerate(CONTROLS.items()):
        x, value = place + (bar - (len(CONTROLS) - 1) / 2) * width, _number(line, column)
        axes.bar(x, value, 0.9 * width, color=colour, gid=column)
        axes.errorbar(x, value, _error(line, column), **style)
    optimum = _number(line, "return/optimum")
    axes.plot([place - 0.44, place + 0.44], [optimum, optimum], color=plot.INK, linewidth=1.6, gid="return/optimum")
    axes.errorbar(place, optimum, _error(line, "return/optimum"), **style)


def _draw_times(axes: Axes, line: Line, row: float) -> None:
    ends = [_seconds(line, "seconds/query"), _seconds(line, "seconds/once")]
    axes.plot(ends, [row, row], color=plot.RULE, linewidth=1.2, zorder=1.5)
    for column, (_, style) in TIMES.items():
        looks: dict[str, Any] = {"marker": "o", "markersize": 4.5} | style
        axes.plot(_seconds(line, column), row, linestyle="none", gid=column, **looks)


def _name_groups(axes: Axes, heads: dict[tuple[str, str], float]) -> None:
    """Write setup and mode above the rows of each group, from about the left of the rows' labels."""
    left = -4.8 * max(len(label.get_text()) for label in axes.get_yticklabels())
    for (setup, mode), top in heads.items():
        text = axes.annotate(f"{setup} ({mode})", (0, top), (left, 0), ("axes fraction", "data"), "offset points")
        text.set(va="center", size=8, weight="bold", color=plot.INK, backgroundcolor=plot.PAPER, in_layout=False)


def _checked(summary: Iterable[Line]) -> list[Line]:
    lines = list(summary)
    if not lines:
        raise InvalidValue("the summary is empty; run at least one cell before drawing it")
    return lines


def _number(line: Line, name: str) -> float:
    """A value; NaN where it is missing."""
    return math.nan if line.get(name) is None else float(line[name])


def _seconds(line: Line, column: str) -> float:
    """A time; ``seconds/once`` is that of a query with what is paid before it."""
    parts = ("query", "fit") if column == "seconds/once" else (column.removeprefix("seconds/"),)
    return sum(_number(line, f"seconds/{part}") for part in parts)


def _error(line: Line, name: str) -> np.ndarray:
    """float64[2, 1]: how far the interval reaches below and above the value; NaN where it is not known."""
    low, value, high = (_number(line, name + suffix) for suffix in ("/ci_low", "", "/ci_high"))
    return np.maximum([[value - low], [high - value]], 0.0)


def _normalised(line: Line, name: str) -> float:
    """A mean return between those of the random policy (0) and the optimum (1); NaN where these do not differ."""
    random = _number(line, "return/random")
    scale = _number(line, "return/optimum") - random
    return (_number(line, name) - random) / scale if scale > 0 else math.nan


def _known_first(name: Any, modes: Sequence[str] = ()) -> tuple[Any, ...]:
    """Strategies as the project lists them, modes as their source does, other names by length; numbers ascend."""
    if not isinstance(name, str):
        return (name,)
    known, kind = (*STRATEGIES, *modes), name.split("-")[0]
    return known.index(kind) if kind in known else len(known), len(name), name


def _modes(lines: Sequence[Line]) -> tuple[str, ...]:
    """All modes of the source that lines are about."""
    return modes_of(str(lines[0].get("family"))) if lines else ()


def _distinct(lines: Sequence[Line], name: str) -> list[Any]:
    return sorted({line[name] for line in lines}, key=partial(_known_first, modes=_modes(lines)))


def _assigned(choices: Sequence[str], lines: Sequence[Line], name: str) -> dict[str, str]:
    return {value: choices[place % len(choices)] for place, value in enumerate(_distinct(lines, name))}


def _groups(lines: Sequence[Line]) -> list[tuple[str, str]]:
    known = partial(_known_first, modes=_modes(lines))
    return sorted({(line["setup"], line["mode"]) for line in lines}, key=lambda pair: [*map(known, pair)])


def _only(lines: Sequence[Line], name: str, value: str) -> list[Line]:
    """The lines that have a value in a column; UnknownName where there are none."""
    found = [line for line in lines if line[name] == value]
    if not found:
        raise UnknownName(name, value, _distinct(lines, name))
    return found


def _ranker(lines: Iterable[Line], ranker: str) -> str:
    """A ranker's name with its information tier."""
    tiers = sorted({str(line["tier"]) for line in lines if line["ranker"] == ranker and line.get("tier")})
    return ranker + (f" ({'/'.join(tiers)})" if tiers else "")


def _span(lines: Iterable[Line], name: str, *others: float) -> tuple[float, float]:
    """Least and greatest of a metric, its intervals and other values; 0.1 and 1 where none is finite."""
    values = [_number(line, name + suffix) for line in lines for suffix in ("", "/ci_low", "/ci_high")]
    known = [value for value in (*values, *others) if math.isfinite(value)] or [0.1, 1.0]
    return min(known), max(known)


def _time(value: float, _: int = 0) -> str:
    unit, factor = ("s", 1.0) if value >= 1 else ("ms", 1e3) if value >= 0.999e-3 else ("µs", 1e6)
    return f"{value * factor:g} {unit}"


def _panels(lines: Sequence[Line], *, rows: int, height: float, label: str) -> tuple[Figure, dict[Any, np.ndarray]]:
    """A figure with a column of axes for each gamma and ranker, over a common log axis."""
    columns = sorted({(line["gamma"], line["ranker"]) for line in lines})
    figure = plot.canvas(max(7.2, 0.6 + 2.1 * len(columns)), height)
    grid = figure.subplots(rows, len(columns), squeeze=False, sharex=True, sharey=True)
    grid[0, 0].set_xscale("log")
    for axes in grid.flat:
        plot.plain_axes(axes, rules="both")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_minor_formatter("")
    for (gamma, ranker), down in zip(columns, grid.T, strict=True):
        plot.headline(down[0], f"γ = {gamma_told(gamma)}", _ranker(lines, ranker))
        down[-1].set_xlabel(label)
    return figure, dict(zip(columns, grid.T, strict=True))


def _finish(figure: Figure, lines: Sequence[Line], keys: Sequence[Line2D], *, columns: int) -> None:
    """Say above the figure what was measured, and below it what the marks mean."""
    layouts, near = (max(int(line.get(name) or 0) for line in lines) for name in ("layouts", "layouts/trivial"))
    told = plot.counted(layouts, "layout") + (f" ({near} trivial)" if near else "")
    named = {"family": "", "budget": "budget ", "operator": "operator ", "support": "support "}
    others = [word + "/".join(map(str, _distinct(lines, name))) for name, word in named.items() if lines[0].get(name)]
    figure.suptitle(" · ".join([told, *others]), x=0.01, ha="left", fontsize=8, color=plot.MUTED)
    figure.legend(handles=keys, loc="outside lower center", ncols=columns, **plot.LEGEND)


def _key(axes: Axes, label: str, **style: Any) -> Line2D:
    looks: dict[str, Any] = {"linestyle": "none", "markersize": 6, "linewidth": 1.6} | style
    return axes.plot([], [], label=label, **looks)[0]
