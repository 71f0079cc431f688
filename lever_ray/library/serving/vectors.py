"""Text vectors of a library's descriptions: those that are stored, or made where they are missing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from lever_ray.library.format.rows import encoded
from lever_ray.library.search.text import TextEncoder, model_of
from lever_ray.library.serving.mapped import MappedShard


class TextVectors:
    """Gives vectors of descriptions and of texts that are asked for.

    Args:
        model: what made the stored vectors, as the manifest says.
        encoder: makes others; stored vectors of another model are not comparable to its own, and not used.
    """

    def __init__(self, model: Mapping[str, Any] | None, encoder: TextEncoder) -> None:
        self._encoder, self._model = encoder, model
        self._asked: dict[str, np.ndarray] = {}

    @cached_property
    def _stored_are_ours(self) -> bool:
        """Asked when text is looked for: the version of an encoder may take a while to look up."""
        return self._model == model_of(self._encoder)

    def same_as(self, other: TextVectors) -> bool:
        """Whether another gives the same vectors of the same files."""
        return (self._encoder, self._stored_are_ours) == (other._encoder, other._stored_are_ours)

    def of(self, mapped: MappedShard) -> np.ndarray:
        """float32[t, d]: unit vectors of a mapped shard's descriptions."""
        if self._stored_are_ours and mapped.texts is not None:
            return mapped.texts
        return mapped.made("texts", lambda: encoded(mapped.descriptions, self._encoder.encode))

    def vector(self, text: str) -> np.ndarray:
        """float32[d] of a text."""
        if text not in self._asked:
            self._asked[text] = self._encoder.encode([text])[0]
        return self._asked[text]
