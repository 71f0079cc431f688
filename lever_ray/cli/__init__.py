"""Console commands: ``lever-ray --help``. The table of them stands here, and a module for each beside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from lever_ray.cli.exit_codes import FAILED, INTERRUPTED, OK, WRONG_INPUT
from lever_ray.cli.table import Entry, Table
from lever_ray.collecting import collecting_seldom
from lever_ray.errors import LeverError, StorageError, is_full, storage_error

COMMANDS: dict[str, Entry] = {
    "build": Entry("lever_ray.cli.build", "Train a policy library."),
    "demo": Entry("lever_ray.cli.demo", "Library, experiment and a small tuning study, one after the other."),
    "doctor": Entry(
        "lever_ray.cli.doctor",
        "Check settings, kernels, Ray, the MLflow store and the library, and say what to do about what is wrong.",
    ),
    "experiment": Entry(
        "lever_ray.cli.experiment",
        "Run an experiment and log it to MLflow; the library is trained first where it is missing.",
    ),
    "report": Entry(
        "lever_ray.cli.report",
        "Show a finished experiment as Markdown tables with intervals, and keep them beside its rows.",
    ),
    "tune": Entry(
        "lever_ray.cli.tune", "Search for good candidate budgets; a study of the same name goes on where it stopped."
    ),
    "study": Entry(
        "lever_ray.cli.study",
        "Run a study that trains what it needs: boundary, options, rankers, search, shaping; see docs/findings.md.",
    ),
    "ui": Entry(
        "lever_ray.cli.ui", "Serve the MLflow UI on 127.0.0.1 and print the link that opens on the experiment."
    ),
    "runtime-env": Entry(
        "lever_ray.cli.runtime_env",
        "Print the runtime environment, as JSON, that a submitted job needs to write where this command would.",
    ),
    "recommend": Entry(
        "lever_ray.cli.recommend",
        "Pick a strategy from a finished study's front and keep it under a name that every command accepts.",
    ),
    "compose": Entry("lever_ray.cli.compose", "Answer one query from a library."),
    "import": Entry("lever_ray.cli.import_", "Add policies of other code, from npz or Parquet."),
    "export": Entry("lever_ray.cli.export", "Write a library to an npz or Parquet file."),
    "inspect": Entry("lever_ray.cli.inspect", "Show what a library holds."),
    "library": Entry("lever_ray.cli.library", "Check, repair, tidy, search and embed a library."),
}
TABLE = Table(
    name="lever-ray",
    about="Reuse trained policies for new objectives.",
    commands=COMMANDS,
    example="example: lever-ray compose 'what is wanted, in words' --environment NAME --gamma 0",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the ``lever-ray`` command."""
    given = sys.argv[1:] if arguments is None else arguments
    with collecting_seldom():
        return guarded(lambda: TABLE.run(given))


def run_job(command: str) -> int:
    """What ``jobs/*.py`` call: a command that takes settings alone, with those of the command line."""
    given, entry = sys.argv[1:], COMMANDS[command]
    if {"-h", "--help"} & set(given):
        sys.stdout.write(f"{entry.about}\nusage: [group=option] [group.key=value] ...; see conf/ for groups and keys\n")
        return OK
    return guarded(lambda: import_module(entry.module).run(argparse.Namespace(settings=given)))


def guarded(command: Callable[[], int]) -> int:
    """Run a command; what a person can mend becomes one clear line on standard error, never a traceback.

    Exit code 2 says that the input was wrong, 1 that a disk is full or a store does not answer.
    """
    try:
        return command()
    except LeverError as error:
        sys.stderr.write(f"lever-ray: {error}\n")
        return FAILED if isinstance(error, StorageError) or is_full(error) else WRONG_INPUT
    except KeyboardInterrupt as interrupt:
        kept = str(interrupt) or "finished work is kept, the same command goes on from it"
        sys.stderr.write(f"lever-ray: interrupted; {kept}\n")
        return INTERRUPTED
    except Exception as error:
        found = storage_error(error, "what the command writes")
        if found is None:
            raise
        sys.stderr.write(f"lever-ray: {found}\n")
        return FAILED
