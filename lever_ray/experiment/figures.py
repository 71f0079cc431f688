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
    heads = {group: place * (len(strategies) + 1.5) for place, group in enumerate(groups)}
    rows = {(*group, name): top + 1 + row for group, top in heads.items() for row, name in enumerate(strategies)}
    columns = sorted({(line["gamma"], line["ranker"]) for line in lines})
    figure = plot.canvas(_width(len(columns), each=1.9, least=5.5), 1.7 + 0.175 * max(rows.values()))
    grid = figure.subplots(1, len(columns), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (gamma, ranker) in zip(grid, columns, strict=True):
        plot.plain_axes(axes, rules="x")
        for line in lines:
            if (line["gamma"], line["ranker"]) == (gamma, ranker):
                _draw_times(axes, line, rows[line["setup"], line["mode"], line["strategy"]])
        plot.headline(axes, f"γ = {gamma:g}", _ranker(lines, ranker))
    for (setup, mode), top in heads.items():
        place: dict[str, Any] = {"xy": (0.0, top), "xycoords": ("axes fraction", "data"), "va": "center"}
        grid[0].annotate(f" {setup} ({mode})", **place, fontsize=8, fontweight="bold", color=plot.INK)
    grid[0].set_yticks(list(rows.values()), [name for _, _, name in rows])
    grid[0].set(xscale="log", ylim=(max(rows.values()) + 0.7, -0.7))
    for axes in grid:
        axes.xaxis.set_major_formatter(_seconds)
        axes.tick_params(axis="y", length=0, labelcolor=plot.INK)
    _annotate(figure, lines, x="time, log scale")
    keys = [_key(grid[0], label, color=colour, marker="o") for _, label, colour in STAGES]
    keys.append(_key(grid[0], "whole query", color=plot.INK, marker="|", markersize=9, markeredgewidth=1.6))
    keys.append(_key(grid[0], "with fetch and fit, paid once", **_ONCE))
    _legend(figure, [*keys, _key(grid[0], "train from scratch", color=plot.ORANGE, marker="D")], columns=3)
    return figure


def front(trials: Sequence[Line], *, quality: str = QUALITY_LABEL) -> Figure:
    """Pareto front of a tuning study: the best quality that a number of candidates buys.

    Args:
        trials: rows with ``candidates`` (evaluated per query), ``quality``, ``label`` and ``on_front``.
        quality: what the vertical axis says.

    Raises:
        InvalidValue: there is no trial with finite quality and a positive number of candidates.
    """
    known = [trial for trial in trials if math.isfinite(_number(trial, "quality")) and _number(trial, "candidates") > 0]
    if not known:
        raise InvalidValue(f"none of {len(trials)} trials has a quality and candidates; there is no front to draw")
    best: dict[str, Line] = {}
    for trial in sorted(known, key=lambda trial: (trial["candidates"], -trial["quality"])):
        if trial["on_front"]:
            best.setdefault(trial["label"], trial)
    figure = plot.canvas(6.6, 4.2)
    axes = figure.subplots()
    plot.plain_axes(axes, rules="both")
    others = [trial for trial in known if not trial["on_front"]]
    axes.plot(*_points(others).T, "o", color="#b3bcc6", markersize=5, markeredgecolor=plot.PAPER, label="dominated", zorder=2)
    points = _points(list(best.values()))
    axes.set(xscale="log", xlabel="candidates evaluated per query, log scale", ylabel=quality)
    axes.margins(x=0.12, y=0.14)
    axes.plot(*points.T, "o", color=plot.BLUE, markersize=7, markeredgecolor=plot.PAPER, label="on the front", zorder=4)
    _step(axes, points)
    plot.headline(axes, "Quality against candidates", f"{len(known)} trials, {len(best)} choices on the front")
    axes.legend(loc="lower right", fontsize=8, frameon=False, labelcolor=plot.INK)
    _place_labels(figure, axes, _points(known), list(zip(points, best, strict=True)))
    return figure


# Drawing.


def _draw_point(axes: Axes, line: Line, colour: str, marker: str) -> None:
    x, y = _number(line, "speedup/seconds"), _number(line, "quality/normalised")
    bars: dict[str, Any] = {"xerr": _error(line, "speedup/seconds"), "yerr": _error(line, "quality/normalised")}
    style: dict[str, Any] = {"markersize": 5, "markeredgecolor": plot.PAPER, "markeredgewidth": 0.5}
    drawn = axes.errorbar(x, y, **bars, fmt=marker, color=colour, elinewidth=0.7, **style, zorder=3)
    for bar in drawn.lines[2]:
        bar.set_alpha(0.55)


def _draw_references(axes: Axes, lines: Sequence[Line]) -> None:
    """Lines at the normalised controls; where modes differ in a control, at the strongest."""
    for column, _, colour, dashes in REFERENCES:
        values = [value for line in lines if math.isfinite(value := _normalised(line, column))]
        if values:
            axes.axhline(max(values), color=colour, linestyle=dashes, linewidth=1.3, zorder=2, gid=column)


def _draw_bars(axes: Axes, line: Line, place: int) -> None:
    """The bars of one setup around ``place``, and the optimum across them."""
    width = 0.84 / len(BARS)
    for bar, (column, _, colour) in enumerate(BARS):
        x = place + (bar - (len(BARS) - 1) / 2) * width
        axes.bar(x, _number(line, column), 0.9 * width, color=colour, gid=column)
        axes.errorbar(x, _number(line, column), _error(line, column), color=plot.INK, elinewidth=0.8, fmt="none")
    optimum = _number(line, "return/optimum")
    axes.plot([place - 0.44, place + 0.44], [optimum, optimum], color=plot.INK, linewidth=1.6, gid="return/optimum")
    axes.errorbar(place, optimum, _error(line, "return/optimum"), color=plot.INK, elinewidth=0.8, fmt="none")


_ONCE: dict[str, Any] = {"color": plot.MUTED, "marker": "o", "markerfacecolor": plot.PAPER}


def _draw_times(axes: Axes, line: Line, row: float) -> None:
    query, scratch = _number(line, "seconds/query"), _number(line, "seconds/scratch")
    once = query + np.nansum([_number(line, "seconds/fetch"), _number(line, "seconds/fit")])
    axes.plot([query, once], [row, row], color=plot.RULE, linewidth=1.2, zorder=1.5)
    axes.plot(once, row, markersize=4.5, **_ONCE, gid="once")
    axes.plot(scratch, row, "D", color=plot.ORANGE, markersize=4.5, gid="seconds/scratch")
    axes.plot(query, row, "|", color=plot.INK, markersize=9, markeredgewidth=1.6, gid="seconds/query")
    for column, _, colour in STAGES:
        axes.plot(_number(line, column), row, "o", color=colour, markersize=4.5, gid=column)


def _step(axes: Axes, points: np.ndarray) -> None:
    """The quality that is reached with at most so many candidates, to the right edge."""
    right = axes.get_xlim()[1]
    corners = np.vstack([points, [right, points[-1, 1]]]) if len(points) else points.reshape(0, 2)
    axes.step(*corners.T, where="post", color=plot.BLUE, linewidth=1.4, zorder=3, gid="front")
    axes.set_xlim(right=right)


def _place_labels(figure: Figure, axes: Axes, points: np.ndarray, labelled: Sequence[tuple[np.ndarray, str]]) -> None:
    """Write labels beside their points, each where it covers least of points, the front and labels placed before."""
    figure.draw_without_rendering()
    marks = axes.transData.transform(np.vstack([points, *(step.get_path().vertices for step in axes.lines)]))
    taken = [np.r_[mark - 8, mark + 8] for mark in marks if np.isfinite(mark).all()]
    for point, text in labelled:
        trials = [_label(axes, point, text, shift) for shift in _SHIFTS]
        boxes = [np.array(trial.get_window_extent().extents) for trial in trials]
        costs = [_cost(box, taken, axes.bbox.extents) for box in boxes]
        chosen = int(np.argmin(costs))
        taken.append(boxes[chosen])
        for order, trial in enumerate(trials):
            if order != chosen:
                trial.remove()


_SHIFTS = ((7, -7), (-7, 7), (7, 7), (-7, -7), (10, -18), (-10, 18), (10, 18), (-10, -18))
"""Where a label may stand, in points from its own."""


def _label(axes: Axes, point: np.ndarray, text: str, shift: tuple[int, int]) -> Any:
    place: dict[str, Any] = {"xytext": shift, "textcoords": "offset points", "annotation_clip": False}
    align = {"ha": "left" if shift[0] > 0 else "right", "va": "bottom" if shift[1] > 0 else "top"}
    label = axes.annotate(text, tuple(point), **place, **align, fontsize=8, color=plot.INK, zorder=5)
    label.set_in_layout(False)
    return label


def _cost(box: np.ndarray, taken: Sequence[np.ndarray], frame: np.ndarray) -> float:
    """How many boxes (left, bottom, right, top) are covered; leaving the frame is worse than any of it."""
    covered = sum(bool((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all()) for other in taken)
    return covered + 1e6 * bool((box[:2] < frame[:2]).any() or (box[2:] > frame[2:]).any())


# Reading a summary.


def _checked(summary: Iterable[Line]) -> list[Line]:
    lines = list(summary)
    if not lines:
        raise InvalidValue("the summary is empty; run at least one cell before drawing it")
    return lines


def _number(line: Line, name: str) -> float:
    """A value; NaN where it is missing."""
    value = line.get(name)
    return math.nan if value is None else float(value)


def _error(line: Line, name: str) -> np.ndarray:
    """float64[2, 1]: how far the interval reaches below and above the value; NaN where it is not known."""
    low, value, high = (_number(line, name + suffix) for suffix in ("/ci_low", "", "/ci_high"))
    return np.maximum([[value - low], [high - value]], 0.0)


def _normalised(line: Line, name: str) -> float:
    """A mean return between those of the random policy (0) and the optimum (1); NaN where these do not differ."""
    random = _number(line, "return/random")
    scale = _number(line, "return/optimum") - random
    return (_number(line, name) - random) / scale if scale > 0 else math.nan


def _distinct(lines: Iterable[Line], name: str) -> list[Any]:
    """The values of a column, shortest names first, numbers ascending."""
    return sorted({line[name] for line in lines}, key=lambda value: (len(value), value) if isinstance(value, str) else (0, value))


def _groups(lines: Iterable[Line]) -> list[tuple[str, str]]:
    """Pairs of setup and mode."""
    return sorted({(line["setup"], line["mode"]) for line in lines}, key=lambda group: (len(group[0]), group))


def _points(trials: Sequence[Line]) -> np.ndarray:
    return np.array([(_number(trial, "candidates"), _number(trial, "quality")) for trial in trials]).reshape(-1, 2)


def _choose(lines: Sequence[Line], strategy: str | None, ranker: str | None) -> list[Line]:
    """The lines of one strategy and ranker; see :func:`controls` for the choice and its errors."""
    wanted = ranker if ranker is not None else min(line["ranker"] for line in lines)
    ranked = [line for line in lines if line["ranker"] == wanted]
    if not ranked:
        raise UnknownName("ranker", wanted, _distinct(lines, "ranker"))
    name = strategy or max(ranked, key=lambda line: np.nan_to_num(_number(line, "candidates/evaluated")))["strategy"]
    chosen = [line for line in ranked if line["strategy"] == name]
    if not chosen:
        raise UnknownName("strategy", name, _distinct(ranked, "strategy"))
    return chosen


def _ranker(lines: Iterable[Line], ranker: str) -> str:
    """A ranker's name with its information tier."""
    tiers = sorted({str(line["tier"]) for line in lines if line["ranker"] == ranker and line.get("tier")})
    return ranker + (f" ({'/'.join(tiers)})" if tiers else "")


def _speedup_limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Around every speed-up with its interval, and 1."""
    names = ("speedup/seconds", "speedup/seconds/ci_low", "speedup/seconds/ci_high")
    values = np.array([1.0] + [_number(line, name) for line in lines for name in names])
    values = values[np.isfinite(values) & (values > 0)]
    return float(values.min()) / 1.4, float(values.max()) * 1.4


def _quality_limits(lines: Sequence[Line]) -> tuple[float, float]:
    """From the random policy to the optimum, or further where a value lies beyond."""
    names = ("quality/normalised/ci_low", "quality/normalised/ci_high", "quality/normalised")
    values = [_number(line, name) for line in lines for name in names]
    values += [_normalised(line, column) for line in lines for column, *_ in REFERENCES]
    return float(np.nanmin([*values, 0.0])) - 0.03, float(np.nanmax([*values, 1.0])) + 0.03


# Words and legends.


def _pick(choices: Sequence[str], names: Sequence[Any], name: Any) -> str:
    return choices[names.index(name) % len(choices)]


def _width(columns: int, *, each: float, least: float = 4.6) -> float:
    return min(plot.WIDTH, max(least, 0.6 + each * columns))


def _broken(name: str) -> str:
    """An objective's name in lines of two terms."""
    terms = name.split("-")
    return "-\n".join("-".join(terms[first : first + 2]) for first in range(0, len(terms), 2))


def _seconds(value: float, _: int = 0) -> str:
    """Time for a tick."""
    unit, factor = ("s", 1.0) if value >= 1 else ("ms", 1e3) if value >= 0.999e-3 else ("µs", 1e6)
    return f"{value * factor:g} {unit}"


def _annotate(figure: Figure, lines: Sequence[Line], *, x: str = "", y: str = "") -> None:
    """Axis labels of the whole figure, and above it what was measured."""
    if x:
        figure.supxlabel(x, fontsize=9, color=plot.INK)
    if y:
        figure.supylabel(y, fontsize=9, color=plot.INK)
    layouts = max(int(line.get("layouts") or 0) for line in lines)
    trivial = max(int(line.get("layouts/trivial") or 0) for line in lines)
    told = [f"{layouts} layouts, {trivial} of them trivial" if trivial else f"{layouts} layouts"]
    named = {"family": "", "budget": "budget ", "operator": "operator ", "support": "support "}
    told += [word + "/".join(map(str, _distinct(lines, name))) for name, word in named.items() if lines[0].get(name)]
    figure.suptitle(" · ".join([*told[1:2], told[0], *told[2:]]), x=0.01, ha="left", fontsize=8, color=plot.MUTED)


def _key(axes: Axes, label: str, **style: Any) -> Line2D:
    """A legend entry that draws nothing."""
    return axes.plot([], [], **{"linestyle": "none", "markersize": 6, "linewidth": 1.6} | style, label=label)[0]


def _legend(figure: Figure, keys: Sequence[Line2D], *, columns: int) -> None:
    figure.legend(handles=keys, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, labelcolor=plot.INK)
