"""What ``lever-ray benchmark`` does: write the files that others score on, and score."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from lever_ray.app.session import Session, session
from lever_ray.app.settings import load_settings, read_pairs
from lever_ray.config import unwritable
from lever_ray.console import make_console
from lever_ray.errors import SettingsError
from lever_ray.experiment.run import write_rows
from lever_ray.progress import working
from lever_ray.scoring.benchmark import Benchmark
from lever_ray.scoring.export import export_benchmark
from lever_ray.scoring.ours import score_ours
from lever_ray.scoring.scores import Scores, score_predictions
from lever_ray.scoring.settings import BenchmarkSettings
from lever_ray.studies.studies import settings_of


def benchmark_settings(overrides: Sequence[str]) -> BenchmarkSettings:
    """The settings of an export.

    Raises:
        UnknownName, InvalidValue, SettingsError: one is not known, or has no sense.
    """
    chosen: BenchmarkSettings = settings_of(BenchmarkSettings, read_pairs(overrides), whose="A benchmark")
    return chosen


def export(parts: Session, settings: BenchmarkSettings, folder: Path, answers: Path | None) -> str:
    """Export, and say what was written."""
    try:
        with working(parts.console, "Exporting the benchmark") as watch:
            done = export_benchmark(folder, settings, executor=parts.executor, answers=answers, watch=watch)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was written") from None
    told = (
        f"Benchmark {done.folder}: {done.worlds} environments, {done.policies:,} policies, "
        f"{done.questions:,} questions, {done.candidates:,} candidates, {done.bytes / 1e6:.1f} MB"
    )
    return f"{told}; private answers: {done.answers}, keep them" if done.answers else told


def score(arguments: Namespace) -> str:
    """Score what the command line names; the table as Markdown.

    Raises:
        SettingsError: neither or both of predictions and our own methods are asked for, or the table cannot be written.
        LeverError: the benchmark or the predictions are refused.
    """
    if (arguments.predictions is None) != arguments.ours:
        raise SettingsError("give --predictions FILE, or --ours for the methods of this package, and not both")
    if arguments.ours and (arguments.tier or arguments.operator != "sum"):
        raise SettingsError("--tier and --operator are about predictions; --ours has all of them")
    if arguments.to is not None and (why := unwritable(arguments.to)):
        raise SettingsError(why)
    benchmark = Benchmark(arguments.folder, arguments.answers)
    if arguments.ours:
        found = _ours(benchmark, arguments.split)
    else:
        found = score_predictions(
            benchmark, arguments.predictions, split=arguments.split, operator=arguments.operator, tier=arguments.tier
        )
    text = found.markdown()
    if arguments.to is not None:
        arguments.to.write_text(text, encoding="utf-8")
        write_rows(arguments.to.with_suffix(".parquet"), found.rows)
    return text


def _ours(benchmark: Benchmark, split: str) -> Scores:
    benchmark.key(benchmark.questions(split)[0])  # refused before anything starts
    with (
        session(load_settings(about=()), tracked=False, console=make_console(stderr=True)) as parts,
        working(parts.console, "Scoring our own methods") as watch,
    ):
        return score_ours(benchmark, split, executor=parts.executor, watch=watch)
