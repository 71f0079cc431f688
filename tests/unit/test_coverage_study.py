"""The coverage study: what cuts leave, what fits and ranks say of rows, and what its rows hold."""

import csv
import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.executor import Outcome, SerialExecutor
from lever_ray.learning.sarsa import train
from lever_ray.studies.coverage_cuts import CUTS, chain_order, kept_pairs, spreading
from lever_ray.studies.coverage_fit import METRICS, Ranks, fit_sigmoids, predictors, thresholds
from lever_ray.studies.coverage_study import VALUES, CoverageStudy, LayoutRecords, run_coverage_study
from lever_ray.studies.studies import study_files, study_report, study_settings
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import random_return, rollout

FOUR = "path-gold-hazard-lever"
LEVELS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SMALL = CoverageStudy(layouts=2, levels=(1.0, 0.5, 0.0), draws=2, training_seeds=1)


class TwoThreads:
    """An executor whose items finish in any order."""

    name, workers = "threads", 2

    def map(self, function, items, *, shared=()):
        with ThreadPoolExecutor(2) as threads:
            waiting = [threads.submit(function, item, *shared) for item in items]
            for index, each in reversed(list(enumerate(waiting))):
                yield Outcome(index, each.result())

    def prepare(self, function, *arguments):
        """Nothing."""


@pytest.fixture(scope="module")
def rows():
    return run_coverage_study(SMALL, executor=SerialExecutor())


@pytest.fixture(scope="module")
def records():
    layout = Layout.sample("grid8", seed=70_001)
    taken = np.stack(
        [train(layout, objective=term, episodes=100, seed=0).snapshots[-1].visits > 0 for term in layout.terms]
    )
    played = rollout(layout, objective=FOUR, actions=optimum(layout, objective=FOUR).actions)
    route = np.stack([played.observations[:-1], played.actions], axis=1).astype(np.int64)
    return {"taken": taken, "moves": layout.dynamics.moves, "route": route}


@pytest.mark.parametrize("cut", CUTS)
def test_a_lower_level_keeps_a_part_of_a_higher_one(cut, records):
    left = [kept_pairs(cut, kept, seed=(5, 0), **records) & records["taken"] for kept in LEVELS]
    for fewer, more in pairwise(left):
        assert (fewer <= more).all()
    assert (left[-1] == records["taken"]).all()
    if cut == "chain":
        assert not left[0][:, records["route"][:, 0], records["route"][:, 1]].any()
    else:
        assert not left[0].any()
    again = kept_pairs(cut, 0.5, seed=(5, 0), **records)
    assert (kept_pairs(cut, 0.5, seed=(5, 0), **records) == again).all()
    assert not (kept_pairs(cut, 0.5, seed=(5, 1), **records) == again).all()


def test_cuts_keep_the_share_that_was_asked(records):
    union = records["taken"].any(axis=0)
    for kept in LEVELS:
        own = kept_pairs("policy", kept, seed=(1,), **records)
        assert own.sum(axis=(1, 2)).tolist() == [round(kept * each.sum()) for each in records["taken"]]
        assert kept_pairs("common", kept, seed=(1,), **records).sum() == round(kept * union.sum())
        inside = (kept_pairs("region", kept, seed=(1,), **records)[0] & union).sum() / union.sum()
        assert abs(inside - kept) <= 2.0 / union.sum()  # a cell has 4 pairs
        route = np.unique(records["route"], axis=0)
        chain = kept_pairs("chain", kept, seed=(1,), **records)[0]
        assert chain[route[:, 0], route[:, 1]].sum() == round(kept * len(route))
        assert chain.sum() == chain.size - len(route) + round(kept * len(route))


def test_a_region_is_one_whole_and_spreads_evenly(records):
    union, moves = records["taken"].any(axis=0), records["moves"]
    cells = spreading(moves, union, np.random.default_rng(3))
    assert sorted(cells) == np.flatnonzero(union.any(axis=1)).tolist()
    joined = {int(cells[0])}
    for cell in cells[1:].tolist():
        assert joined & {*moves[cell].tolist()}, "a cell without a neighbour that came before"
        joined.add(cell)
    away = np.abs(cells // 8 - cells[0] // 8) + np.abs(cells % 8 - cells[0] % 8)
    assert away[1:5].max() <= 2


def test_a_chain_loses_transitions_that_follow_each_other():
    route = np.array([[1, 0], [2, 0], [3, 1], [2, 0], [4, 2], [5, 3]])
    distinct = [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3)]
    for seed in range(8):
        order = [distinct.index(tuple(pair)) for pair in chain_order(route, np.random.default_rng(seed)).tolist()]
        assert sorted(order) == [0, 1, 2, 3, 4]
        for lost in range(1, 6):
            assert max(order[:lost]) - min(order[:lost]) == lost - 1


def test_what_cannot_be_cut_is_refused(records):
    with pytest.raises(UnknownName, match="Did you mean 'region'"):
        kept_pairs("regoin", 0.5, seed=(0,), **records)
    with pytest.raises(InvalidValue, match=r"kept is 1.5; a share from 0 to 1"):
        kept_pairs("common", 1.5, seed=(0,), **records)


def sigmoid(kept, low, high, steepness, middle):
    return low + (high - low) / (1.0 + np.exp(-steepness * (np.asarray(kept) - middle)))


@pytest.mark.parametrize("middle", [0.15, 0.4, 0.75])
@pytest.mark.parametrize("steepness", [5.0, 15.0])
def test_a_sigmoid_is_found_again(middle, steepness):
    truth = (0.1, 0.9, steepness, middle)
    none, full = sigmoid(0.0, *truth), sigmoid(1.0, *truth)
    grid = np.linspace(0, 1, 100_001)
    half = grid[np.argmin(np.abs(sigmoid(grid, *truth) - (none + full) / 2))]
    found = fit_sigmoids(LEVELS, sigmoid(LEVELS, *truth)[None])
    assert found.threshold[0] == pytest.approx(half, abs=0.01)
    assert found.fit[0] > 0.999
    assert (found.none[0], found.full[0]) == pytest.approx((none, full), abs=0.02)
    rise = sigmoid(half + 1e-5, *truth) - sigmoid(half - 1e-5, *truth)
    assert found.slope[0] == pytest.approx(rise / 2e-5, rel=0.15)


def test_no_fit_of_scipy_is_better_than_the_grid():
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(2)
    for _ in range(5):
        truth = (0.1, 0.8, rng.uniform(6, 20), rng.uniform(0.2, 0.8))
        noisy = sigmoid(LEVELS, *truth) + rng.normal(0, 0.05, len(LEVELS))
        told, _ = curve_fit(sigmoid, LEVELS, noisy, p0=truth, maxfev=20_000)
        left = ((noisy - sigmoid(LEVELS, *told)) ** 2).sum() / ((noisy - noisy.mean()) ** 2).sum()
        found = fit_sigmoids(LEVELS, noisy[None])
        assert found.fit[0] == pytest.approx(1 - left, abs=0.01)
        ends = sigmoid([0.0, 1.0], *told)
        half = told[3] - np.log((told[1] - told[0]) / (ends.mean() - told[0]) - 1) / told[2]
        assert found.threshold[0] == pytest.approx(half, abs=0.03)


def made_up(curve, *, layouts=20, cut="common", noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    common = {"family": "grid8", "gamma": 0.0, "operator": "sum", "cut": cut, "draw": 0}
    found = []
    for layout in range(layouts):
        shift = rng.normal(0, noise)
        for kept, value in zip(LEVELS, curve, strict=True):
            quality = float(value + shift + rng.normal(0, noise))
            success = {"success/scratch": float(quality > 0.5), "success/own": 1.0}
            metrics = dict.fromkeys(METRICS, kept)
            found.append(
                common | {"layout_seed": layout, "kept": kept, "quality/normalised": quality} | success | metrics
            )
    return found


def test_thresholds_of_rows_hold_the_truth_and_say_where_there_is_none():
    truth = sigmoid(LEVELS, 0.0, 0.9, 12.0, 0.6)
    (line,) = thresholds(made_up(truth), bootstrap=500)
    assert line["found"] == "threshold"
    assert line["threshold/ci_low"] <= 0.6 <= line["threshold/ci_high"]
    assert line["threshold"] == pytest.approx(0.6, abs=0.05)
    assert line["success/scratch/found"] == "threshold"
    assert line["success/own/found"] == "flat"
    assert math.isnan(line["success/own/threshold"])
    assert line["success/own/fit"] == 0.0
    (flat,) = thresholds(made_up(np.full(len(LEVELS), 0.4)), bootstrap=500)
    assert (flat["found"], math.isnan(flat["threshold"])) == ("flat", True)
    valley = np.where(np.array(LEVELS) < 0.3, 0.5, np.where(np.array(LEVELS) < 0.7, 0.0, 0.9))
    (line,) = thresholds(made_up(valley, noise=0.02), bootstrap=500)
    assert (line["found"], math.isnan(line["threshold"])) == ("no sigmoid", True)
    (rising,) = thresholds(made_up(truth[::-1]), bootstrap=500)
    assert rising["found"] == "flat"


def test_the_interval_of_a_threshold_holds_it_about_as_often_as_said():
    truth = sigmoid(LEVELS, 0.0, 0.9, 12.0, 0.6)
    held = 0
    for seed in range(60):
        (line,) = thresholds(made_up(truth, layouts=30, seed=seed), bootstrap=300)
        held += line["threshold/ci_low"] - 0.005 <= 0.6 <= line["threshold/ci_high"] + 0.005
    assert held >= 51, held  # of 60; 95% are 57, and 50 or less have a chance of 0.0004


def test_the_area_is_that_of_counting_every_pair():
    rng = np.random.default_rng(4)
    values, place = rng.integers(0, 6, 90).astype(float), rng.integers(0, 5, 90)
    values[3] = np.nan
    succeeded = rng.random(90) < 0.4
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 0, 2], [0, 3, 1, 1, 0]], float)

    def counted(weight, *, within):
        above = below = 0.0
        for one in np.flatnonzero(succeeded):
            for other in np.flatnonzero(~succeeded):
                if np.isnan(values[[one, other]]).any() or (within and place[one] != place[other]):
                    continue
                times = weight[place[one]] * (1.0 if within else weight[place[other]])
                above += times * (values[one] > values[other]) + times * (values[one] == values[other]) / 2
                below += times
        return above / below

    ranks = Ranks.of(values, succeeded, place, 5)
    assert ranks.auc(weights) == pytest.approx([counted(weight, within=False) for weight in weights])
    assert ranks.auc_within(weights) == pytest.approx([counted(weight, within=True) for weight in weights])
    nobody = Ranks.of(values, np.zeros(90, bool), place, 5)
    assert np.isnan(nobody.auc(weights)).all()


def test_equal_records_count_once_for_the_area():
    one = made_up(sigmoid(LEVELS, 0.0, 0.9, 12.0, 0.6))
    other = [row | {"cut": "region"} for row in one]
    twice = predictors([*one, *other], bootstrap=50)
    levels = [row for row in one if row["kept"] in (0.0, 1.0)] + [row for row in one if 0 < row["kept"] < 1] * 2
    assert twice[0]["success"] == pytest.approx(np.mean([row["success/scratch"] for row in levels]))
    within = predictors(made_up(np.array(LEVELS), noise=0.0), bootstrap=50)
    assert {line["auc"] for line in within} == {1.0}


def test_what_a_metric_is_better_by_is_paired_by_layout():
    found = made_up(sigmoid(LEVELS, 0.0, 0.9, 12.0, 0.6))
    for row in found:
        row["coverage/value"] = row["quality/normalised"]
        row["coverage/on_policy"] = 1.0
    lines = {line["metric"].removeprefix("coverage/"): line for line in predictors(found, bootstrap=200)}
    assert lines["value"]["auc"] == 1.0
    assert lines["on_policy"]["auc"] == 0.5
    for line in lines.values():
        assert line["auc/over_library"] == pytest.approx(line["auc"] - lines["library"]["auc"])
        assert line["auc/over_library/ci_low"] <= line["auc/over_library"] <= line["auc/over_library/ci_high"]
    assert lines["value"]["auc/over_library/ci_low"] > 0
    assert math.isnan(lines["value"]["auc/own"])


def test_rows_carry_what_is_covered_and_the_controls(rows):
    ways = 2 * 3 + 2
    assert len(rows) == 2 * 4 * 2 * 3 * ways
    for row in rows:
        assert row["quality/normalised"] <= 1 + 1e-9
        assert all(0 <= row[name] <= 1 for name in METRICS)
        assert row["success/scratch"] == (row["quality/normalised"] >= row["quality/scratch"])
        assert row["coverage/path"] == 0.0 or row["kept"] > 0.0
        if row["operator"] not in ("sum", "max"):
            assert row["coverage/on_policy"] == 1.0
    whole = [row for row in rows if row["kept"] == 1.0]
    for row in whole:
        assert row["success/own"] == 1.0
        same = {each["quality/normalised"] for each in whole if way(each) == way(row)}
        assert len(same) == 1
    none = [row for row in rows if row["kept"] == 0.0 and row["cut"] != "chain"]
    for row in none:
        assert row["coverage/library"] == 0.0
        if row["operator"] not in ("sum", "max"):
            assert row["quality/normalised"] == row["quality/random_tables"] == row["quality/standing"]


def way(row):
    return row["layout_seed"], row["operator"], row["gamma"]


def test_plan_has_the_value_that_records_hold(rows):
    planned = [row for row in rows if row["operator"] == "plan"]
    assert {row["gamma"] for row in planned} == {math.inf}
    for row in planned:
        assert row["quality/normalised"] == pytest.approx(max(row["coverage/value"], row["quality/standing"]), abs=1e-9)


def test_tables_without_a_record_act_on_nothing_or_on_all_that_they_learnt():
    asked = {"operators": ("sum",), "cuts": ("common",), "levels": (1.0, 0.0), "gammas": (0.0,), "draws": 1}
    layout, chance = Layout.sample("grid8", seed=70_000), random_return(Layout.sample("grid8", seed=70_000), FOUR)
    for values in VALUES:
        study = CoverageStudy(layouts=1, training_seeds=1, values=values, **asked)
        _, nothing = run_coverage_study(study, executor=SerialExecutor())
        held = LayoutRecords(layout, study)
        learnt = np.sum([group.q[0] for group in held.groups], axis=0)
        expected = rollout(layout, objective=FOUR, q=learnt if values == "learnt" else np.zeros_like(learnt)).total
        scale = -chance / nothing["quality/standing"]
        assert nothing["quality/normalised"] * scale + chance == pytest.approx(expected)


def test_rows_are_the_same_wherever_they_are_made(rows):
    assert repr(run_coverage_study(SMALL, executor=TwoThreads())) == repr(rows)


def test_the_report_and_its_files_say_the_same(rows):
    told = study_report("coverage", rows, bootstrap=50)
    for title in ("fallen half-way", "Which coverage tells success", "Normalised quality as records are cut"):
        assert title in told
    assert "| grid8 | plan | all |" in told
    assert told.count("| grid8 | region | 0.5 |") == 2
    assert "options all | plan all | scratch | best single |" in told
    files = study_files("coverage", rows)
    lines = list(csv.DictReader(files["thresholds.csv"].splitlines()))
    assert len(lines) == 4 * 8
    assert {line["cut"] for line in lines} == set(CUTS)
    told = list(csv.DictReader(files["predictors.csv"].splitlines()))
    assert [line["metric"] for line in told[:4]] == list(METRICS)
    assert all(line["layouts"] == "2" for line in told)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"family": "grid9"}, "Did you mean 'grid8'"),
        ({"cuts": ["regional"]}, "Did you mean 'region'"),
        ({"cuts": []}, "cuts of the coverage study must not be empty"),
        ({"levels": [1.0, 1.2]}, r"levels hold 1.2; each must lie in \[0, 1\]"),
        ({"levels": [0.5, 0.0]}, "levels are .* and another are needed"),
        ({"levels": [1.0]}, "levels are .* and another are needed"),
        ({"gammas": [-0.1]}, "gammas hold -0.1"),
        ({"draws": 0}, "draws is 0; a whole number"),
        ({"operators": ["summ"]}, "Did you mean 'sum'"),
        ({"strategy": "hybrid-0"}, "k is 0"),
        ({"values": "kept"}, "Did you mean 'learnt'"),
        ({"budget": "X2"}, "X1"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(given, said):
    with pytest.raises((InvalidValue, UnknownName), match=said):
        study_settings("coverage", given)
