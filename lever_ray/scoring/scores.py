"""Scoring rankers and operators from outside: regret, rank agreement and the quality of what they chose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lever_ray.errors import InvalidValue, LeverError
from lever_ray.experiment.report import TableSpec, markdown_table
from lever_ray.experiment.statistics import Row, bounds_of, layout_means, layouts_of, offered
from lever_ray.scoring.benchmark import Benchmark, Key
from lever_ray.scoring.predictions import read_predictions
from lever_ray.scoring.question import Answer, Entrant, Route
from lever_ray.scoring.settings import check_operator, check_tier
from lever_ray.statistics.contrasts import rank_correlation
from lever_ray.statistics.intervals import interval, resamples
from lever_ray.tasks.rollout import rollout

METRICS: dict[str, str] = {
    "quality/normalised": "normalised quality",
    "regret": "regret",
    "over/candidates": "over the best candidate",
    "rank_correlation": "Kendall tau-b",
    "undefined": "tau undefined",
    "answered": "answered",
}
"""What is summed up, with its heading."""
UNDECLARED = "undeclared"
"""Stands for the tier of a file of predictions whose maker did not say it."""
OWN = "own"
"""Stands for the operator where an entrant gives the composed policy itself."""


@dataclass(frozen=True)
class Scores:
    """What entrants scored.

    Attributes:
        rows: one per entrant and question, with ``quality/normalised``, ``answered`` (1 or 0),
            ``return/chosen`` and what identifies the row; of rankers ``regret``, ``rank_correlation`` (NaN where it is
            undefined) and ``undefined`` (1 or 0); of operators ``over/candidates``, by how much of J* - J_rand they
            beat the best candidate. What does not concern an entrant is NaN.
    """

    rows: list[Row]

    def summary(self, *, bootstrap: int = 2_000) -> list[Row]:
        """A line per split, family, entrant and operator: means over layouts with their 95% intervals."""
        lines: list[Row] = []
        for part in self._parts():
            layouts = layouts_of(part)
            draws = resamples(len(layouts), count=bootstrap)
            for key, rows in _grouped(part, ("split", "family", "entrant", "tier", "operator")).items():
                line = dict(zip(("split", "family", "entrant", "tier", "operator"), key, strict=True))
                line |= {"layouts": len(layouts_of(rows)), "questions": len(rows)}
                for name in METRICS:
                    found = interval(layout_means(rows, name, layouts), draws, bounds=bounds_of(name))
                    line |= {name: found.value, f"{name}/ci_low": found.low, f"{name}/ci_high": found.high}
                lines.append(line)
        return lines

    def markdown(self, *, bootstrap: int = 2_000) -> str:
        """A table per split and family."""
        tables = []
        for part in self._parts():
            layouts, trivial = layouts_of(part), layouts_of(row for row in part if row["trivial_layout"])
            title = f"{part[0]['family']}, {part[0]['split']} split"
            asked = len(_grouped(part, ("question",)))
            note = f"{len(layouts)} layouts, {len(trivial)} of them trivial; {asked} questions."
            spec = TableSpec(title, ("entrant", "tier", "operator"), METRICS, note)
            tables.append(markdown_table(spec, part, bootstrap=bootstrap))
        return "\n\n".join(tables) + "\n"

    def _parts(self) -> list[list[Row]]:
        """The rows of each split and family."""
        return list(_grouped(self.rows, ("split", "family")).values())


def _grouped(rows: Sequence[Row], by: Sequence[str]) -> dict[tuple[object, ...], list[Row]]:
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in by), []).append(row)
    return found


def score(
    folder: Path | str | Benchmark,
    entrant: Entrant,
    *,
    tier: str,
    split: str = "public",
    operator: str = "sum",
    answers: Path | str | None = None,
    name: str = "",
) -> Scores:
    """Score a ranker or an operator from outside.

    Args:
        folder: of the benchmark.
        entrant: called with every :class:`~lever_ray.scoring.question.Question` of the split, which holds what the tier
            may know. A ranker gives float[K], a score for each candidate; an operator a table float[S, A] or a
            :class:`~lever_ray.scoring.question.Route`; None leaves a question unanswered, which counts as the random
            policy.
        tier: ``I0`` to ``I4``.
        split: ``public`` or ``private``; the latter needs ``answers``.
        operator: ``sum`` or ``max``: how the candidate that a ranker puts first is composed.
        answers: folder of the private split's answers.
        name: of the entrant; the function's by default.

    Raises:
        UnknownName: the tier, split or operator is not known.
        InvalidValue: an answer has a wrong shape or holds NaN; the message names the question.
        LibraryError: see :class:`~lever_ray.scoring.benchmark.Benchmark`.
    """
    check_tier(tier)
    benchmark = folder if isinstance(folder, Benchmark) else Benchmark(folder, answers)
    questions = benchmark.questions(split)
    if split == "private":
        benchmark.key(questions[0])  # refused before anything is computed
    called = name or str(getattr(entrant, "__name__", type(entrant).__name__))
    given = {each: entrant(benchmark.question(each, tier=tier)) for each in questions}
    return Scores(judged(benchmark, given, entrant=called, tier=tier, operator=operator))


def score_predictions(
    benchmark: Benchmark,
    file: Path | str,
    *,
    split: str = "public",
    operator: str = "sum",
    tier: str = "",
    name: str = "",
) -> Scores:
    """Score a file of predictions; it is checked in full before anything is scored.

    Args:
        benchmark: that it answers.
        file: see :func:`~lever_ray.scoring.predictions.read_predictions`.
        split: of which questions.
        operator: how the candidate that is put first is composed.
        tier: that its maker declares; empty where none is.
        name: of the entrant; the file's by default.

    Raises:
        UnknownName: the tier, split or operator is not known.
        InvalidValue: the file is refused, or declares on the private split a tier that knows the environment.
    """
    if tier:
        check_tier(tier)
    if split == "private" and tier >= "I3":
        raise InvalidValue(
            f"tier {tier} knows the environment, which the private split holds out: predictions of that tier are "
            "scored on the public split; on the private one the keeper runs the code"
        )
    if split == "private":
        benchmark.key(benchmark.questions(split)[0])
    given = read_predictions(file, benchmark, split)
    called = name or Path(file).stem
    return Scores(judged(benchmark, given, entrant=called, tier=tier or UNDECLARED, operator=operator))


def judged(
    benchmark: Benchmark, given: Mapping[str, Answer], *, entrant: str, tier: str, operator: str = "sum"
) -> list[Row]:
    """Rows of an entrant's answers; all are checked before the first is measured.

    Raises:
        UnknownName: the operator is not known.
        InvalidValue: an answer has a wrong shape or holds NaN.
    """
    check_operator(operator)
    for name, answer in given.items():
        _check(benchmark, name, answer)
    ranks = all(answer is None or _ranks(answer) for answer in given.values())
    return [
        identity(benchmark, name, entrant, tier, operator if ranks else OWN)
        | _measured(benchmark.key(name), answer, operator, benchmark.about_question(name)["objective"], ranks=ranks)
        for name, answer in given.items()
    ]


def _ranks(answer: np.ndarray | Route) -> bool:
    return not isinstance(answer, Route) and np.ndim(answer) == 1


def identity(benchmark: Benchmark, name: str, entrant: str, tier: str, operator: str) -> Row:
    """Columns that identify a row."""
    row, key = benchmark.about_question(name), benchmark.key(name)
    return {
        "question": name,
        "split": row["split"],
        "family": row["family"],
        "environment": row["environment"],
        "layout_seed": key.seed if row["split"] == "public" else None,
        "trivial_layout": key.yardsticks["trivial_layout"],
        "gamma": row["gamma"],
        "mode": row["mode"],
        "setup": row["objective"],
        "entrant": entrant,
        "tier": tier,
        "operator": operator,
    }


def _check(benchmark: Benchmark, name: str, answer: Answer) -> None:
    """Refuse an answer that is neither scores of all candidates, a table, a route nor None."""
    if answer is None:
        return
    row = benchmark.about_question(name)
    world = benchmark.environments[row["environment"]]
    shape = (world["observations"], world["actions"])
    values = np.asarray(answer.actions if isinstance(answer, Route) else answer)
    if isinstance(answer, Route):
        fits = values.ndim == 1 and (not values.size or np.issubdtype(values.dtype, np.integer))
        if not fits or (values.size and not 0 <= values.min() <= values.max() < shape[1]):
            raise InvalidValue(f"question {name!r}: the route holds {values!r:.80}; give actions 0 to {shape[1] - 1}")
        return
    if values.shape not in ((row["candidates"],), shape) or values.dtype.kind not in "iufb":
        raise InvalidValue(
            f"question {name!r} is answered by {values.dtype} of shape {values.shape}; give a score for each of "
            f"{row['candidates']} candidates, a table {shape}, or a Route"
        )
    if np.isnan(values).any():
        raise InvalidValue(f"question {name!r} is answered with NaN; give numbers, and -inf for what comes last")


def _measured(key: Key, answer: Answer, operator: str, objective: str, *, ranks: bool) -> Row:
    if answer is None:
        return measures(key, key.yardsticks["random"], operator, ranks=ranks) | {"answered": 0.0}
    if isinstance(answer, Route) or not _ranks(answer):
        return measures(key, _played(key, answer, objective), operator, ranks=False)
    scores, returns = np.asarray(answer, np.float64), key.returns[operator]
    tau = round(rank_correlation(scores, returns), 12)  # so that entire agreement is 1, and not a bit less
    found = measures(key, float(returns[np.argmax(scores)]), operator, ranks=True)
    return found | {"rank_correlation": tau, "undefined": float(math.isnan(tau))}


def _played(key: Key, answer: np.ndarray | Route, objective: str) -> float:
    """Return of a table or route in the environment."""
    try:
        if isinstance(answer, Route):
            return rollout(key.task, objective=objective, actions=np.asarray(answer.actions, np.int64)).total
        return rollout(key.task, objective=objective, q=answer).total
    except LeverError as error:
        raise InvalidValue(f"an answer on {objective!r} cannot be played: {error}") from error


def measures(key: Key, total: float, operator: str, *, ranks: bool) -> Row:
    """What a return is worth beside a question's yardsticks, of a candidate that was chosen or of a policy."""
    best, yard = float(key.returns[operator].max()), key.yardsticks
    scale = offered(yard["optimum"], yard["random"])
    return {
        "return/chosen": total,
        "return/best_candidate": best,
        "return/optimum": yard["optimum"],
        "return/random": yard["random"],
        "quality/normalised": (total - yard["random"]) / scale,
        "regret": (best - total) / scale if ranks else math.nan,
        "over/candidates": math.nan if ranks else (total - best) / scale,
        "rank_correlation": math.nan,
        "undefined": math.nan,
        "answered": 1.0,
    }
