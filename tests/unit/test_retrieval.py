"""Who the members of a group are: by objective, by description, and how near a description has to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lever_ray as lever
from lever_ray.app.settings import load_settings
from lever_ray.cli import main
from lever_ray.composition.recipe import Recipe
from lever_ray.errors import InvalidValue, LibraryError, UnknownName
from lever_ray.experiment.plan import Setup
from lever_ray.library.format.rows import encoded
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.search.text import WordLlamaEncoder
from lever_ray.library.search.wording import similarities
from lever_ray.policies.group import GroupKey
from lever_ray.policies.retrieval import Retrieval
from lever_ray.query.members import retrieve
from lever_ray.tasks import registry
from lever_ray.tasks.gridworld.layout import Layout, LayoutFamily
from lever_ray.tuning.trial import TuningProblem, check_retrievable
from tests.twin import made_up_record

describe = registry.source("grid8").words.describe
LAYOUT = Layout.sample(LayoutFamily("tiny", 5, 3, 3, 2), seed=0)
OBJECTIVES = ("path", "gold", "path-gold", "path-gold-hazard", "hazard")


def made(folder: Path, *, undeclared: tuple[str, ...] = (), **descriptions: str) -> PolicyLibrary:
    """Two policies for each objective, described as told, else as usual; undeclared ones carry a description alone."""
    library = PolicyLibrary.create(folder)
    library.add(
        made_up_record(
            "tiny",
            LAYOUT,
            objective=None if name in undeclared else name,
            seed=10 * place + number,
            gamma=0.0,
            description=descriptions.get(name.replace("-", "_"), describe(name)),
        )
        for place, name in enumerate(OBJECTIVES)
        for number in (0, 1)
    )
    return library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> PolicyLibrary:
    return made(tmp_path_factory.mktemp("retrieval") / "library")


def found(library: PolicyLibrary, name: str, **settings: Any) -> set[str]:
    """Objectives of a group's members."""
    own = {record.id: record.objective.name for record in library.select()}
    (group,) = retrieve(library, [GroupKey("tiny", name, 0.0, 0)], Retrieval(**settings))
    assert list(group.ids) == sorted(group.ids)
    assert len(group.ids) == len(group.q) == len(group.support)
    assert len(group.runs) == len(group)
    return {own.get(identity, "") for identity in group.ids}


@pytest.mark.parametrize(
    ("name", "settings", "objectives"),
    [
        ("path", {}, {"path"}),
        ("path", {"rule": "description"}, {"path"}),
        ("path", {"rule": "description", "threshold": 1.0}, {"path"}),
        ("path", {"rule": "description", "threshold": 0.7}, {"path", "path-gold"}),
        ("path", {"rule": "description", "threshold": 0.6}, {"path", "path-gold", "path-gold-hazard"}),
        ("path", {"rule": "description", "threshold": 0.6, "without": "path-gold-hazard"}, {"path", "path-gold"}),
        ("path", {"rule": "description", "threshold": -1.0}, set(OBJECTIVES)),
        ("path-gold", {"rule": "description"}, {"path-gold", "path-gold-hazard"}),
        ("path-gold", {"rule": "description", "threshold": 0.9}, {"path-gold"}),
    ],
)
def test_members_are_found_by_objective_or_by_description(
    library: PolicyLibrary, name: str, settings: dict[str, Any], objectives: set[str]
) -> None:
    assert found(library, name, **settings) == objectives


def test_members_of_a_worded_group_are_the_policies_themselves(library: PolicyLibrary) -> None:
    (group,) = retrieve(library, [GroupKey("tiny", "path", 0.0, 0)], Retrieval("description", 0.7))
    records = {record.id: record for record in library.select()}
    for place, identity in enumerate(group.ids):
        assert np.array_equal(group.q[place], records[identity].q)
        assert group.totals[place] == records[identity].total
        assert np.array_equal(group.support[place], records[identity].support)


def test_policies_without_an_objective_are_members_where_their_description_is_near(tmp_path: Path) -> None:
    texts = {"hazard": "Avoid hazards.", "gold": describe("path-gold-hazard")}
    library = made(tmp_path / "library", undeclared=("hazard", "gold"), **texts)
    keys = [GroupKey("tiny", name, 0.0, 0) for name in ("path", "hazard")]
    path, hazard = retrieve(library, keys, Retrieval())
    assert (len(path), len(hazard)) == (2, 2)
    with pytest.raises(LibraryError, match=r"'Avoid hazards\.' with similarity 0\.879, below the threshold 0\.95"):
        retrieve(library, keys, Retrieval(threshold=0.95))
    assert len(retrieve(library, keys[:1], Retrieval(threshold=0.6))[0]) == 4, "two without an objective, which say so"
    apart = Retrieval(threshold=0.6, without="path-gold-hazard")
    assert len(retrieve(library, keys[:1], apart)[0]) == 2, "they read like the composite, and are taken for it"
    answer = lever.compose(library, environment="tiny", objective="path-hazard", ranker="offline-return")
    assert answer.groups == ("path", "hazard")


def test_a_group_that_is_like_nothing_names_what_comes_closest(library: PolicyLibrary) -> None:
    said = (
        r"no policy like 'Activate the lever.' at gamma 0 and 0 episodes: closest is .* with similarity 0\.\d{3}, below"
    )
    with pytest.raises(LibraryError, match=said):
        found(library, "lever", rule="description")
    problem = TuningProblem(Setup.of("trivial", "path-lever", registry.source("grid8")), 0, ("tiny",))
    with pytest.raises(LibraryError, match=r"the threshold 0\.9; .*retrieve by objective"):
        check_retrievable(library, problem, [0.0], [Recipe(retrieval="description", threshold=0.9)])


def test_blank_descriptions_are_like_nothing() -> None:
    vectors = encoded(["", describe("path"), " ", describe("gold")], WordLlamaEncoder().encode)
    similar = similarities(vectors, WordLlamaEncoder().encode([describe("path")])[0])
    assert list(similar[:3]) == [-np.inf, 1.0, -np.inf]
    assert similar[3] < 0.2
    assert len(similarities(vectors[:0], vectors[1])) == 0


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"rule": "descripton"}, UnknownName, "Did you mean 'description'"),
        ({"threshold": 1.5}, InvalidValue, "threshold is 1.5; it is a cosine similarity"),
        ({"threshold": float("nan")}, InvalidValue, "threshold is nan"),
    ],
)
def test_what_is_no_rule_of_retrieval_is_refused(settings: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Retrieval(**settings)


def test_a_result_says_how_its_members_were_found(library: PolicyLibrary) -> None:
    asked: dict[str, Any] = {"environment": "tiny", "objective": "path-gold", "groups": ["path", "gold"]}
    plain = lever.compose(library, **asked, ranker="offline-return")
    worded = lever.compose(library, **asked, ranker="offline-return", retrieval="description", threshold=0.6)
    assert (plain.retrieval, worded.retrieval) == ("objective", "description>=0.6")
    assert json.loads(json.dumps(worded.to_dict()))["retrieval"] == "description>=0.6"
    wide = lever.Recipe(ranker="offline-return", retrieval="description", threshold=0.6)
    assert lever.compose(library, **asked, recipe=wide).policy_ids == worded.policy_ids
    assert worded.predicted_return >= plain.predicted_return or worded.evaluated != plain.evaluated


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["experiment.retrieval=text"], "unknown retrieval rule 'text'"),
        (["experiment.threshold=7"], "threshold is 7"),
        (["experiment.canonical=0"], "canonical states is 0"),
        (["strategy.canonical=-1"], "canonical states is -1"),
        (["tuning.space.threshold=[0.5]"], "tuning.space.threshold is"),
    ],
)
def test_settings_are_checked_before_anything_starts(given: list[str], said: str) -> None:
    with pytest.raises(lever.LeverError, match=said):
        load_settings(given)


def test_the_console_takes_rule_and_threshold(
    small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "small").symlink_to(small_library)
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    query = ["compose", "--objective", "path-gold", "--groups", "path,gold", "--environment", "grid8-1"]
    query += ["--gamma", "0", "--ranker", "offline-return"]
    small = "library.name=small"
    assert main([*query, "--retrieval", "description", "--threshold", "0.7", small]) == 0
    assert "description>=0.7" in capsys.readouterr().out
    assert main([*query, "--json", small, "strategy.retrieval=description", "strategy.threshold=0.75"]) == 0
    assert json.loads(capsys.readouterr().out)["retrieval"] == "description>=0.75"
    assert main([*query, "--retrieval", "similarity", small]) == 2
    assert "unknown retrieval rule" in capsys.readouterr().err
