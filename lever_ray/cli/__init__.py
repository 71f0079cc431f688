"""Console commands: ``lever-ray --help``. The table of them stands here, and a module for each beside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from lever_ray.cli.exit_codes import FAILED, INTERRUPTED, NOT_READ, OK, WRONG_INPUT
from lever_ray.cli.streams import reach_this_machine_directly, reader_is_gone, show, standard_streams, tell
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
        "Show a finished experiment as tables with intervals, kept beside its rows; with its figures as a page.",
    ),
    "tune": Entry(
        "lever_ray.cli.tune", "Search for good candidate budgets; a study of the same name goes on where it stopped."
    ),
    "study": Entry(
        "lever_ray.cli.study",
        "Run a study that trains all it needs: boundary, chain, coverage, defaults, options, rankers, search, shaping.",
    ),
    "reproduce": Entry(
        "lever_ray.cli.reproduce",
        "Run the published study and more, from nothing to a report: size=smoke, quick or full.",
    ),
    "benchmark": Entry(
        "lever_ray.cli.benchmark", "Export a benchmark that others can score on; score predictions, or our own methods."
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
    return guarded(lambda: _job(COMMANDS[command], sys.argv[1:]))


def _job(entry: Entry, given: list[str]) -> int:
    if {"-h", "--help"} & set(given):
        show(f"{entry.about}\nusage: [group=option] [group.key=value] ...; see conf/ for groups and keys\n")
        return OK
    return int(import_module(entry.module).run(argparse.Namespace(settings=given)))


def guarded(command: Callable[[], int]) -> int:
    """Run a command, whatever the standard streams, the locale and the proxies are; its exit code.

    Wrong input becomes one clear line on standard error and exit code 2, never a traceback; so does what the system
    refuses, with exit code 1. A command whose output nobody reads any more ends without a word, with exit code 141.
    """
    reach_this_machine_directly()
    with standard_streams():
        try:
            return _written(command)
        except LeverError as error:
            full = isinstance(error, StorageError) or is_full(error)
            return _refused(f"{error}", FAILED if full else WRONG_INPUT)
        except KeyboardInterrupt as interrupt:
            kept = str(interrupt) or "finished work is kept, the same command goes on from it"
            return _refused(f"interrupted; {kept}", INTERRUPTED)
        except UnicodeEncodeError as error:
            if not any("\udc80" <= letter <= "\udcff" for letter in error.object):
                raise
            return _refused(f"{error.object} holds bytes that are not UTF-8; use another name", WRONG_INPUT)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and reader_is_gone():
                return NOT_READ
            return _refused(str(storage_error(error, _OUTPUT) or _told(error)), FAILED)
        except Exception as error:
            found = storage_error(error, _OUTPUT)
            if found is None:
                raise
            return _refused(str(found), FAILED)


_OUTPUT = "what the command writes"


def _written(command: Callable[[], int]) -> int:
    """Run a command; what it has printed is out when this returns, or exits after help."""
    try:
        code = command()
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _refused(why: str, code: int) -> int:
    tell(f"lever-ray: {why}")
    return code


def _told(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"{what}; check the disk that output goes to, and the network"
    return f"{error.filename}: {what}; check that it is there, that it may be read and written, and that there is room"
