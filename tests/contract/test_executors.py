"""One suite over every executor and every way of holding a library: which one it is never shows in the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lever_ray.behaviour.predictions import predictions
from lever_ray.behaviour.psi import embed
from lever_ray.behaviour.ranking import ranking_rows
from lever_ray.composition.problem import Problem
from lever_ray.composition.rankers.regressor import Regressor
from lever_ray.composition.recipe import Recipe
from lever_ray.config import ExperimentSettings, SetupSettings, StrategySettings
from lever_ray.embedding.offline import make_pool
from lever_ray.embedding.outcome import behaviour_features
from lever_ray.embedding.regressor import TARGETS
from lever_ray.embedding.successor import make_embedder
from lever_ray.errors import InvalidValue, LibraryError, UnknownName
from lever_ray.executor import Executor, SerialExecutor, in_order
from lever_ray.experiment.plan import make_plan
from lever_ray.experiment.run import run_experiment
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.reader import LibraryReader
from lever_ray.library.search.wording import Wording
from lever_ray.policies.group import GroupKey
from lever_ray.policies.retrieval import Retrieval
from lever_ray.query.compose import compose
from lever_ray.query.composer import Composer
from lever_ray.query.ranking import fit, ready
from lever_ray.studies.coverage_study import CoverageStudy, run_coverage_study
from lever_ray.tasks.objective import Objective
from tests.conftest import SMALL_LIBRARY

TIMED = ("seconds/", "speedup/")


@pytest.fixture(params=["serial", "ray"])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "serial":
        return SerialExecutor()
    request.getfixturevalue("local_ray")
    from lever_ray.ray_execution import RayExecutor

    return RayExecutor()


@pytest.fixture(params=["one process", "three actors"])
def library(request: pytest.FixtureRequest, small_library: Path) -> Iterator[LibraryReader]:
    yield from _held_by(request, small_library)


def _held_by(request: pytest.FixtureRequest, path: Path) -> Iterator[LibraryReader]:
    if request.param == "one process":
        yield PolicyLibrary.open(path)
        return
    request.getfixturevalue("local_ray")
    from lever_ray.ray_execution import ShardedLibrary

    sharded = ShardedLibrary.open(path, actors=3)
    yield sharded
    sharded.close()


@pytest.fixture(scope="session")
def mixed_library(small_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every group has members with recorded rewards and Psi in one shard, and members without in others."""
    records = PolicyLibrary.open(small_library).select()
    made = PolicyLibrary.create(tmp_path_factory.mktemp("libraries") / "mixed")
    made.add(records[0::3])
    embed(made)
    made.add(replace(record, mean_rewards=None) for record in records[1::3])
    made.add(replace(record, mean_rewards=None, visits=None) for record in records[2::3])
    return made.path


@pytest.fixture(params=["one process", "three actors"])
def mixed(request: pytest.FixtureRequest, mixed_library: Path) -> Iterator[LibraryReader]:
    yield from _held_by(request, mixed_library)


def _power(base: int, exponent: int) -> int:
    return base**exponent


def _refuse(number: int) -> int:
    if number == 2:
        raise InvalidValue(f"number is {number}")
    return number


class TestExecutor:
    def test_gives_every_value_under_its_index(self, executor: Executor) -> None:
        assert in_order(executor.map(_power, range(20), shared=(2,))) == [number**2 for number in range(20)]

    def test_a_failed_item_is_data_and_the_others_survive(self, executor: Executor) -> None:
        outcomes = {outcome.index: outcome for outcome in executor.map(_refuse, range(4))}
        assert [outcomes[index].value for index in (0, 1, 3)] == [0, 1, 3]
        assert isinstance(outcomes[2].error, InvalidValue)
        assert str(outcomes[2].error) == "number is 2"

    def test_in_order_raises_what_the_first_failed_item_raised(self, executor: Executor) -> None:
        with pytest.raises(InvalidValue, match="number is 2"):
            in_order(executor.map(_refuse, range(4)))

    def test_errors_keep_their_message_on_the_way(self, executor: Executor) -> None:
        with pytest.raises(UnknownName, match=r"unknown thing 'god'. Did you mean 'gold'\?"):
            in_order(executor.map(_refuse_name, ["god"]))

    def test_no_items_give_nothing(self, executor: Executor) -> None:
        assert list(executor.map(_power, [], shared=(2,))) == []


def _refuse_name(name: str) -> None:
    raise UnknownName("thing", name, ["gold", "path"])


class TestLibrary:
    def test_holds_what_the_files_hold(self, library: LibraryReader, small_library: Path) -> None:
        reference = PolicyLibrary.open(small_library)
        assert len(library) == len(reference) == 3 * 6 * 2 * 3
        assert library.environments == reference.environments == ("grid8-0", "grid8-1", "grid8-2")
        assert library.keys() == reference.keys()
        for mine, its in zip(library.groups(library.keys()), reference.groups(reference.keys()), strict=True):
            assert mine.ids == its.ids == tuple(sorted(mine.ids))
            for name in ("q", "support", "totals"):
                assert np.array_equal(getattr(mine, name), getattr(its, name))

    def test_select_gives_full_records(self, library: LibraryReader) -> None:
        records = library.select(environment="grid8-1", objective="gold-path", gamma=0.0)
        assert {record.label for record in records} == {"worst", "median", "best"}
        assert all(record.environment == "grid8-1" and record.objective.name == "path-gold" for record in records)
        assert library.select(environment="grid8-1", objective="path", gamma=0.5) == []

    @pytest.mark.parametrize("target", TARGETS)
    def test_ranking_rows_do_not_depend_on_who_holds_the_shards(
        self, mixed: LibraryReader, mixed_library: Path, target: str
    ) -> None:
        question: dict[str, Any] = {"target": target, "objective": Objective.of("path-gold-hazard"), "gamma": 0.0}
        question |= {"terms": mixed.environment("grid8-0").task.terms}
        mine, its = ranking_rows(mixed, **question), ranking_rows(PolicyLibrary.open(mixed_library), **question)
        assert len(mine.ids)
        for field in fields(mine):
            assert np.array_equal(getattr(mine, field.name), getattr(its, field.name)), field.name

    @pytest.mark.parametrize("ranker", ["regressor", "offline-return"])
    def test_compose_accepts_either(self, library: LibraryReader, small_library: Path, ranker: str) -> None:
        asked: dict[str, Any] = {
            "environment": "grid8-2",
            "objective": "path-gold-hazard",
            "gamma": 0.99,
            "ranker": ranker,
        }
        mine, its = compose(library, **asked), compose(PolicyLibrary.open(small_library), **asked)
        assert mine.policy_ids == its.policy_ids
        assert mine.predicted_return == its.predicted_return
        assert np.array_equal(mine.q, its.q)  # type: ignore[arg-type]

    @pytest.mark.parametrize("threshold", [0.6, 0.8])
    def test_members_by_description_do_not_depend_on_who_holds_the_shards(
        self, library: LibraryReader, small_library: Path, threshold: float
    ) -> None:
        asked: dict[str, Any] = {
            "environment": "grid8-2",
            "objective": "path-gold-hazard-lever",
            "groups": ["path", "gold", "hazard", "lever"],
            "gamma": 0.0,
            "operator": "plan",
            "retrieval": "description",
        }
        mine, its = (
            compose(held, threshold=threshold, **asked) for held in (library, PolicyLibrary.open(small_library))
        )
        assert len(mine.policy_ids) == {0.6: 7 * 3, 0.8: 4 * 3}[threshold]
        assert mine.policy_ids == its.policy_ids
        assert mine.retrieval == f"description>={threshold:g}"
        with pytest.raises(
            LibraryError, match=r"no policy like 'Water the flowers.'.*closest is .*retrieve by objective"
        ):
            key = GroupKey("grid8-2", "path", 0.0, 10_000)
            library.groups([key], [Wording("Water the flowers.", Retrieval("description", 0.9))])

    @pytest.mark.parametrize("kind", ["outcome", "psi"])
    def test_members_are_scored_by_a_regressor_where_they_are(
        self, library: LibraryReader, small_library: Path, kind: str
    ) -> None:
        reference, keys = PolicyLibrary.open(small_library), library.keys("grid8-0")[:2]
        regressor = fit(reference, Objective.of("path-gold-hazard"), keys[:1], Regressor("ridge", "own", kind))
        held = reference.environment("grid8-0")
        for key, found in zip(keys, predictions(library, keys, regressor), strict=True):
            (group,) = reference.groups([key])
            pool = make_pool(group.q, group.support)
            embedder = make_embedder(held.task, held.canonical)
            alone = np.arange(len(group), dtype=np.int32)[:, None]
            wanted = regressor.predictor.predict(behaviour_features(embedder, pool, alone, kind=kind))
            assert found == dict(zip(group.ids, wanted.tolist(), strict=True))
        with pytest.raises(LibraryError, match="no policy for 'gold-hazard'"):
            predictions(library, [GroupKey("grid8-0", "gold-hazard", 0.0, 10_000)], regressor)

    def test_unknown_environment_names_the_known_ones(self, library: LibraryReader) -> None:
        with pytest.raises(UnknownName, match=r"'grid8-7'.*Known: grid8-0, grid8-1, grid8-2"):
            library.environment("grid8-7")

    def test_a_group_without_members_says_what_is_held(self, library: LibraryReader) -> None:
        with pytest.raises(
            LibraryError, match=r"no policy for 'gold-hazard'.*objectives held: gold, hazard, hazard-lever"
        ):
            library.groups([GroupKey("grid8-0", "gold-hazard", 0.0, 10_000)])


@pytest.mark.parametrize("ranker", ["regressor", "offline-return"])
def test_blocks_of_candidates_fan_out_and_the_choice_stays_the_same(
    executor: Executor, small_library: Path, ranker: str
) -> None:
    library, objective = PolicyLibrary.open(small_library), Objective.of("path-gold-hazard-lever")
    record = library.environment("grid8-2")
    keys = [GroupKey("grid8-2", name, 0.0, 10_000) for name in objective.terms]
    recipe, groups = Recipe(strategy="exhaustive", ranker=ranker), library.groups(keys)
    problem = Problem(record.task, objective, tuple(groups), "grid8-2", record.canonical)
    whole = Composer(recipe, ready(recipe.make_ranker(), library, objective, keys).bind(problem))
    blocks = replace(whole, executor=executor, batch=7)
    one, other = whole.compose(problem), blocks.compose(problem)
    assert one.evaluated == other.evaluated == 81
    assert one.policy_ids == other.policy_ids
    assert np.array_equal(one.search.scores.values, other.search.scores.values)


def test_a_study_has_the_same_rows_on_every_executor(executor: Executor) -> None:
    study = CoverageStudy(layouts=3, levels=(1.0, 0.5, 0.0), draws=1, training_seeds=1)
    expected = run_coverage_study(study, executor=SerialExecutor())
    assert repr(run_coverage_study(study, executor=executor)) == repr(expected)


def _untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: repr(value) for name, value in row.items() if not name.startswith(TIMED)} for row in rows]


PLAN = make_plan(
    ExperimentSettings(
        setups=[SetupSettings("trivial", "path-gold"), SetupSettings("double", "path-gold-hazard-lever")],
        random_rollouts=20,
    ),
    SMALL_LIBRARY,
    StrategySettings(),
    episodes=10_000,
)

WORDED = tuple(recipe.override(retrieval="description", threshold=0.6) for recipe in PLAN.recipes)
BY_DESCRIPTION = replace(PLAN, setups=PLAN.setups[:1], gamma=0.0, recipes=WORDED)
"""Descriptions for ``path-gold``, the composite, are like those of ``path`` and ``gold``."""
PLANS = {"objective": PLAN, "description": BY_DESCRIPTION}


@pytest.fixture(scope="module")
def reference_rows(small_library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    library, rows = PolicyLibrary.open(small_library), {}
    for name, plan in PLANS.items():
        folder = tmp_path_factory.mktemp("reference")
        rows[name] = run_experiment(plan, library, library.environments, executor=SerialExecutor(), folder=folder).rows
    return rows


@pytest.mark.parametrize("name", PLANS)
def test_rows_are_identical_on_every_executor_and_library(
    name: str,
    executor: Executor,
    library: LibraryReader,
    reference_rows: dict[str, list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    plan = PLANS[name]
    given = run_experiment(plan, library, library.environments, executor=executor, folder=tmp_path)
    assert given.failures == []
    assert len(given.rows) == 3 * plan.cells_per_environment
    assert _untimed(given.rows) == _untimed(reference_rows[name])


def test_policies_for_the_composite_are_never_composed(
    reference_rows: dict[str, list[dict[str, Any]]], small_library: Path
) -> None:
    composites = {each.id for each in PolicyLibrary.open(small_library).select(objective="path-gold")}
    for row in reference_rows["description"]:
        assert row["retrieval"] == "description>=0.6"
        assert not composites & set(row["policy_ids"].split())
