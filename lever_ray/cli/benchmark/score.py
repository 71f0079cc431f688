"""``lever-ray benchmark score``: predictions, or our own methods, beside the answers."""

from __future__ import annotations

import argparse
from pathlib import Path

from lever_ray.cli.exit_codes import OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark, what is scored, and on what."""
    parser.add_argument("folder", type=Path, help="of the benchmark")
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="Parquet file; the benchmark's README.md tells"
    )
    parser.add_argument("--ours", action="store_true", help="score the methods of this package")
    parser.add_argument("--answers", type=Path, metavar="FOLDER", help="of the private split, for its keeper")
    parser.add_argument("--split", default="public", help="public (default) or private")
    parser.add_argument("--operator", default="sum", help="how the chosen candidate is composed: sum (default) or max")
    parser.add_argument("--tier", default="", help="that the maker of the predictions declares: I0 to I4")
    parser.add_argument("--to", type=Path, metavar="FILE", help="write the table there, too, and rows beside it")


def run(arguments: argparse.Namespace) -> int:
    """Score, and print the table."""
    from lever_ray.app import benchmark_commands
    from lever_ray.app.report_view import show_report

    show_report(benchmark_commands.score(arguments))
    return OK
