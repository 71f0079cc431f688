"""Text as vectors: the encoder's protocol, and the static word embeddings inside the wordllama wheel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lever_ray.errors import InvalidValue, LeverError

_WORDLLAMA_DIMENSION = 256
_TOKENS = "tokenizers/l2_supercat_tokenizer_config.json"
_WEIGHTS = f"weights/l2_supercat_{_WORDLLAMA_DIMENSION}.safetensors"
"""Files of wordllama's wheel."""


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
    read at the first :meth:`encode`, once per process, in about 0.1 s.
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
        parts = [_pooled(list(texts[first : first + _AT_ONCE])) for first in range(0, len(texts), _AT_ONCE)]
        pooled = np.concatenate(parts)
        unit: NDArray[np.float32] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordLlamaEncoder)

    def __hash__(self) -> int:
        return hash(WordLlamaEncoder)

    def __repr__(self) -> str:
        return "WordLlamaEncoder()"


_AT_ONCE = 64
"""Texts that are pooled at once; vectors do not depend on it."""


def _pooled(texts: list[str]) -> NDArray[np.float32]:
    """float32[n, 256]: means of the texts' token vectors, by the steps of wordllama, and to the same bits."""
    tokenizer, vectors = _word_vectors()
    texts = [text.encode(errors="replace").decode() for text in texts]  # of words that are no UTF-8
    encoded = tokenizer.encode_batch(texts, is_pretokenized=False, add_special_tokens=False)
    tokens = np.array([each.ids for each in encoded], np.int32).clip(0, len(vectors) - 1)
    present = np.array([each.attention_mask for each in encoded], np.float32)
    total = np.sum(vectors[tokens].astype(np.float32) * present[..., None], axis=1, dtype=np.float32)
    mean: NDArray[np.float32] = total / np.maximum(present.sum(axis=1, keepdims=True), 1.0).astype(np.float32)
    return mean


@cache
def _word_vectors() -> tuple[Any, NDArray[np.float16]]:
    """The tokenizer, and float16[V, 256] of its tokens: the two files of wordllama's wheel.

    They are read without it: importing it takes longer than all the rest, pydantic and requests included, and loading
    turns every vector into float32, of which a text needs a few.

    Raises:
        LeverError: the installed wordllama lacks them.
    """
    from safetensors import safe_open
    from tokenizers import Tokenizer

    found = find_spec("wordllama")
    folder = Path(found.origin).parent if found and found.origin else Path("wordllama")
    tokens, weights = (folder / part for part in (_TOKENS, _WEIGHTS))
    try:
        tokenizer = Tokenizer.from_str(tokens.read_text(encoding="utf-8"))
        with safe_open(str(weights), framework="np") as file:
            vectors = file.get_tensor("embedding.weight")
    except OSError as error:
        raise LeverError(f"word vectors cannot be read ({error}); install wordllama anew, 0.4 or later") from error
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    return tokenizer, vectors
