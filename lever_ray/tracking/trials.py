"""A tuning study as runs: the parent with the front, below it one run per trial, and the view of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lever_ray.composition.strategies.registry import STRATEGIES
from lever_ray.experiment.statistics import significant
from lever_ray.tasks.style import INK
from lever_ray.tracking.run import TrackedRun
from lever_ray.tracking.store import COLOUR_TAG, NOTE_TAG, Tracker
from lever_ray.tracking.views import COLOURS, VIEW_TAG, View, bars, line, scatter, view_key
from lever_ray.tuning.front import TunedTrial, front_of, trial_rows
from lever_ray.tuning.pareto import hypervolume
from lever_ray.tuning.trial import Averages

Row = dict[str, Any]
Metric = tuple[str, float, int]

SCALES: dict[str, tuple[float, float]] = {"candidates": (1.0, 1e6), "seconds": (1e-4, 10.0)}
"""Ends of the logarithmic scale of each cost over which the front's hypervolume is averaged."""
FRONT_TAG = "front"
"""Tag of a trial's run: its place on the front, cheapest first; runs beside the front have none."""
PARAMETERS: tuple[str, ...] = (
    "label",
    "tier",
    "operator",
    "strategy",
    "k",
    "budget",
    "restarts",
    "ranker",
    "support",
    "gamma",
    "model",
    "target",
    "embedding",
    "canonical",
    "retrieval",
    "threshold",
    "width",
    "environments",
)
"""Columns of a trial's row that are its run's parameters."""
_LEAST = 1e-9
"""Of a cost whose logarithm is drawn."""


def front_metrics(trials: Sequence[TunedTrial], cost: str) -> list[Metric]:
    """The front after the last of some trials, and that trial's own figures, as metrics with step = trial."""
    last, front = trials[-1], front_of(trials)
    cheapest, dearest = SCALES[cost]
    points = [trial.point for trial in front]
    metrics = {
        "front/hypervolume": hypervolume(points, cheapest=cheapest, dearest=dearest),
        "front/points": float(len(front)),
        "trial/quality": last.point.quality,
        f"trial/{cost}": last.point.cost,
        "trial/environments": float(len(last.measured)),
    }
    if front:
        metrics |= {"front/best_quality": front[-1].point.quality, f"front/best_{cost}": front[-1].point.cost}
    return [(name, value, last.number) for name, value in metrics.items()]


class StudyLog:
    """Logs the front as it grows, trial by trial, to the parent run, and each new trial as a child of it.

    The study's view shows the trials of all its parents, but of these only the last, and nothing of an earlier study of
    that name. It lists the front first, cheapest first.

    Args:
        tracker: of the session.
        run: the parent.
        name: of the parents, and of the view.
        study: its name.
        cost: what is minimised, key of :data:`SCALES`.
        before: trials of earlier runs of the study, whose figures the new parent repeats.
    """

    def __init__(
        self, tracker: Tracker, run: TrackedRun, name: str, *, study: str, cost: str, before: Sequence[TunedTrial]
    ) -> None:
        self._tracker, self._run, self._study, self._cost = tracker, run, study, cost
        self._trials: list[TunedTrial] = []
        grown = [metric for trial in before for metric in self._grown(trial)]
        self._view = self._publish(name)
        run.write(metrics=grown)

    def _publish(self, name: str) -> str:
        """Let the link open on the study, from its first trial on; the view's key."""
        key, cost = view_key(name), f"log10 {self._cost}"
        charts = [
            scatter(cost, "quality"),
            line(["front/quality", "front/held_out_quality"], against=f"front/{cost}"),
            line(["front/hypervolume"]),
            bars(["recommended/quality", "held_out/quality"]),
        ]
        folded = ("front/quality", "trial/quality", "recommended/quality", "held_out/quality")
        self._tracker.leave_view(key, by="trial", kept={str(trial.number) for trial in self._trials})
        self._run.write(tags={VIEW_TAG: key, COLOUR_TAG: INK})
        self._tracker.publish("tuning", View(name, charts, {VIEW_TAG: key}, metrics=folded, order=FRONT_TAG))
        return key

    def add(self, trial: TunedTrial) -> dict[str, str]:
        """Log a trial that is about to be told; notes for it: the link to its run."""
        self._run.write(metrics=self._grown(trial))
        row, averages = trial_rows([trial])[0], Averages.of(trial.measured)
        numbers = averages._asdict() | {f"log10 {self._cost}": _log10(averages.cost(self._cost))}
        self._run.child(
            f"{trial.number:04d} {row['label']}",
            tags={
                "study": self._study,
                "trial": str(trial.number),
                "state": trial.state,
                VIEW_TAG: self._view,
                COLOUR_TAG: _colour(str(row["strategy"])),
            },
            parameters={name: str(row[name]) for name in PARAMETERS},
            metrics=[(name, value, 0) for name, value in numbers.items()],
        )
        return {"mlflow": self._link(trial.number)}

    def finish(self, front: Sequence[Row], recommended: Row, strategy: str) -> None:
        """Log the front as measured on held-out environments, and what is recommended.

        Args:
            front: see :func:`lever_ray.tuning.front.held_out_rows`.
            recommended: the row of it.
            strategy: under which name.
        """
        places = {str(row["number"]): f"{place:03d}" for place, row in enumerate(front, start=1)}
        self._tracker.retag(self._view, FRONT_TAG, places, by="trial")
        kept = ("quality", "candidates", "seconds", "coverage")
        told = [(f"recommended/{name}", recommended[name], 0) for name in kept]
        told += [(f"held_out/{name}", recommended[f"held_out/{name}"], 0) for name in kept]
        self._run.write(
            tags={"recommended": strategy, NOTE_TAG: front_markdown(front, recommended=recommended["number"])},
            metrics=[*told, *_front_line(front, self._cost)],
        )

    def _grown(self, trial: TunedTrial) -> list[Metric]:
        self._trials.append(trial)
        return front_metrics(self._trials, self._cost)

    def _link(self, number: int) -> str:
        """Opens the trial's run in the MLflow UI."""
        page = self._tracker.link().partition("?")[0]
        return f"{page}?searchFilter=tags.study%20%3D%20%27{self._study}%27%20and%20tags.trial%20%3D%20%27{number}%27"


def front_markdown(front: Sequence[Row], *, recommended: int) -> str:
    """The front, cheapest first, as a Markdown table."""
    head = [
        "Quality is an interquartile mean, 0 = random policy, 1 = optimum; held out: where tuning never looked.",
        "",
        "| choice | candidates | ms per query | quality tuned | held out | held out says | trial |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(_front_cells(row, chosen=row["number"] == recommended) for row in front)])


def _front_cells(row: Row, *, chosen: bool) -> str:
    cells = [
        row["label"],
        significant(row["candidates"], 4),
        significant(row["held_out/seconds"] * 1e3, 3),
        f"{row['quality']:.3f}",
        f"{row['held_out/quality']:.3f}",
        row["verdict"],
        f"{row['number']}, recommended" if chosen else str(row["number"]),
    ]
    return "| " + " | ".join(cells) + " |"


def _front_line(front: Sequence[Row], cost: str) -> list[Metric]:
    """The front as metrics that a line is drawn through, step = place, cheapest first."""
    metrics: list[Metric] = []
    for place, row in enumerate(front):
        metrics.append((f"front/log10 {cost}", _log10(row[cost]), place))
        metrics.append(("front/quality", row["quality"], place))
        metrics.append(("front/held_out_quality", row["held_out/quality"], place))
    return metrics


def _log10(cost: float) -> float:
    return math.log10(max(cost, _LEAST))


def _colour(strategy: str) -> str:
    """The same in every run of a study."""
    known, kind = list(STRATEGIES), strategy.split("-")[0]
    return COLOURS[known.index(kind) if kind in known else -1]
