"""What a person reads: tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from lever_ray.query.result import CompositionResult
    from lever_ray.query.rivals import Rivals
    from lever_ray.tasks.protocol import Environment
    from lever_ray.tasks.rollout import Rollout

Row = dict[str, Any]


def make_console(*, stderr: bool = False) -> Console:
    """Standard output or error; 160 columns where it is no terminal, so that tables in logs are not cut."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(width=None if stream.isatty() else 160, highlight=False, stderr=stderr)


class FirstFit:
    """Shows the first of some renderables that fits the width, else the last.

    Args:
        choices: widest first.
    """

    def __init__(self, *choices: RenderableType) -> None:
        self._choices = choices

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What is shown."""
        unbounded = options.update(width=_UNBOUNDED)
        for choice in self._choices[:-1]:
            if Measurement.get(console, unbounded, choice).maximum <= options.max_width:
                yield choice
                return
        yield self._choices[-1]


_UNBOUNDED = 10_000


def plain_table(title: str = "", caption: str = "") -> Table:
    """A table as all commands print it."""
    return Table(
        title=title or None,
        caption=caption or None,
        title_justify="left",
        caption_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def add_numbers(table: Table, *names: str, style: str = "") -> None:
    """Columns that keep their width for as long as others can give way."""
    for name in names:
        table.add_column(name, justify="right", no_wrap=True, style=style)


def add_words(table: Table, *names: str, whole: bool = False) -> None:
    """Columns of text: whole, or broken over lines where the width is short."""
    for name in names:
        table.add_column(name, no_wrap=whole, overflow="ellipsis" if whole else "fold")


SOURCE_WORDS: Mapping[str, str] = {
    "visits": "from visits",
    "transitions": "from given transitions",
    "unknown": "unknown",
}
"""What tells which actions policies took in training."""


def result_table(task: Environment, result: CompositionResult, beside: Rivals) -> Group:
    """A composed policy: what it earns, what it stands beside, what it is made of, and its route."""
    from lever_ray.query.route_words import told_on_the_way

    table = Table(show_header=False, box=None)
    add_words(table, "", whole=True)
    add_words(table, "")
    members = _members(result)
    stages = ", ".join(f"{stage} {seconds * 1e3:.2f}" for stage, seconds in result.timings.items())
    route, better = beside.route, beside.told_better()
    for name, value in (
        ("objective", result.objective.id),
        ("route", told_on_the_way(task, route)),
        ("return", f"{route.total:.2f}; {result.predicted_return:.2f} predicted by {result.ranker}"),
        ("beside it", beside.told()),
        *([("better", better)] if better else []),
        ("members", members),
        (
            "search",
            f"{result.strategy}, {_searched(result)}, operator {result.operator}, support {result.support} "
            f"({SOURCE_WORDS[result.support_source]})",
        ),
        *([] if result.retrieval == "objective" else [("retrieved by", result.retrieval)]),
        *([("options", _options_told(result))] if result.options else []),
        ("regime, tier", f"{result.regime}, {result.tier}"),
        *([("chosen because", result.why)] if result.why else []),
        ("coverage", result.coverage_told),
        ("milliseconds", stages),
        *(("warning", escape(warning)) for warning in result.warnings),
    ):
        table.add_row(f"[bold]{name}[/bold]", value)
    return Group(table, "", Text(task.text(route.path) or _steps_told(task, route)))


def _steps_told(task: Environment, route: Rollout, *, most: int = 20) -> str:
    """The route as labels with the actions between them, cut short where it is long."""
    shown = zip(route.actions[:most].tolist(), route.path[1:], strict=False)
    told = [str(route.path[0]), *(f"{task.action_label(action)} -> {label}" for action, label in shown)]
    left = [f"... {route.steps - most} more steps"] if route.steps > most else []
    return ", ".join([*told, *left])


def _members(result: CompositionResult) -> str:
    from lever_ray.query.result import UNION

    if result.strategy == UNION:
        return f"recorded transitions of {len(result.policy_ids)} policies for {', '.join(result.groups)}"
    if result.segments is not None:
        return f"{len(result.policy_ids)} policies for {', '.join(result.groups)}"
    pairs = zip(result.groups, result.policy_ids, strict=True)
    return ", ".join(f"{group} {identity}" for group, identity in pairs)


def _searched(result: CompositionResult) -> str:
    from lever_ray.query.result import UNION

    if result.segments is not None:
        return f"{result.segments} segments simulated"
    if result.strategy == UNION:
        return "of every recorded transition"
    return f"{result.evaluated} candidate{'' if result.evaluated == 1 else 's'}"


def _options_told(result: CompositionResult, *, most: int = 12) -> str:
    """Who is followed from which step on, and until what."""
    told = [f"{part.policy_id[:8]} from step {part.begins} ({part.until})" for part in result.options[:most]]
    left = len(result.options) - most
    return ", ".join([*told, *([f"{left} more"] if left > 0 else [])])


def finding_line(finding: Any) -> Text:
    """One line of what ``lever-ray doctor`` found."""
    state, style = ("ok", "green") if finding.sound else ("wrong", "red")
    return Text.assemble(f"{finding.part:<9} ", (f"{state:<6}", style), finding.text)


def importance_table(importances: Mapping[str, Mapping[str, float]]) -> Table:
    """How much each parameter decides, by target; shares of 1."""
    table = plain_table("Parameter importance (PED-ANOVA)")
    add_words(table, "parameter")
    add_numbers(table, *importances)
    names = {name for shares in importances.values() for name in shares}
    for name in sorted(names, key=lambda name: -sum(shares.get(name, 0.0) for shares in importances.values())):
        table.add_row(name, *(f"{shares.get(name, 0.0):.0%}" for shares in importances.values()))
    return table
