"""A report in a terminal and as a page: one file with every table and figure, which refers to nothing outside of it."""

import base64
import io
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lever_ray.app import commands
from lever_ray.app.report_view import report_view, show_report
from lever_ray.cli import main
from lever_ray.config import ContrastSettings, unwritable
from lever_ray.experiment.figures import all_figures
from lever_ray.experiment.headline import MOST, headline_report
from lever_ray.experiment.page import html_page
from lever_ray.experiment.report import TABLES, markdown_report
from tests.unit.test_cli_words import refused
from tests.unit.test_plot import FIGURES, line
from tests.unit.test_report import rows_of
from tests.unit.test_tables import shown

VOID = {"meta", "img", "br", "hr", "link", "input"}
ODD = 'sum | <b>max</b> & "gpi"'
CONTRAST = ContrastSettings(ODD, {"operator": "sum"})


class Page(HTMLParser):
    """Tags in order, with what is asked of a page checked as they come."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str]] = []
        self.words: dict[str, list[str]] = {}
        self.inside: list[tuple[str, ...]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert len(given) == len(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[name] for name in ("href", "src") if name in given and tag != "img"]
        self.images += [given] if tag == "img" else []
        if tag == "table":
            self.inside.append(tuple(self.open))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.words.setdefault(self.open[-1], []).append(data.strip())


@pytest.fixture(scope="module")
def markdown() -> str:
    return markdown_report(rows_of(), contrasts=[CONTRAST], bootstrap=20)


@pytest.fixture(scope="module")
def page(markdown: str) -> str:
    summary = [line(), *(each | {"operator": "max"} for each in [line()])]
    return html_page("Experiment <quick>", markdown, all_figures(summary))


def test_every_operator_has_every_figure() -> None:
    summary = [line(), line() | {"operator": "plan"}]
    drawn = list(all_figures(summary))
    assert [each.name for each in drawn] == [f"{draw.__name__}_{name}" for name in ("sum", "plan") for draw in FIGURES]
    assert all(each.title and each.told.endswith(".") for each in drawn)


def test_the_page_has_every_table_and_figure_and_is_well_formed(page: str) -> None:
    found = Page(page)
    assert found.words["title"] == found.words["h1"] == ["Experiment <quick>"]
    assert found.words["h2"] == ["Contrasts", "Figures", *(spec.title for spec in TABLES)]
    assert len(found.inside) == len(TABLES) + 1
    assert all(parents[-1] == "div" for parents in found.inside)
    assert page.count('<div class="scroll"') == len(found.inside) + len(found.images)
    assert len(found.images) == 2 * len(FIGURES)
    assert ODD in found.words["td"]
    assert "62.5" in found.words["td"]
    assert any(each.startswith("[60") for each in found.words["small"])


def test_the_page_refers_to_nothing_but_itself(page: str) -> None:
    found = Page(page)
    assert re.search(r"https?:|//|@import|url\(", page.partition("<body>")[0]) is None
    assert len(set(found.ids)) == len(found.ids)
    assert {*found.links} <= {f"#{name}" for name in found.ids}
    assert "<script" not in page
    for image in found.images:
        assert image["alt"]
        kind, _, coded = image["src"].partition(",")
        assert kind == "data:image/svg+xml;base64"
        drawing = base64.b64decode(coded).decode()
        assert "<svg" in drawing
        assert re.search(r"href=\"(?!#)|url\((?!#)", drawing) is None


def test_equal_experiments_give_equal_pages(markdown: str, page: str) -> None:
    again = html_page("Experiment <quick>", markdown, all_figures([line(), line() | {"operator": "max"}]))
    assert again == page


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_report_fits_the_terminal_and_loses_no_number(markdown: str, width: int) -> None:
    text = shown(report_view(markdown), width)
    assert ODD in text
    assert "|" not in text.replace(ODD, "")
    for spec in TABLES:
        assert spec.title in text
    flat = " ".join(text.split())
    assert flat.count("62.5") == 1
    assert "regret: what the chosen combination" in flat


def test_words_are_explained_once_in_a_report(markdown: str) -> None:
    told = re.findall(r"^- ([^:]+): ", markdown, flags=re.MULTILINE)
    assert len(set(told)) == len(told)
    assert {"gamma", "targeted", "J*", "I3", "Kendall tau-b"} <= {*told}
    assert not {"exhaustive", "hybrid-k", "I1", "X1"} & {*told}


# The console.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def asked(library: Path, home: Path) -> list[str]:
    """An experiment of a copied library, run."""
    (home / "libraries").mkdir(parents=True)
    (home / "libraries" / "mazes").symlink_to(library)
    settings = ["cluster=serial", "tracking=none", "library=mazes", "library.environments=[maze]"]
    settings += ["experiment=quick", "experiment.bootstrap=20", "experiment.strategies=[targeted]"]
    assert main(["experiment", *settings]) == 0
    return settings


def test_report_writes_a_page_where_it_is_told(
    home: Path, maze_library: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = asked(maze_library, home)
    capsys.readouterr()
    (folder,) = (each for each in (home / "experiments").iterdir() if each.is_dir())
    for words, file in ((["--html", "page.html"], Path("page.html")), (["--html"], folder / "report.html")):
        for place in ([*words, *settings], [*settings, *words]):
            assert main(["report", *place]) == 0
            told = capsys.readouterr()
            assert told.out == (folder / "report.md").read_text()
            assert f"Written to {file}\n" in told.err
            assert len(Page(file.read_text()).images) == len(FIGURES)
            file.unlink()
    (folder / "report.md").unlink()
    Path("taken.html").mkdir()
    monkeypatch.setattr(commands, "read_rows", lambda _: pytest.fail("read before places were checked"))
    for file, said in (
        ("page.txt", "--html is 'page.txt'; it must end in .html"),
        ("experimnt=quick", "it must end in .html"),
        ("nowhere/page.html", "there is no folder"),
        ("taken.html", "it is a folder"),
    ):
        assert said in refused(["report", *settings, "--html", file], capsys)
    (folder / "report.html").mkdir()
    assert "it is a folder" in refused(["report", *settings, "--html"], capsys)
    (folder / "report.html").rmdir()
    (folder / "report.md").mkdir()
    assert "it is a folder" in refused(["report", *settings], capsys)


def test_a_terminal_gets_the_headline_and_how_to_get_the_rest(
    home: Path, maze_library: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = asked(maze_library, home)
    (folder,) = (each for each in (home / "experiments").iterdir() if each.is_dir())
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["report", *settings]) == 0
    short = capsys.readouterr()
    assert "Does reuse succeed?" in short.out
    assert "What it costs" not in short.out
    assert max(map(len, short.out.splitlines())) <= 80
    assert f"Written to {folder / 'report.md'}" in " ".join(short.err.split())
    assert "--all shows every table, --html FILE writes a page" in " ".join(short.err.split())
    assert main(["report", "--all", *settings]) == 0
    assert "What it costs" in capsys.readouterr().out
    assert main(["report", "--html", "page.html", *settings]) == 0
    assert capsys.readouterr() == ("", "Written to page.html\n")


def test_the_headline_of_many_ways_fits_two_screens() -> None:
    ways = [
        {"gamma": gamma, "operator": operator, "strategy": strategy, "ranker": ranker}
        for gamma in (0.0, 0.99, math.inf)
        for operator in ("sum", "options")
        for strategy in ("targeted", "hybrid-3", "exhaustive")
        for ranker in ("regressor", "offline-return")
    ]
    controls = {"return/scratch_best_gamma": 40.0, "return/random_q": 20.0}
    rows = [row | controls | way for way in ways for row in rows_of()]
    lines = shown(report_view(headline_report(rows, contrasts=[CONTRAST], bootstrap=20)), 80).splitlines()
    assert len(lines) <= 100
    assert sum("[+" in line for line in lines) == MOST  # a line each
    assert len(ways) > MOST


def test_a_protected_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "page.html"
    file.touch()
    assert unwritable(file) == ""
    monkeypatch.setattr("os.access", lambda place, _: Path(place) != file)
    assert "protected; choose another place" in unwritable(file)


def test_a_terminal_gets_the_report_laid_out_and_a_pipe_gets_markdown(
    markdown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_report(markdown)
    assert capsys.readouterr().out == markdown

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    show_report(markdown)
    text = terminal.getvalue()
    assert "###" not in text
    assert "Does reuse succeed?" in text
    assert max(map(len, text.splitlines())) <= 80
