"""The clauses of a text and what their cues turn round: rules that counts of words cannot know.

A clause becomes a :class:`Span` of words. It offers its runs of words to be compared with the vocabulary,
and knows of each whether a "not" or an "ignore" of the clause leaves out what the run names. What that is,
the caller finds out: nothing here knows a word's meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lever_ray.query import vocabulary
from lever_ray.query.vocabulary import Effect, Phrase, Stance

_LONGEST_RUN = 4
"""Most words that are compared with a phrase, or looked up as a cue, at once."""

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[,;:.!?&+/()]")
_DASH = re.compile(r"[\u2013\u2014]|\s-+\s|--+")
_CONTRACTED = re.compile(r"\b(ca|wo|do|does|did|is|are|was|were|would|should|could|must|need|have|has)n'?t\b")
_IDIOMS = [(re.compile(rf"\b(?:{idiom})\b"), meaning) for idiom, meaning in vocabulary.IDIOMS.items()]
_ANSWERED_NO = re.compile(r"\s*[:?\u2013\u2014-]+\s*(?=no\s*(?:[,;.!]|$|and\b|but\b))")
"""What stands between a thing and the "no" that answers it, as in "gold: no, lever: yes"."""

_DENIALS = frozenset({"no", "not", "never", "none", "nothing", "neither", "without"})
"""Cues whose lists end in "or": "no gold, lever or exit", where "no lava, gold and exit" wants the gold."""
_TRAILING_DENIALS = frozenset({("no",), ("not",), ("never",)})
"""Cues that turn round what precedes where nothing follows them: "lever yes, gold no"."""


def _any_of(texts: Iterable[str]) -> str:
    return rf"\b(?:{'|'.join(sorted(texts, key=len, reverse=True))})\b"


_CUE = _any_of(" ".join(words) for words in vocabulary.CUES)
_VERB_CUE = _any_of(
    " ".join(words)
    for words, effect in vocabulary.CUES.items()
    if effect is not Effect.EMBRACE and words[-1] not in _DENIALS
)
_LEADING = rf"(?: (?!{_any_of(vocabulary.CONNECTORS)})\w[\w']*){{0,3}}?"
_NAME = rf"(?!{_any_of(vocabulary.FUNCTION_WORDS | vocabulary.CONNECTORS | vocabulary.DETERMINERS)})\w[\w']*"
_BARE_NAME = rf"(?!{_any_of(vocabulary.ACTIONS | vocabulary.IMPERATIVES)}){_NAME}"
_THE_THING = rf"{_any_of(vocabulary.DETERMINERS)} {_NAME}(?: {_BARE_NAME}){{0,2}}"
_THING = rf"(?:{_THE_THING}|{_BARE_NAME})"


def _listing(thing: str, conjunction: str) -> str:
    return rf" {thing}(?: , {thing})+(?: ,)? {conjunction} {thing}(?= \W| {_any_of(vocabulary.CONNECTORS)}|$)"


_LIST = re.compile(
    rf"{_CUE}{_LEADING}{_listing(_THE_THING, '(?:and|or)')}"
    rf"|{_CUE}{_LEADING}{_listing(_THING, 'or')}"
    rf"|{_VERB_CUE}(?: {_any_of(vocabulary.FUNCTION_WORDS)})*{_listing(_THING, 'and')}"
)
"""A cue and the list of things that it governs: "ignore the gold , the lever and the hazards"."""
_JOINT = re.compile(r" ,(?: and| or)? | (?:and|or) ")


@dataclass(frozen=True)
class Cue:
    """Words ``start`` to ``stop`` of a span that turn round what follows, and if ``backward`` what precedes.

    ``departing`` marks "leave", which leaves the gold behind but never stands against a way out.
    """

    effect: Effect
    start: int
    stop: int
    backward: bool = False
    departing: bool = False

    def governs(self, start: int, stop: int, *, leaving: bool) -> bool:
        """Whether it turns round words ``start`` to ``stop`` of its span; ``leaving`` where they name a way out."""
        if self.departing and leaving:
            return False
        return self.stop <= start or (self.backward and self.start >= stop)


@dataclass(frozen=True)
class Span:
    """A clause: its place among those of the text, its words without fillers, and the cues among them."""

    number: int
    words: tuple[str, ...]
    cues: tuple[Cue, ...]

    def stretches(self) -> Iterator[tuple[int, int]]:
        """First word, and the one after the last, of what stands between the cues.

        "leave" and "into" may be part of a phrase, and so of a stretch.
        """
        start = 0
        for cue in self.cues:
            if not cue.departing and cue.effect is not Effect.EMBRACE:
                yield start, cue.start
                start = cue.stop
        yield start, len(self.words)

    def runs(self) -> Iterator[tuple[int, int]]:
        """First word, and the one after the last, of every run that says something and holds no cue."""
        for first, last in self.stretches():
            for start in range(first, last):
                for stop in range(start + 1, min(start + _LONGEST_RUN, last) + 1):
                    if not vocabulary.FUNCTION_WORDS.issuperset(self.words[start:stop]):
                        yield start, stop

    def leaves_out(self, start: int, stop: int, phrase: Phrase) -> bool:
        """Whether the clause leaves out the term that its words ``start`` to ``stop`` name by ``phrase``."""
        reversals, embraced = 0, False
        for cue in self.cues:
            if not cue.governs(start, stop, leaving=phrase.leaving):
                continue
            if cue.effect is Effect.DISREGARD:
                if reversals % 2 == 0:
                    return True
                reversals -= 1
            reversals += cue.effect is Effect.REVERSE
            embraced |= cue.effect is Effect.EMBRACE
        if phrase.stance is Stance.FEARED:
            return reversals % 2 == 0 and (reversals > 0 or embraced)
        return (reversals % 2 == 1) == (phrase.stance is Stance.WANTED)


def spans(text: str) -> list[Span]:
    """The clauses of ``text``, in its order; none if it has no words but fillers."""
    clauses = (tuple(token for token in tokens if token not in vocabulary.FILLERS) for tokens in _split(_tokens(text)))
    return [Span(number, words, tuple(_cues(words))) for number, words in enumerate(filter(None, clauses))]


def _tokens(text: str) -> list[str]:
    plain = text.lower().replace("\u2019", "'").replace("cannot", "can not")
    plain = _DASH.sub(", ", _ANSWERED_NO.sub(" ", plain))
    plain = _CONTRACTED.sub(r"\1 not", plain)
    for idiom, meaning in _IDIOMS:
        plain = idiom.sub(meaning, plain)
    spaced = " ".join(_TOKEN.findall(plain))
    return _LIST.sub(lambda found: _JOINT.sub(" or ", found.group()), spaced).split()


def _split(tokens: Sequence[str]) -> Iterator[list[str]]:
    clause: list[str] = []
    for position, token in enumerate(tokens):
        separates = _separates(tokens, position)
        if separates or _opens(token, clause):
            yield clause
            clause = []
        if not separates:
            clause.append(token)
    yield clause


def _separates(tokens: Sequence[str], position: int) -> bool:
    """Whether a token only divides clauses, as "and" does before an action but not before a thing."""
    token, after = tokens[position], tokens[position + 1 : position + 3]
    if token != "and" or not after:
        return token in vocabulary.CONNECTORS or token == "yes" or not token[0].isalnum()
    alone = len(after) == 1 or not after[1][0].isalnum()
    joins_things = after[0] in vocabulary.DETERMINERS or (alone and after[0] not in vocabulary.ACTIONS)
    return not joins_things


def _opens(token: str, clause: Sequence[str]) -> bool:
    """Whether a token is the first of a new clause: a command ("... grab"), or a second "no"."""
    if token == "no":
        return token in clause
    return token in vocabulary.IMPERATIVES and bool(clause) and clause[-1] not in vocabulary.GOVERNORS


def _cues(words: Sequence[str]) -> Iterator[Cue]:
    position = 0
    while position < len(words):
        cue = _cue_at(words, position)
        if cue:
            yield cue
        position = cue.stop if cue else position + 1


def _cue_at(words: Sequence[str], start: int) -> Cue | None:
    for stop in range(min(start + _LONGEST_RUN, len(words)), start, -1):
        run = tuple(words[start:stop])
        if run in vocabulary.VERDICTS:
            return Cue(Effect.DISREGARD, start, stop, backward=True)
        departing = run in vocabulary.DEPARTURES
        if run in vocabulary.CUES and not (departing and stop == len(words)):
            trailing = stop == len(words) and run in _TRAILING_DENIALS
            return Cue(vocabulary.CUES[run], start, stop, backward=trailing, departing=departing)
    return None
