"""What stands beside an answer: measured in the environment, and told in words."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lever_ray as lever
from lever_ray.__main__ import main
from lever_ray.building.records import records_of
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.memory import MemoryLibrary
from lever_ray.query.route_words import told_on_the_way
from lever_ray.tasks.gridworld.layout import Layout
from tests.unit.test_default_answers import ASKED


@pytest.fixture(scope="module")
def library(small_library):
    return PolicyLibrary.open(small_library)


def test_every_rival_is_measured_in_the_environment(library):
    layout, records = library.environment("grid8-0").task, library.select(environment="grid8-0")
    found = lever.compose(library, **ASKED, tier="I1")
    beside = found.rivals
    singles = {each.id: lever.rollout(layout, objective=found.objective, q=each.q).total for each in records}
    assert beside.best_single == pytest.approx(max(singles.values()), abs=1e-9)
    assert singles[beside.best_single_id] == pytest.approx(beside.best_single, abs=1e-9)
    assert beside.highest == (lever.optimum(layout, objective=found.objective).total, "optimum")
    assert beside.route.total == lever.rollout(layout, objective=found.objective, **found.played).total
    runs = {(each.seed, each.environment_steps, each.seconds) for each in records}
    assert beside.scratch_steps == pytest.approx(np.mean([steps for _, steps, _ in runs]))
    assert beside.scratch_seconds == pytest.approx(np.mean([seconds for *_, seconds in runs]))
    assert np.isnan(beside.scratch)
    assert found.rivals is beside


def test_recipes_that_do_better_are_named_with_what_they_return(library):
    poor = lever.compose(library, **ASKED, operator="sum", gamma=0.0)
    ((recipe, total),) = poor.rivals.better
    again = lever.compose(library, **ASKED, recipe=recipe, gamma=0.0, groups=list(poor.groups))
    assert (recipe, again.predicted_return) == ("operator=plan", pytest.approx(total))
    assert total > poor.rivals.route.total
    assert again.rivals.better == ()


def test_a_comparison_also_trains(library):
    found = lever.compose(library, **ASKED, gamma=0.0)
    layout = library.environment("grid8-0").task
    scratch = lever.train(layout, objective=found.objective, gamma=0.0).total
    assert found.compare().scratch == scratch
    assert f"trained from scratch {scratch:.1f}" in found.compare().told()
    assert "trained from scratch" not in found.rivals.told()


def test_what_is_ignored_is_a_warning():
    layout = Layout(3, (0, 0), (0, 1), [(2, 2)], lever=(2, 0), name="room")
    run = lever.train(layout, objective="path", episodes=50)
    library = MemoryLibrary(records_of(run, environment="room", description="path")[:1])
    for objective, said in (
        ("path-gold-lever", ["gold was asked for, and the route takes none", "lever was asked for, and the route"]),
        ("path", []),
    ):
        q = lever.compose(
            library, environment="room", objective=objective, groups=["path"], operator="options",
            ranker="offline-return",
        )  # fmt: skip
        told = [warning for warning in q.warnings if "asked for" in warning]
        assert len(told) == len(said)
        assert all(part in warning for part, warning in zip(said, told, strict=True))


def test_a_route_is_told_in_words():
    layout = Layout(3, (0, 0), (0, 2), [(0, 1), (2, 2)], lever=(2, 0), name="room")
    route = lever.rollout(layout, objective="path", actions=np.array([0, 0]))
    ended = told_on_the_way(layout, route)
    assert ended == "exit in 2 steps, 1 of 2 golds, lever not pulled"
    circle = lever.rollout(layout, objective="path", q=np.eye(4)[[3] * 9])
    assert told_on_the_way(layout, circle).startswith(f"cut off after {layout.horizon} steps")


def test_an_answer_prints_as_a_few_lines_and_shows_as_a_picture(library):
    found = lever.compose(library, **ASKED, operator="sum", gamma=0.0)
    lines = str(found).splitlines()
    assert len(lines) < 12
    assert lines[0] == "path-gold-hazard-lever in grid8-0 by sum (I1, support-limited)"
    assert any(line.startswith("  beside it: best single policy") for line in lines)
    assert any(line.startswith("  better: operator=plan returns") for line in lines)
    shown = found._repr_html_()
    assert 'src="data:image/png;base64,' in shown
    assert "best single policy" in shown
    assert "<b>path-gold" in lever.compose(library, **ASKED, tier="I1")._repr_html_()


@pytest.mark.parametrize(("columns", "widest"), [("", 100), ("60", 60), ("300", 100)])
def test_an_answer_that_prints_is_folded_and_nothing_is_cut(library, monkeypatch, columns, widest):
    monkeypatch.setenv("COLUMNS", columns)
    found = lever.compose(library, **ASKED, operator="sum", gamma=0.0)
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= widest
    assert " ".join(" ".join(lines).split()) == " ".join([found._headline, *found._lines()])
    assert widest == 100 or max(map(len, found._lines())) > widest


def test_the_console_says_it_too(small_library, tmp_path, monkeypatch, capsys):
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "grid8").symlink_to(small_library)
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    asked = ["compose", "--objective", ASKED["objective"], "--environment", "grid8-0"]
    assert main([*asked, "--compare", "--json"]) == 0
    beside = json.loads(capsys.readouterr().out)["beside"]
    assert beside["highest_by"] == "optimum"
    assert beside["scratch"] > 0
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["beside"]["scratch"] is None


def test_large_tasks_are_planned_in_a_comparison_alone(library, monkeypatch):
    monkeypatch.setattr("lever_ray.query.rivals.MOST_PAIRS", 10)
    found = lever.compose(library, **ASKED, operator="sum", gamma=0.0)
    reached = max(found.rivals.route.total, found.rivals.best_single)
    assert (found.rivals.highest, found.rivals.better) == ((reached, "best seen"), ())
    assert found.compare().highest.how == "optimum"
