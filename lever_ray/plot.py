"""Pictures of environments and routes, and the style that every figure of the project shares.

What an environment looks like is for its family to say. Figures are plain :class:`matplotlib.figure.Figure` objects:
nothing is shown, and no global state is touched. A notebook displays them; :func:`save` writes them.

    lever_ray.plot.save(lever_ray.plot.path(layout, result), "route.png")
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from lever_ray.errors import InvalidValue
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.rollout import TRUNCATED, end_of, rollout
from lever_ray.tasks.style import (
    BLUE,
    GREEN,
    INK,
    LEGEND,
    MUTED,
    ORANGE,
    PALETTE,
    PAPER,
    PINK,
    RULE,
    SKY,
    TITLE,
    YELLOW,
)

__all__ = [
    "BLUE",
    "DPI",
    "GREEN",
    "INK",
    "LEGEND",
    "MUTED",
    "ORANGE",
    "PALETTE",
    "PAPER",
    "PINK",
    "RULE",
    "SKY",
    "WIDTH",
    "YELLOW",
    "as_html",
    "as_png",
    "canvas",
    "counted",
    "draw_route",
    "headline",
    "layout",
    "options",
    "path",
    "plain_axes",
    "routes",
    "save",
]

DPI = 200
"""Dots per inch of every figure: a full-width one is 1,800 pixels wide, twice what a README shows."""
WIDTH = 9.0
"""Full width in inches."""


@dataclass(frozen=True)
class _Route:
    """Labels of what is visited, the start first; return; how it ends; the objective's id or nothing."""

    labels: tuple[Hashable, ...]
    total: float
    end: str
    objective: str


def layout(task: Environment) -> Figure:
    """Draw an environment as its family does, e.g. a grid: start, exit, golds, blocks, hazards, lever and a legend.

    Args:
        task: the environment.

    Returns:
        A figure with one axes.
    """
    figure = canvas(4.6, 5.4)
    axes = figure.subplots()
    task.draw(axes)
    headline(axes, _caption(task)[0])
    return figure


def path(task: Environment, result: Any, *, objective: Objective | str | None = None) -> Figure:
    """Draw a route over its environment; on a grid, golds that it takes are drawn hollow.

    Args:
        task: the environment.
        result: a :class:`~lever_ray.query.result.CompositionResult`, a training run, a rollout, an optimum, or a
            Q-table float[S, A] whose greedy policy is followed.
        objective: what is rewarded; needed for a Q-table, otherwise the result's own.

    Returns:
        A figure with one axes; its title says objective, return and end.

    Raises:
        InvalidValue: the object holds no route, a Q-table comes without an objective, or the route is not of this
            environment.
        UnknownName: an objective term does not exist.
    """
    route = _route_of(task, result, objective)
    figure = canvas(4.6, 5.6)
    _draw_panel(figure.subplots(), task, route, route.objective or _caption(task)[0], separator=" · ")
    return figure


def routes(task: Environment, panels: Iterable[tuple[str, Any]], *, objective: Objective | str | None = None) -> Figure:
    """Draw several routes over the same environment, up to three side by side.

    Args:
        task: the environment.
        panels: pairs of a title and a result, see :func:`path`, e.g. ``[("composed", result), ("optimum", best)]``.
        objective: see :func:`path`; needed where a panel is a Q-table.

    Returns:
        A figure with one axes per route; each title says return and end.

    Raises:
        InvalidValue: there is no panel; or as :func:`path`.
        UnknownName: an objective term does not exist.
    """
    named = [(title, _route_of(task, result, objective)) for title, result in panels]
    if not named:
        raise InvalidValue("no routes to draw; give at least one pair of a title and a result")
    across = min(3, len(named))
    down = math.ceil(len(named) / across)
    width = max(4.6, WIDTH / 3 * across)
    figure = canvas(width, 0.5 + down * (0.5 + width / across))
    grid = figure.subplots(down, across, squeeze=False).flat
    for axes, (title, route) in zip(grid, named, strict=False):
        _draw_panel(axes, task, route, title, separator="\n")
    for axes in grid[len(named) :]:
        axes.set_axis_off()
    return figure


def draw_route(
    axes: Axes, task: Environment, result: Any, title: str, *, objective: Objective | str | None = None
) -> None:
    """Draw one route into narrow axes of a figure of your own; what came of it stands below the title, a line each.

    Args:
        axes: where to.
        task: the environment.
        result: what holds a route, see :func:`path`, also for the errors.
        title: above.
        objective: what is rewarded; needed for a Q-table.
    """
    route = _route_of(task, result, objective)
    task.draw(axes, route.labels)
    headline(axes, title, _outcome(task, route, separator="\n").replace(" · ", "\n"))


def options(task: Environment, result: Any) -> Figure:
    """Draw the route of operator ``options``, coloured by the policy that is followed, with what ends each part marked.

    Args:
        task: the environment.
        result: a :class:`~lever_ray.query.result.CompositionResult` of operator ``options``.

    Returns:
        A figure with two axes: the route over its environment, and who is followed by step.

    Raises:
        InvalidValue: the result says of no policy that it is followed, or its route is of another environment.
    """
    if not getattr(result, "options", ()):
        raise InvalidValue("the result follows no policies in turn; compose with operator='options', or use plot.path")
    route = _route_of(task, result, None)
    figure = canvas(4.8, 6.4)
    above, below = figure.subplots(2, height_ratios=[14, 1])
    _draw_panel(above, task, route, route.objective or _caption(task)[0], separator=" · ")
    followed = list(dict.fromkeys(part.policy_id for part in result.options))
    colours = {policy: PALETTE[place % len(PALETTE)] for place, policy in enumerate(followed)}
    ends = [part.begins for part in result.options[1:]] + [len(route.labels) - 1]
    for part, end in zip(result.options, ends, strict=True):
        _draw_part(above, route.labels[part.begins : end + 1], colours[part.policy_id], part.until)
        below.barh(0, end - part.begins, left=part.begins, color=colours[part.policy_id], edgecolor=PAPER)
    plain_axes(below, rules="x")
    below.set(yticks=[], xlabel="step", xlim=(0, len(route.labels) - 1))
    keys = [Line2D([], [], color=colour, linewidth=3, label=policy[:8]) for policy, colour in colours.items()]
    below.legend(handles=keys, loc="upper center", bbox_to_anchor=(0.5, -1.6), ncols=min(3, len(keys)), **LEGEND)
    return figure


def _draw_part(axes: Axes, labels: Sequence[Hashable], colour: str, until: str) -> None:
    """One part of a route, where its labels are cells; a ring where an event or a cut ends it."""
    if not all(isinstance(label, tuple) and len(label) == 2 for label in labels):
        return
    rows, columns = zip(*labels, strict=True)
    for drawn in axes.collections:
        if drawn.get_gid() == "route":
            drawn.set_alpha(0.15)
    axes.plot(columns, rows, color=colour, linewidth=3, solid_capstyle="round", zorder=4.5, gid="followed")
    if until in ("event", "cut", "cycle"):
        place = (columns[-1], rows[-1])
        axes.plot(*place, marker="o", markersize=8, markerfacecolor="none", color=INK, zorder=5.2, gid=until)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG; folders are made as needed, and equal figures give equal bytes.

    Args:
        figure: what to write.
        path: where to; must end in ``.png``.

    Raises:
        InvalidValue: the path ends in something else.
        OSError: the file cannot be written.
    """
    place = Path(path)
    if place.suffix.lower() != ".png":
        raise InvalidValue(f"figure path is {str(path)!r}; it must end in .png")
    place.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(place, dpi=DPI, format="png", metadata={"Software": None})
    return place


def as_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    written = io.BytesIO()
    figure.savefig(written, dpi=DPI, format="png", metadata={"Software": None})
    return written.getvalue()


def as_html(task: Environment, result: Any) -> str:
    """The picture of an answer's route as an HTML element, for notebooks.

    Args:
        task: the environment.
        result: the answer.
    """
    figure = options(task, result) if getattr(result, "options", ()) else path(task, result)
    coded = base64.b64encode(as_png(figure)).decode()
    return f'<img alt="route" style="max-width: 24em" src="data:image/png;base64,{coded}">'


# The style shared with the figures of experiments.


def canvas(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, whose parts are laid out without overlap."""
    engine = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06, compress=True)
    return Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout=engine)


def plain_axes(axes: Axes, *, rules: str = "y") -> None:
    """Make axes quiet: no box, small ticks, light rules along ``x``, ``y`` or ``both``."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.tick_params(which="both", labelcolor=MUTED, labelsize=8, length=2.5, color=RULE)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(fontsize=8.5, color=INK)
    axes.grid(axis=rules, color=RULE, linewidth=0.5)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def headline(axes: Axes, title: str, subtitle: str = "") -> None:
    """Put a bold title flush left above axes, and the smaller lines of a subtitle between them."""
    lines = subtitle.count("\n") + 1 if subtitle else 0
    axes.set_title(title, **TITLE, pad=5 + 11.5 * lines)
    place: dict[str, Any] = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 5), "textcoords": "offset points"}
    axes.annotate(subtitle, **place, fontsize=8, color=MUTED, va="bottom")


def counted(number: int, name: str) -> str:
    """A number with its noun, e.g. ``1 layout`` or ``20 layouts``."""
    return f"{number:,} {name}{'s' * (number != 1)}"


# Routes.


def _route_of(task: Environment, result: Any, objective: Objective | str | None) -> _Route:
    """Read a route from whatever holds one; see :func:`path` for the errors."""
    rewarded = objective if objective is not None else getattr(result, "objective", None)
    if not (hasattr(result, "path") and hasattr(result, "total")):
        result = _played(task, result, rewarded)
    labels, states = tuple(result.path), {task.label(state): state for state in range(task.observations)}
    starts = [task.label(start) for start in task.dynamics.starts.tolist()]
    if not labels or labels[0] not in starts or not states.keys() >= set(labels):
        told = " or ".join(map(str, starts[:3]))
        raise InvalidValue(f"route {labels[:3]}... is of another environment; this one starts at {told}")
    end = getattr(result, "end", None) or end_of(task, int(task.dynamics.flags[states[labels[-1]]]))
    name = "" if rewarded is None else Objective.of(rewarded).resolved(task.terms).id
    return _Route(labels, float(result.total), end, name)


def _played(task: Environment, result: Any, objective: Objective | str | None) -> Any:
    q = result if isinstance(result, np.ndarray) else getattr(result, "q", None)
    actions, routes = getattr(result, "actions", None), getattr(result, "routes", None) or None
    if q is None and actions is None and routes is None:
        accepted = "a composition result, rollout, optimum, training run or Q-table"
        raise InvalidValue(f"a {type(result).__name__} holds no route; give {accepted}")
    if objective is None:
        example = task.terms[0]
        raise InvalidValue(f"a Q-table does not say what is rewarded; give objective=, e.g. objective={example!r}")
    if q is not None:
        return rollout(task, objective=objective, q=q)
    if actions is not None:
        return rollout(task, objective=objective, actions=actions)
    return rollout(task, objective=objective, routes=routes)


def _caption(task: Environment, labels: tuple[Hashable, ...] = ()) -> tuple[str, ...]:
    """The name of an environment, and what its family says of a route."""
    told = task.hooks.caption
    return (task.family,) if told is None else told(task, labels)


def _draw_panel(axes: Axes, task: Environment, route: _Route, title: str, *, separator: str) -> None:
    task.draw(axes, route.labels)
    headline(axes, title, _outcome(task, route, separator=separator))


def _outcome(task: Environment, route: _Route, *, separator: str) -> str:
    """What came of a route: return and end, then what its family says of it."""
    earned = "return" if len(task.dynamics.starts) == 1 else "expected return"
    ended = "no end within" if route.end == TRUNCATED else f"{route.end} after"
    told = f"{earned} {route.total:.1f} · {ended} {counted(len(route.labels) - 1, 'step')}"
    return separator.join([told, *filter(None, [" · ".join(_caption(task, route.labels)[1:])])])
