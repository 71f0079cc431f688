"""A report in a terminal: its Markdown laid out, its tables as wide as there is room for."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from lever_ray.console import FirstFit, add_numbers, add_words, listed, make_console, plain_table


def show_report(text: str) -> None:
    """Print Markdown: laid out on a terminal, as it is on a pipe."""
    if sys.stdout.isatty():
        make_console().print(report_view(text))
    else:
        sys.stdout.write(text)


def report_view(text: str) -> Group:
    """Markdown as :func:`lever_ray.experiment.report.markdown_report` writes it, for a terminal.

    Args:
        text: headings, paragraphs, lists, and tables with a rule below their heads; blank lines between them.
    """
    return Group(*(part for block in text.strip().split("\n\n") for part in ("", _shown(block))))


def _shown(block: str) -> RenderableType:
    if block.startswith("### "):
        return Text(block.removeprefix("### "), style="bold")
    if not block.startswith("|"):
        return Markdown(block)
    head, rule, *rows = ([_plain(cell) for cell in _cells(line)] for line in block.splitlines())
    names = sum(not cell.endswith(":") for cell in rule)
    told = [(", ".join(_named(head[:names], row)), [*zip(head[names:], row[names:], strict=True)]) for row in rows]
    return FirstFit(_table(head, names, rows), _table(head, names, rows, stacked=True), listed("", told))


def _cells(line: str) -> list[str]:
    return re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))


def _plain(cell: str) -> str:
    return cell.replace("\\|", "|")


def _named(head: Sequence[str], row: Sequence[str]) -> list[str]:
    """What identifies a row; numbers with their column's name."""
    return [f"{name} {cell}" if name == "gamma" else cell for name, cell in zip(head, row, strict=False)]


def _table(head: Sequence[str], names: int, rows: Sequence[Sequence[str]], *, stacked: bool = False) -> Table:
    """A table of its first columns and the numbers behind them.

    Args:
        head: titles of the columns.
        names: how many columns identify a row.
        rows: cells.
        stacked: break titles over lines, and put intervals below their values.
    """
    table = plain_table()
    add_words(table, *head[:names], whole=True)
    add_numbers(table, *(name.replace(" ", "\n") if stacked else name for name in head[names:]))
    for row in rows:
        numbers = (cell.replace(" [", "\n[", 1) if stacked else cell for cell in row[names:])
        table.add_row(*map(Text, row[:names]), *map(Text, numbers))
    return table
