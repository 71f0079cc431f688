"""How far texts have words in common with phrases: cosines of their counts of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class Overlap:
    """Compares texts with some phrases by their words, whatever the order of these.

    Args:
        phrases: ``p`` phrases, words separated by spaces; none of them blank.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        words = dict.fromkeys(word for phrase in phrases for word in phrase.split())
        self._places = {word: place for place, word in enumerate(words)}
        self._counts = self._counted(phrases).T
        self._squares = _squares(phrases)

    def cosines(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Of the counts of words of ``n`` texts, none of them blank, to those of every phrase.

        Returns:
            float32[n, p], in [0, 1]: 1 for the same words, 0 for no word in common; exact before the last rounding.
        """
        common = self._counted(texts) @ self._counts
        return np.asarray(common / np.sqrt(np.multiply.outer(_squares(texts), self._squares)), np.float32)

    def _counted(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32[n, w]: how often each text has each word of the phrases."""
        counts = np.zeros((len(texts), len(self._places)), np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                place = self._places.get(word)
                if place is not None:
                    counts[row, place] += 1
        return counts


def _squares(texts: Iterable[str]) -> NDArray[np.float64]:
    """float64[n]: squared lengths of counts of words, those that no phrase has among them."""
    split = [text.split() for text in texts]
    return np.array([sum(words.count(word) for word in words) for words in split], np.float64)
