"""Pictures of environments of other families, and what the console says of an answer."""

import io
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from lever_ray import plot
from lever_ray.console import result_table
from lever_ray.errors import InvalidValue
from lever_ray.query.result import Option
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.rollout import rollout
from tests.toy_family import Corridor
from tests.unit.test_plot import DETOUR, ROOM, assert_legible, words

CORRIDOR = Corridor(8, coins=(5,), button=3)
"""No text, no places, no captions: it begins at 4, and its way out is 7."""


@dataclass(frozen=True)
class TwoStarts(Corridor):
    """It begins at 4 three times out of four, else at 2."""

    @property
    def dynamics(self):
        return super().dynamics._replace(starts=np.array([4, 2], np.int32), weights=np.array([0.75, 0.25]))


def to_the(way, task=CORRIDOR):
    """A Q-table that prefers one action everywhere."""
    return np.eye(3)[[way] * task.observations]


def test_a_task_without_text_or_places_is_drawn_as_its_family_draws_it():
    assert words(plot.layout(CORRIDOR).axes[0])[0] == "corridor"
    done = rollout(CORRIDOR, objective="coins", actions=np.array([2, 2, 2]))
    for result in (done, to_the(2), SimpleNamespace(total=done.total, path=done.path)):
        (axes,) = plot.path(CORRIDOR, result, objective="coins-way_out").axes
        assert [tuple(line.get_ydata()) for line in axes.lines] == [(4, 5, 6, 7)]
        title, told = words(axes)
        assert (title, told.split("return ")[0], told.split(" · ")[1:]) == ("way_out-coins", "", ["out after 3 steps"])
    assert words(plot.path(CORRIDOR, done).axes[0]) == ("corridor", f"return {done.total:.1f} · out after 3 steps")
    figure = plot.routes(CORRIDOR, [("pit", to_the(0)), ("stay", to_the(1))], objective="coins")
    ends = [words(axes)[1].split(" · ")[1] for axes in figure.axes]
    assert ends == ["pit after 4 steps", "no end within 24 steps"]
    assert_legible(figure)


def test_a_route_has_to_start_where_its_task_does_and_stay_within_it():
    twice = TwoStarts(8)
    for path in ((4, 3), (2, 1, 0)):
        assert "expected return 1.0" in words(plot.path(twice, SimpleNamespace(total=1.0, path=path)).axes[0])[1]
    for path in ((), (3, 4), (4, "nowhere")):
        with pytest.raises(InvalidValue, match="of another environment; this one starts at 4 or 2"):
            plot.path(twice, SimpleNamespace(total=1.0, path=path))


def told(task, **way):
    """What the console says of an answer, below the table and beside the predicted return."""
    unsaid = dict.fromkeys(("ranker", "strategy", "operator", "support", "retrieval", "regime", "tier"), "some")
    unsaid |= {"groups": ["path"], "policy_ids": ["p0"], "timings": {}, "warnings": [], "coverage_told": "unknown"}
    unsaid |= {"predicted_return": 0.0, "evaluated": 1, "support_source": "visits", "segments": None, "options": ()}
    console, wanted = Console(width=160, file=io.StringIO()), Objective.of(task.terms[0])
    beside = SimpleNamespace(
        route=rollout(task, objective=wanted, **way), told=lambda: "optimum 9.0", told_better=lambda: ""
    )
    console.print(result_table(task, SimpleNamespace(objective=wanted, why="", **unsaid | way), beside))
    text = console.file.getvalue()
    assert "beside it optimum 9.0" in " ".join(text.split())
    return text.split("\n\n")[1], next(line for line in text.splitlines() if line.startswith(" route"))


def test_the_console_shows_a_grid_in_characters_with_its_legend():
    drawn, measured = told(ROOM, actions=np.array(DETOUR))
    assert drawn.splitlines()[:4] == ["S * . x", ". # * .", "$ . * *", "L . . E"]
    assert drawn.splitlines()[4].startswith("S start  E exit")
    assert "exit in 6 steps, 1 of 2 golds" in measured


def test_the_console_tells_the_steps_of_a_task_without_text():
    assert told(CORRIDOR, q=to_the(2))[0].strip() == "4, right -> 5, right -> 6, right -> 7"
    assert told(CORRIDOR, q=to_the(1))[0].split() == ["4,", *["stay", "->", "4,"] * 20, "...", "4", "more", "steps"]
    drawn, measured = told(TwoStarts(8), q=np.eye(3)[[0, 0, 0, 0, 2, 2, 2, 2]])
    assert drawn.strip() == "4, right -> 5, right -> 6, right -> 7"
    assert "over 2 starts: out 75%, pit 25%" in measured


def test_a_route_of_options_is_coloured_by_the_policy_that_is_followed(tmp_path):
    parts = [Option("aaaaaaaaaaaa", 0, "event"), Option("bbbbbbbbbbbb", 2, "cut"), Option("aaaaaaaaaaaa", 4, "end")]
    result = SimpleNamespace(
        objective=Objective.of("path"), q=None, actions=np.array(DETOUR), routes=(), options=tuple(parts)
    )
    figure = plot.options(ROOM, result)
    route, strip = figure.axes
    followed = [line for line in route.lines if line.get_gid() == "followed"]
    assert [len(line.get_xdata()) for line in followed] == [3, 3, len(DETOUR) - 3]
    assert followed[0].get_color() == followed[2].get_color() != followed[1].get_color()
    assert [line.get_gid() for line in route.lines if line.get_gid() in ("event", "cut")] == ["event", "cut"]
    assert [bar.get_width() for bar in strip.patches] == [2, 2, len(DETOUR) - 4]
    assert [text.get_text() for text in strip.get_legend().get_texts()] == ["aaaaaaaa", "bbbbbbbb"]
    assert plot.save(figure, tmp_path / "options.png").stat().st_size > 10_000
    with pytest.raises(InvalidValue, match="operator='options'"):
        plot.options(ROOM, SimpleNamespace(objective=Objective.of("path"), options=()))
