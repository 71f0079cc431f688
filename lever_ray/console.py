"""What a person reads: progress bars and tables; plain lines where the output is a pipe."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lever_ray.composition.operators import OPERATORS
from lever_ray.gridworld.layout import Layout
from lever_ray.gridworld.render import LEGEND, as_text
from lever_ray.gridworld.rollout import rollout
from lever_ray.query.composer import UNION
from lever_ray.query.result import CompositionResult

Row = dict[str, Any]


def make_console() -> Console:
    """Standard output; 160 columns where it is no terminal, so that tables in logs are not cut."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


class Advance(Protocol):
    """Says that items are finished: the name of the last, or nothing, and how many."""

    def __call__(self, item: str, count: int = 1) -> None:
        """Show it."""
        ...


@contextmanager
def progress(console: Console, title: str, total: int) -> Iterator[Advance]:
    """A progress bar; on a pipe a plain line every tenth of the way. Call what is yielded as items finish."""
    if total == 0:
        yield lambda _, count=1: None  # noqa: ARG005 - nothing to show
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=total)
            yield lambda _, count=1: bar.advance(task, count)
    else:
        yield _plain_progress(console, title, total)


def _plain_progress(console: Console, title: str, total: int) -> Advance:
    done = 0

    def advance(item: str, count: int = 1) -> None:
        nonlocal done
        before, done = done, done + count
        if done == total or done * 10 // total > before * 10 // total:
            console.print(f"{title}: {done}/{total}" + (f" ({item})" if item else ""))

    return advance


def summary_table(summary: Sequence[Row]) -> Table:
    """Quality, controls and speed-up, one line per gamma, setup, operator and strategy; rankers side by side."""
    rankers = list(dict.fromkeys(line["ranker"] for line in summary))
    layouts = max(line["layouts"] for line in summary)
    table = Table(
        title=f"Mean return over {layouts} layouts",
        caption=_CAPTION,
        caption_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("gamma", "mode", "objective", "strategy"):
        table.add_column(name, no_wrap=True)
    for ranker in rankers:
        table.add_column(_stacked("composed", ranker), justify="right", style="bold")
    for name in (
        "scratch\nsame gamma",
        "scratch\nbest gamma",
        "best single\npolicy",
        "random Q\nsearched",
        "optimum\n",
    ):
        table.add_column(name, justify="right")
    for ranker in rankers:
        table.add_column(_stacked("speed-up", ranker), justify="right")
    table.add_column("evaluated", justify="right")
    previous = None
    for lines in _by_strategy(summary):
        first = next(iter(lines.values()))
        place = (first["gamma"], first["mode"], first["setup"])
        if previous not in (None, place):
            table.add_section()
        shown = ("", "", "") if place == previous else (f"{first['gamma']:g}", first["mode"], first["setup"])
        table.add_row(*shown, _way(first), *_numbers(lines, rankers))
        previous = place
    return table


def _way(line: Row) -> str:
    """Strategy, with the operator where that is not ``sum``."""
    if line["operator"] == "sum":
        return str(line["strategy"])
    return f"{line['operator']} {line['strategy']}" if line["strategy"] != UNION else f"{line['operator']}"


def _stacked(first: str, second: str) -> str:
    """A column's title on narrow lines."""
    return f"{first}\n" + second.replace("-", "-\n")


_CAPTION = (
    "Scratch is trained on the composite objective, best gamma chosen for each layout; best single policy by oracle;\n"
    "random Q: the same search over random tables (better ranker). Speed-up over scratch at the same gamma; below 1x\n"
    "the search takes longer than training. Composition itself makes no environment step."
)


def _by_strategy(summary: Sequence[Row]) -> list[dict[str, Row]]:
    grouped: dict[tuple[Any, ...], dict[str, Row]] = {}
    order = {name: place for place, name in enumerate(("targeted", "hybrid", "budgeted", "exhaustive"))}
    modes = {"trivial": 0, "double": 1, "triple": 2}
    operators = list(OPERATORS)
    for line in summary:
        key = (
            line["gamma"],
            modes.get(line["mode"], 9),
            len(line["setup"]),
            operators.index(line["operator"]),
            order.get(line["strategy"].split("-")[0], 9),
        )
        grouped.setdefault((*key, line["setup"], line["strategy"]), {})[line["ranker"]] = line
    return [grouped[key] for key in sorted(grouped)]


def _numbers(lines: dict[str, Row], rankers: Sequence[str]) -> list[str]:
    first = next(iter(lines.values()))
    composed = [f"{lines[ranker]['return/composed']:.1f}" if ranker in lines else "" for ranker in rankers]
    controls = [first[f"return/{name}"] for name in ("scratch", "scratch_best_gamma", "best_single_oracle")]
    controls += [max(line["return/random_q"] for line in lines.values()), first["return/optimum"]]
    speed = [f"{lines[ranker]['speedup/seconds']:.2g}x" if ranker in lines else "" for ranker in rankers]
    shown = ("" if math.isnan(value) else f"{value:.1f}" for value in controls)
    return [*composed, *shown, *speed, f"{first['candidates/evaluated']:.0f}"]


SOURCE_WORDS: Mapping[str, str] = {
    "visits": "from visits",
    "transitions": "from given transitions",
    "unknown": "unknown",
}
"""What tells which actions policies took in training."""


def result_table(layout: Layout, result: CompositionResult) -> Group:
    """A composed policy: what it is made of, what is predicted, and its route."""
    table = Table(show_header=False, box=None)
    members = _members(result)
    stages = ", ".join(f"{stage} {seconds * 1e3:.2f}" for stage, seconds in result.timings.items())
    route = rollout(layout, objective=result.objective, q=result.q, actions=result.actions)
    for name, value in (
        ("objective", result.objective.id),
        ("members", members),
        (
            "predicted return",
            f"{result.predicted_return:.2f} by {result.ranker}; measured afterwards {route.total:.2f} "
            f"in {route.steps} steps, end: {route.end}",
        ),
        (
            "search",
            f"{result.strategy}, {result.evaluated} candidates, operator {result.operator}, support {result.support} "
            f"({SOURCE_WORDS[result.support_source]})",
        ),
        *([] if result.retrieval == "objective" else [("retrieved by", result.retrieval)]),
        ("regime, tier", f"{result.regime}, {result.tier}"),
        ("coverage", result.coverage_told),
        ("milliseconds", stages),
        *(("warning", escape(warning)) for warning in result.warnings),
    ):
        table.add_row(f"[bold]{name}[/bold]", value)
    taken = [cell for cell in layout.golds if cell in route.path]
    return Group(table, "", as_text(layout, path=route.path, taken=taken), LEGEND)


def _members(result: CompositionResult) -> str:
    if result.strategy == UNION:
        return f"recorded transitions of {len(result.policy_ids)} policies for {', '.join(result.groups)}"
    pairs = zip(result.groups, result.policy_ids, strict=True)
    return ", ".join(f"{group} {identity}" for group, identity in pairs)


def findings_table(findings: Sequence[Any]) -> Table:
    """What ``lever-ray doctor`` found."""
    table = Table(title="lever-ray doctor", header_style="bold")
    for name in ("part", "", "finding"):
        table.add_column(name)
    for finding in findings:
        table.add_row(finding.part, "[green]ok[/green]" if finding.sound else "[red]wrong[/red]", finding.text)
    return table


def front_table(front: Sequence[Row], *, recommended: int | None = None) -> Table:
    """The Pareto front of a tuning study, cheapest first: as tuned, and on environments that tuning never saw."""
    cost = front[0]["minimised"] if front else "candidates"
    here = max((row["environments"] for row in front), default=0)
    there = max((row["held_out/environments"] for row in front), default=0)
    table = Table(
        title=f"Pareto front: normalised quality against {cost} per query",
        caption=_FRONT_CAPTION.format(here=here, there=there),
        caption_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("strategy, operator, ranker", no_wrap=True)
    table.add_column("tier")
    for name in ("candidates", "ms per\nquery", "quality\ntuned", "quality\nheld out", "95% interval"):
        table.add_column(name, justify="right")
    table.add_column("gain over\nthe one above", justify="right")
    table.add_column("held out\nsays")
    table.add_column("trial", justify="right")
    for row in front:
        table.add_row(*_front_cells(row), style="bold" if row["number"] == recommended else None)
    return table


_FRONT_CAPTION = (
    "Tuned on {here} environments, measured again on {there} that tuning never saw (interquartile mean, bootstrap "
    "interval).\nOpen or refuted: the gain over the next cheaper one may be, or is, luck. Bold: recommended."
)


def _front_cells(row: Row) -> list[str]:
    low, high = row["held_out/quality/ci_low"], row["held_out/quality/ci_high"]
    gain = row["held_out/gain"]
    return [
        row["label"],
        row["tier"],
        f"{row['candidates']:.4g}",
        f"{row['held_out/seconds'] * 1e3:.3g}",
        f"{row['quality']:.3f}",
        f"{row['held_out/quality']:.3f}",
        "" if math.isnan(low) else f"{low:.3f} to {high:.3f}",
        "" if math.isnan(gain) else f"{gain:+.3f}",
        row["verdict"],
        str(row["number"]),
    ]


def importance_table(importances: Mapping[str, Mapping[str, float]]) -> Table:
    """How much each parameter decides, by target; shares of 1."""
    table = Table(title="Parameter importance (PED-ANOVA)", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("parameter")
    for target in importances:
        table.add_column(target, justify="right")
    names = {name for shares in importances.values() for name in shares}
    for name in sorted(names, key=lambda name: -sum(shares.get(name, 0.0) for shares in importances.values())):
        table.add_row(name, *(f"{shares.get(name, 0.0):.0%}" for shares in importances.values()))
    return table
