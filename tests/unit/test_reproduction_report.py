"""Figures and page of a reproduction: what is drawn can be read in one column, and the page needs nothing else."""

import base64
import html
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from lever_ray.config import ContrastSettings, ExperimentSettings, SetupSettings, StrategySettings
from lever_ray.experiment.cell import run_environment
from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.plan import make_plan
from lever_ray.experiment.statistics import Row
from lever_ray.library.library import PolicyLibrary
from lever_ray.reproduction.report import style
from lever_ray.reproduction.report.data import ReportSettings
from lever_ray.reproduction.report.figures_routes import Routes, picked, routes_of
from lever_ray.reproduction.report.learning import learning_curve_rows
from lever_ray.reproduction.report.page import page, write_figures, write_report
from lever_ray.reproduction.report.sections import Evidence, sections
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import random_return, rollout
from tests.browser import Browser, browser
from tests.conftest import SMALL_LIBRARY
from tests.unit.reproduction_rows import (
    LENGTHS,
    chain_rows,
    coverage_rows,
    curve_rows,
    main_rows,
    predictors,
    thresholds,
)
from tests.unit.test_plot import assert_legible, size_of
from tests.unit.test_report_page import Page

MIDDLES = {"sum": 0.3, "options": 0.6}
CONTRAST = ContrastSettings("sum against single", {"operator": "sum", "strategy": "hybrid-3"})
SETTINGS = ReportSettings(title="Reuse <again>", size="smoke", contrasts=(CONTRAST,), bootstrap=100)
OVER = {name: dict.fromkeys(LENGTHS, level) for name, level in (("sum", -0.1), ("plan", 0.3))}
NAMES = ["controls", "pareto", "k_sweep", "break_even", "predictions", "learning_curves", "coverage_grid8_g0"]
NAMES += ["predictors_grid8", "chain_grid8_g0.99", "routes_grid8-0_sum"]


@pytest.fixture(scope="module")
def routes(small_library: Path) -> list[Routes]:
    """Answers of an experiment on the small library, asked again."""
    with PolicyLibrary.open(small_library) as library:
        rows = answered(library)
        return routes_of(picked(rows, SETTINGS, operators=["sum", "plan"]), library)


def answered(library: PolicyLibrary) -> list[Row]:
    experiment = ExperimentSettings(
        setups=[SetupSettings("double", "path-gold-hazard")],
        strategies=["hybrid"],
        operators=["sum", "plan"],
        rankers=["offline-return"],
        repeats=1,
    )
    plan = make_plan(experiment, SMALL_LIBRARY, StrategySettings(), episodes=10_000)
    return run_environment("grid8-0", library, plan)


@pytest.fixture(scope="module")
def evidence(routes: list[Routes]) -> Evidence:
    rows = [*main_rows(families=["grid8", "grid16", "grid32"]), {"family": "grid8", "error": "OSError: full"}]
    tables = (rows, coverage_rows(MIDDLES), chain_rows(OVER), curve_rows())
    fits = (lambda _: thresholds(MIDDLES), lambda _: predictors({"library": 0.6, "value": 0.9}))
    return Evidence(*tables, SETTINGS, *fits, routes[:1])


@pytest.fixture(scope="module")
def parts(evidence: Evidence):
    return sections(evidence)


@pytest.fixture(scope="module")
def drawn(parts) -> list[Drawn]:
    return [each for part in parts for each in part.figures]


@pytest.fixture(scope="module")
def text(evidence: Evidence, parts) -> str:
    return page(evidence, parts)


def test_there_is_every_figure_with_a_finding(drawn: list[Drawn]) -> None:
    assert [each.name for each in drawn] == NAMES
    assert all(each.title and re.match(r"[A-Z].*\d.*\. .*\.$", each.told) for each in drawn)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_can_be_read_in_one_column(drawn: list[Drawn], name: str) -> None:
    (each,) = (one for one in drawn if one.name == name)
    assert each.figure.get_figwidth() == style.COLUMN == 3.3
    assert_legible(each.figure)
    small = [
        text for text in each.figure.findobj(Text) if text.get_text().strip() and text.get_fontsize() < style.SMALL
    ]
    assert [text.get_text() for text in small if text.get_visible()] == []


def test_operators_are_told_apart_without_their_colours() -> None:
    looks = [
        style.operator_style(name) for name in ("sum", "max", "normalized-sum", "gpi", "switch", "options", "plan")
    ]
    assert len({marker for _, marker in looks}) == len({colour for colour, _ in looks}) == len(looks)
    assert len({style.filling(gamma)["fillstyle"] for gamma in (0.0, 0.99, np.inf)}) == 3


def test_figures_are_written_as_png_and_svg(drawn: list[Drawn], tmp_path: Path) -> None:
    files = write_figures(drawn[:1], tmp_path / "figures")
    assert [file.name for file in files] == ["controls.png", "controls.svg"]
    assert size_of(files[0])[0] == 660  # 3.3 in at 200 dots an inch
    assert files[1].read_text().count("<svg") == 1


def page_of_chains() -> str:
    evidence = Evidence([], [], chain_rows(OVER), [], SETTINGS)
    return page(evidence, sections(evidence))


def test_a_report_is_written_with_its_figures(tmp_path: Path) -> None:
    files = write_report(Evidence([], [], chain_rows(OVER), [], SETTINGS), tmp_path / "new")
    assert [file.name for file in files] == ["report.html", "chain_grid8_g0.99.png", "chain_grid8_g0.99.svg"]
    assert files[0].read_text() == page_of_chains()


def test_the_page_has_every_section_figure_and_folded_table(text: str, drawn: list[Drawn], parts) -> None:
    found = Page(text)
    assert found.words["h1"] == ["Reuse <again>"]
    assert found.words["h2"] == [part.question for part in parts]
    assert len(found.images) == len(drawn)
    assert found.words["summary"] == [title for part in parts for title, _ in part.tables]
    assert sum("details" in parents for parents in found.inside) == len(found.words["summary"])
    assert "1 cell failed; errors are listed at the end." in " ".join(found.words["p"])
    assert "sum against single" in found.words["td"]
    assert text.count("<b>Composed beside its controls.</b>") == 1


def test_the_page_refers_to_nothing_but_itself(text: str) -> None:
    found = Page(text)
    assert len(set(found.ids)) == len(found.ids)
    assert {*found.links} <= {f"#{name}" for name in found.ids}
    assert "<script" not in text
    for image in found.images:
        assert image["alt"]
        kind, _, coded = image["src"].partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert re.search(r"href=\"(?!#)(?!data:)|url\((?!#)", base64.b64decode(coded).decode()) is None


def test_what_there_are_no_rows_for_is_left_out_and_said() -> None:
    rows = main_rows(families=["grid8"])
    evidence = Evidence(rows, [], [], [], SETTINGS)
    parts = sections(evidence)
    found = Page(page(evidence, parts))
    missing = "coverage, chains that no policy took, learning curves and routes."
    assert f"Left out, since there are no rows: {missing}" in " ".join(found.words["p"])
    assert "Must value propagate?" not in found.words["h2"]
    assert [each.name for part in parts for each in part.figures] == NAMES[:5]
    alone = page_of_chains()
    assert Page(alone).words["h2"] == ["Must value propagate?"]


def test_equal_rows_give_equal_pages() -> None:
    once, again = (page_of_chains() for _ in range(2))
    assert once == again


@pytest.mark.skipif(browser() is None, reason="no Chromium")
def test_the_page_fits_a_narrow_window(text: str, tmp_path: Path) -> None:
    framed = (
        f'<!DOCTYPE html><iframe style="width: 400px; height: 800px; border: 0" srcdoc="{html.escape(text)}"></iframe>'
    )
    (tmp_path / "page.html").write_text(framed, encoding="utf-8")
    script = """(() => {
        const page = document.querySelector("iframe").contentDocument;
        page.querySelectorAll("details").forEach(each => each.open = true);
        const images = [...page.images];
        return {room: page.documentElement.clientWidth, wide: page.documentElement.scrollWidth,
            drawn: images.filter(each => each.complete && each.naturalWidth > 0).length,
            widest: Math.max(...images.map(each => each.getBoundingClientRect().right))};
    })()"""
    with Browser(tmp_path / "profile") as opened:
        told = opened.watch(
            (tmp_path / "page.html").as_uri(), script, lambda seen: seen["drawn"] == len(NAMES), seconds=60
        )
    assert told["drawn"] == len(NAMES)
    assert told["wide"] <= told["room"] <= 400
    assert told["widest"] <= told["room"]


# Rows of learning curves, and routes.


def test_learning_curves_are_qualities_of_snapshots() -> None:
    layout = Layout.sample("grid8", seed=1)
    asked = {"family": "grid8", "objective": "path-gold", "gammas": [0.0], "training_seeds": 1, "episodes": 500}
    rows = learning_curve_rows(layout, snapshot_every=200, **asked)
    assert [(row["layout_seed"], row["gamma"], row["episodes"]) for row in rows] == [
        (1, 0.0, at) for at in (200, 400, 500)
    ]
    assert all(row["quality"] <= 1.0 for row in rows)
    chance, best = random_return(layout, "path-gold"), optimum(layout, objective="path-gold").total
    halved = learning_curve_rows(layout, snapshot_every=200, best=chance + 2 * (best - chance), **asked)
    assert [row["quality"] for row in halved] == pytest.approx([row["quality"] / 2 for row in rows])


def test_routes_are_the_answers_of_their_rows(routes: list[Routes]) -> None:
    assert {each.row["operator"] for each in routes} == {"sum", "plan"}
    for each in routes:
        objective, answer = each.row["setup"], each.composed
        played = {"q": answer.q} if answer.q is not None else {"actions": answer.actions}
        assert rollout(each.task, objective=objective, **played).total == pytest.approx(each.row["return/composed"])
        assert each.best.total == pytest.approx(each.row["return/optimum"])


def test_routes_are_picked_by_rank_of_quality() -> None:
    rows = main_rows(families=["grid8"])
    chosen = picked(rows, SETTINGS, operators=["plan"])
    ranked = sorted((row for row in rows if row["operator"] == "plan" and row["gamma"] == 0.99), key=_quality)
    assert [row["layout_seed"] for row in chosen] == [ranked[place]["layout_seed"] for place in (1, 6, 10)]


def _quality(row: Row) -> float:
    return row["quality/normalised"]
