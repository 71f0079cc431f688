"""Figures of a tuning study: what they show, and that it can be read."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lever_ray.errors import InvalidValue
from lever_ray.tuning import figures
from tests.unit.test_plot import assert_legible, marks, words

# The front of a study: a staircase, with two steps that nearly coincide, above two dominated trials.

TRIED = [(30, 0.506, "targeted"), (31, 0.509, "hybrid-1"), (155, 0.523, "hybrid-5"), (373, 0.526, "hybrid-7")]
TRIED += [(542, 0.529, "hybrid-8"), (1230, 0.549, "exhaustive"), (30, 0.45, "slow"), (400, 0.48, "slower")]
STUDY = [
    {"candidates": cost, "quality": quality, "label": f"{name} sum offline-return", "on_front": "slow" not in name}
    for cost, quality, name in TRIED
]
HELD_OUT = [
    {
        "held_out/candidates": cost,
        "held_out/quality": quality - 0.02,
        "held_out/quality/ci_low": quality - 0.05,
        "held_out/quality/ci_high": quality + 0.01,
        "held_out/environments": 10,
        "verdict": verdict,
    }
    for (cost, quality, _), verdict in zip(
        TRIED[:6], ["cheapest", "open", "confirmed", "refuted", "open", "confirmed"], strict=True
    )
]


def test_a_front_is_a_staircase_that_no_trial_is_above() -> None:
    (axes,) = figures.front([*STUDY, STUDY[2]]).axes
    stairs = np.array(marks(axes, "front"))
    assert (np.diff(stairs, axis=0) >= 0).all()
    assert stairs[[0, -1]].tolist() == [[30, 0.506], [axes.get_xlim()[1], 0.549]]
    assert all(trial["quality"] <= stairs[stairs[:, 0] <= trial["candidates"], 1].max() for trial in STUDY)
    assert axes.get_xscale() == "log"
    assert "9 trials, 6 choices on it" in words(axes)[1]


def test_labels_name_the_front_alone_and_cover_neither_each_other_nor_points() -> None:
    figure = figures.front(STUDY)
    (axes,) = figure.axes
    assert_legible(figure)
    names = {name for _, _, name in TRIED if "slow" not in name}
    named = [text for text in axes.texts if text.get_text() in names]
    assert {text.get_text() for text in named} == names
    assert "Pareto front: sum offline-return" in words(axes), "what every label says is said once"
    points = axes.transData.transform([(trial["candidates"], trial["quality"]) for trial in STUDY])
    assert sum(text.get_window_extent().count_contains(points) for text in named) == 0


def test_held_out_qualities_stand_beside_the_front_and_luck_is_hollow() -> None:
    stopped = {"candidates": 50, "quality": 0.4, "label": "stopped", "on_front": False, "state": "pruned"}
    figure = figures.front([*STUDY, stopped], held_out=HELD_OUT)
    assert_legible(figure)
    (axes,) = figure.axes
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert {"held out", "held out, gain not confirmed", "stopped early"} <= set(told)
    assert "measured again on 10 held-out environments" in words(axes)[1]
    filled = {line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"}
    assert len(filled) == 2


def test_a_front_of_one_trial_or_of_none_is_drawn_but_not_of_unusable_ones() -> None:
    assert_legible(figures.front(STUDY[:1]))
    figure = figures.front([trial | {"on_front": False} for trial in STUDY])
    assert_legible(figure)
    assert marks(figure.axes[0], "front") == []
    for unusable in ([], [STUDY[0] | {"quality": math.nan}], [STUDY[0] | {"candidates": 0}]):
        with pytest.raises(InvalidValue, match=f"none of {len(unusable)} trials"):
            figures.front(unusable)


def test_importances_have_a_panel_for_each_target_and_a_bar_for_each_parameter() -> None:
    found = {"quality": {"operator": 0.7, "k": 0.3}, "cost": {"k": 0.9, "operator": 0.1}, "front": {"k": 1.0}}
    figure = figures.importances(found)
    assert_legible(figure)
    assert len(figure.axes) == 3
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["operator", "k"]
    assert [bar.get_width() for bar in figure.axes[2].patches[:2]] == [0.0, 1.0]
