"""Pictures of environments and routes, and the figures of experiments: what they draw, say and refuse."""

import math
import subprocess
import sys
from itertools import combinations, groupby, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from lever_ray import plot
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.experiment import figures
from lever_ray.experiment.statistics import CARRIED_COLUMNS, METRICS, summarise
from lever_ray.learning.sarsa import train
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import rollout
from tests.twin import DOWN, LEFT, RIGHT, UP, layouts

GOLDS = ((0, 2), (2, 0))
ROOM = Layout(4, (0, 0), (3, 3), golds=GOLDS, blocks=((1, 1),), hazards=((0, 3),), lever=(3, 0), name="room")
DETOUR = (RIGHT, RIGHT, DOWN, DOWN, RIGHT, DOWN)
"""From the start of ROOM over one gold to the exit."""
THERE_AND_BACK = (RIGHT, RIGHT, LEFT, LEFT, UP, DOWN, DOWN)
"""Along two edges and back, against a wall, and never to the exit."""


def route(*actions):
    return rollout(ROOM, objective="path-gold", actions=np.array(actions, np.int8))


def symbols(axes, kind):
    """Cells at which a symbol is drawn."""
    patches = [patch for patch in axes.patches if patch.get_gid() == kind]
    boxes = [patch.get_patch_transform().transform_path(patch.get_path()).get_extents() for patch in patches]
    return {(round((box.y0 + box.y1) / 2), round((box.x0 + box.x1) / 2)) for box in boxes}


def segments(axes):
    return [segment for part in axes.collections if part.get_gid() == "route" for segment in part.get_segments()]


def drawn_cells(axes):
    """Cells along the route that is drawn, each once where it stays."""
    points = [point for segment in segments(axes) for point in segment]
    return [cell for cell, _ in groupby((round(float(y)), round(float(x))) for x, y in points)]


def words(axes):
    """Title, and whatever else is written into the axes."""
    return axes.get_title(loc="left"), "\n".join(text.get_text() for text in axes.texts)


def legend_words(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def marks(axes, gid):
    """Points of the lines with a gid."""
    return [tuple(map(float, point)) for line in axes.lines if line.get_gid() == gid for point in line.get_xydata()]


def assert_legible(figure):
    """No text is cut off, and no text covers another."""
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, _: shown.append(text))
        figure.draw_without_rendering()
    written = [text for text in shown if text.get_visible() and text.get_text().strip()]
    texts = [(text.get_text(), text.get_window_extent()) for text in written]
    for word, box in texts:
        assert figure.bbox.padded(1).count_contains(box.corners()) == 4, f"{word!r} is cut off"
    for (one, box), (other, covered) in combinations(texts, 2):
        assert not box.padded(-1).overlaps(covered.padded(-1)), f"{one!r} covers {other!r}"


def size_of(path):
    """Width and height in a PNG's header."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


# Layouts and routes.


def test_a_layout_is_drawn_with_every_thing_in_its_cell():
    figure = plot.layout(ROOM)
    (axes,) = figure.axes
    things = {"start": {ROOM.start}, "exit": {ROOM.exit}, "gold": set(GOLDS), "lever": {(3, 0)}}
    things |= {"hazard": {(0, 3)}, "block": {(1, 1)}}
    assert {kind: symbols(axes, kind) for kind in things} == things
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 3.5), (3.5, -0.5))
    assert words(axes)[0] == "room"
    assert legend_words(figure) == [*things]
    assert_legible(figure)


def test_the_legend_names_only_what_there_is():
    figure = plot.layout(Layout(3, (0, 0), (2, 2)))
    assert words(figure.axes[0])[0] == "3 x 3 grid"
    assert legend_words(figure) == ["start", "exit"]


def test_a_path_shows_the_cells_of_the_rollout_and_the_golds_it_takes():
    done = route(*DETOUR)
    figure = plot.path(ROOM, done, objective="path-gold")
    (axes,) = figure.axes
    assert drawn_cells(axes) == list(done.path)
    assert (symbols(axes, "taken"), symbols(axes, "gold")) == ({(0, 2)}, {(2, 0)})
    told = f"return {done.total:.1f} · exit after 6 steps · 1 of 2 golds · lever not pulled"
    assert words(axes) == ("path-gold", told)
    assert "gold, taken" in legend_words(figure)
    assert_legible(figure)


@settings(max_examples=40)
@given(layouts(), st.lists(st.integers(0, 3), max_size=30))
def test_the_line_of_any_route_runs_through_its_cells(layout, actions):
    done = rollout(layout, objective="path", actions=np.array(actions, np.int8))
    (axes,) = plot.path(layout, done).axes
    moved = [cell for cell, _ in groupby(done.path)]
    assert drawn_cells(axes) == (moved if len(moved) > 1 else [])
    assert symbols(axes, "taken") == set(layout.golds) & set(done.path)


def test_a_line_is_continuous_and_the_way_back_lies_beside_the_way_out():
    parts = segments(plot.path(ROOM, route(*THERE_AND_BACK)).axes[0])
    assert all(np.allclose(one[1], other[0]) for one, other in pairwise(parts))
    moves = [(end[0] - begin[0], begin[1], end[1]) for begin, end in parts if round(end[0]) != round(begin[0])]
    assert [(np.sign(way), *np.round(heights, 9)) for way, *heights in moves] == 2 * [(1, 0.1, 0.1)] + 2 * [
        (-1, -0.1, -0.1)
    ]


def test_a_route_says_how_it_ends():
    (axes,) = plot.path(ROOM, route(*THERE_AND_BACK)).axes
    assert symbols(axes, "end") == {(2, 0)}
    assert "no end within 7 steps" in words(axes)[1]
    (axes,) = plot.path(ROOM, route(RIGHT, RIGHT, RIGHT)).axes
    assert symbols(axes, "end") == set()
    assert words(axes)[0] == "room"
    assert "hazard after 3 steps" in words(axes)[1]
    assert "no end within 0 steps" in words(plot.path(ROOM, route()).axes[0])[1]


def test_every_kind_of_result_is_drawn():
    objective = Objective.of("path-gold", weights={"gold": 2})
    run = train(ROOM, objective=objective, episodes=300, gamma=0.99, seed=0)
    played, best = rollout(ROOM, objective=objective, q=run.q), optimum(ROOM, objective=objective)
    composed = SimpleNamespace(objective=objective, q=run.q, actions=None)
    planned = SimpleNamespace(objective=objective, q=None, actions=played.actions)
    same = (run, composed, planned, run.q, played)
    for result, done in [*((result, played) for result in same), (best, best)]:
        (axes,) = plot.path(ROOM, result, objective=objective).axes
        assert words(axes)[0] == "path-gold[1,2]"
        assert drawn_cells(axes) == [cell for cell, _ in groupby(done.path)]
        assert f"return {done.total:.1f} " in words(axes)[1]
    assert words(plot.path(ROOM, composed).axes[0])[0] == "path-gold[1,2]"


@pytest.mark.parametrize("nothing", [None, 3, "route", object()])
def test_an_object_without_a_route_is_refused(nothing):
    with pytest.raises(InvalidValue, match="holds no route; give a composition result"):
        plot.path(ROOM, nothing)


def test_what_cannot_be_drawn_is_refused_with_the_reason():
    with pytest.raises(InvalidValue, match="give objective="):
        plot.path(ROOM, np.zeros((16, 4)))
    with pytest.raises(InvalidValue, match=r"q has shape \(9, 4\)"):
        plot.path(ROOM, np.zeros((9, 4)), objective="path")
    with pytest.raises(UnknownName, match="'silver'"):
        plot.path(ROOM, route(*DETOUR), objective="path-silver")
    with pytest.raises(InvalidValue, match=r"of another environment; this one starts at \(3, 3\)"):
        plot.path(Layout(4, (3, 3), (0, 0)), route(*DETOUR))
    with pytest.raises(InvalidValue, match="of another environment"):
        plot.path(Layout(2, (0, 0), (1, 1)), route(*DETOUR))
    with pytest.raises(InvalidValue, match="no routes to draw"):
        plot.routes(ROOM, [])


def test_routes_stand_side_by_side_under_their_titles_up_to_three_in_a_row():
    best = optimum(ROOM, objective="path-gold")
    figure = plot.routes(ROOM, [("composed", route(*DETOUR)), ("optimum", best)])
    assert [words(axes)[0] for axes in figure.axes] == ["composed", "optimum"]
    assert drawn_cells(figure.axes[1]) == list(best.path)
    assert "\n1 of 2 golds" in words(figure.axes[0])[1]
    assert_legible(figure)
    figure = plot.routes(ROOM, [(str(place), best) for place in range(4)])
    assert [axes.axison for axes in figure.axes] == [True] * 4 + [False] * 2
    assert_legible(figure)


def test_a_saved_figure_is_a_png_of_twice_a_readme_s_width_with_equal_bytes_each_time(tmp_path):
    panels = [(str(place), route(*DETOUR)) for place in range(3)]
    one, other = (plot.save(plot.routes(ROOM, panels), tmp_path / name) for name in ("new/a.png", "b.PNG"))
    width, height = size_of(one)
    assert width == plot.WIDTH * plot.DPI == 1800
    assert 600 < height < 1200
    assert one.read_bytes() == other.read_bytes()
    with pytest.raises(InvalidValue, match=r"route\.pdf.*must end in \.png"):
        plot.save(plot.layout(ROOM), tmp_path / "route.pdf")


def test_a_grid_draws_itself_with_one_legend_for_all_that_its_figure_holds():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    own = figure.legend([], [])
    Layout(3, (0, 0), (2, 2)).draw(left)
    ROOM.draw(right, route(*DETOUR).path, label="detour")
    assert (words(left)[0], words(right)[0]) == ("", "detour")
    assert figure.legends[0] is own
    (legend,) = figure.legends[1:]
    told = ["start", "exit", "gold", "gold, taken", "lever", "hazard", "block", "route, light to dark"]
    assert [text.get_text() for text in legend.get_texts()] == told


def test_importing_the_package_loads_no_pictures_and_pictures_load_no_pyplot():
    code = (
        "import sys, lever_ray; assert 'matplotlib' not in sys.modules; import lever_ray.experiment.figures; "
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Figures of experiments.

SETUPS = [("path-gold", "trivial"), ("path-gold-hazard", "double"), ("path-gold-hazard-lever", "trivial")]
SETUPS += [("path-gold-hazard-lever", "double"), ("path-gold-hazard-lever", "triple")]
CANDIDATES = {"targeted": 20.0, "hybrid-3": 100.0, "exhaustive": 7000.0}
VALUES = {"return/random": -20.0, "return/composed": 180.0, "return/scratch": 100.0, "return/optimum": 380.0}
VALUES |= {"return/scratch_best_gamma": 200.0, "return/best_single": 210.0, "return/best_single_oracle": 220.0}
VALUES |= {"return/random_q": 40.0, "quality/normalised": 0.5, "speedup/seconds": 20.0, "seconds/scratch": 1e-2}
VALUES |= {"seconds/retrieve": 1e-4, "seconds/rank": 3.9e-4, "seconds/compose": 1e-5, "seconds/query": 5e-4}
VALUES |= {"seconds/fit": 1e-3}
TOLD = {"tier": "I3", "family": "grid8", "budget": "X1", "operator": "sum", "support": "mask", "layouts": 20}
FIGURES = (figures.quality_versus_speedup, figures.controls, figures.time_by_stage)


def line(gamma=0.0, setup=SETUPS[1], strategy="hybrid-3", ranker="offline-return"):
    """A line of a summary in which composing is worse than the best single policy."""
    line = {"gamma": gamma, "setup": setup[0], "mode": setup[1], "strategy": strategy, "ranker": ranker} | TOLD
    for name, value in (VALUES | {"candidates/evaluated": CANDIDATES[strategy]}).items():
        half = abs(value) / 10
        line |= {name: value, f"{name}/ci_low": value - half, f"{name}/ci_high": value + half}
    return line | {"layouts/trivial": 8}


def full_summary():
    cells = ((gamma, setup, name) for gamma in (0.0, 0.99) for setup in SETUPS for name in CANDIDATES)
    return [line(*cell, ranker) for cell in cells for ranker in ("offline-return", "regressor")]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_figure_of_a_full_experiment_or_of_one_cell_is_legible(draw, tmp_path):
    for name, summary in (("full", full_summary()), ("one", [line()])):
        figure = draw(summary)
        assert_legible(figure)
        width, height = size_of(plot.save(figure, tmp_path / f"{name}.png"))
        assert 1400 <= width <= 1840
        assert 300 < height < 1800


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.filterwarnings("error")
def test_missing_values_are_left_out_and_the_rest_is_drawn(draw, tmp_path):
    unknown = line(strategy="targeted")
    unknown |= {name: math.nan for name, value in unknown.items() if isinstance(value, float) and name != "gamma"}
    no_intervals = {name: value for name, value in line(gamma=0.99).items() if "/ci_" not in name}
    skewed = line(strategy="exhaustive") | {"quality/normalised/ci_low": 0.6, "return/composed/ci_high": None}
    for summary in ([unknown], [unknown, no_intervals, skewed]):
        size_of(plot.save(draw(summary), tmp_path / "figure.png"))


def test_every_column_that_is_drawn_is_one_that_a_summary_has():
    row = {"gamma": 0.0, "mode": "double", "setup": "path-gold-hazard", "strategy": "targeted", "ranker": "regressor"}
    row |= (
        {"operator": "sum"}
        | dict.fromkeys(CARRIED_COLUMNS, "same")
        | dict.fromkeys(METRICS, 1.0)
        | {"trivial_layout": False}
    )
    (summed,) = summarise([row | {"environment": f"grid8-{seed}"} for seed in range(3)], bootstrap=5)
    assert line().keys() | {*figures.CONTROLS, *figures.TIMES, *figures.REFERENCES} - {"seconds/once"} <= summed.keys()


def test_quality_stands_against_speed_up_with_its_interval_on_a_log_axis():
    (axes,) = figures.quality_versus_speedup([line()]).axes
    assert axes.get_xscale() == "log"
    points = [point for drawn in axes.lines if drawn.get_marker() == "s" for point in drawn.get_xydata()]
    assert [tuple(point) for point in points] == [(20.0, 0.5)]
    bars = {tuple(map(tuple, part.get_segments()[0].tolist())) for part in axes.collections}
    assert bars == {((18.0, 0.5), (22.0, 0.5)), ((20.0, 0.45), (20.0, 0.55))}


def test_quality_is_drawn_beside_scratch_and_the_best_single_policy():
    figure = figures.quality_versus_speedup([line(), line(strategy="targeted")])
    (axes,) = figure.axes
    levels = {column: round(marks(axes, column)[0][1], 9) for column in figures.REFERENCES}
    assert levels == {
        "return/best_single_oracle": 240 / 400,
        "return/scratch_best_gamma": 220 / 400,
        "return/scratch": 120 / 400,
    }
    assert all(axes.get_ylim()[0] < level < axes.get_ylim()[1] for level in (*levels.values(), 0.45, 0.55))
    assert axes.get_xlim()[0] < 1.0 < axes.get_xlim()[1]
    assert [1.0, 1.0] in [list(drawn.get_xdata()) for drawn in axes.lines]
    assert {"scratch, same γ", "scratch, best γ", "best single policy, by oracle"} <= set(legend_words(figure))
    assert "0 = random, 1 = optimum" in figure.get_supylabel()


def test_quality_has_a_panel_for_each_objective_gamma_and_ranker():
    figure = figures.quality_versus_speedup(full_summary())
    assert len(figure.axes) == 3 * 4
    assert [words(axes) for axes in figure.axes[1:3]] == [
        ("γ = 0", "regressor (I3)"),
        ("γ = 0.99", "offline-return (I3)"),
    ]
    assert [axes.get_ylabel() for axes in figure.axes[::4]] == list(dict(SETUPS))
    assert legend_words(figure)[:6] == ["trivial mode", "double mode", "triple mode", *CANDIDATES]


def test_controls_are_bars_of_the_means_under_the_optimum():
    (axes,) = figures.controls([line()]).axes
    assert {bar.get_gid(): bar.get_height() for bar in axes.patches} == {
        name: VALUES[name] for name in figures.CONTROLS
    }
    assert {y for _, y in marks(axes, "return/optimum")} == {380.0}
    assert axes.get_ylim()[1] > 380.0
    assert [label.get_text() for label in axes.get_xticklabels()] == ["path-gold-\nhazard\n(double)"]


def test_controls_have_a_panel_per_gamma_and_choose_without_looking_at_returns():
    poor = line(strategy="exhaustive") | {"return/composed": 1.0}
    summary = [line(strategy="targeted"), poor, poor | {"gamma": 0.99}]
    told = "exhaustive, offline-return (I3)"
    assert [words(axes) for axes in figures.controls(summary).axes] == [("γ = 0", told), ("γ = 0.99", told)]
    (axes,) = figures.controls(summary, strategy="targeted", ranker="offline-return").axes
    assert words(axes)[1] == "targeted, offline-return (I3)"


def test_summaries_that_lack_what_is_asked_are_refused():
    for draw in FIGURES:
        with pytest.raises(InvalidValue, match="summary is empty"):
            draw([])
    with pytest.raises(UnknownName, match=r"unknown strategy 'targetted'. Did you mean 'targeted'"):
        figures.controls([line(strategy="targeted")], strategy="targetted")
    with pytest.raises(UnknownName, match="unknown ranker 'oracle'"):
        figures.controls([line()], ranker="oracle")


def test_time_shows_every_stage_and_what_is_paid_once():
    (axes,) = figures.time_by_stage([line()]).axes
    seconds = {column: marks(axes, column)[0][0] for column in figures.TIMES}
    assert seconds == {column: VALUES.get(column, pytest.approx(1.5e-3)) for column in figures.TIMES}
    assert axes.get_xscale() == "log"
    assert "path-gold-hazard (double)" in words(axes)[1]


def test_time_has_a_row_for_each_strategy_in_each_setup():
    figure = figures.time_by_stage(full_summary())
    assert len(figure.axes) == 4
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [*CANDIDATES] * len(SETUPS)
    assert len({y for _, y in marks(figure.axes[0], "seconds/query")}) == 3 * len(SETUPS)
