"""How often a text query is read right, beside plain keywords and beside the parser without word vectors.

The queries of ``benchmarks/data/queries.json`` were written before the parser was tuned, and are frozen.
Their halves were drawn by a seeded shuffle within each kind, and only the tuning half was looked at while
tuning. One author wrote the queries and the vocabulary, so the held-out half flatters the parser somewhat.

    python -m benchmarks.text_queries
"""

from __future__ import annotations

import json
import statistics
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lever_ray.errors import UnmatchedQuery
from lever_ray.library.search.text import TextEncoder
from lever_ray.query.parse import parse_query

QUERIES = Path(__file__).parent / "data" / "queries.json"
HALVES = ("tuning", "held-out")

KEYWORDS: Mapping[str, frozenset[str]] = {
    "path": frozenset(
        {"path", "exit", "escape", "door", "goal", "finish", "fast", "fastest", "quick", "quickly", "hurry"}
    ),
    "gold": frozenset({"gold", "coin", "coins", "treasure", "loot", "money", "rich", "riches"}),
    "hazard": frozenset(
        {"hazard", "hazards", "danger", "dangerous", "lava", "trap", "traps", "die", "safe", "safely", "risk"}
    ),
    "lever": frozenset({"lever", "switch", "button", "handle", "activate", "mechanism"}),
}

Reader = Callable[[str], "str | None"]
"""Reads the name of an objective from text; None where it refuses."""


@dataclass(frozen=True)
class Query:
    """One entry of the evaluation set; ``expected`` is None where a reader has to refuse."""

    text: str
    expected: str | None
    kind: str
    half: str


@dataclass(frozen=True)
class Outcome:
    """What a reader made of a query."""

    query: Query
    objective: str | None

    @property
    def right(self) -> bool:
        """Whether the objective is exactly the expected one, or the refusal was due."""
        return self.objective == self.query.expected


class ExactWords:
    """A text encoder that knows no similarity: a word has a random direction, and only equal ones agree."""

    name, version, dimension = "exact-words", "1", 1024

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32[n, 1024], the normalised sum of the directions of each text's words."""
        sums = np.array([sum(_direction(word) for word in text.split()) for text in texts], np.float32)
        sums = sums.reshape(-1, self.dimension)
        return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)


@cache
def _direction(word: str) -> NDArray[np.float64]:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(ExactWords.dimension)


def read_by_similarity(text: str) -> str | None:
    """The parser under test."""
    return _objective_or_none(text)


_EXACT_WORDS = ExactWords()


def read_by_exact_words(text: str) -> str | None:
    """The parser with its clauses, cues and phrases but without word vectors, to see what those add."""
    return _objective_or_none(text, encoder=_EXACT_WORDS)


def read_by_keywords(text: str) -> str | None:
    """The baseline: every term one of whose keywords occurs, negated or not."""
    words = {word.strip(".,;:!?") for word in text.lower().split()}
    return "-".join(term for term, keywords in KEYWORDS.items() if words & keywords) or None


def _objective_or_none(text: str, *, encoder: TextEncoder | None = None) -> str | None:
    try:
        return parse_query(text, encoder=encoder).objective
    except UnmatchedQuery:
        return None


READERS: Mapping[str, Reader] = {
    "text.accuracy": read_by_similarity,
    "text.accuracy.exact_words": read_by_exact_words,
    "text.accuracy.keyword": read_by_keywords,
}


def queries() -> list[Query]:
    """The evaluation set, in the order of its file."""
    return [Query(**entry) for entry in json.loads(QUERIES.read_text(encoding="utf-8"))]


def outcomes(reader: Reader, half: str) -> list[Outcome]:
    """What ``reader`` makes of one half of the evaluation set."""
    return [Outcome(query, reader(query.text)) for query in queries() if query.half == half]


def accuracy(results: Iterable[Outcome]) -> float:
    """Share of right outcomes."""
    return statistics.fmean(outcome.right for outcome in results)


def figures() -> dict[str, float]:
    """Accuracy of each reader on each half, and the median time of a parse once the model is loaded."""
    rows = {
        f"{name}.{half.replace('-', '_')}": accuracy(outcomes(reader, half))
        for name, reader in READERS.items()
        for half in HALVES
    }
    return rows | {"text.parse.milliseconds": _milliseconds()}


def _milliseconds() -> float:
    texts = [query.text for query in queries()]
    read_by_similarity(texts[0])
    return statistics.median(_seconds(text) for text in texts) * 1e3


def _seconds(text: str) -> float:
    start = perf_counter()
    read_by_similarity(text)
    return perf_counter() - start


def main(halves: Sequence[str] = HALVES) -> None:
    """Print the accuracy of each reader by kind of query, and every mistake of the parser."""
    console = Console()
    for half in halves:
        console.print(_table(half))
        for outcome in outcomes(read_by_similarity, half):
            if not outcome.right:
                wanted, got = outcome.query.expected or "refusal", outcome.objective or "refusal"
                console.print(f"  {outcome.query.text!r}: expected {wanted}, got {got}", markup=False)
    console.print(f"one parse takes {_milliseconds():.2f} ms (median)")


def _table(half: str) -> Table:
    results = {name: outcomes(reader, half) for name, reader in READERS.items()}
    table = Table("kind", "queries", "similarity", "exact words", "keywords", title=f"Text queries, {half} half")
    kinds = dict.fromkeys(outcome.query.kind for outcome in results["text.accuracy"])
    for kind in [*kinds, "all"]:
        of_kind = [[outcome for outcome in each if kind in (outcome.query.kind, "all")] for each in results.values()]
        table.add_row(kind, str(len(of_kind[0])), *(f"{accuracy(each):.1%}" for each in of_kind))
    return table


if __name__ == "__main__":
    main()
