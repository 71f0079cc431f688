"""Strategies, rankers and operators of a user's own: passed as objects, and checked before a kernel reads them."""

import json
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pytest

from lever_ray.composition.recipe import Recipe
from lever_ray.composition.scores import Scores
from lever_ray.errors import InvalidValue
from tests.compose_library import composed as ask
from tests.compose_library import make_library


@dataclass(frozen=True)
class FirstOfEach:
    """A strategy: the first member of every group, then the last, if that scored below 10^9."""

    name: ClassVar[str] = "first"
    id: ClassVar[str] = "first"
    needs_member_scores: ClassVar[bool] = False

    def propose(self, space, scores):
        assert scores is None
        told = yield np.zeros((1, len(space.sizes)), np.int64)
        if told.values[0] < 1e9:
            yield np.array([space.sizes]) - 1


@dataclass(frozen=True)
class ByNumber:
    """A ranker: prefers members further down."""

    name: ClassVar[str] = "by-number"
    tier: ClassVar[str] = "I0"
    ranks_routes: ClassVar[bool] = False

    def bind(self, problem):
        return self

    def score(self, space, mixtures, *, operator, masked):
        return Scores(mixtures.sum(axis=1).astype(float), np.zeros(len(mixtures), bool))

    def member_scores(self, space):
        return None


def mean(q):
    return q.mean(axis=0)


def test_a_users_own_strategy_ranker_and_operator_are_passed_as_objects(composed):
    answer = composed(strategy=FirstOfEach(), ranker=ByNumber(), operator=mean)
    assert (answer.strategy, answer.ranker, answer.operator, answer.evaluated) == ("first", "by-number", "mean", 2)
    assert answer.search.candidate == tuple(size - 1 for size in answer.search.candidates[-1] + 1)
    assert json.loads(json.dumps(answer.to_dict()))["recipe"] is None
    for part in ("strategy", "ranker", "operator"):
        own = {"strategy": FirstOfEach(), "ranker": ByNumber(), "operator": mean}[part]
        with pytest.raises(InvalidValue, match=f"{part} '.*' is an object of your own and has no id"):
            Recipe(**{part: own}).id  # noqa: B018 - raises


@pytest.mark.parametrize(
    "proposed", [np.zeros((1, 9), int), np.full((1, 3), 99), np.zeros((0, 3), int), np.zeros((1, 3))]
)
def test_candidates_that_are_none_are_refused_before_a_kernel_reads_them(composed, proposed):
    class Wrong(FirstOfEach):
        def propose(self, space, scores):
            yield proposed

    with pytest.raises(InvalidValue, match="strategy 'first' proposed"):
        composed(strategy=Wrong(), ranker="offline-return")


def test_a_strategy_that_proposes_nothing_is_refused(composed):
    class Silent(FirstOfEach):
        def propose(self, space, scores):
            yield from ()

    with pytest.raises(InvalidValue, match="proposed no candidate"):
        composed(strategy=Silent(), ranker="offline-return")


def test_blocks_of_candidates_are_checked_and_made_once(composed):
    made = []

    class Lazy(FirstOfEach):
        def __init__(self, block):
            self.block = block

        def propose(self, space, scores):
            def blocks(batch):
                made.append(batch)
                yield self.block

            yield blocks

    ask = {"ranker": "offline-return"}
    assert composed(strategy=Lazy(np.zeros((1, 3), int)), **ask).search.candidate == (0, 0, 0)
    assert len(made) == 1
    for wrong in (np.full((1, 3), 99), np.full((1, 3), -1), np.zeros((1, 2), int), np.zeros((1, 3))):
        with pytest.raises(InvalidValue, match="strategy 'first' proposed"):
            composed(strategy=Lazy(wrong), **ask)

    class Listing(FirstOfEach):
        def propose(self, space, scores):
            return [np.zeros((1, 3), int)]

    with pytest.raises(InvalidValue, match="gave list; it must be a generator"):
        composed(strategy=Listing(), **ask)


@pytest.mark.parametrize("wrong", [np.zeros(3), None, Scores(np.zeros(1), np.zeros(1, bool)), "nan"])
def test_scores_that_are_none_are_refused(composed, wrong):
    class Wrong(ByNumber):
        def score(self, space, mixtures, *, operator, masked):
            return (
                Scores(np.full(len(mixtures), np.nan), np.zeros(len(mixtures), bool))
                if isinstance(wrong, str)
                else wrong
            )

    with pytest.raises(InvalidValue, match="it must give Scores with as many numbers, none NaN"):
        composed(ranker=Wrong(), strategy="exhaustive")


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """Ask a small library of trained policies."""
    return partial(ask, make_library(tmp_path_factory.mktemp("recipes") / "library"))
