"""Searching a library's policies by text: exact, ties by id, and the same however policies are dealt to shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.reader import Match
from lever_ray.library.search.index import INDEXES
from lever_ray.library.search.text import WordLlamaEncoder
from lever_ray.library.serving import nearest
from tests.twin import made_up_record
from tests.unit.test_library import HALL, ROOM

WORDS = ("gold", "hazard", "exit", "lever", "treasure", "danger")
RECORDS = [
    made_up_record(
        name,
        layout,
        seed=seed,
        gamma=(0.0, 0.99)[seed % 2],
        description=f"the {WORDS[seed % 6]} and the {WORDS[seed * seed % 5]}",
    )
    for name, layout in (("room", ROOM), ("hall", HALL))
    for seed in range(30)
]
TEXTS = ["find the treasure", "the gold and the exit"]


def expected(texts: list[str], k: int, **where: Any) -> list[list[Match]]:
    """The right answer, by the book."""
    encoder = WordLlamaEncoder()
    wanted = [
        record for record in RECORDS if all(getattr(record, key) in (None, value) for key, value in where.items())
    ]
    found = []
    for query in encoder.encode(texts).astype(np.float64):
        vectors = encoder.encode([record.description for record in wanted]).astype(np.float64)
        cosines = [np.float32(sum(a * b for a, b in zip(row, query, strict=True))) for row in vectors.tolist()]
        ranked = sorted((-cosine, record.id) for cosine, record in zip(cosines, wanted, strict=True))
        found.append([Match(identity, -float(cosine)) for cosine, identity in ranked[:k]])
    return found


@pytest.fixture(scope="module", params=[1, 4])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PolicyLibrary:
    """All policies, in one append or in four."""
    made = PolicyLibrary.create(tmp_path_factory.mktemp("search") / "library")
    for first in range(request.param):
        made.add(RECORDS[first :: request.param])
    return made


@pytest.mark.parametrize("k", [1, 3, 10, 1000])
@pytest.mark.parametrize(
    "where", [{}, {"environment": "hall"}, {"gamma": 0.99}, {"environment": "room", "gamma": 0.0}, {"episodes": 0}]
)
def test_the_nearest_policies_are_found_and_ties_are_broken_by_id(
    library: PolicyLibrary, k: int, where: dict[str, Any]
) -> None:
    assert library.search(TEXTS, k, **where) == expected(TEXTS, k, **where)


@pytest.mark.parametrize("kind", ["flat", "flat-int8"])
def test_exact_indexes_give_the_same_answers(
    library: PolicyLibrary, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "_INDEXED_FROM", 1)
    assert PolicyLibrary.open(library.path, index=kind).search(TEXTS, 7) == expected(TEXTS, 7)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_indexes_give_policies_that_exist_with_their_true_similarity(
    library: PolicyLibrary, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(nearest, "_INDEXED_FROM", 1)
    truth = {match.id: match.similarity for match in expected(TEXTS[:1], 1000)[0]}
    (found,) = PolicyLibrary.open(library.path, index=kind).search(TEXTS[:1], 20)
    assert len(found) >= 10
    assert all(truth[match.id] == match.similarity for match in found)


def test_what_cannot_be_searched_is_refused(library: PolicyLibrary) -> None:
    with pytest.raises(InvalidValue, match="blank"):
        library.search([" "])
    with pytest.raises(InvalidValue, match="k is 0"):
        library.search(TEXTS, 0)
    with pytest.raises(UnknownName, match="'cellar'"):
        library.search(TEXTS, environment="cellar")
    with pytest.raises(UnknownName, match="index 'fais'"):
        PolicyLibrary.open(library.path, index="fais")
    assert set(INDEXES) == {"flat", "flat-int8", "ivf", "hnsw"}


def test_an_empty_library_has_no_match(tmp_path: Path) -> None:
    assert PolicyLibrary.create(tmp_path / "library").search(TEXTS, 3) == [[], []]
