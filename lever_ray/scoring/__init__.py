"""A benchmark that others can score on: frozen libraries, questions, true returns and splits, and how to score."""

from __future__ import annotations

from lever_ray.scoring.benchmark import Benchmark
from lever_ray.scoring.export import export_benchmark
from lever_ray.scoring.predictions import write_predictions
from lever_ray.scoring.question import Members, Question, Route
from lever_ray.scoring.scores import Scores, score

__all__ = ["Benchmark", "Members", "Question", "Route", "Scores", "export_benchmark", "score", "write_predictions"]
