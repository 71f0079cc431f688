"""What descriptions of imported policies are understood as, where nothing else says what they were trained for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from textwrap import shorten
from typing import NamedTuple

from lever_ray.errors import InvalidValue, UnmatchedQuery
from lever_ray.library.ports.understanding import Taken, Understanding
from lever_ray.library.search.text import WordLlamaEncoder
from lever_ray.library.search.wording import admitting, similarities
from lever_ray.policies.retrieval import THRESHOLD
from lever_ray.query.parse import parse_query
from lever_ray.tasks import registry
from lever_ray.tasks.protocol import Words

SHOWN = 12
"""Descriptions of which a table says what they mean; so many are read where nothing is stored."""


class Told(NamedTuple):
    """What policies are described with, and in whose words.

    Attributes:
        text: the description.
        words: of the environment; environments of one family share them.
    """

    text: str
    words: Words


def with_meanings(understood: Understanding, *, store: bool) -> Understanding:
    """Say what descriptions without an objective mean; with ``store`` the policies get these objectives."""
    counts = Counter(_told(understood, row) for row in _undeclared(understood))
    if not counts:
        return understood
    meant = {each: meaning(*each) for each, _ in counts.most_common(None if store else SHOWN)}
    told = [
        f"{shorten(each.text, 60)!r} ({counts[each]}) -> {name or 'not understood'}" for each, name in meant.items()
    ]
    told = told[:SHOWN] + ([f"and {len(counts) - SHOWN} more descriptions"] if len(counts) > SHOWN else [])
    if not store:
        return replace(understood, notes=(*understood.notes, *told, _advice(meant)))
    taken = tuple(Taken("objective", "", "understood", line) for line in told)
    left = sum(counts[each] for each, name in meant.items() if not name)
    note = (f"{left} policies are not understood, and have their description alone; --objective NAME",) if left else ()
    stored = _stored(understood, meant)
    return replace(stored, taken=(*understood.taken, *taken), notes=(*understood.notes, *note))


def meaning(text: str, words: Words) -> str:
    """The objective that a description asks for, in an environment's words; empty where it names none."""
    try:
        return parse_query(text, words=words).objective
    except (UnmatchedQuery, InvalidValue):
        return ""


def _undeclared(understood: Understanding) -> Iterator[int]:
    """Rows of policies with a description alone."""
    objectives = understood.values.get("objective", ())
    for row, (name, text) in enumerate(zip(objectives, understood.values.get("description", ()), strict=True)):
        if not name.strip() and text.strip():
            yield row


def _told(understood: Understanding, row: int) -> Told:
    """A policy's description; where its environment is not known yet, in the usual words."""
    tasks = understood.values.get("layout")
    words = registry.usual_source().words if not tasks or tasks[row] is None else tasks[row].describe()
    return Told(understood.values["description"][row], words)


def _stored(understood: Understanding, meant: Mapping[Told, str]) -> Understanding:
    values = {**understood.values, **{name: list(understood.values[name]) for name in ("objective", "weights")}}
    for row in _undeclared(understood):
        values["objective"][row] = meant[_told(understood, row)]
        values["weights"][row] = None
    return replace(understood, values=values)


def _advice(meant: Mapping[Told, str]) -> str:
    """How queries find such policies."""
    told = "no objective is stored: these policies are found by their descriptions alone"
    near = [_similarity(each, name) for each, name in meant.items() if name]
    if not near:
        return f"{told}; --objective NAME says what they were trained for"
    enough = admitting(min(near))
    if min(near) >= THRESHOLD:
        return told
    admits = "" if enough is None else f"compose --threshold {enough:g} admits them, "
    return f"{told}, and the threshold {THRESHOLD:g} admits too few; {admits}--understand stores what they mean"


def _similarity(told: Told, objective: str) -> float:
    """Of a description to what queries look for."""
    vectors = WordLlamaEncoder().encode([told.text, told.words.describe(objective)])
    return float(similarities(vectors[:1], vectors[1])[0])
