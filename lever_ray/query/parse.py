"""Read an objective from text: the terms that its clauses name by their words, and what they say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby, pairwise
from textwrap import shorten

import numpy as np
from numpy.typing import NDArray

from lever_ray.errors import InvalidValue, UnmatchedQuery, check_known
from lever_ray.query.clauses import Span, spans
from lever_ray.query.overlap import Overlap
from lever_ray.query.vocabulary import FAMILIAR, FUNCTION_WORDS, OFF_SUBJECT, WAYS_OUT, Phrase, Stance
from lever_ray.tasks.protocol import Words
from lever_ray.tasks.registry import usual_source

DEFAULT_THRESHOLD = 0.6
"""Least score of a term that is named; settled on the tuning half of ``benchmarks/data/queries.json``."""

_CLEAR_LEAD = 0.3
"""Lead over every rival meaning, in cosine, from which a match counts in full."""
_KNOWN = 0.5
"""Cosine to the nearest phrase from which a word counts as understood."""
_LONGEST_QUERY = 2_000
"""Most characters of a query."""
_MOST_LISTED = 12
"""Most terms that an error lists."""


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
        objective: name of the objective, terms in the order of the task's, e.g. ``"gold-hazard"``.
        clauses: what each clause says of each term, in the order of the text.
        closest: the clause that names its term most clearly.
        relevance: share of the query's words that are on the subject, in [0, 1]; a factor of every score.
    """

    text: str
    objective: str
    clauses: tuple[Clause, ...]
    closest: Clause
    relevance: float


def parse_query(
    text: str,
    *,
    words: Words | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> ParsedQuery:
    """Read the objective that ``text`` asks for.

    The text is split into clauses. In each, every run of up to four words is compared with the phrases of the task's
    terms and with those of :mod:`lever_ray.query.vocabulary`; a term is named where its nearest phrase is near, clearly
    nearer than any of another meaning, and most of the text is on the subject. A term's own name always names it; one
    without phrases is found by its description, too. Cues such as "not" and "ignore" decide whether the clause asks for
    the term or wants it left out. The objective is every term that is asked for.

    Args:
        text: e.g. ``"grab the gold and keep away from hazards"``; English.
        words: what the terms are called, e.g. ``task.describe()``; by default those of
            :func:`~lever_ray.tasks.registry.usual_source`. Give the same object again: its vocabulary is kept.
        threshold: least score in (0, 1] of a term that is named.

    Returns:
        The objective with what each clause contributed to it; equal texts give equal results.

    Raises:
        UnmatchedQuery: the text is blank, names no term, or only says what to leave out.
        InvalidValue: the threshold is outside (0, 1], the text is longer than 2,000 characters, or ``words`` have no
            terms, a blank description or a blank phrase.
        UnknownName: ``words`` have phrases of a term that they do not describe.
    """
    if not 0.0 < threshold <= 1.0:
        raise InvalidValue(f"threshold is {threshold}; it must be in (0, 1], e.g. {DEFAULT_THRESHOLD}")
    if len(text) > _LONGEST_QUERY:
        raise InvalidValue(f"query {_shown(text)} has {len(text)} characters; at most {_LONGEST_QUERY} are read")
    words = usual_source().words if words is None else words
    matches, relevance = _read(text, _vocabulary(words), threshold)
    if not matches:
        raise UnmatchedQuery(f"query {_shown(text)} holds no words to go by; {_remedy(words)}")
    clauses = tuple(_clauses(matches, relevance, threshold))
    named = [clause for clause in clauses if clause.term]
    if not named:
        raise UnmatchedQuery(_nothing_named(text, words, matches, relevance, threshold))
    asked = {clause.term for clause in named if not clause.negated}
    if not asked:
        left_out = ", ".join(dict.fromkeys(str(clause.term) for clause in named))
        raise UnmatchedQuery(f"query {_shown(text)} only says what to leave out ({left_out}); {_remedy(words)}")
    objective = "-".join(term for term in words.descriptions if term in asked)
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
    def has_words_of_the_phrase(self) -> bool:
        telling = set(self.phrase.text.split()) - FUNCTION_WORDS
        return not telling.isdisjoint(self.span.words[self.start : self.stop])

    @property
    def left_out(self) -> bool:
        return self.span.leaves_out(self.start, self.stop, self.phrase)


def _closeness(match: _Match) -> tuple[float, float]:
    return match.clarity, match.margin


def _read(text: str, vocabulary: _Vocabulary, threshold: float) -> tuple[list[_Match], float]:
    clauses = spans(text)
    runs = _compared(clauses, vocabulary)
    matches = list(_matches(clauses, runs, vocabulary))
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


def _nothing_named(text: str, words: Words, matches: Sequence[_Match], relevance: float, threshold: float) -> str:
    refusal = f"query {_shown(text)} names no objective term"
    near = [match for match in matches if match.has_words_of_the_phrase]
    if not near:
        return f"{refusal}: none of its words is among theirs; {_remedy(words)}"
    closest = max(near, key=_closeness)
    resembles = "" if closest.words == closest.phrase.text else f"resembles {closest.phrase.text!r} and "
    return (
        f"{refusal}. Closest is {closest.term!r} ({words.descriptions[closest.term]!r}): {closest.words!r} "
        f"{resembles}scores {closest.clarity * relevance:.2f}, below the threshold "
        f"{threshold:g}, where {relevance:.0%} of the query's words are on the subject; {_remedy(words)}"
    )


def _remedy(words: Words) -> str:
    """What to do about a refusal, with an example of two terms where there are as many."""
    terms = list(words.descriptions)
    more = len(terms) - _MOST_LISTED
    listed = [*terms[:_MOST_LISTED], *([f"{more} more"] if more > 0 else [])]
    which = f"which of {', '.join(listed[:-1])} and {listed[-1]}" if len(listed) > 1 else f"that {listed[0]} is"
    query, objective = words.example or _example(words, terms[:2])
    return f"say {which} to pursue, e.g. {query!r}, or bypass the text with objective={objective!r}"


def _example(words: Words, terms: Sequence[str]) -> tuple[str, str]:
    sentence = words.describe(terms).rstrip(".")
    return sentence[0].lower() + sentence[1:], "-".join(terms)


def _shown(text: str) -> str:
    return repr(shorten(text, 120, placeholder=" ..."))


# Vocabulary: what a query's words are compared with.


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    """The phrases of one task's words and of all tasks, by meaning: its terms, familiar words, and others.

    Attributes:
        terms: ``k`` terms, in the task's order.
        names: place of a term in ``terms``, by the words of its own name.
        phrases: ``p`` phrases, those of one meaning side by side.
        blocks: of each of the ``k + 2`` meanings, where its phrases stand.
        overlap: compares texts with the phrases.
    """

    terms: tuple[str, ...]
    names: Mapping[str, int]
    phrases: tuple[Phrase, ...]
    blocks: tuple[slice, ...]
    overlap: Overlap


@lru_cache(maxsize=8)
def _vocabulary(words: Words) -> _Vocabulary:
    """That of one object of words; a phrase that a term claims is no longer a familiar or a foreign one."""
    _check(words)
    terms = tuple(words.descriptions)
    of_terms = [_phrases(words, term) for term in terms]
    claimed = {phrase.text for phrases in of_terms for phrase in phrases}
    others = [[phrase for phrase in phrases if phrase.text not in claimed] for phrases in (FAMILIAR, OFF_SUBJECT)]
    meanings = [*of_terms, *others]
    blocks = tuple(slice(*ends) for ends in pairwise(accumulate(map(len, meanings), initial=0)))
    phrases = tuple(phrase for meaning in meanings for phrase in meaning)
    names = {text: number for number, term in enumerate(terms) for text, _ in _name(term)}
    return _Vocabulary(terms, names, phrases, blocks, Overlap([phrase.text for phrase in phrases]))


def _check(words: Words) -> None:
    if not words.descriptions:
        raise InvalidValue("the words describe no term; give one sentence per term in descriptions")
    for term, sentence in words.descriptions.items():
        if not sentence.strip():
            raise InvalidValue(f"the description of term {term!r} is blank; say in a sentence what it wants")
    for table in (words.wanted, words.feared, words.shunned):
        for term, texts in table.items():
            check_known("objective term", term, words.descriptions)
            if isinstance(texts, str) or not all(text.strip() for text in texts):
                raise InvalidValue(f"phrases of term {term!r} are {texts!r}; give a tuple of texts, none of them blank")


def _phrases(words: Words, term: str) -> list[Phrase]:
    """Those that are listed, then the term's name; where none are listed, what its description says, too."""
    tables = ((words.wanted, Stance.WANTED), (words.feared, Stance.FEARED), (words.shunned, Stance.SHUNNED))
    listed = [(" ".join(text.lower().split()), stance) for table, stance in tables for text in table.get(term, ())]
    described = list(_said(words.descriptions[term]))
    feared = any(stance is Stance.FEARED for _, stance in (*listed, *described[:1]))
    named = [(text, Stance.FEARED if feared else stance) for text, stance in _name(term)]
    common = {phrase.text for phrase in (*FAMILIAR, *OFF_SUBJECT)}
    told = [] if listed else [(text, stance) for text, stance in described if text not in common]
    stances: dict[str, Stance] = {}
    for text, stance in (*listed, *named, *told):
        stances.setdefault(text, stance)
    leaving = any(stance is Stance.WANTED and text.split()[0] in WAYS_OUT for text, stance in stances.items())
    return [Phrase(text, term, stance, leaving=leaving) for text, stance in stances.items()]


def _name(term: str) -> list[tuple[str, Stance]]:
    """The words of a term's own name, as ``no_crashes`` is a "crashes" to fear."""
    plain = term.replace("_", " ")
    return list(_said(plain)) or [(plain, Stance.WANTED)]


def _said(sentence: str) -> Iterator[tuple[str, Stance]]:
    """The words between the cues of a sentence, and whether it says to seek or to fear what they name."""
    for span in spans(sentence):
        for start, stop in span.stretches():
            words = span.words[start:stop]
            if not FUNCTION_WORDS.issuperset(words):
                left_out = span.leaves_out(start, stop, Phrase("", None))
                yield " ".join(words), Stance.FEARED if left_out else Stance.WANTED


# Likeness: which terms the words of a clause name.


@dataclass(frozen=True)
class _Runs:
    """Runs of words with their nearest phrases, one for each meaning: ``k`` terms, familiar words, and others.

    Attributes:
        places: int64[w, 3], of each of ``w`` runs the span's number, the first word, the one after the last.
        named: bool[w, k], whether a run is the very name of a term.
        cosines: float32[w, k + 2], cosine to the nearest phrase of each meaning.
        nearest: int64[w, k + 2], position of that phrase in the vocabulary.
    """

    places: NDArray[np.int64]
    named: NDArray[np.bool_]
    cosines: NDArray[np.float32]
    nearest: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64[w], words in a run."""
        return self.places[:, 2] - self.places[:, 1]

    def leads(self) -> NDArray[np.float32]:
        """float32[w, k], by how much the cosine to each term exceeds that to any other meaning."""
        terms = self.named.shape[1]
        rivals = [np.delete(self.cosines, meaning, axis=1).max(axis=1) for meaning in range(terms)]
        leads: NDArray[np.float32] = self.cosines[:, :terms] - np.stack(rivals, axis=1)
        return leads

    def clarity(self, leads: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32[w, k], how clearly each run names each term, in [0, 1]; the name of a term leads far enough."""
        enough = np.where(self.named, np.maximum(leads, _CLEAR_LEAD), leads)
        return np.clip(np.minimum(self.cosines[:, : self.named.shape[1]], enough / _CLEAR_LEAD), 0.0, 1.0)


def _compared(clauses: Sequence[Span], vocabulary: _Vocabulary) -> _Runs:
    places = [(span.number, *run) for span in clauses for run in span.runs()]
    texts = [" ".join(clauses[number].words[start:stop]) for number, start, stop in places]
    cosines = vocabulary.overlap.cosines(texts)
    nearest = np.stack([cosines[:, block].argmax(axis=1) + block.start for block in vocabulary.blocks], axis=1)
    by_meaning = np.take_along_axis(cosines, nearest, axis=1)
    named = np.array([vocabulary.names.get(text, -1) for text in texts], np.int64)[:, None]
    return _Runs(
        np.array(places, np.int64).reshape(-1, 3), named == np.arange(len(vocabulary.terms)), by_meaning, nearest
    )


def _matches(clauses: Sequence[Span], runs: _Runs, vocabulary: _Vocabulary) -> Iterator[_Match]:
    """The clearest match of every span with every term; of equal ones the longest."""
    leads = runs.leads()
    clarity = runs.clarity(leads)
    rank = np.round(clarity, 3) + 1e-4 * runs.lengths[:, None] + 1e-5 * leads
    for span in clauses:
        rows = np.flatnonzero(runs.places[:, 0] == span.number)
        for number, term in enumerate(vocabulary.terms if len(rows) else ()):
            row = rows[rank[rows, number].argmax()]
            _, start, stop = runs.places[row].tolist()
            phrase = vocabulary.phrases[runs.nearest[row, number]]
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
