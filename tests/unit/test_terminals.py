"""Commands under every locale, pipe, terminal and folder: they work, or refuse in one line, and never trace back."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len

from lever_ray.cli import TABLE
from lever_ray.cli.streams import folded
from lever_ray.library.format.files import belongs_to
from lever_ray.library.library import PolicyLibrary
from tests.terminals import NOWHERE, PROXIES, SERIAL, UNWRITABLE, Done, in_shell, on_terminal, ran, variables
from tests.unit.test_cli_table import commands

COMPOSE = ["compose", "--objective", "gold-hazard", "--environment", "grid8-1", "--gamma", "0"]

# Standard streams.

STREAMS = {
    "reader gone": (">&3", 141),
    "both readers gone": (">&3 2>&3", 141),
    "closed": (">&-", 0),
    "all closed": (">&- 2>&- <&-", 0),
    "full": (">/dev/full", 1),
}
PRINTING = {
    "help": ["--help"],
    "help of a command": ["compose", "--help"],
    "table": ["inspect", "library=grid8"],
    "progress": ["library", "verify", "library=grid8"],
    "json": [*COMPOSE, "--json"],
}


@pytest.mark.parametrize("words", PRINTING.values(), ids=PRINTING)
@pytest.mark.parametrize(("redirected", "code"), STREAMS.values(), ids=STREAMS)
def test_output_that_nobody_takes(console_home: Path, words: list[str], redirected: str, code: int) -> None:
    done = in_shell(words, redirected, variables(console_home))
    assert done.code == code
    said = done.err.decode()
    full = "lever-ray: no space is left for what the command writes; .*\n"
    assert said == "" if code != 1 else re.fullmatch(full, said)


@pytest.mark.parametrize(("redirected", "code"), [(">&3", 141), (">/dev/full", 1)])
@pytest.mark.parametrize("words", [["--help"], ["compose", "--help"]])
def test_help_that_nobody_takes_where_nothing_is_buffered(
    console_home: Path, words: list[str], redirected: str, code: int
) -> None:
    assert in_shell(words, redirected, variables(console_home, PYTHONUNBUFFERED="1")).code == code


@pytest.mark.parametrize("redirected", ["2>&-", "2>&3", "2>/dev/full", ">&- 2>&- <&-"])
def test_a_refusal_that_nobody_hears_keeps_its_exit_code(console_home: Path, redirected: str) -> None:
    assert in_shell(["compsoe"], redirected, variables(console_home)) == (2, b"", b"")


def test_a_file_that_is_written_is_none_of_the_closed_streams(console_home: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.npz"
    assert in_shell(["export", str(target), "library=grid8"], ">&- 2>&- <&-", variables(console_home)).code == 0
    assert target.read_bytes().startswith(b"PK")


# Everything at once, for every command.


def worst(words: Sequence[str], home: Path) -> Done:
    """ASCII output, a home with an odd name, a dumb terminal, no user's home, dead proxies, a folder without room."""
    hostile = {
        **PROXIES,
        **dict.fromkeys(("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"), NOWHERE),
        "PYTHONIOENCODING": "ascii",
        "LC_ALL": "C",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "COLUMNS": "40",
    }
    done = ran(words, variables(home, **hostile), cwd=UNWRITABLE)
    done.out.decode("ascii")
    done.err.decode("ascii")
    return done


WORKS: dict[str, list[str]] = {
    "build": [*SERIAL, "library.environments=[grid8-0]"],
    "compose": [*COMPOSE[1:], "--picture", "{home}/route ü.png"],
    "doctor": SERIAL,
    "inspect": ["{library}"],
    "export": ["{home}/two.parquet", "{library}"],
    "library verify": ["{library}"],
    "library repair": ["{library}"],
    "library compact": ["{library}"],
    "library migrate": ["{library}"],
    "library embed": ["{library}", "cluster=serial"],
    "library search": ["collect gold \udcff", "{library}", "-k", "2"],
}
REFUSES: dict[str, tuple[list[str], str]] = {
    "demo": ([*SERIAL, "experiment.name=a/b ü"], "experiment.name"),
    "experiment": ([*SERIAL, "experiment.name=a/b \udcff"], "experiment.name"),
    "tune": ([*SERIAL, "tuning.study=a/b"], "tuning.study"),
    "report": (["library.environments=[grid8-0]"], "no rows in "),
    "study": (["bühne"], "unknown study 'b\\xfchne'"),
    "reproduce": (["size=bühne"], "unknown size 'b\\xfchne'"),
    "ui": ([], "holds bytes that are not UTF-8"),
    "runtime-env": ([], "holds bytes that are not UTF-8"),
    "recommend": (["--share", "0.9"], "has no front in "),
    "import": (["{home}/no.npz", "--to", "{home}/new"], "cannot be read (No such file or directory)"),
    "library restore": (["{library}"], "is sound; nothing is to be restored"),
    "library delete": (["{library}", "--environment", "grid8-0"], "nothing was deleted; add --yes"),
    "benchmark export": (["--to", "{home}/libraries"], "is there and not empty; choose a new folder"),
    "benchmark score": (["{home}", "--ours"], "is no benchmark; make one with"),
    "library release": (["{home}/no"], "no policy library at "),
}


def filled(words: Sequence[str], home: Path) -> list[str]:
    return [word.format(home=home, library=home / "libraries" / "grid8") for word in words]


def test_every_command_is_tried() -> None:
    groups = {"library", "benchmark"}
    assert WORKS.keys() | REFUSES.keys() | groups == {" ".join(words) for words, _ in commands(TABLE)}


@pytest.mark.parametrize("command", WORKS)
def test_a_command_works_where_everything_is_odd(odd_home: Path, command: str) -> None:
    done = worst([*command.split(), *filled(WORKS[command], odd_home)], odd_home)
    assert done.code == 0, done
    if command in ("inspect", "library verify", "doctor", "export"):
        assert b"a b \\xfc \\u4e2d [x] \\udcff" in b" ".join(done.out.split())


@pytest.mark.parametrize("command", REFUSES)
def test_a_command_refuses_in_one_line_where_everything_is_odd(odd_home: Path, command: str) -> None:
    words, said = REFUSES[command]
    done = worst([*command.split(), *filled(words, odd_home)], odd_home)
    assert done.code == 2
    assert re.fullmatch(b"lever-ray: [^\n]*\n", done.err), done.err
    assert said in done.err.decode()


def test_what_is_exported_to_an_odd_place_is_imported_from_it(odd_home: Path) -> None:
    for ending in ("npz", "parquet"):
        file, library = odd_home / f"moved.{ending}", odd_home / f"from {ending}"
        assert worst(["export", str(file), str(odd_home / "libraries" / "grid8")], odd_home).code == 0
        done = worst(["import", str(file), "--to", str(library)], odd_home)
        assert done.code == 0
        assert "+-" in done.out.decode() and len(PolicyLibrary.open(library)) > 0


def test_large_data_files_are_read_whatever_the_folder_is_called(odd_home: Path) -> None:
    library = PolicyLibrary.open(odd_home / "libraries" / "grid8")
    files = [library.path / file.name for shard in library.manifest.shards for file in shard.files]
    assert files
    assert all(belongs_to(file, library.manifest.library) for file in files)


# Terminals.

SHOWN = {
    "compose": COMPOSE,
    "inspect": ["inspect", "library=grid8"],
    "search": ["library", "search", "collect gold", "library=grid8", "-k", "3"],
    "verify": ["library", "verify", "library=grid8"],
    "refusal": ["compose", "--objective", "path-god", "--environment", "grid8-1"],
}


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("columns", [40, 80])
def test_nothing_is_wider_than_the_terminal(console_home: Path, name: str, columns: int) -> None:
    code, lines = on_terminal(SHOWN[name], columns, variables(console_home, TERM="xterm"))
    assert code == (2 if name == "refusal" else 0)
    assert [each for each in lines if cell_len(each) > columns] == []
    told = " ".join(" ".join(lines).split())
    assert "…" not in told
    if name == "inspect":
        assert "environment" in told and "coverage" in told and "path-gold" in told
    if name == "search":
        assert "similarity" in told and "Collect as much gold as possible" in told


def test_a_dumb_terminal_has_its_own_width_and_no_colour(console_home: Path) -> None:
    code, lines = on_terminal(["inspect", "library=grid8"], 40, variables(console_home, TERM="dumb"))
    assert code == 0
    assert max(map(cell_len, lines)) <= 40
    _, lines = on_terminal(["--help"], 200, variables(console_home, COLUMNS="40"))
    assert max(map(cell_len, lines)) <= 40


def test_a_terminal_of_ascii_has_bars_spinners_and_tables_of_ascii(console_home: Path) -> None:
    environment = variables(console_home, TERM="xterm", PYTHONIOENCODING="ascii")
    for words in (["build", *SERIAL, "library.environments=[grid8-0]"], SHOWN["verify"], SHOWN["inspect"]):
        code, lines = on_terminal(words, 60, environment)
        assert code == 0
        assert "\n".join(lines).isascii()
        assert [each for each in lines if len(each) > 60 or "\\u" in each] == []


def test_a_report_is_laid_out_for_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lever_ray.app.report_view import show_report

    text = f"# Quality\n\n| strategy | gain of it |\n|---|---|\n| {'hybrid ' * 9}| 0.25 |\n\n{'word ' * 30}\n"
    show_report(text)
    assert capsys.readouterr().out == text
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    show_report(text)
    told = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(cell_len, told.splitlines())) <= 40
    assert "|" not in told and "gain of it" in told and "0.25" in told


def test_folding_keeps_lines_that_fit_and_the_margin_of_the_others() -> None:
    assert folded("a b\n  one two three\n", 10) == "a b\n  one two\n  three\n"
    assert folded("# one two three\nfour: 5\n", 10) == "# one two\n# three\nfour: 5\n"
    assert folded("ab 中中中中 ü\n", 8) == "ab 中中\n中中 ü\n"
    assert folded("x" * 25, 10) == "\n".join(["x" * 10, "x" * 10, "x" * 5])
