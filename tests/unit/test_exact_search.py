"""The benchmark of exact indexes: faiss, with what it finds scored again, answers as the scans do, ties included."""

import numpy as np
import pytest

from benchmarks.exact_search import CONTENDERS, K
from benchmarks.sentences import DESCRIPTIONS, PHRASES, composed_vectors, cosine_with_encoder
from lever_ray.library.search.text import WordLlamaEncoder


@pytest.mark.parametrize("phrases", [PHRASES, DESCRIPTIONS], ids=["sentences", "descriptions"])
def test_all_contenders_answer_alike(phrases, tmp_path):
    vectors, sentences = composed_vectors(tmp_path / "vectors", phrases, 3_000, 2)
    vectors = np.concatenate([vectors, vectors[:200]])  # ties
    queries = WordLlamaEncoder().encode([*sentences, "fetch the treasure", "pull the lever"])
    wanted = CONTENDERS["flat"](vectors)(queries)
    assert wanted[1].shape == (4, K)
    for kind, make in CONTENDERS.items():
        scores, rows = make(vectors)(queries)
        assert (scores.tolist(), rows.tolist()) == (wanted[0].tolist(), wanted[1].tolist()), kind


def test_vectors_that_are_put_together_are_near_to_encoded_ones():
    assert cosine_with_encoder(PHRASES, 20) > 0.95
