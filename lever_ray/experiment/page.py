"""A report with its figures as one page: HTML that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from string import Template

from markdown_it import MarkdownIt

from lever_ray.experiment.figures import Drawn

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>$title</title>
<style>
:root { color-scheme: light; --ink: #1f2933; --muted: #52606d; --rule: #d5dae0; --band: #f4f6f8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1rem 3rem; max-width: 72rem; background: #fff; color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 2.5rem 0 0.5rem; padding-top: 1rem;
  border-top: 1px solid var(--rule); }
p, figure, ul { margin: 0.5rem 0; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; list-style: none; padding: 0; }
nav a { color: #0b5cad; }
.scroll { overflow-x: auto; margin: 0.75rem 0; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.75rem 0.3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
th { vertical-align: bottom; min-width: 4.5rem; }
td { white-space: nowrap; }
tbody tr:nth-child(even) { background: var(--band); }
td small { display: block; color: var(--muted); font-size: 0.75rem; }
main ul { padding-left: 1.1rem; columns: 22rem; column-gap: 2.5rem; font-size: 0.875rem; color: var(--muted); }
figure { margin: 1.5rem 0; }
figcaption { font-size: 0.875rem; color: var(--muted); }
figcaption b { color: var(--ink); }
figure img { display: block; height: auto; }
details { margin: 0.5rem 0 1rem; font-size: 0.875rem; }
summary { cursor: pointer; color: #0b5cad; }
.pair { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; }
.pair figure { flex: 0 1 29rem; min-width: 0; max-width: 100%; }
@media (max-width: 40rem) {
  body { padding: 0.75rem 0.75rem 2rem; }
  table { font-size: 0.8125rem; }
  th, td { padding-right: 0.5rem; }
  th { min-width: 0; }
  td:not([style]) { white-space: normal; }
}
@page { margin: 12mm; }
@media print {
  html { font-size: 9pt; }
  body { max-width: none; padding: 0; }
  nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 6.5pt; width: 100%; }
  th, td { padding-right: 0.3rem; }
  th { min-width: 0; }
  td { white-space: normal; }
  td small { font-size: 6pt; }
  figure img { min-width: 0 !important; width: auto !important; max-width: 100%; max-height: 120mm; }
  h2, figcaption { break-after: avoid; }
  details:not([open]) { display: none; }
  tr, figure { break-inside: avoid; }
}
</style>
</head>
<body>
<header>
<h1>$title</h1>
$introduction
<nav><ul>
$contents
</ul></nav>
</header>
<main>
$sections
</main>
</body>
</html>
""")
_FIGURES = "Figures"


def html_page(title: str, markdown: str, figures: Iterable[Drawn]) -> str:
    """One page with a report's tables and figures; it refers to nothing outside of itself.

    Args:
        title: of the page.
        markdown: the report, see :func:`lever_ray.experiment.report.markdown_report`.
        figures: see :func:`lever_ray.experiment.figures.all_figures`; they stand behind the first table.
    """
    introduction, *parts = re.split(r"^### ", markdown, flags=re.MULTILINE)
    sections = [(part.partition("\n")[0], rendered(part.partition("\n")[2])) for part in parts]
    sections.insert(1, (_FIGURES, "\n".join(map(figure_element, figures))))
    return page_of(title, rendered(introduction), sections)


def page_of(title: str, introduction: str, sections: Sequence[tuple[str, str]]) -> str:
    """A page with a list of its sections on top.

    Args:
        title: plain text.
        introduction: HTML below it.
        sections: names in plain text, no two alike, each with its HTML.
    """
    told = (f'<h2 id="{_anchor(name)}">{html.escape(name)}</h2>\n{body}' for name, body in sections)
    return _PAGE.substitute(
        title=html.escape(title),
        introduction=introduction,
        contents="\n".join(f'<li><a href="#{_anchor(name)}">{html.escape(name)}</a></li>' for name, _ in sections),
        sections="\n".join(f"<section>\n{each}\n</section>" for each in told),
    )


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def rendered(markdown: str) -> str:
    """Markdown as HTML: tables scroll within themselves, and intervals stand below their values."""
    page = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    page = page.replace("<table>", '<div class="scroll" tabindex="0">\n<table>').replace("</table>", "</table>\n</div>")
    return re.sub(r"(<td[^>]*>[^<\[]+) (\[[^\]<]+\])</td>", r"\1 <small>\2</small></td>", page)


def figure_element(drawn: Drawn) -> str:
    """A figure with its words as HTML; where it does not fit at a size that can be read, it scrolls."""
    title, told = html.escape(drawn.title), html.escape(drawn.told)
    inches = drawn.figure.get_figwidth()
    size = f"width: min(100%, {inches * 1.3:.2f}in); min-width: {inches * 0.7:.2f}in"
    return (
        f'<figure id="{_anchor(drawn.name)}">\n<div class="scroll" tabindex="0"><img alt="{title}" style="{size}" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(drawn.svg).decode()}"></div>\n'
        f"<figcaption><b>{title}.</b> {told}</figcaption>\n</figure>"
    )
