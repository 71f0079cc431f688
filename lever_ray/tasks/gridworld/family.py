"""The grid as a family of tasks."""

from __future__ import annotations

from functools import partial

from lever_ray.tasks.gridworld.layout import FAMILIES, Layout
from lever_ray.tasks.gridworld.terrain import TERMS
from lever_ray.tasks.gridworld.words import WORDS
from lever_ray.tasks.protocol import Family, Source

POOLS: dict[str, tuple[str, ...]] = {
    "trivial": TERMS,
    "double": (*TERMS, "path-gold", "hazard-lever"),
    "triple": (*TERMS, "path-gold-hazard"),
}
"""Objectives whose policies each mode may use."""


def _source(name: str) -> Source:
    return Source(name, Layout.family, TERMS, POOLS, WORDS, partial(_sample, name))


def _sample(name: str, seed: int) -> Layout:
    return Layout.sample(name, seed=seed)


def _example() -> Layout:
    return Layout(size=3, start=(0, 0), exit=(2, 2), golds=((0, 2),), hazards=((2, 0),), lever=(1, 2))


FAMILY = Family(
    Layout.family, Layout.from_dict, {name: _source(name) for name in FAMILIES}, _example, read_text=Layout.from_text
)
