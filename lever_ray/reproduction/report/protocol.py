"""How a study was run and tested: runs, baselines fixed beforehand, contrasts with Holm's correction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.report import contrast_table
from lever_ray.experiment.statistics import Row, layouts_of
from lever_ray.order import in_natural_order
from lever_ray.plot import counted
from lever_ray.reproduction.report.data import ReportSettings, Sample, failed, grouped, in_operator_order
from lever_ray.reproduction.report.words import listed, markdown
from lever_ray.statistics.intervals import FEWEST

BASELINES = (
    "Baselines, fixed in the configuration before any return was seen: training from scratch at the same discount and "
    "at each layout's best one, final and best snapshot; the best single policy of the library, chosen by an oracle; "
    "tables of random numbers under the same search; planning on transitions of random walks; random actions (quality "
    "0); "
    "the best known return (quality 1, exact on grid8). *The best control* of a layout is the better of scratch at its "
    "best discount, final or best snapshot, and the best single policy."
)
_STATISTICS = (
    "The unit is the layout. Rows of one layout (setups, modes, seeds) are averaged first; layouts are resampled "
    "jointly, so that all differences are paired. Brackets are 95% bootstrap intervals, studentised, shown from "
    f"{FEWEST} layouts on; where all layouts agree on a share, its interval goes as far as layouts unlike them may "
    "have been missed. A sentence says *above* or *below* only where the interval leaves out 0. Findings below figures "
    "are not corrected for their number; the contrasts are. Where a sentence names the best of several ways, it was "
    "chosen after the fact, which flatters it."
)


def introduction(rows: Sequence[Row], settings: ReportSettings, left_out: Sequence[str]) -> str:
    """Markdown: what was run, what failed, what this page has nothing about."""
    kept = [row for row in rows if not failed(row)]
    size = f" (size {settings.size})" if settings.size else ""
    families = in_natural_order({row["family"] for row in kept})
    layouts = len(layouts_of(kept))
    parts = [f"{len(kept):,} answers on {layouts} layouts of {listed(families)}{size}." if kept else ""]
    lost = len(rows) - len(kept)
    parts.append(f"{counted(lost, 'cell')} failed; errors are listed at the end." if lost else "")
    parts.append(f"Left out, since there are no rows: {listed(left_out)}." if left_out else "")
    return " ".join(filter(None, parts))


def runs_table(samples: Sequence[Sample], settings: ReportSettings) -> str:
    """A line for each family and budget: how many layouts, seeds, discounts, problems, ways and answers."""
    lines = []
    for sample in samples:
        for (budget,), rows in grouped(sample.rows, "budget").items():
            trivial = len(layouts_of(row for row in rows if row["trivial_layout"]))
            gammas = [gamma_told(gamma) for gamma in sorted({row["gamma"] for row in rows})]
            ways = len(grouped(rows, "operator", "strategy", "ranker", "gamma"))
            held = (len(layouts_of(rows)), trivial, settings.training_seeds, ", ".join(gammas))
            lines.append((sample.family, budget, *held, len(grouped(rows, "mode", "setup")), ways, f"{len(rows):,}"))
    header = (
        "family",
        "budget",
        "layouts",
        "of them trivial",
        "training seeds",
        "gammas",
        "problems",
        "ways",
        "answers",
    )
    return markdown(header, lines, words=2)


def statistics_words(samples: Sequence[Sample]) -> str:
    """What is compared with what, and how."""
    operators = in_operator_order(row["operator"] for sample in samples for row in sample.rows)
    return "\n\n".join([f"Operators: {listed(operators)}.", BASELINES, _STATISTICS])


def contrasts(samples: Sequence[Sample], settings: ReportSettings) -> str:
    """The contrasts that the configuration names, tested on each family and budget; each is a family of Holm's."""
    parts: list[str] = []
    for sample in samples:
        for (budget,), rows in grouped(sample.rows, "budget").items():
            part = Sample.of(rows, bootstrap=settings.bootstrap)
            told = contrast_table(rows, settings.contrasts, part.layouts, part.draws)
            _, note, table = told.split("\n\n")
            parts += [
                *([] if parts else [note]),
                f"**{part.family}, {budget}**: {counted(len(part.layouts), 'layout')}",
            ]
            parts.append(table)
    return "\n\n".join(parts)


def failures(rows: Sequence[Row]) -> str:
    """How many cells failed with which error, as Markdown."""
    counts = Counter(str(row["error"]) for row in rows if failed(row))
    return markdown(("error", "cells"), counts.most_common())
