"""How often a text query is read right, beside plain keywords and beside the parser on word vectors.

The queries of ``benchmarks/data/queries.json`` were written before the parser was tuned, and are frozen.
Their halves were drawn by a seeded shuffle within each kind, and only the tuning half was looked at while
tuning. One author wrote the queries and the vocabulary, so the held-out half flatters the parser somewhat. Both
ways to compare words are also measured on the grid's descriptions alone, as of a task without synonyms.

    python -m benchmarks.text_queries
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lever_ray.errors import UnmatchedQuery
from lever_ray.library.search.text import WordLlamaEncoder
from lever_ray.query import parse
from lever_ray.query.parse import parse_query
from lever_ray.tasks.gridworld.words import WORDS
from lever_ray.tasks.protocol import Words

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


class WordVectors:
    """Compares texts with phrases by word vectors, as :class:`lever_ray.query.overlap.Overlap` does by words."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = WordLlamaEncoder().encode(phrases)

    def cosines(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32[n, p]."""
        return np.matmul(WordLlamaEncoder().encode(texts), self._phrases.T)


# Copies, since the parser keeps the vocabulary of every object of words.
_FOR_VECTORS, _TOLD, _TOLD_FOR_VECTORS = replace(WORDS), Words(WORDS.descriptions), Words(WORDS.descriptions)


def read_by_words(text: str, words: Words = WORDS) -> str | None:
    """The parser."""
    try:
        return parse_query(text, words=words).objective
    except UnmatchedQuery:
        return None


def read_by_vectors(text: str, words: Words = _FOR_VECTORS) -> str | None:
    """The parser with its clauses, cues and phrases, on word vectors in place of words, to see what those add."""
    with patch.object(parse, "Overlap", WordVectors):
        return read_by_words(text, words)


def read_by_keywords(text: str) -> str | None:
    """The baseline: every term one of whose keywords occurs, negated or not."""
    words = {word.strip(".,;:!?") for word in text.lower().split()}
    return "-".join(term for term, keywords in KEYWORDS.items() if words & keywords) or None


READERS: Mapping[str, Reader] = {
    "text.accuracy": read_by_words,
    "text.accuracy.word_vectors": read_by_vectors,
    "text.accuracy.keyword": read_by_keywords,
    "text.accuracy.descriptions_alone": lambda text: read_by_words(text, _TOLD),
    "text.accuracy.descriptions_alone.word_vectors": lambda text: read_by_vectors(text, _TOLD_FOR_VECTORS),
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
    """Accuracy of each reader on each half, and what a parse by either likeness takes, the first of a process apart."""
    rows = {
        f"{name}.{half.replace('-', '_')}": accuracy(outcomes(reader, half))
        for name, reader in READERS.items()
        for half in HALVES
    }
    for name, reader in (("text.parse", read_by_words), ("text.parse.word_vectors", read_by_vectors)):
        rows[f"{name}.cpu_milliseconds"] = _milliseconds(reader)
        rows |= _first(f"{name}.first", reader.__name__)
    return rows


def _milliseconds(reader: Reader) -> float:
    """CPU time, the median over all queries."""
    texts = [query.text for query in queries()]
    reader(texts[0])
    return statistics.median(_seconds(reader, text) for text in texts) * 1e3


def _seconds(reader: Reader, text: str) -> float:
    start = process_time()
    reader(text)
    return process_time() - start


_FIRST = """
import time, psutil
from benchmarks import text_queries
process = psutil.Process()
held, begun = process.memory_full_info().uss, time.process_time()
text_queries.{reader}("grab the gold")
print(1e3 * (time.process_time() - begun), (process.memory_full_info().uss - held) / 1e6)
"""


def _first(name: str, reader: str) -> dict[str, float]:
    """The first parse of a process: CPU time, the median of five, and what it leaves in memory that is its own."""
    code = [sys.executable, "-c", _FIRST.format(reader=reader)]
    told = [subprocess.run(code, capture_output=True, text=True, check=True).stdout.split() for _ in range(5)]
    milliseconds, megabytes = np.median(np.array(told, np.float64), axis=0)
    return {f"{name}.cpu_milliseconds": float(milliseconds), f"{name}.megabytes": float(megabytes)}


def main(halves: Sequence[str] = HALVES) -> None:
    """Print the accuracy of each reader by kind of query, and every mistake of the parser."""
    console = Console()
    for half in halves:
        console.print(_table(half))
        for outcome in outcomes(read_by_words, half):
            if not outcome.right:
                wanted, got = outcome.query.expected or "refusal", outcome.objective or "refusal"
                console.print(f"  {outcome.query.text!r}: expected {wanted}, got {got}", markup=False)
    console.print(f"one parse takes {_milliseconds(read_by_words):.2f} ms of CPU time (median)")


_COLUMNS = ("words", "vectors", "keywords", "words*", "vectors*")
_CAPTION = "* on the descriptions of the terms alone"


def _table(half: str) -> Table:
    results = {name: outcomes(reader, half) for name, reader in READERS.items()}
    table = Table("kind", "queries", *_COLUMNS, title=f"Text queries, {half} half", caption=_CAPTION)
    kinds = dict.fromkeys(outcome.query.kind for outcome in results["text.accuracy"])
    for kind in [*kinds, "all"]:
        of_kind = [[outcome for outcome in each if kind in (outcome.query.kind, "all")] for each in results.values()]
        table.add_row(kind, str(len(of_kind[0])), *(f"{accuracy(each):.1%}" for each in of_kind))
    return table


if __name__ == "__main__":
    main()
