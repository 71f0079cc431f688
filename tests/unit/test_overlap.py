"""Overlap of words: cosines of counts, equal to a slow twin."""

import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.query.overlap import Overlap

TEXTS = st.lists(st.sampled_from(["gold", "lever", "exit", "pull", "the"]), min_size=1, max_size=6).map(" ".join)


def slow_cosine(one: str, other: str) -> float:
    a, b = Counter(one.split()), Counter(other.split())
    return sum(a[word] * b[word] for word in a) / (math.hypot(*a.values()) * math.hypot(*b.values()))


@given(phrases=st.lists(TEXTS, min_size=1, max_size=5), texts=st.lists(TEXTS, max_size=5), unknown=st.booleans())
def test_cosines_are_those_of_the_twin(phrases: list[str], texts: list[str], unknown: bool) -> None:
    texts = [f"{text} unheard" if unknown else text for text in texts]
    found = Overlap(phrases).cosines(texts)
    assert (found.dtype, found.shape) == (np.float32, (len(texts), len(phrases)))
    wanted = [[slow_cosine(text, phrase) for phrase in phrases] for text in texts]
    np.testing.assert_allclose(found, np.reshape(wanted, found.shape), rtol=1e-6)


def test_the_same_words_in_any_order_have_a_cosine_of_exactly_1_and_other_words_of_0() -> None:
    overlap = Overlap(["pull the lever", "exit"])
    assert overlap.cosines(["the lever pull", "unheard of"]).tolist() == [[1, 0], [0, 0]]
