"""Words of tables and reports that a newcomer may not know, each in half a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Terms = Mapping[str, tuple[str, str]]
"""By term: the pattern of its occurrences as a whole word, and what it means."""

EXPERIMENT: Terms = {
    "gamma": (
        r"gamma",
        "discount of training: at 0 the next reward alone counts, near 1 later ones do, too; all mixes them",
    ),
    "mode": (r"mode", "which policies may be combined"),
    "setup": (r"setup", "the objective that is asked for"),
    "targeted": (r"targeted", "takes the best policy of each group, one combination"),
    "hybrid-k": (r"hybrid(-\d+)?", "tries all combinations of the k best policies of each group"),
    "budgeted-n": (r"budgeted(-[\dx]+)?", "tries at most n combinations"),
    "exhaustive": (r"exhaustive", "tries all combinations"),
    "sum": (r"sum", "adds up the action values of the policies"),
    "max": (r"max(?!\()", "takes the largest of the action values of the policies"),
    "normalized-sum": (r"normalized-sum", "adds up action values after scaling those of each policy alike"),
    "gpi": (r"gpi", "in every state takes what the policy says that would go on best from there"),
    "switch": (r"switch", "follows one policy, then another from some step on"),
    "options": (r"options", "follows one policy until an event, then chooses again"),
    "plan": (r"plan", "searches for a route over all recorded transitions"),
    "segments": (r"segments", "parts of routes that were simulated"),
    "regressor": (r"regressor", "ranks combinations by a prediction, without the new reward function"),
    "recorded-return": (r"recorded-return", "ranks combinations by rewards recorded in training"),
    "offline-return": (r"offline-return", "ranks combinations by their exact return on recorded transitions"),
    "tier": (r"tier", "what a way of answering may know, from I0 (least) to I4"),
    "I0": (r"I0", "knows action values and descriptions"),
    "I1": (r"I1", "also knows which state followed which action in training"),
    "I2": (r"I2", "also knows the rewards recorded in training"),
    "I3": (r"I3", "also knows the new reward function"),
    "I4": (r"I4", "also tries combinations in the environment"),
    "X1": (r"X1", "trained for 10,000 episodes"),
    "X5": (r"X5", "trained for 50,000 episodes"),
    "X10": (r"X10", "trained for 100,000 episodes"),
    "scratch": (r"[Ss]cratch", "a policy trained on the objective that is asked for"),
    "random Q": (r"[Rr]andom Q", "the same search over tables of random numbers"),
    "oracle": (r"oracle", "chosen by the true return, which is not known before trying"),
    "J": (r"J", "the return of a composition"),
    "J*": (r"J\*", "the best return known"),
    "J_rand": (r"J_rand", "the mean return of random actions"),
    "normalised": (r"normalised( quality)?|quality", "0 is the return of random actions, 1 the optimum"),
    "regret": (r"regret", "what the chosen combination falls short of the best one, normalised"),
    "evaluated": (r"evaluated|candidates|cand-\s*idates", "combinations that are looked at in one query"),
    "circles until cut": (r"circles until cut", "comes back to where it was, until the horizon ends the episode"),
    "value coverage": (r"value coverage", "share of the optimum that recorded transitions allow, normalised"),
    "Kendall tau-b": (
        r"Kendall tau-b",
        "how well a ranker orders combinations: 1 is the true order, 0 no better than chance",
    ),
    "tau undefined": (r"tau undefined", "share of queries in which nothing was to be ordered"),
    "Holm-corrected": (r"Holm-corrected", "raised, since several contrasts are tested at once"),
    "interquartile mean": (r"interquartile mean", "the mean without the lowest and the highest quarter"),
    "PED-ANOVA": (r"PED-ANOVA", "how much of what sets good trials apart a parameter explains"),
}
"""Of experiments, their reports and tuning."""

LIBRARY: Terms = {
    "gamma": EXPERIMENT["gamma"],
    "states": (r"states", "what a policy can tell apart, e.g. the cells of a grid"),
    "episodes": (r"episodes", "how long policies were trained"),
    "coverage": (r"coverage", "share of what can be reached and done that some policy did in training"),
    "similarity": (r"similarity", "of the description to the words: 1 is the same, 0 is unlike"),
    "support": (r"[Ss]upport", "which actions were taken in training, and what tells it"),
    "text model": (r"[Tt]ext model", "makes the vectors by which descriptions are searched"),
    "psi": (r"[Pp]si", "how often a policy meets each feature of its environment; what regressors learn from"),
    "shards": (r"[Ss]hards?", "the files that hold the policies"),
    "generation": (r"generation", "how often the library was changed"),
}
"""Of libraries."""


def legend(terms: Terms, texts: Iterable[str], *, told: set[str] | None = None) -> list[tuple[str, str]]:
    """The terms that appear in some texts, and what they mean.

    Args:
        terms: those that may be explained, in the order in which they are.
        texts: headings, cells and notes.
        told: terms that were explained before, which are left out; what is explained now joins them.
    """
    whole = "\n".join(texts)
    found = [(term, meaning) for term, (pattern, meaning) in terms.items() if _appears(pattern, whole)]
    new = [(term, meaning) for term, meaning in found if told is None or term not in told]
    if told is not None:
        told.update(term for term, _ in new)
    return new


def _appears(pattern: str, text: str) -> bool:
    """A term may be broken over lines."""
    spaced = pattern.replace(" ", r"\s+")
    return re.search(rf"(?<![\w*-])(?:{spaced})(?![\w*-])", text) is not None
