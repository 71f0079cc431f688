"""What settings say about how queries are answered."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lever_ray.composition.recipe import Recipe
from lever_ray.config import AnswerSettings, StrategySettings

ALL = "all"
"""Name of the strategy settings that narrow nothing."""


def said(settings: AnswerSettings) -> dict[str, Any]:
    """The fields of a recipe that settings say something about."""
    found = {part.name: getattr(settings, part.name, None) for part in fields(Recipe)}
    if isinstance(settings, StrategySettings) and settings.name != ALL:
        found["strategy"] = settings.name
    return {name: value for name, value in found.items() if value is not None}
