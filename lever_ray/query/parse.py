"""Read an objective from text: the terms that its clauses name by similarity, and what they say of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from textwrap import shorten

import numpy as np
from numpy.typing import NDArray

from lever_ray.errors import InvalidValue, UnmatchedQuery
from lever_ray.library.text import TextEncoder, WordLlamaEncoder
from lever_ray.query.clauses import Span, spans
from lever_ray.query.vocabulary import DESCRIPTIONS, PHRASES, Phrase
from lever_ray.tasks.objective import TERMS

DEFAULT_THRESHOLD = 0.6
"""Least score of a term that is named; settled on the tuning half of ``benchmarks/data/queries.json``."""

_CLEAR_LEAD = 0.3
"""Lead over every rival meaning, in cosine, from which a match counts in full."""
_KNOWN = 0.5
"""Cosine to the nearest phrase from which a word counts as understood."""
_LONGEST_QUERY = 2_000
"""Most characters of a query."""
_REMEDY = (
    "say which of path, gold, hazard and lever to pursue, e.g. 'grab the gold and avoid hazards', "
    "or bypass the text with objective='gold-hazard'"
)


@dataclass(frozen=True)
class Clause:
    """What one clause of a query says of one objective term; a clause that names two terms appears twice.

    Attributes:
        text: the clause's words, in lower case, contractions written out, without articles and other fillers.
        term: the objective term that it names, None where none scores above the threshold.
        score: how clearly it does, in [0, 1]; that of the closest term where ``term`` is None.
        negated: whether it says to leave the term out ("ignore the gold").
        margin: cosine of the words to the term's nearest phrase, less that to the nearest rival phrase.
        words: the words of the clause that matched best.
        phrase: the phrase of the vocabulary that they matched.
    """

    text: str
    term: str | None
    score: float
    negated: bool
    margin: float
    words: str
    phrase: str


@dataclass(frozen=True)
class ParsedQuery:
    """An objective read from text.

    Attributes:
        text: the query as it was given.
        objective: name of the objective, terms in canonical order, e.g. ``"gold-hazard"``.
        clauses: what each clause says of each term, in the order of the text.
        closest: the clause that names its term most clearly.
        relevance: share of the query's words that are on the subject, in [0, 1]; a factor of every score.
    """

    text: str
    objective: str
    clauses: tuple[Clause, ...]
    closest: Clause
    relevance: float


def parse_query(text: str, *, encoder: TextEncoder | None = None, threshold: float = DEFAULT_THRESHOLD) -> ParsedQuery:
    """Read the objective that ``text`` asks for.

    The text is split into clauses. In each, every run of up to four words is compared with the phrases of
    :mod:`lever_ray.query.vocabulary`; a term is named where its nearest phrase is near, clearly nearer than
    any of another meaning, and most of the text is on the subject. Cues such as "not" and "ignore" decide
    whether the clause asks for the term or wants it left out. The objective is every term that is asked for.

    Args:
        text: e.g. ``"grab the gold and keep away from hazards"``; English.
        encoder: what turns words into vectors; by default :class:`~lever_ray.library.text.WordLlamaEncoder`.
        threshold: least score in (0, 1] of a term that is named.

    Returns:
        The objective with what each clause contributed to it; equal texts give equal results.

    Raises:
        UnmatchedQuery: the text is blank, names no term, or only says what to leave out.
        InvalidValue: the threshold is outside (0, 1], or the text is longer than 2,000 characters.
    """
    if not 0.0 < threshold <= 1.0:
        raise InvalidValue(f"threshold is {threshold}; it must be in (0, 1], e.g. {DEFAULT_THRESHOLD}")
    if len(text) > _LONGEST_QUERY:
        raise InvalidValue(f"query {_shown(text)} has {len(text)} characters; at most {_LONGEST_QUERY} are read")
    matches, relevance = _read(text, encoder or WordLlamaEncoder(), threshold)
    if not matches:
        raise UnmatchedQuery(f"query {_shown(text)} holds no words to go by; {_REMEDY}")
    clauses = tuple(_clauses(matches, relevance, threshold))
    named = [clause for clause in clauses if clause.term]
    if not named:
        raise UnmatchedQuery(_nothing_named(text, max(matches, key=_closeness), relevance, threshold))
    asked = {clause.term for clause in named if not clause.negated}
    if not asked:
        left_out = ", ".join(dict.fromkeys(str(clause.term) for clause in named))
        raise UnmatchedQuery(f"query {_shown(text)} only says what to leave out ({left_out}); {_REMEDY}")
    objective = "-".join(term for term in TERMS if term in asked)
    return ParsedQuery(text, objective, clauses, max(named, key=lambda clause: clause.score), relevance)


@dataclass(frozen=True)
class _Match:
    """Words ``start`` to ``stop`` of a span, and the phrase of ``term`` that they come nearest to."""

    span: Span
    start: int
    stop: int
    term: str
    phrase: Phrase
    clarity: float
    margin: float

    @property
    def words(self) -> str:
        return " ".join(self.span.words[self.start : self.stop])

    @property
    def left_out(self) -> bool:
        return self.span.leaves_out(self.start, self.stop, self.phrase)


def _closeness(match: _Match) -> tuple[float, float]:
    return match.clarity, match.margin


def _read(text: str, encoder: TextEncoder, threshold: float) -> tuple[list[_Match], float]:
    clauses = spans(text)
    runs = _compared(clauses, encoder)
    matches = list(_matches(clauses, runs))
    return matches, _relevance(runs, [match for match in matches if match.clarity >= threshold])


def _clauses(matches: Sequence[_Match], relevance: float, threshold: float) -> Iterator[Clause]:
    """The terms that each span names; where it names none, the closest, as a clause without a term."""
    for _, group in groupby(matches, key=lambda match: match.span.number):
        of_span = list(group)
        clear = [match for match in of_span if match.clarity * relevance >= threshold]
        for match in clear or [max(of_span, key=_closeness)]:
            yield Clause(
                text=" ".join(match.span.words),
                term=match.term if clear else None,
                score=match.clarity * relevance,
                negated=bool(clear) and match.left_out,
                margin=match.margin,
                words=match.words,
                phrase=match.phrase.text,
            )


def _nothing_named(text: str, closest: _Match, relevance: float, threshold: float) -> str:
    return (
        f"query {_shown(text)} names no objective term. Closest is {closest.term!r} "
        f"({DESCRIPTIONS[closest.term]!r}): {closest.words!r} resembles {closest.phrase.text!r} "
        f"and scores {closest.clarity * relevance:.2f}, below the threshold {threshold:g}, "
        f"where {relevance:.0%} of the query's words are on the subject; {_REMEDY}"
    )


def _shown(text: str) -> str:
    return repr(shorten(text, 120, placeholder=" ..."))


# Similarity: which terms the words of a clause name.


@dataclass(frozen=True)
class _Runs:
    """Runs of words with their nearest phrases, one for each meaning: four terms, familiar words, and others.

    Attributes:
        places: int64[w, 3], of each of ``w`` runs the span's number, the first word, the one after the last.
        cosines: float32[w, 6], cosine to the nearest phrase of each meaning.
        nearest: int64[w, 6], position of that phrase in ``_PHRASES``.
    """

    places: NDArray[np.int64]
    cosines: NDArray[np.float32]
    nearest: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64[w], words in a run."""
        return self.places[:, 2] - self.places[:, 1]

    def leads(self) -> NDArray[np.float32]:
        """float32[w, 4], by how much the cosine to each term exceeds that to any other meaning."""
        rivals = [np.delete(self.cosines, meaning, axis=1).max(axis=1) for meaning in range(len(TERMS))]
        leads: NDArray[np.float32] = self.cosines[:, : len(TERMS)] - np.stack(rivals, axis=1)
        return leads


def _meaning(phrase: Phrase) -> int:
    if phrase.term is not None:
        return TERMS.index(phrase.term)
    return len(TERMS) if phrase.familiar else len(TERMS) + 1


_PHRASES = sorted(PHRASES, key=_meaning)
_BLOCKS = [
    slice(bisect_left(_PHRASES, meaning, key=_meaning), bisect_right(_PHRASES, meaning, key=_meaning))
    for meaning in range(len(TERMS) + 2)
]


@lru_cache(maxsize=8)
def _phrase_vectors(encoder: TextEncoder) -> NDArray[np.float32]:
    return encoder.encode([phrase.text for phrase in _PHRASES])


def _compared(clauses: Sequence[Span], encoder: TextEncoder) -> _Runs:
    places = [(span.number, *run) for span in clauses for run in span.runs()]
    texts = [" ".join(clauses[number].words[start:stop]) for number, start, stop in places]
    cosines = np.matmul(encoder.encode(texts), _phrase_vectors(encoder).T)
    nearest = np.stack([cosines[:, block].argmax(axis=1) + block.start for block in _BLOCKS], axis=1)
    by_meaning = np.take_along_axis(cosines, nearest, axis=1)
    return _Runs(np.array(places, np.int64).reshape(-1, 3), by_meaning, nearest)


def _matches(clauses: Sequence[Span], runs: _Runs) -> Iterator[_Match]:
    """The clearest match of every span with every term; of equal ones the longest."""
    leads = runs.leads()
    clarity = np.clip(np.minimum(runs.cosines[:, : len(TERMS)], leads / _CLEAR_LEAD), 0.0, 1.0)
    rank = np.round(clarity, 3) + 1e-4 * runs.lengths[:, None] + 1e-5 * leads
    for span in clauses:
        rows = np.flatnonzero(runs.places[:, 0] == span.number)
        for number, term in enumerate(TERMS if len(rows) else ()):
            row = rows[rank[rows, number].argmax()]
            _, start, stop = runs.places[row].tolist()
            phrase = _PHRASES[runs.nearest[row, number]]
            yield _Match(span, start, stop, term, phrase, float(clarity[row, number]), float(leads[row, number]))


def _relevance(runs: _Runs, clear: Sequence[_Match]) -> float:
    """Share of the words that are on the subject; a word unlike everything in the vocabulary counts half."""
    understood = {(match.span.number, place) for match in clear for place in range(match.start, match.stop)}
    single = runs.lengths == 1
    shares = []
    for (number, place, _), cosines in zip(runs.places[single].tolist(), runs.cosines[single], strict=True):
        familiar, foreign = cosines[:-1].max(), cosines[-1]
        known = (number, place) in understood or familiar >= max(_KNOWN, foreign)
        shares.append(1.0 if known else 0.0 if foreign >= _KNOWN else 0.5)
    return float(np.mean(shares)) if shares else 0.0
