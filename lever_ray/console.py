"""What a person reads: tables."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lever_ray.glossary import EXPERIMENT, Terms, legend

if TYPE_CHECKING:
    from lever_ray.query.result import CompositionResult
    from lever_ray.query.rivals import Rivals
    from lever_ray.tasks.protocol import Environment
    from lever_ray.tasks.rollout import Rollout

Row = dict[str, Any]


class _Terminal(Console):
    """A console that lays out what its stream can take: escapes stand for letters that the encoding lacks."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of a string, and of a table's cell."""
        return super().render_str(_encodable(text, self.encoding), **options)

    def on_broken_pipe(self) -> None:
        """Leave the error that is being handled to the command's end, which knows the exit code."""
        raise


def _encodable(text: str, encoding: str) -> str:
    return text.encode(encoding, "backslashreplace").decode(encoding)


def make_console(*, stderr: bool = False) -> Console:
    """Standard output or error; 160 columns where it is no terminal, so that tables in logs are not cut."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 160
    console = _Terminal(width=width, highlight=False, emoji=False, stderr=stderr)
    if width is None and console.is_dumb_terminal:  # which Rich takes for 80 columns wide
        console.size = ConsoleDimensions(*shutil.get_terminal_size())
    return console


def say(console: Console, line: str, *, style: str = "") -> None:
    """Print a line of plain text: broken on a terminal that is too narrow, but for links; whole on a pipe."""
    console.print(escape(line), style=style, soft_wrap=not console.is_terminal or "http" in line)


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
_LONGEST_WORD = 12
"""Columns of text are at least as wide, where they have words of that length; longer ones are broken."""


class FittingTable(Table):
    """A table; where the width is too short for it, a paragraph for each of its rows."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What is shown."""
        if self._least(console, options) <= options.max_width:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._paragraphs(console)

    def _least(self, console: Console, options: ConsoleOptions) -> int:
        """The width at which numbers and names are whole, and no word of a text is broken that need not be."""
        unbounded, least = options.update(width=_UNBOUNDED), len(self.columns) + 1 if self.box else 0
        for column in self.columns:
            head, *cells = (Measurement.get(console, unbounded, each) for each in (column.header, *column.cells))
            words = max(
                (cell.maximum if column.no_wrap else min(cell.minimum, _LONGEST_WORD) for cell in cells), default=0
            )
            least += max(words, head.minimum) + self.padding[1] + self.padding[3]
        return least

    def _paragraphs(self, console: Console) -> Iterator[RenderableType]:
        if self.title:
            yield Text.assemble((_flat(console, self.title), "table.title"))
        names = [_flat(console, column.header) for column in self.columns]
        for row, cells in zip(self.rows, zip(*(column.cells for column in self.columns), strict=True), strict=True):
            first, *others = (
                f"{name} {told}".strip() if told or not place else ""
                for place, (name, told) in enumerate(zip(names, (_flat(console, cell) for cell in cells), strict=True))
            )
            yield Text(first, style=Style.combine([console.get_style(row.style or ""), Style(bold=True)]))
            yield Padding(Text("; ".join(filter(None, others)), style=row.style or ""), (0, 0, 0, 2))
        if self.caption:
            yield Text.assemble((_flat(console, self.caption), "table.caption"))


def _flat(console: Console, cell: RenderableType) -> str:
    """The text of a cell or title, on one line."""
    text = console.render_str(cell) if isinstance(cell, str) else cell
    return text.plain.replace("-\n", "-").replace("\n", " ").strip() if isinstance(text, Text) else ""


class Folding:
    """A table that breaks its words over lines; it fits from some width on.

    Args:
        table: it.
        least: columns of the terminal that it needs.
    """

    def __init__(self, table: RenderableType, *, least: int) -> None:
        self._table, self._least = table, least

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table."""
        yield self._table

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """What it needs."""
        return Measurement(self._least, self._least)


def plain_table(title: str = "", caption: str = "") -> Table:
    """A table as all commands print it."""
    return FittingTable(
        title=title or None,
        caption=caption or None,
        title_justify="left",
        caption_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def listed(title: str, rows: Iterable[tuple[str, Iterable[tuple[str, str]]]], caption: str = "") -> Group:
    """What a table says where no table fits: the head of each row, and below it every cell with its column's name.

    Args:
        title: above it.
        rows: head and cells of each; cells of no text are left out.
        caption: below it.
    """
    parts: list[RenderableType] = [Text(title, style="italic"), ""] if title else []
    for head, cells in rows:
        told = "; ".join(f"{name} {cell}".strip() for name, cell in cells if cell)
        parts += [Text(head, style="bold"), Padding(Text(told), (0, 0, 0, 2))]
    if caption:
        parts += ["", Text(caption, style="dim")]
    return Group(*parts)


def explained(terms: Terms, *texts: str) -> Group:
    """What words mean: a line for each of the terms that appear in some texts."""
    return Group(*(Text(f"{term}: {meaning}", style="dim") for term, meaning in legend(terms, texts)))


class Explained:
    """Something, and below it what the words mean that appear in it as it is shown.

    Args:
        shown: e.g. a table.
        terms: those that may be explained.
    """

    def __init__(self, shown: RenderableType, terms: Terms) -> None:
        self._shown, self._terms = shown, terms

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What is shown."""
        segments = list(console.render(self._shown, options))
        yield from segments
        yield ""
        yield explained(self._terms, "".join(segment.text for segment in segments))


def add_numbers(table: Table, *names: str, style: str = "") -> None:
    """Columns that keep their width for as long as others can give way."""
    for name in names:
        table.add_column(name, justify="right", no_wrap=True, style=style)


def add_words(table: Table, *names: str | Text, whole: bool = False) -> None:
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
            f"{_searched(result)}, operator {result.operator}, support {result.support} "
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
    return Group(table, "", Drawing(task.text(route.path), Text(_steps_told(task, route))))


class Drawing:
    """A picture in text, its cells side by side without blanks where they are wider than the terminal.

    Args:
        text: a line per row of cells, and lines below them that may be broken.
        otherwise: what is shown where neither fits, or where there is no picture.
    """

    def __init__(self, text: str, otherwise: RenderableType = "") -> None:
        self._text, self._otherwise = text, otherwise

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What is shown."""
        rows, below = [], self._text.splitlines()
        while below and all(len(cell) == 1 for cell in below[0].split()):
            rows.append(below.pop(0))
        for picture in (rows, [row[::2] for row in rows]):
            if picture and max(map(cell_len, picture)) <= options.max_width:
                yield Text("\n".join([*picture, *below]))
                return
        fits = not rows and below and all(cell_len(line) <= options.max_width for line in below[:-1])
        yield Text(self._text) if fits else self._otherwise


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
        return f"{result.strategy}, {result.segments} segments simulated"
    if result.strategy == UNION:
        return "every recorded transition"
    return f"{result.strategy}, {result.evaluated} candidate{'' if result.evaluated == 1 else 's'}"


def _options_told(result: CompositionResult, *, most: int = 12) -> str:
    """Who is followed from which step on, and until what."""
    told = [f"{part.policy_id[:8]} from step {part.begins} ({part.until})" for part in result.options[:most]]
    left = len(result.options) - most
    return ", ".join([*told, *([f"{left} more"] if left > 0 else [])])


def finding_line(finding: Any) -> Text:
    """One line of what ``lever-ray doctor`` found."""
    state, style = ("ok", "green") if finding.sound else ("wrong", "red")
    return Text.assemble(f"{finding.part:<9} ", (f"{state:<6}", style), finding.text)


def importance_table(importances: Mapping[str, Mapping[str, float]]) -> Explained:
    """How much each parameter decides, by target; shares of 1."""
    table = plain_table("Parameter importance (PED-ANOVA)")
    add_words(table, "parameter")
    add_numbers(table, *importances)
    names = {name for shares in importances.values() for name in shares}
    for name in sorted(names, key=lambda name: -sum(shares.get(name, 0.0) for shares in importances.values())):
        table.add_row(name, *(f"{shares.get(name, 0.0):.0%}" for shares in importances.values()))
    return Explained(table, EXPERIMENT)
