"""How long queries take: asked again until one stall of the machine no longer decides."""

from __future__ import annotations

from collections.abc import Callable

from lever_ray.query.result import CompositionResult

SLOW = 0.05
"""Seconds from which a query is asked twice only."""
VERY_SLOW = 1.0
"""Seconds from which a query is asked once."""


def asked_repeatedly(ask: Callable[[], CompositionResult], repeats: int) -> list[CompositionResult]:
    """Answers to one query, for the median of their seconds.

    A query is slow if its fastest answer is, so that one that met a stall is asked on.

    Args:
        ask: gives an answer with its timings in seconds.
        repeats: answers of a query that is not slow.

    Returns:
        ``repeats`` answers; two from :data:`SLOW` on, one from :data:`VERY_SLOW` on.
    """
    answers = [ask()]
    fastest = answers[0].timings["total"]
    while len(answers) < repeats and fastest < (VERY_SLOW if len(answers) == 1 else SLOW):
        answers.append(ask())
        fastest = min(fastest, answers[-1].timings["total"])
    return answers
