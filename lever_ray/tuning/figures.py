"""Figures of a tuning study: its Pareto front on tuning and held-out environments, and what its parameters decide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lever_ray import plot
from lever_ray.errors import InvalidValue
from lever_ray.experiment.figures import QUALITY_LABEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = dict[str, Any]

COST_LABELS: dict[str, str] = {"candidates": "candidates evaluated per query", "seconds": "seconds per query"}
_SURE = ("cheapest", "confirmed")
"""Verdicts whose held-out marks are filled."""
_SHIFTS = ((-6, 6), (6, -6), (0, 9), (0, -9), (6, 6), (-6, -6), (-12, 20), (12, -20), (-12, 34), (12, -34), (12, 34))
"""Where a label may stand, in points (1/72 inch) from what it names."""


def front(trials: Sequence[Line], *, cost: str = "candidates", held_out: Sequence[Line] = ()) -> Figure:
    """Pareto front of a tuning study: the best quality that a cost buys, and what is left of it elsewhere.

    Args:
        trials: rows with the cost, ``quality`` (normalised), ``label`` and ``on_front``; ``state`` where some were
            stopped early.
        cost: column of the horizontal axis, key of :data:`COST_LABELS`.
        held_out: rows of the front as measured on environments that tuning never saw, see
            :func:`lever_ray.tuning.front.held_out_rows`.

    Raises:
        InvalidValue: there is no trial with finite quality and a positive cost.
    """
    known = [trial for trial in trials if _number(trial, cost) > 0 and math.isfinite(_number(trial, "quality"))]
    if not known:
        raise InvalidValue(f"none of {len(trials)} trials has a quality and {cost}; there is no front to draw")
    best: dict[str, Line] = {}
    for trial in sorted(known, key=lambda trial: (trial[cost], -trial["quality"])):
        if trial["on_front"]:
            best.setdefault(trial["label"], trial)
    stopped = [trial for trial in known if trial.get("state") == "pruned"]
    beaten = [trial for trial in known if not trial["on_front"] and trial.get("state") != "pruned"]
    marks = {"stopped": _points(stopped, cost), "beaten": _points(beaten, cost), "front": _points(best.values(), cost)}
    figure = plot.canvas(7.4, 4.6)
    axes = figure.subplots()
    plot.plain_axes(axes, rules="both")
    axes.set(xscale="log", xlabel=COST_LABELS.get(cost, cost), ylabel=QUALITY_LABEL)
    axes.margins(x=0.12, y=0.14)
    _scatter(axes, marks)
    _draw_held_out(axes, held_out, cost)
    axes.locator_params(axis="x", subs=(1.0, 2.0, 5.0))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_formatter("")
    counted = f"{plot.counted(len(known), 'trial')}, {plot.counted(len(best), 'choice')} on it"
    environments = {int(line["held_out/environments"]) for line in held_out}
    counted += "".join(f", measured again on {number} held-out environments" for number in environments)
    shared, names = _told_once([str(label) for label in best])
    plot.headline(axes, f"Pareto front{shared}", counted)
    axes.legend(loc="lower right", **plot.LEGEND)
    stairs = _draw_stairs(axes, marks["front"])
    named = zip(marks["front"][::-1], reversed(names), strict=True)
    _place_labels(figure, axes, np.vstack([*marks.values(), stairs, *_held_out_marks(held_out, cost)]), named)
    return figure


def importances(found: Mapping[str, Mapping[str, float]]) -> Figure:
    """Which parameters decide what: a panel for each target, a bar for each parameter.

    Args:
        found: share by target and parameter, see :func:`lever_ray.optuna_adapter.importances`; every target's sum to 1.
    """
    names = sorted({name for shares in found.values() for name in shares}, key=lambda name: _total(found, name))
    figure = plot.canvas(2.6 * len(found) + 1.0, 1.4 + 0.28 * len(names))
    panels = figure.subplots(1, len(found), squeeze=False, sharey=True, sharex=True)[0]
    titles = {"quality": "high quality", "cost": "low cost", "front": "reaching the front"}
    for axes, (target, shares) in zip(panels, found.items(), strict=True):
        plot.plain_axes(axes, rules="x")
        axes.barh(names, [shares.get(name, 0.0) for name in names], color=plot.BLUE, height=0.62)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        plot.headline(axes, titles.get(target, target), "share of importance, PED-ANOVA")
    return figure


def _told_once(labels: Sequence[str]) -> tuple[str, list[str]]:
    """Words that end every label, for the title, and the labels without them."""
    words = [label.split() for label in labels]
    shared: list[str] = []
    while len(labels) > 1 and all(len(each) > 1 for each in words) and len({each[-1] for each in words}) == 1:
        shared.insert(0, words[0][-1])
        words = [each[:-1] for each in words]
    return (f": {' '.join(shared)}" if shared else ""), [" ".join(each) for each in words]


def _held_out_marks(lines: Sequence[Line], cost: str) -> list[np.ndarray]:
    """Points along the intervals, which labels should not cover; the value alone where there is no interval."""
    marks = []
    for line in lines:
        value = _number(line, "held_out/quality")
        low, high = (_number(line, f"held_out/quality/ci_{end}") for end in ("low", "high"))
        heights = np.linspace(low, high, 9) if math.isfinite(low + high) else np.array([value])
        marks.append(np.column_stack([np.full(len(heights), _number(line, f"held_out/{cost}")), heights]))
    return marks


def _total(found: Mapping[str, Mapping[str, float]], name: str) -> tuple[float, str]:
    return sum(shares.get(name, 0.0) for shares in found.values()), name


def _number(line: Line, name: str) -> float:
    """A value; NaN where it is missing."""
    return math.nan if line.get(name) is None else float(line[name])


def _points(trials: Iterable[Line], cost: str) -> np.ndarray:
    return np.array([(_number(trial, cost), _number(trial, "quality")) for trial in trials]).reshape(-1, 2)


def _scatter(axes: Axes, marks: Mapping[str, np.ndarray]) -> None:
    looks: dict[str, dict[str, Any]] = {
        "stopped": {"s": 18, "c": "#c3cad2", "marker": "x", "linewidth": 0.9, "label": "stopped early", "zorder": 2},
        "beaten": {"s": 26, "c": "#b3bcc6", "edgecolor": plot.PAPER, "label": "dominated", "zorder": 2},
        "front": {"s": 52, "c": plot.BLUE, "edgecolor": plot.PAPER, "label": "on the front", "zorder": 4},
    }
    for name, points in marks.items():
        if len(points) or name != "stopped":
            axes.scatter(points[:, 0], points[:, 1], **looks[name])


def _draw_held_out(axes: Axes, lines: Sequence[Line], cost: str) -> None:
    """The same choices elsewhere, with 95% intervals; hollow where the gain over a cheaper one is not confirmed."""
    for sure, label in ((True, "held out"), (False, "held out, gain not confirmed")):
        shown = [line for line in lines if (line["verdict"] in _SURE) == sure]
        if not shown:
            continue
        x = [_number(line, f"held_out/{cost}") for line in shown]
        y = np.array([_number(line, "held_out/quality") for line in shown])
        ends = np.array([[_number(line, f"held_out/quality/ci_{end}") for line in shown] for end in ("low", "high")])
        reach = np.maximum(np.abs(ends - y), 0.0)
        face = plot.ORANGE if sure else plot.PAPER
        style: dict[str, Any] = {"markerfacecolor": face, "markersize": 5, "elinewidth": 0.8, "alpha": 0.85}
        axes.errorbar(x, y, reach, fmt="o", color=plot.ORANGE, label=label, zorder=3.5, **style)


def _draw_stairs(axes: Axes, points: np.ndarray) -> np.ndarray:
    """The quality that is reached with at most so many candidates, to the right edge; returns points along the line."""
    if not len(points):
        return points
    right = axes.get_xlim()[1]
    x, y = np.append(np.repeat(points[:, 0], 2)[1:], right), np.repeat(points[:, 1], 2)
    axes.plot(x, y, color=plot.BLUE, linewidth=1.4, zorder=3, gid="front")
    axes.set_xlim(right=right)
    steps, ends = np.linspace(0, len(x) - 1, 40 * len(x)), np.arange(len(x))
    return np.column_stack([np.exp(np.interp(steps, ends, np.log(x))), np.interp(steps, ends, y)])


def _place_labels(figure: Figure, axes: Axes, marks: np.ndarray, labelled: Iterable[tuple[np.ndarray, str]]) -> None:
    """Write labels beside their points, each where it covers fewest marks and labels placed before."""
    figure.draw_without_rendering()
    pixels = axes.transData.transform(marks)
    placed: list[Any] = []
    for point, text in labelled:
        place: dict[str, Any] = {"xy": tuple(point), "textcoords": "offset points", "in_layout": False}
        label = axes.annotate(text, **place, xytext=(0, 0), fontsize=8, color=plot.INK, zorder=5)
        costs = [_cost(_moved(label, shift), pixels, placed, axes.bbox) for shift in _SHIFTS]
        shift = _SHIFTS[int(np.argmin(costs))]
        placed.append(_moved(label, shift))
        if abs(shift[1]) > 9:
            leader = {"arrowstyle": "-", "color": plot.MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
            axes.annotate("", **place, xytext=shift, arrowprops=leader)


def _moved(label: Any, shift: tuple[int, int]) -> Any:
    """Move a label and return its box in pixels."""
    sideways = "right" if shift[0] < 0 else "left" if shift[0] > 0 else "center"
    label.set(position=shift, horizontalalignment=sideways, verticalalignment="bottom" if shift[1] > 0 else "top")
    return label.get_window_extent()


def _cost(box: Any, marks: np.ndarray, placed: Sequence[Any], frame: Any) -> float:
    """How many marks and boxes are covered; leaving the frame is worse than any of it."""
    outside = 4 - frame.count_contains(box.corners())
    return float(box.padded(9).count_contains(marks) + 10 * box.count_overlaps(placed) + 1e6 * outside)
