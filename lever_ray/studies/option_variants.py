"""Ways of pooling and searching that the study of options measures, one factor at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lever_ray.composition.option_operator import Options

LABELS = ("worst", "median", "best")
TIERS = ("I1", "I3")
"""Scores of beginnings: outcome counts with fitted coefficients, and the reward itself."""


@dataclass(frozen=True)
class Variant:
    """One way of pooling and searching.

    Attributes:
        name: of the row.
        gammas: discounts of the members.
        labels: snapshots of each training run that are members; ``final`` is the last.
        seeds: training seeds; 0 for all of the study's.
        budget: training budget.
        options: how they are searched.
    """

    name: str
    gammas: tuple[float, ...] = (0.0, 0.99)
    labels: tuple[str, ...] = LABELS
    seeds: int = 0
    budget: str = "X1"
    options: Options = field(default_factory=Options)

    @property
    def tiers(self) -> tuple[str, ...]:
        """Scores of beginnings that it can be searched by: an estimate asks for the reward."""
        return TIERS if self.options.estimate == "none" else TIERS[-1:]


def pools() -> list[Variant]:
    """Pools of few to many members; the last one is recommended."""
    return [
        Variant("4 members", gammas=(0.0,), labels=("best",), seeds=1),
        Variant("12 members", gammas=(0.0,), labels=("best",)),
        Variant("24 members", labels=("best",)),
        Variant("48 members", labels=("median", "best")),
        Variant("72 members"),
    ]


def pools_by_cuts() -> list[Variant]:
    """Every pool with every cut, and none: events alone."""
    return [
        replace(pool, name=f"{pool.name}, cut {steps}" if steps else pool.name, options=Options(cut=steps))
        for pool in pools()
        for steps in (None, 16, 12, 8, 6)
    ]


def factors() -> list[Variant]:
    """The recommended way, and what changes where one factor does."""
    *smaller, whole = pools()
    usual, few = replace(whole, name="events"), smaller[2]
    cut = replace(whole, name="cut 8", options=Options(cut=8))
    return [
        usual,
        cut,
        *smaller,
        replace(cut, name="24 members, cut 8", labels=few.labels),
        *(replace(usual, name=f"width {width}", options=Options(width=width)) for width in (1, 3, 10, 100)),
        *(replace(usual, name=f"cut {steps}", options=Options(cut=steps)) for steps in (16, 12, 6, 4)),
        replace(usual, name="cycles choose", options=Options(cycles="choose")),
        replace(usual, name="merge pareto", options=Options(merge="pareto")),
        *(replace(few, name=f"discount {gamma:g}", gammas=(gamma,)) for gamma in (0.0, 0.9, 0.99)),
        replace(few, name="discounts 0, 0.9", gammas=(0.0, 0.9)),
        replace(few, name="four discounts", gammas=(0.0, 0.6, 0.9, 0.99)),
        replace(few, name="six discounts", gammas=(0.0, 0.3, 0.6, 0.8, 0.9, 0.99)),
        *(replace(few, name=f"{label} snapshot", labels=(label,)) for label in ("worst", "median", "final")),
        *(replace(few, name=f"budget {budget}", budget=budget) for budget in ("X5", "X10")),
        *(
            replace(cut, name=f"{budget} segments", options=Options(cut=8, width=10_000, segments=budget))
            for budget in (100, 1_000, 10_000, 100_000)
        ),
    ]


def estimates() -> list[Variant]:
    """The recommended pool and a smaller one, at several widths, by the score so far and by what leaving pays."""
    return [
        replace(pool, name=f"{name}, width {width}, {estimate}", options=Options(width, cut, estimate=estimate))
        for name, pool, cut in (
            ("events", pools()[-1], None),
            ("cut 8", pools()[-1], 8),
            ("24 members, cut 8", pools()[2], 8),
        )
        for width in (3, 10, 30, 100)
        for estimate in ("none", "exit")
    ]
