"""The chain study: is composition below scratch exactly when value must propagate?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lever_ray import plot
from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.statistics import Row
from lever_ray.reproduction.report import style
from lever_ray.reproduction.report.data import Sample, by_discount, gamma_words, grouped, in_operator_order
from lever_ray.reproduction.report.words import BELOW, listed, signed, verdict
from lever_ray.statistics.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CHAINS = {"union": "recorded", "absent": "absent"}
_SHAPINGS = {1.0: "shaping on", 0.0: "shaping off"}
Arm = tuple[str, float]
"""Whether the chain is recorded, and the factor of shaping."""


def chain_figures(sample: Sample) -> list[Drawn]:
    """A figure for each discount, of rows of one family."""
    return [_of_gamma(sample, gamma, rows) for gamma, rows in by_discount(sample.rows)]


def _of_gamma(sample: Sample, gamma: float, rows: Sequence[Row]) -> Drawn:
    """Quality less scratch by length of the chain; panels are 2 x 2, a line is an operator."""
    arms = [(chain, shaping) for chain in _CHAINS for shaping in _SHAPINGS]
    held = grouped(rows, "chain", "shaping")
    names = {
        f"{_CHAINS[chain]}, {_SHAPINGS[shaping]}": (chain, shaping)
        for chain, shaping in arms
        if (chain, shaping) in held
    }
    lengths = sorted({row["length"] for row in rows})
    operators = in_operator_order({row["operator"] for row in rows})
    figure, axes_of = style.panels(list(names), height=1.65, extra=0.85)
    for name, axes in axes_of.items():
        axes.set_title(name, loc="left", fontsize=style.SMALL, fontweight="bold", color=plot.INK, pad=4)
        _draw_arm(axes, sample, held[names[name]], operators, lengths)
    figure.supxlabel("length of the chain, moves", fontsize=8)
    figure.supylabel("quality less scratch", fontsize=8)
    style.legend(figure, style.operator_keys(operators, linestyle="-"))
    title = f"Chains that no policy took, {sample.family}, γ {gamma_told(gamma)}"
    told = "Below 0 composing is worse than training from scratch, which may take the chain."
    name = f"chain_{sample.family}_g{gamma_told(gamma)}"
    return Drawn(name, title, f"{finding(sample, gamma, rows)} {told}", figure)


def _draw_arm(
    axes: Axes, sample: Sample, rows: Sequence[Row], operators: Sequence[str], lengths: Sequence[int]
) -> None:
    for place, name in enumerate(operators):
        found = overs(sample, [row for row in rows if row["operator"] == name])
        xs = [lengths.index(length) + 0.05 * (place - (len(operators) - 1) / 2) for length in found]
        colour, marker = style.operator_style(name)
        style.curve(axes, xs, list(found.values()), color=colour, marker=marker)
    axes.axhline(0.0, color=plot.INK, linewidth=0.9)
    axes.set_xticks(range(len(lengths)), [f"{length:g}" for length in lengths])


def overs(sample: Sample, rows: Sequence[Row]) -> dict[int, Interval]:
    """Quality less scratch by length of the chain."""
    return {length: sample.mean(same, "over/scratch") for (length,), same in sorted(grouped(rows, "length").items())}


def as_predicted(found: dict[int, Interval]) -> bool:
    """Whether composing is below scratch at every length but 0, and not at 0: what the paper says of composition."""
    return all((verdict(over) == BELOW) == (length > 0) for length, over in found.items())


def finding(sample: Sample, gamma: float, rows: Sequence[Row]) -> str:
    """In how many arms each operator does what the paper predicts, and what the published one does instead."""
    arms = grouped(rows, "chain", "shaping")
    right: dict[str, int] = {}
    first = ""
    for name in in_operator_order({row["operator"] for row in rows}):
        found = {arm: overs(sample, [r for r in same if r["operator"] == name]) for arm, same in arms.items()}
        held = {arm: lengths for arm, lengths in found.items() if lengths}
        right[name] = sum(map(as_predicted, held.values()))
        first = first or f"{name} is below scratch {_where(held)}"
    prediction = "the prediction, below scratch at every L > 0 and not at L = 0, holds"
    counts = [f"{name} in {count} of {len(arms)}" for name, count in right.items()]
    told = f"for {listed(counts)} arms" if any(right.values()) else f"for no operator in any of {len(arms)} arms"
    return f"On {sample.family} at {gamma_words(gamma)} {prediction} {told}; {first}."


def _where(found: dict[Arm, dict[int, Interval]]) -> str:
    """Lengths at which composing is below scratch, arms that agree told together."""
    alike: dict[str, list[str]] = {}
    for (chain, shaping), lengths in found.items():
        below = [f"{length:g}" for length, over in lengths.items() if verdict(over) == BELOW]
        told = "never" if not below else "at every L" if len(below) == len(lengths) else f"at L = {listed(below)}"
        alike.setdefault(told, []).append(f"{_CHAINS.get(chain, chain)}, {_SHAPINGS.get(shaping, shaping)}")
    return listed(f"{told} ({'; '.join(names)})" for told, names in alike.items())


def propagation(sample: Sample) -> list[list[str]]:
    """Lines of a table: by operator, discount and arm, what L > 0 changes against L = 0, paired by layout."""
    lines = []
    for (operator, gamma, chain, shaping), rows in grouped(
        sample.rows, "operator", "gamma", "chain", "shaping"
    ).items():
        none, some = ([row for row in rows if (row["length"] > 0) is wanted] for wanted in (False, True))
        cells = [signed(sample.mean(each, "over/scratch")) if each else "-" for each in (none, some)]
        change = signed(sample.difference(some, none, "over/scratch")) if none and some else "-"
        named = [operator, gamma_told(gamma), _CHAINS.get(chain, chain), _SHAPINGS.get(shaping, str(shaping))]
        lines.append([sample.family, *named, *cells, change])
    return lines
