"""The page of a reproduction, and its figures as files."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from lever_ray import plot
from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.page import figure_element, page_of, rendered
from lever_ray.reproduction.report import protocol
from lever_ray.reproduction.report.sections import Evidence, Section, left_out, sections


def page(evidence: Evidence, parts: Sequence[Section]) -> str:
    """The whole report as one HTML page that refers to nothing outside of itself.

    Args:
        evidence: all tables.
        parts: its sections, drawn, see :func:`~lever_ray.reproduction.report.sections.sections`.
    """
    told = rendered(protocol.introduction(evidence.main, evidence.settings, left_out(evidence)))
    return page_of(evidence.settings.title, told, [(part.question, _section(part)) for part in parts])


def _section(part: Section) -> str:
    figures = "\n".join(map(figure_element, part.figures))
    beside = f'<div class="pair">\n{figures}\n</div>' if figures else ""
    folded = "\n".join(
        f"<details>\n<summary>{html.escape(title)}</summary>\n{rendered(table)}\n</details>"
        for title, table in part.tables
    )
    return "\n".join(filter(None, [rendered(part.lead) if part.lead else "", beside, folded]))


def write_report(evidence: Evidence, folder: Path) -> list[Path]:
    """Draw everything once, and write ``report.html`` and the figures beside it; the files.

    Args:
        evidence: all tables.
        folder: made as needed.

    Raises:
        OSError: a file cannot be written.
        UnknownName: a contrast names a column that the rows lack.
    """
    parts = sections(evidence)
    files = write_figures([drawn for part in parts for drawn in part.figures], folder)
    place = folder / "report.html"
    place.write_text(page(evidence, parts), encoding="utf-8")
    return [place, *files]


def write_figures(drawn: Sequence[Drawn], folder: Path) -> list[Path]:
    """Write figures as PNG and SVG; the files, two for each.

    Args:
        drawn: with names that no other has.
        folder: made as needed.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for each in drawn:
        files.append(plot.save(each.figure, folder / f"{each.name}.png"))
        files.append(folder / f"{each.name}.svg")
        files[-1].write_bytes(each.svg)
    return files
