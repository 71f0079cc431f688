"""The sections of a reproduction's page: a question, figures with findings, tables to unfold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.statistics import Row
from lever_ray.reproduction.report import (
    figures_chain,
    figures_cost,
    figures_coverage,
    figures_learning,
    figures_prediction,
    figures_quality,
    figures_routes,
    protocol,
    published,
    tables,
)
from lever_ray.reproduction.report.data import ReportSettings, Sample, of_reference_setting, samples, succeeded
from lever_ray.reproduction.report.figures_routes import Routes
from lever_ray.reproduction.report.words import markdown

Fit = Callable[[Sequence[Row]], list[Row]]


@dataclass(frozen=True)
class Section:
    """One question of a page.

    Attributes:
        question: its heading.
        lead: Markdown below it.
        figures: with their findings.
        tables: title and Markdown of the numbers, folded.
    """

    question: str
    lead: str = ""
    figures: Sequence[Drawn] = ()
    tables: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a page is made of; what is empty has no section.

    Attributes:
        main: rows of the main study.
        coverage: rows of the study of coverage.
        chain: rows of the study of chains.
        curves: rows of :func:`~lever_ray.reproduction.report.learning.learning_curve_rows`.
        settings: what was fixed beforehand.
        thresholds, predictors: what fits the rows of the study of coverage, a table each; left out if None.
        routes: answers over their layouts.
    """

    main: Sequence[Row]
    coverage: Sequence[Row]
    chain: Sequence[Row]
    curves: Sequence[Row]
    settings: ReportSettings
    thresholds: Fit | None = None
    predictors: Fit | None = None
    routes: Sequence[Routes] = ()

    def samples(self, rows: Sequence[Row]) -> list[Sample]:
        """Rows without an error, by family."""
        return samples(succeeded(rows), bootstrap=self.settings.bootstrap)


_STUDIES = ("main", "coverage", "chain", "curves", "routes")
_NAMES = {
    "main": "the main study",
    "coverage": "coverage",
    "chain": "chains that no policy took",
    "curves": "learning curves",
    "routes": "routes",
}


def left_out(evidence: Evidence) -> list[str]:
    """Names of what there is no evidence for."""
    return [_NAMES[name] for name in _STUDIES if not getattr(evidence, name)]


def sections(evidence: Evidence) -> list[Section]:
    """All sections for which there are rows; their figures are laid out."""
    parts = _drawn(evidence)
    for drawn in (each for part in parts for each in part.figures):
        drawn.figure.draw_without_rendering()
        drawn.figure.set_layout_engine("none")
    return parts


def _drawn(evidence: Evidence) -> list[Section]:
    main = evidence.samples(evidence.main)
    asked = [
        Sample.of(of_reference_setting(s.rows, evidence.settings), bootstrap=evidence.settings.bootstrap) for s in main
    ]
    parts = [*_of_main(main, asked, evidence.settings)] if main else []
    parts += [*_of_curves(evidence, asked), *_of_coverage(evidence), *_of_chain(evidence)]
    if evidence.routes:
        lead = "Layouts are picked by rank of their quality: a tenth, a half and nine tenths of them do worse."
        parts.append(Section("What do routes look like?", lead, [*map(figures_routes.route_figure, evidence.routes)]))
    parts += [_of_published(main)] if main else []
    lost = protocol.failures(evidence.main)
    return [*parts, *([Section("What failed", "", (), [("Errors", lost)])] if lost.count("\n") > 1 else [])]


def _of_main(main: Sequence[Sample], asked: Sequence[Sample], settings: ReportSettings) -> Iterable[Section]:
    runs = [("Runs", protocol.runs_table(main, settings))]
    yield Section("What was run, and what was fixed beforehand?", protocol.statistics_words(main), (), runs)
    if settings.contrasts:
        yield Section("What do the tests fixed beforehand say?", protocol.contrasts(main, settings))
    budget = f"Figures show budget {asked[0].rows[0]['budget']}; tables have every budget and ranker."
    composed = [figures_quality.controls(asked, settings)]
    yield Section("Does composing beat its controls?", budget, composed, [("Quality", tables.quality(main))])
    figures = [figures_quality.pareto(asked), figures_quality.k_sweep(asked)]
    numbers = [("Quality and cost", tables.costs(main)), ("By k", tables.sweep(asked))]
    yield Section("What does quality cost?", "", [each for each in figures if each is not None], numbers)
    yield Section(
        "When does a library pay?",
        "A library costs environment steps once; a query from it costs computing alone. Training for every query costs "
        "environment steps every time. Steps of the library are trained at the speed of the trainer in the same run.",
        [figures_cost.break_even(asked, settings)],
        [("Break-even", tables.break_even(asked, settings))],
    )
    predicted = figures_prediction.predicted_against_true(main)
    if predicted is not None:
        yield Section("Do predictions hold?", "", [predicted], [("Errors", tables.predictions(main))])


def _of_curves(evidence: Evidence, asked: Sequence[Sample]) -> Iterable[Section]:
    curves = evidence.samples(evidence.curves)
    if curves:
        drawn = figures_learning.learning_curves(curves, asked, evidence.settings)
        yield Section("How long must scratch train to catch up?", "", [drawn], [("By episodes", tables.curves(curves))])


def _of_coverage(evidence: Evidence) -> Iterable[Section]:
    parts = evidence.samples(evidence.coverage)
    if not parts:
        return
    rows = succeeded(evidence.coverage)
    fits = evidence.thresholds(rows) if evidence.thresholds else []
    told = evidence.predictors(rows) if evidence.predictors else []
    figures = [drawn for sample in parts for drawn in figures_coverage.coverage_curves(sample, fits)]
    scores = [drawn for sample in parts if (drawn := figures_coverage.predictors(sample.family, told)) is not None]
    numbers = [("Quality by coverage", tables.coverage(parts))]
    numbers += [("Thresholds", tables.plain_table(fits))] if fits else []
    numbers += [("What predicts success", tables.plain_table(told))] if told else []
    yield Section("How much coverage is needed?", "", [*figures, *scores], numbers)


def _of_chain(evidence: Evidence) -> Iterable[Section]:
    parts = evidence.samples(evidence.chain)
    if not parts:
        return
    lead = (
        "The optimal route of a layout leads through a chain of L moves that no library policy took. *Recorded*: the "
        "chain is among the transitions, but no policy learnt values over it. *Absent*: nobody recorded it. Scratch "
        "may take it in both. The paper's prediction: composing is below scratch exactly where value must "
        "propagate, L > 0."
    )
    figures = [drawn for sample in parts for drawn in figures_chain.chain_figures(sample)]
    header = ("family", "operator", "gamma", "chain", "shaping", "less scratch, L = 0", "less scratch, L > 0", "change")
    changes = markdown(header, [line for sample in parts for line in figures_chain.propagation(sample)], words=5)
    numbers = [("Changes with the chain", changes), ("By length", tables.chain(parts))]
    yield Section("Must value propagate?", lead, figures, numbers)


def _of_published(main: Sequence[Sample]) -> Section:
    numbers = [("The published code, run by us", published.code_table(main))]
    lead = "\n\n".join([f"**{published.finding(main)}** {published.DIFFERENCES}", published.published_table(main)])
    return Section("How do published figures compare?", lead, (), numbers)
