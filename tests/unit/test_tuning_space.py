"""The search space: conditional parameters, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lever_ray.composition.rankers.regressor import Regressor
from lever_ray.composition.recipe import Recipe
from lever_ray.config import SpaceSettings
from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.tuning.space import SearchSpace

SETTINGS = SpaceSettings(
    strategies=["targeted", "hybrid", "exhaustive", "budgeted"],
    k=[2, 3],
    budget=[10, 11],
    restarts=[1, 2],
    operators=["sum", "gpi", "plan"],
    width=[5, 6],
    models=["ridge"],
    targets=["composite", "own"],
    embeddings=["psi", "psi_static", "outcome"],
    canonical=[1, 64],
    retrievals=["objective", "description"],
    threshold=[0.5, 0.6],
)


class Recording:
    """A chooser that takes what it is told, else the first, and remembers what was asked."""

    def __init__(self, **values: Any) -> None:
        self.values, self.asked = values, []

    def among(self, name: str, values: Any) -> Any:
        self.asked.append(name)
        return self.values.get(name, values[0])

    def whole(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        self.asked.append(name)
        return int(self.values.get(name, low))

    def stepped(self, name: str, low: float, high: float, step: float) -> float:
        self.asked.append(name)
        return float(self.values.get(name, low))


ALWAYS = ["operator", "gamma", "retrieval"]
TABLES = ["support", "ranker"]
ASKED = {
    "targeted": ({"ranker": "offline-return"}, [*ALWAYS, "strategy", *TABLES]),
    "hybrid": ({"strategy": "hybrid", "ranker": "recorded-return"}, [*ALWAYS, "strategy", "k", *TABLES]),
    "budgeted": (
        {"strategy": "budgeted", "ranker": "offline-return"},
        [*ALWAYS, "strategy", "budget", "restarts", *TABLES],
    ),
    "regressor": (
        {"ranker": "regressor"},
        [*ALWAYS, "strategy", *TABLES, "model", "target", "embedding", "canonical"],
    ),
    "outcome": (
        {"ranker": "regressor", "embedding": "outcome"},
        [*ALWAYS, "strategy", *TABLES, "model", "target", "embedding"],
    ),
    "description": (
        {"ranker": "offline-return", "retrieval": "description"},
        [*ALWAYS, "threshold", "strategy", *TABLES],
    ),
    "gpi": ({"operator": "gpi", "strategy": "hybrid"}, [*ALWAYS, "strategy", "k"]),
    "plan": ({"operator": "plan"}, [*ALWAYS, "width"]),
}


@pytest.mark.parametrize(("values", "asked"), ASKED.values(), ids=ASKED)
def test_parameters_are_asked_for_where_they_matter(values: dict[str, str], asked: list[str]) -> None:
    chooser = Recording(**values)
    SearchSpace(SETTINGS, (0.0, 0.99), "seconds").draw(chooser)
    assert chooser.asked == asked


def test_every_choice_can_be_enumerated_and_none_comes_twice() -> None:
    found = list(SearchSpace(SETTINGS, (0.0, 0.99), "seconds").choices())
    assert len(set(found)) == len(found)
    strategies = 1 + 2 + 1 + 2 * 2
    rankers = 1 * 2 * (2 * 2 + 1) + 2
    retrievals = 1 + 3
    assert len(found) == 2 * retrievals * (strategies * 2 * rankers + strategies + 2)
    for choice in found:
        if choice.operator != "sum":
            assert (choice.ranker, choice.support) == ("offline-return", "mask")
        if choice.ranker != "regressor":
            assert not set(choice.to_dict()) & set(Regressor.parameters)
        if choice.embedding == "outcome":
            assert choice.canonical == 64
    assert {choice.threshold for choice in found if choice.retrieval != "objective"} == {0.5, 0.55, 0.6}


def test_a_choice_names_the_information_that_its_answer_uses() -> None:
    tiers = {
        (choice.operator, choice.ranker, choice.regressor_target * (choice.ranker == "regressor")): choice.tier
        for choice in SearchSpace(SETTINGS, (0.0,), "seconds").choices()
    }
    assert tiers == {
        ("sum", "regressor", "composite"): "I3",
        ("sum", "regressor", "own"): "I1",
        ("sum", "recorded-return", ""): "I2",
        ("sum", "offline-return", ""): "I3",
        ("gpi", "offline-return", ""): "I3",
        ("plan", "offline-return", ""): "I3",
    }


def test_labels_tell_choices_apart() -> None:
    found = list(SearchSpace(SETTINGS, (0.0, 0.99), "seconds").choices())
    assert len({choice.label for choice in found}) == len(found)
    plain = Recipe(strategy="targeted", gamma=0.0)
    assert plain.label == "targeted sum regressor g0"
    few = {"regressor_model": "ridge", "regressor_target": "composite", "embedding": "psi", "canonical": 1}
    worded = plain.override(**few, retrieval="description", threshold=0.55)
    assert worded.label == "targeted sum regressor(ridge, composite, psi, 1 states) description>=0.55 g0"


def test_the_strictest_rules_have_the_greatest_threshold() -> None:
    assert SearchSpace(SETTINGS, (0.0,), "seconds").strictest == [
        Recipe(),
        Recipe(retrieval="description", threshold=0.6),
    ]


def test_a_model_over_terms_learns_from_own_returns_alone() -> None:
    space = SearchSpace(replace(SETTINGS, models=["ridge", "additive-ridge"]), (0.0,), "seconds")
    targets = {choice.regressor_target for choice in space.choices() if choice.regressor_model == "additive-ridge"}
    assert targets == {"own"}


WRONG: list[tuple[dict[str, Any], str, type[Exception], str]] = [
    ({"operators": []}, "candidates", InvalidValue, "tuning.space.operators is empty"),
    ({"strategies": []}, "candidates", InvalidValue, "tuning.space.strategies is empty"),
    ({"rankers": ["regressor"], "targets": []}, "candidates", InvalidValue, "tuning.space.targets is empty"),
    ({"strategies": ["targetted"]}, "candidates", UnknownName, "Did you mean 'targeted'"),
    ({"rankers": ["oracle"]}, "candidates", UnknownName, "unknown ranker 'oracle'"),
    ({"supports": ["masked"]}, "candidates", UnknownName, "Did you mean 'mask'"),
    ({"operators": ["sum", "sum"]}, "candidates", InvalidValue, "names something twice"),
    ({"k": [0, 3]}, "candidates", InvalidValue, r"tuning.space.k is \[0, 3\]"),
    ({"k": [5, 3]}, "candidates", InvalidValue, r"tuning.space.k is \[5, 3\]"),
    ({"budget": [10]}, "candidates", InvalidValue, r"tuning.space.budget is \[10\]"),
    ({"canonical": []}, "candidates", InvalidValue, r"tuning.space.canonical is \[\]"),
    ({"canonical": [0, 64]}, "candidates", InvalidValue, r"tuning.space.canonical is \[0, 64\]"),
    ({"canonical": [4, 4]}, "candidates", InvalidValue, "list different numbers"),
    ({"retrievals": []}, "candidates", InvalidValue, "tuning.space.retrievals is empty"),
    ({"retrievals": ["descriptions"]}, "candidates", UnknownName, "Did you mean 'description'"),
    ({"threshold": [0.9, 0.5]}, "candidates", InvalidValue, r"tuning.space.threshold is \[0.9, 0.5\]"),
    ({"threshold": [0.5, 1.5]}, "candidates", InvalidValue, "both from -1 to 1"),
    ({"operators": ["plan"]}, "candidates", InvalidValue, "use tuning.cost=seconds"),
    ({"operators": ["gpi"], "rankers": ["regressor"]}, "seconds", InvalidValue, "'gpi' goes with ranker"),
    ({"models": ["additive-ridge"], "targets": ["composite"]}, "candidates", InvalidValue, "learns from own returns"),
    ({"operators": ["gpi"], "supports": ["ignore"]}, "seconds", InvalidValue, "'gpi' goes with ranker"),
]


@pytest.mark.parametrize(("changes", "cost", "error", "said"), WRONG)
def test_what_leaves_nothing_to_choose_is_refused(
    changes: dict[str, Any], cost: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        SearchSpace(replace(SETTINGS, **({"operators": ["sum"]} | changes)), (0.0,), cost)


def test_a_space_without_discounts_is_refused() -> None:
    with pytest.raises(InvalidValue, match="name at least one discount"):
        SearchSpace(SETTINGS, (), "seconds")


def test_options_are_asked_for_their_pool_their_width_and_their_cut() -> None:
    settings = replace(SETTINGS, operators=["options"], strategies=["hybrid", "budgeted", "exhaustive"], cut=[0, 8])
    chooser = Recording(ranker="regressor", strategy="hybrid")
    found = SearchSpace(settings, (0.0, 0.99), "seconds").draw(chooser)
    assert chooser.asked == ["operator", "retrieval", "strategy", "k", "ranker", "width", "cut"]
    assert (found.operator, found.gamma, found.cut) == ("options", None, None)
    for choice in SearchSpace(replace(settings, width=[10, 11], k=[2, 3]), (0.0,), "seconds").choices():
        assert choice.ranker != "recorded-return" or choice.cut is None
        assert choice.strategy in ("hybrid", "exhaustive")
        assert choice.cut in (None, 8)
    for changes, said in (
        ({"strategies": ["budgeted"]}, "pools members by targeted, hybrid or exhaustive"),
        ({"cut": [-1]}, r"tuning\.space\.cut is \[-1\]"),
    ):
        with pytest.raises(InvalidValue, match=said):
            SearchSpace(replace(settings, **changes), (0.0,), "seconds")
    with pytest.raises(InvalidValue, match="operator 'options' has no candidates"):
        SearchSpace(settings, (0.0,), "candidates")
