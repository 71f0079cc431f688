"""What a training run gives a library."""

from __future__ import annotations

from lever_ray.learning.sarsa import TrainingRun
from lever_ray.library.record import PolicyRecord


def records_of(run: TrainingRun, *, environment: str, description: str) -> list[PolicyRecord]:
    """The library entries of a training run: its worst, median and best snapshot."""
    return [
        PolicyRecord(
            environment=environment,
            task=run.task,
            objective=run.objective,
            description=description,
            q=snapshot.q,
            visits=snapshot.visits,
            successors=snapshot.successors,
            label=label,
            gamma=run.gamma,
            mean_rewards=snapshot.mean_rewards,
            total=snapshot.total,
            episodes=run.episodes,
            snapshot=snapshot.episode,
            seed=run.seed,
            environment_steps=run.environment_steps,
            seconds=run.seconds,
        )
        for label, snapshot in run.labelled().items()
    ]
