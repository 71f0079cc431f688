"""Text vectors by the million: of sentences that combine phrases, put together from the vectors of these.

A sentence's vector is the sum of its phrases' vectors, weighted by their words and scaled to length 1, which is near to
what the encoder makes of it (``retrieval.cosine_with_encoder``) and takes seconds where encoding a million takes
minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lever_ray.library.search.text import WordLlamaEncoder
from lever_ray.tasks.gridworld.words import WORDS

_BLOCK = 50_000

Phrases = Sequence[Sequence[str]]

PHRASES: Phrases = (
    ("quickly", "carefully", "at any cost", "if it is cheap", "before anything else", "without hurry", "by day", ""),
    ("grab", "collect", "avoid", "reach", "pull", "guard", "leave", "count", "follow", "ignore"),
    ("the gold", "every coin", "the lever", "the exit", "all traps", "the lava", "the treasure", "the old door",
     "the guard", "the river", "the map", "the cold cave"),
    ("and then", "but never", "or else", "while you"),
    ("stay on the path", "walk north", "touch the hazard", "open the gate", "go home", "rest at the camp",
     "cross the bridge", "climb the wall", "feed the dragon", "wait for the signal"),
    ("in the desert", "near the castle", "under the hill", "by the sea", "in the dark forest", "on the island", ""),
    ("for the king", "for yourself", "with a torch", "alone", "with good friends", "on a horse", ""),
)  # fmt: skip
"""1.9 million distinct sentences."""

_OBJECTIVES = ("path", "gold", "hazard", "lever", "path-gold", "hazard-lever", "path-gold-hazard")
DESCRIPTIONS: Phrases = (
    tuple(WORDS.describe(each) for each in _OBJECTIVES),
    tuple(f"Variant {number}," for number in range(1000)),
    tuple(f"seed {number}." for number in range(1000)),
)
"""Descriptions as of :mod:`benchmarks.made_up`: few sentences, each with many endings."""


def composed_vectors(path: Path, phrases: Phrases, items: int, left_out: int) -> tuple[np.ndarray, list[str]]:
    """Vectors of random combinations of phrases, each once, in a memory map at a path.

    Returns:
        float32[items, 256], and so many sentences that are not among them.
    """
    chosen, parts = _chosen(phrases, items + left_out), _vectors(phrases)
    with path.open("wb") as file:
        for first in range(left_out, len(chosen), _BLOCK):
            file.write(_composed(parts, chosen[first : first + _BLOCK]).tobytes())
    sentences = [" ".join(part[at] for part, at in zip(phrases, row, strict=True)) for row in chosen[:left_out]]
    return np.memmap(path, np.float32, "r", shape=(items, WordLlamaEncoder.dimension)), sentences


def cosine_with_encoder(phrases: Phrases, sentences: int) -> float:
    """Mean cosine of the vectors of some sentences, put together and encoded."""
    chosen = _chosen(phrases, sentences)
    told = [" ".join(part[at] for part, at in zip(phrases, row, strict=True)) for row in chosen]
    return float(np.mean((WordLlamaEncoder().encode(told) * _composed(_vectors(phrases), chosen)).sum(axis=1)))


def _chosen(phrases: Phrases, count: int) -> np.ndarray:
    """int64[count, slots]: which phrase a sentence has in every slot."""
    sizes = [len(part) for part in phrases]
    chosen = np.random.default_rng(0).choice(np.prod(sizes), count, replace=False)
    return np.stack(np.unravel_index(chosen, sizes), axis=1)


def _vectors(phrases: Phrases) -> list[np.ndarray]:
    """float32[p, 256] for each slot: vectors of its phrases, as long as they have words."""
    encoder, made = WordLlamaEncoder(), []
    for part in phrases:
        vectors = np.zeros((len(part), encoder.dimension), np.float32)
        said = [place for place, phrase in enumerate(part) if phrase]
        lengths = np.array([len(part[place].split()) for place in said], np.float32)
        vectors[said] = lengths[:, None] * encoder.encode([part[place] for place in said])
        made.append(vectors)
    return made


def _composed(parts: Sequence[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """float32[n, 256]: unit vectors of sentences that consist of these phrases."""
    sums = sum(part[chosen[:, slot]] for slot, part in enumerate(parts))
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)
