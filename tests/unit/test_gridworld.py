"""Layouts, objectives, the step kernel against its plain twin, the Gymnasium environment, rollouts, text."""

import json
import math
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.errors import InvalidTask, InvalidValue, UnknownName
from lever_ray.tasks.features import features
from lever_ray.tasks.gridworld.env import GridWorld, register
from lever_ray.tasks.gridworld.layout import FAMILIES, Layout, LayoutFamily, layout_family
from lever_ray.tasks.gridworld.text import as_text
from lever_ray.tasks.rollout import random_return, rollout
from tests.twin import DOWN, LEFT, RIGHT, UP, distances_to, layouts, objectives, twin_features, twin_of

GOLDS = ((0, 2), (2, 0))
ROOM = Layout(4, (0, 0), (3, 3), golds=GOLDS, blocks=((1, 1),), hazards=((0, 3),), lever=(3, 0))
START_TEXT = "@ . $ x\n. # . .\n$ . . .\nL . . E"
shapings = st.sampled_from([1.0, 1.0, 0.0, 0.5])
action_lists = st.lists(st.integers(0, 3), max_size=40)


def gold_mask(layout, golds):
    return sum(1 << bit for bit, cell in enumerate(layout.golds) if cell in golds)


# The kernel and its twin.


@given(st.data(), layouts(), shapings, action_lists)
def test_the_step_kernel_agrees_with_the_plain_twin(data, layout, shaping, actions):
    objective = data.draw(objectives(layout))
    twin = twin_of(layout, objective, shaping=shaping)
    world = GridWorld(layout, objective=objective, shaping=shaping)
    assert layout.cell(world.reset()[0]) == twin.cell
    for action in actions:
        state, reward, terminated, truncated, info = world.step(action)
        assert reward == pytest.approx(twin.step(action), abs=1e-9)
        assert layout.cell(state) == info["cell"] == twin.cell
        assert (terminated, truncated) == (twin.end in ("exit", "hazard"), twin.end == "truncated")
        assert (info["golds_left"], info["lever_on"]) == (len(twin.golds), twin.lever_on)
        phi = np.array(twin_features(layout, twin.cell, twin.golds, twin.lever_on))
        assert world.features() == pytest.approx(phi, abs=1e-6)
        if twin.end:
            break


@given(st.data(), layouts(), shapings, action_lists)
def test_rollout_of_a_route_agrees_with_the_plain_twin(data, layout, shaping, actions):
    objective = data.draw(objectives(layout))
    twin = twin_of(layout, objective, shaping=shaping)
    rewards = []
    while twin.end is None and len(rewards) < len(actions):
        rewards.append(twin.step(actions[len(rewards)]))
    route = rollout(layout, objective=objective, actions=actions, shaping=shaping)
    assert route.rewards == pytest.approx(np.array(rewards), abs=1e-9)
    assert route.total == pytest.approx(twin.total, abs=1e-9)
    assert (route.path[0], route.path[-1]) == (layout.start, twin.cell)
    assert (route.steps, len(route.path)) == (len(rewards), len(rewards) + 1)
    assert route.end == (twin.end or "truncated")
    assert (route.memory[0].bit_count(), bool(route.memory[1])) == (len(twin.golds), twin.lever_on)


@given(layouts(golds=6), st.data())
def test_features_of_any_full_state_agree_with_the_plain_twin(layout, data):
    state = data.draw(st.integers(0, layout.states - 1))
    golds = data.draw(st.sets(st.sampled_from(layout.golds))) if layout.golds else set()
    lever = data.draw(st.booleans())
    phi = features(layout, state=state, memory=(gold_mask(layout, golds), lever))
    assert phi.dtype == np.float32
    assert phi == pytest.approx(np.array(twin_features(layout, layout.cell(state), golds, lever)), abs=1e-6)


def test_features_keep_the_fifty_golds_that_are_nearest():
    cells = [(row, col) for row in range(8) for col in range(8)]
    layout = Layout(size=8, start=(0, 0), exit=(7, 7), golds=tuple(cells[1:61]))
    phi = features(layout, state=0, memory=((1 << 60) - 1, 0))
    assert phi[5] == 60
    assert phi == pytest.approx(np.array(twin_features(layout, (0, 0), layout.golds, False)), abs=1e-6)


@given(layouts())
def test_breadth_first_distances_agree_with_the_plain_twin(layout):
    cells = [layout.cell(state) for state in range(layout.states)]
    to_exit = distances_to(layout, layout.exit)
    assert list(layout.terrain.exit_distance) == [to_exit.get(cell, layout.states) for cell in cells]
    for column, gold in enumerate(layout.golds):
        to_gold = distances_to(layout, gold)
        assert list(layout.terrain.gold_distance[:, column]) == [to_gold.get(cell, -1) for cell in cells]


def test_sixty_four_golds_are_all_counted_and_collected_and_one_more_is_refused():
    cells = [(row, col) for row in range(9) for col in range(9)]
    layout = Layout(size=9, start=cells[0], exit=cells[80], golds=tuple(cells[1:65]))
    route = rollout(layout, objective="gold", actions=[RIGHT] * 8 + [DOWN] + [LEFT] * 8)
    assert route.memory[0].bit_count() == 64 - 17
    with pytest.raises(InvalidTask, match="65 golds; at most 64"):
        Layout(size=9, start=cells[0], exit=cells[80], golds=tuple(cells[1:66]))


# Layouts.


def changed(**fields):
    return Layout.from_dict(ROOM.to_dict() | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"exit": [0, 0]}, r"exit at \(0, 0\) overlaps the start"),
        ({"blocks": [[0, 2]]}, r"block at \(0, 2\) overlaps the gold"),
        ({"golds": [[1, 2], [1, 2]]}, r"gold at \(1, 2\) overlaps the gold"),
        ({"lever": [1, 1]}, r"lever at \(1, 1\) overlaps the block"),
        ({"hazards": [[4, 0]]}, r"hazard at \(4, 0\) lies outside the 4 x 4 grid"),
        ({"start": [0, -1]}, r"start at \(0, -1\) lies outside"),
        ({"size": 1}, "layout size is 1"),
        ({"size": 2.0}, "size is 2.0; it must be a whole number"),
        ({"size": True}, "size is True"),
        ({"start": [0]}, r"start holds \[0\]; a cell is \[row, column\]"),
        ({"start": "00"}, "start holds '00'"),
        ({"exit": None}, "exit holds None"),
        ({"golds": [[0, 1.5]]}, "golds is 1.5"),
        ({"golds": 7}, "golds is 7; it must be a list"),
        ({"blocks": None}, "blocks is None"),
        ({"hazards": "0,1"}, "hazards is '0,1'"),
    ],
)
def test_a_layout_that_breaks_a_rule_is_refused_and_the_message_says_where(fields, message):
    with pytest.raises(InvalidTask, match=message):
        changed(**fields)


def test_a_cell_that_is_a_mapping_is_refused():
    with pytest.raises(InvalidTask, match="start"):
        changed(start={"row": 0, "col": 0})


def test_a_layout_without_its_corner_stones_is_refused_and_the_message_names_them():
    with pytest.raises(InvalidTask, match="lacks size, exit"):
        Layout.from_dict({"start": [0, 0]})


@given(layouts())
def test_plain_data_json_and_pickle_give_the_same_layout_back(layout):
    layout.terrain  # noqa: B018 - cached arrays must not travel
    from_json = Layout.from_dict(json.loads(json.dumps(layout.to_dict())))
    from_pickle = pickle.loads(pickle.dumps(layout))  # noqa: S301
    for copy in (from_json, from_pickle):
        assert copy == layout
        assert copy.digest == layout.digest
        assert "terrain" not in vars(copy)


def test_the_name_is_no_part_of_a_layouts_identity_and_the_order_of_golds_is():
    assert changed(name="other") == ROOM
    assert changed(name="other").digest == ROOM.digest
    assert changed(golds=[[2, 0], [0, 2]]) != ROOM


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_sampled_layouts_are_solvable_and_have_the_familys_counts(family):
    wanted = layout_family(family)
    for seed in range(5):
        layout = Layout.sample(family, seed=seed)
        counts = [len(cells) for cells in (layout.golds, layout.blocks, layout.hazards)]
        assert counts == [wanted.golds, wanted.blocks, wanted.hazards]
        assert layout.size == wanted.size
        assert {layout.start, layout.lever} <= set(distances_to(layout, layout.exit))


def test_the_families_are_those_of_the_science_page():
    assert list(FAMILIES.values()) == [
        LayoutFamily("grid8", 8, 6, 4, 4),
        LayoutFamily("grid16", 16, 24, 16, 16),
        LayoutFamily("grid16-dense", 16, 25, 15, 15),
        LayoutFamily("grid32", 32, 25, 15, 15),
    ]


def test_equal_seeds_sample_equal_layouts_and_other_seeds_others():
    sampled = [Layout.sample("grid8", seed=seed) for seed in range(20)]
    assert sampled == [Layout.sample("grid8", seed=np.int64(seed)) for seed in range(20)]
    assert len({layout.digest for layout in sampled}) == 20


def test_draws_that_cannot_be_solved_never_come_back_as_a_layout():
    for seed in range(30):
        layout = Layout.sample(LayoutFamily("crowded", 4, 0, 5, 3), seed=seed)
        to_exit = distances_to(layout, layout.exit)
        assert {layout.start, layout.lever} <= set(to_exit)


def test_an_unsolvable_family_is_refused_and_the_message_names_the_counts():
    counts = r"200 draws of walled \(1 golds, 2 blocks, 394 hazards on 20 x 20\)"
    with pytest.raises(InvalidTask, match=counts):
        Layout.sample(LayoutFamily("walled", 20, 1, 2, 394), seed=0)
    with pytest.raises(InvalidTask, match="places 10 things on 9 cells"):
        Layout.sample(LayoutFamily("packed", 3, 3, 2, 2), seed=0)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None])
def test_a_layout_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(InvalidValue, match="layout seed"):
        Layout.sample("grid8", seed=seed)


def test_an_unknown_family_names_the_nearest_match():
    with pytest.raises(UnknownName, match=r"unknown layout family 'grid_16'.*Did you mean 'grid16'"):
        Layout.sample("grid_16", seed=0)


def test_layouts_whose_exit_is_within_three_steps_are_flagged_trivial():
    assert [Layout(3, (0, 0), cell).trivial for cell in ((0, 1), (1, 2), (2, 2))] == [True, True, False]


# Tasks.


@pytest.mark.parametrize("objective", ["gold", "lever"])
def test_an_objective_about_what_the_layout_lacks_is_refused(objective):
    with pytest.raises(InvalidTask, match=f"asks for (the )?{objective}"):
        Layout(size=2, start=(0, 0), exit=(1, 1)).compile(objective)


@pytest.mark.parametrize("shaping", [-1.0, math.nan, math.inf])
def test_bad_shaping_is_refused(shaping):
    with pytest.raises(InvalidValue, match="shaping is"):
        ROOM.compile("path", shaping=shaping)


# The Gymnasium environment.


def test_the_environment_is_registered_and_passes_gymnasiums_own_checks():
    register()
    register()
    settings = {"layout": ROOM.to_dict(), "objective": "path-gold", "render_mode": "ansi"}
    made = gymnasium.make("lever_ray/GridWorld-v0", **settings)
    assert isinstance(made.unwrapped, GridWorld)
    assert (made.unwrapped.layout, made.unwrapped.objective.name) == (ROOM, "path-gold")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made.unwrapped)


def test_a_step_after_the_end_is_refused_until_reset():
    world = GridWorld(ROOM)
    world.reset()
    for action in (RIGHT, RIGHT, RIGHT):
        _, reward, terminated, *_ = world.step(action)
    assert (reward, terminated) == (-100.0, True)
    with pytest.raises(InvalidValue, match=r"the episode is over; call reset\(\)"):
        world.step(UP)
    world.reset()
    assert world.step(UP)[1] == -0.1


def test_an_episode_is_truncated_after_as_many_steps_as_cells():
    world = GridWorld(ROOM)
    world.reset()
    truncations = [world.step(UP)[3] for _ in range(16)]
    assert truncations == [False] * 15 + [True]
    with pytest.raises(InvalidValue, match="the episode is over"):
        world.step(UP)


def test_an_unknown_action_is_refused():
    for action in (-1, 4):
        with pytest.raises(InvalidValue, match=f"action is {action}; use 0 right"):
            GridWorld(ROOM).step(action)


def test_rendering_as_text_shows_the_agent_and_forgets_what_was_taken():
    world = GridWorld(ROOM, render_mode="ansi")
    world.reset()
    assert world.render() == START_TEXT
    for action in (RIGHT, RIGHT, DOWN):
        world.step(action)
    assert world.render() == "S . . x\n. # @ .\n$ . . .\nL . . E"


def test_rendering_as_a_picture_gives_every_kind_of_cell_a_colour_and_no_mode_gives_nothing():
    picture = GridWorld(ROOM, render_mode="rgb_array").render()
    assert (picture.shape, picture.dtype) == ((64, 64, 3), np.uint8)
    assert len(np.unique(picture[::16, ::16].reshape(-1, 3), axis=0)) == len(set("@.$x#LE"))
    assert GridWorld(ROOM).render() is None


def test_an_unknown_render_mode_is_refused():
    with pytest.raises(InvalidValue, match="render_mode is 'human'"):
        GridWorld(ROOM, render_mode="human")


# Rollouts and text.


def test_rollout_follows_the_greedy_policy_with_ties_to_the_lowest_action():
    q = np.zeros((16, 4))
    route = rollout(ROOM, objective="path", q=q)
    assert (route.end, route.path) == ("hazard", ((0, 0), (0, 1), (0, 2), (0, 3)))
    q[:, [DOWN, UP]] = 1.0
    route = rollout(ROOM, objective="path", q=q)
    assert (route.end, route.steps, route.memory[1], route.memory[0].bit_count()) == ("truncated", 16, 1, 1)


@pytest.mark.parametrize(
    ("given_input", "message"),
    [
        ({}, "either q, actions or routes"),
        ({"q": np.zeros((16, 4)), "actions": [0]}, "either q, actions or routes"),
        ({"q": np.zeros((9, 4))}, r"q has shape \(9, 4\); this task needs \(16, 4\)"),
        ({"q": np.full((16, 4), np.nan)}, "q holds NaN"),
        ({"actions": [[0, 1]]}, r"actions has shape \(1, 2\)"),
        ({"actions": [0, 4]}, r"values \[0 4\]"),
        ({"actions": [-1]}, r"values \[-1\]"),
        ({"actions": [0.5]}, "use a list of 0 to 3"),
    ],
)
def test_bad_input_to_rollout_is_refused(given_input, message):
    with pytest.raises(InvalidValue, match=message):
        rollout(ROOM, objective="path", **given_input)


def test_an_empty_route_stays_at_the_start():
    route = rollout(ROOM, objective="path", actions=[])
    assert (route.total, route.end, route.path, route.memory) == (0.0, "truncated", (ROOM.start,), (0b11, 0))


def test_the_random_return_is_seeded_and_lies_between_the_worst_and_the_best_episode():
    first, again, other = (random_return(ROOM, "path", episodes=20, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert -116 < first < 106
    with pytest.raises(InvalidValue, match="episodes is 0"):
        random_return(ROOM, "path", episodes=0)


def test_text_marks_a_route_on_empty_cells_alone():
    drawn = as_text(ROOM, path=[(0, 0), (0, 1), (0, 2), (1, 2), (3, 3)], agent=(1, 2), taken=[(2, 0)])
    assert drawn == "S * $ x\n. # @ .\n. . . .\nL . . E"
