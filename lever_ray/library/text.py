"""Text as vectors: the encoder's protocol, and the static word embeddings inside the wordllama wheel."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lever_ray.errors import InvalidValue

_WORDLLAMA_DIMENSION = 256


@runtime_checkable
class TextEncoder(Protocol):
    """What turns texts into vectors of unit length.

    An implementation is hashable (descriptions are encoded once per encoder) and deterministic: the row of
    a text depends on nothing but that text, so vectors may be stored beside ``name`` and ``version``.
    """

    @property
    def name(self) -> str:
        """The kind of encoder and its model, e.g. ``wordllama-l2_supercat``."""

    @property
    def version(self) -> str:
        """What must be equal for stored vectors to be comparable."""

    @property
    def dimension(self) -> int:
        """Length ``d`` of a vector."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of ``texts``.

        Args:
            texts: ``n`` texts, ``n >= 0``; none of them blank.

        Returns:
            float32[n, d], rows of Euclidean length 1, so that a product of two of them is their cosine.

        Raises:
            InvalidValue: a text is blank, and so has no direction.
        """

    def __hash__(self) -> int: ...


def model_of(encoder: TextEncoder) -> dict[str, Any]:
    """What a manifest says of the encoder that made its text vectors."""
    return {"name": encoder.name, "version": encoder.version, "dimension": encoder.dimension}


class WordLlamaEncoder:
    """Static 256-d word embeddings (WordLlama ``l2_supercat``), averaged over a text's tokens.

    The weights are those inside the installed wheel: nothing is downloaded, and no socket is opened. They are
    read at the first :meth:`encode`, once per process, in about 0.6 s together with the import.
    """

    name = "wordllama-l2_supercat"
    dimension = _WORDLLAMA_DIMENSION

    @property
    def version(self) -> str:
        """Version of the installed wordllama, whose wheel carries the weights."""
        from importlib.metadata import version

        return version("wordllama")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of ``texts``; see :meth:`TextEncoder.encode`.

        Args:
            texts: ``n`` texts, none of them blank.

        Returns:
            float32[n, 256], rows of Euclidean length 1.

        Raises:
            InvalidValue: a text is blank, or ``texts`` is a single string.
        """
        if isinstance(texts, str):
            raise InvalidValue(f"texts is the string {texts!r}; give a sequence of strings, e.g. [{texts!r}]")
        for position, text in enumerate(texts):
            if not text.strip():
                raise InvalidValue(f"text {position} is blank ({text!r}); a blank text has no embedding, leave it out")
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        pooled = np.asarray(_wordllama().embed(list(texts)), np.float32)
        unit: NDArray[np.float32] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordLlamaEncoder)

    def __hash__(self) -> int:
        return hash(WordLlamaEncoder)

    def __repr__(self) -> str:
        return "WordLlamaEncoder()"


@cache
def _wordllama() -> Any:
    with _root_logger_as_it_was():
        import wordllama

        folder = Path(wordllama.__file__).parent
        return wordllama.WordLlama.load(cache_dir=folder, dim=_WORDLLAMA_DIMENSION, disable_download=True)


@contextmanager
def _root_logger_as_it_was() -> Iterator[None]:
    """Undo the ``logging.basicConfig`` of importing wordllama: how to log is the application's to decide."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
