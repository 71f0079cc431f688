"""The table of commands: every line has a module with what a command needs, and only the one that is called loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import lever_ray
from lever_ray.cli import TABLE, main, run_job
from lever_ray.cli.table import Table

ROOT = Path(lever_ray.__file__).resolve().parents[1]
HEAVY = ("numpy", "rich", "hydra", "omegaconf", "pyarrow", "numba", "ray", "mlflow", "optuna", "matplotlib")
SHARED = {
    "lever_ray.cli",
    *(
        f"lever_ray.cli.{name}"
        for name in ("table", "words", "places", "exit_codes", "streams", "recipe_options", "remedies")
    ),
}


def commands(table: Table) -> Iterator[tuple[list[str], str]]:
    """Words and module of every command, those of groups after the group's own."""
    for name, entry in table.commands.items():
        words = [*table.name.split()[1:], name]
        yield words, entry.module
        inner = getattr(import_module(entry.module), "TABLE", None)
        if inner is not None:
            yield from commands(inner)


EVERY = list(commands(TABLE))


def loaded_by(words: list[str]) -> set[str]:
    """Modules that a command line loads, in a process of its own."""
    code = (
        "import contextlib, io, json, sys\nfrom lever_ray.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({words!r})\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    return set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))


def of_console(modules: set[str]) -> set[str]:
    """The modules of commands among some."""
    return {name for name in modules if name.startswith("lever_ray.cli")} - SHARED


@pytest.mark.parametrize("words", [[], ["--help"], ["nosuch"]])
def test_listing_commands_imports_none_and_nothing_heavy(words: list[str]) -> None:
    loaded = loaded_by(words)
    assert "lever_ray.cli" in loaded
    assert of_console(loaded) == set()
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("words", [["compose"], ["import"], ["tune"], ["library"], ["library", "delete"]])
def test_help_of_a_command_imports_that_one_alone(words: list[str]) -> None:
    loaded = loaded_by([*words, "--help"])
    parts = [part if part != "import" else "import_" for part in words]
    expected = {".".join(["lever_ray.cli", *parts[:length]]) for length in range(1, len(parts) + 1)}
    assert of_console(loaded) == expected
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(("words", "module"), EVERY, ids=lambda each: " ".join(each) if isinstance(each, list) else "")
def test_every_command_has_its_module_and_its_help(
    words: list[str], module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = import_module(module)
    assert isinstance(getattr(found, "TABLE", None), Table) or (
        found.add_arguments(ArgumentParser()) is None and callable(found.run)
    )
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help"])
    assert stopped.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: lever-ray {' '.join(words)} ")
    assert max(map(len, told.splitlines())) <= 120


def test_no_module_of_a_command_is_missing_from_the_table() -> None:
    folder = ROOT / "lever_ray" / "cli"
    files = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in folder.rglob("*.py")}
    modules = {name.removesuffix(".__init__") for name in files}
    assert modules - SHARED == {module for _, module in EVERY}
    assert len(EVERY) == 28


def test_help_lists_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    groups = ((name, import_module(f"lever_ray.cli.{name}").TABLE) for name in ("library", "benchmark"))
    for words, table in [([], TABLE), *(([name], group) for name, group in groups)]:
        for flag in ("--help", "-h"):
            with pytest.raises(SystemExit) as stopped:
                main([*words, flag])
            assert stopped.value.code == 0
            told = " ".join(capsys.readouterr().out.split())
            assert all(f" {name} {entry.about}" in told for name, entry in table.commands.items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no command is given; `lever-ray --help` lists 17"),
        (["compse", "--help"], "unknown command 'compse'. Did you mean 'compose'?"),
        (["--json", "compose"], "unknown command '--json'"),
        (["strategy=hybrid", "build"], "unknown command 'strategy=hybrid'"),
        (["library"], "no command is given; `lever-ray library --help` lists 9"),
        (["library", "verfy"], "unknown command 'verfy'. Did you mean 'verify'?"),
    ],
)
def test_no_command_or_an_unknown_one_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.startswith("lever-ray: ")
    assert (told.err.count("\n"), told.out) == (1, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compose", "x", "--k", "3", "--k", "4"], "--k is given twice, with 3 and 4; give it once"),
        (["compose", "x", "--gamma", "0", "key=1", "--gamma=0"], "--gamma is given twice, with 0.0 and 0.0"),
        (["library", "search", "x", "-k", "10", "-k", "3"], "-k is given twice, with 10 and 3"),
        (["report", "--html", "--html", "a.html"], "--html is given twice"),
    ],
)
def test_an_option_that_is_no_list_is_given_once(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_the_package_runs_as_a_module() -> None:
    run = [sys.executable, "-m", "lever_ray"]
    done = subprocess.run([*run, "--help"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("usage: lever-ray COMMAND")
    assert subprocess.run([*run, "nosuch"], capture_output=True, cwd=ROOT).returncode == 2


def test_jobs_run_a_command_with_the_settings_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["jobs/build_library.py", "--help"])
    assert run_job("build") == 0
    assert capsys.readouterr().out.startswith("Train a policy library.\nusage: [group=option]")
    monkeypatch.setattr(sys, "argv", ["jobs/tune_budget.py", "cluster=serial", "tuning.trials=0"])
    assert run_job("tune") == 2
    assert "tuning.trials is 0" in capsys.readouterr().err
    job = [sys.executable, "jobs/run_experiment.py", "colour=red"]
    paths = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(job, capture_output=True, text=True, cwd=ROOT, env=paths)
    assert (done.returncode, "unknown configuration key 'colour'" in done.stderr) == (2, True)


@pytest.mark.parametrize("words", [words for words, _ in EVERY])
def test_help_fits_the_terminal_but_for_examples(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    told = capsys.readouterr().out
    assert told
    assert [line for line in told.splitlines() if len(line) > 60 and "lever-ray " not in line] == []
