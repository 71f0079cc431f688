"""Quality by how much of the support is kept, thresholds, and which metric of coverage predicts success."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lever_ray import plot
from lever_ray.experiment.figures import Drawn
from lever_ray.experiment.plan import gamma_told
from lever_ray.experiment.statistics import Row
from lever_ray.reproduction.report import style
from lever_ray.reproduction.report.data import Sample, by_discount, gamma_words, grouped, in_operator_order
from lever_ray.reproduction.report.words import BELOW, listed, verdict
from lever_ray.statistics.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CUTS = {
    "policy": "each policy loses recorded pairs of its own",
    "common": "all lose the same pairs",
    "region": "all lose the pairs of a region",
    "chain": "so much of the best route is kept",
}
"""Kinds of cut, in the order in which they are shown."""


def coverage_curves(sample: Sample, thresholds: Sequence[Row]) -> list[Drawn]:
    """Mean quality by share of recorded pairs that is kept: for each discount a figure, with fitted thresholds.

    Args:
        sample: rows of the coverage study, of one family.
        thresholds: fitted to them: ``operator``, ``cut``, ``threshold`` with its interval; also ``gamma`` and
            ``family`` where they have them.
    """
    drawn = []
    for gamma, rows in by_discount(sample.rows):
        fits = [line for line in thresholds if _is_of(line, sample.family, gamma)]
        drawn.append(_of_gamma(sample, gamma, rows, fits))
    return drawn


def _is_of(line: Row, family: str, gamma: float) -> bool:
    return line.get("family", family) == family and line.get("gamma", gamma) in (gamma, math.inf)


def _of_gamma(sample: Sample, gamma: float, rows: Sequence[Row], thresholds: Sequence[Row]) -> Drawn:
    """A panel a kind of cut, a line an operator."""
    by_cut = grouped(rows, "cut")
    cuts = [*(cut for cut in CUTS if (cut,) in by_cut), *(cut for (cut,) in by_cut if cut not in CUTS)]
    operators = in_operator_order({row["operator"] for row in rows})
    figure, axes_of = style.panels(cuts, height=1.65, extra=0.9)
    for cut, axes in axes_of.items():
        _draw_cut(axes, sample, by_cut[(cut,)], operators)
    low, high = next(iter(axes_of.values())).get_ylim()
    for cut, axes in axes_of.items():
        _draw_thresholds(axes, [line for line in thresholds if line["cut"] == cut], operators, low, 0.06 * (high - low))
    figure.supxlabel("share that is kept", fontsize=8)
    figure.supylabel("quality", fontsize=8)
    keys = [*style.operator_keys(operators, linestyle="-"), style.key("scratch", linestyle="--", color=plot.INK)]
    keys += [style.key("threshold, 95%", marker="|", markersize=7, linestyle="-")] if thresholds else []
    style.legend(figure, keys)
    said = "; ".join(f"{cut}: {words}" for cut, words in CUTS.items() if cut in cuts)
    told = f"Bars below the curves are fitted thresholds with intervals. {said[:1].upper()}{said[1:]}."
    name, title = (
        f"coverage_{sample.family}_g{gamma_told(gamma)}",
        f"Quality by coverage, {sample.family}, γ {gamma_told(gamma)}",
    )
    return Drawn(name, title, f"{finding(sample, gamma, rows, thresholds)} {told}", figure)


def _draw_cut(axes: Axes, sample: Sample, rows: Sequence[Row], operators: Sequence[str]) -> None:
    for name in operators:
        line = sorted(grouped((row for row in rows if row["operator"] == name), "kept").items())
        colour, marker = style.operator_style(name)
        means = [sample.mean(same, "quality/normalised") for _, same in line]
        style.curve(axes, [kept for (kept,), _ in line], means, color=colour, marker=marker)
    axes.axhline(sample.mean(rows, "quality/scratch").value, color=plot.INK, linestyle="--", linewidth=0.9)
    axes.set_xlim(1.04, -0.04)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.set_xticks([1.0, 0.5, 0.0])


def _draw_thresholds(axes: Axes, lines: Sequence[Row], operators: Sequence[str], low: float, step: float) -> None:
    """One below the other under the curves, in the colours of the operators."""
    for place, name in enumerate(operators, 1):
        for line in lines:
            if line["operator"] != name or not math.isfinite(line["threshold"]):
                continue
            y, colour = low - place * step, style.operator_style(name)[0]
            style.error_bar(axes, y, _interval(line, "threshold"), colour, across=True)
            axes.plot(line["threshold"], y, "|", color=colour, markersize=6, markeredgewidth=1.5, gid="threshold")


def finding(sample: Sample, gamma: float, rows: Sequence[Row], thresholds: Sequence[Row]) -> str:
    """Which operator needs most coverage and which least, by kind of cut; by what falls below scratch without fits."""
    known = [line for line in thresholds if math.isfinite(line["threshold"])]
    if not known:
        return f"On {sample.family} at {gamma_words(gamma)} {_below_scratch(sample, rows)}"
    told = [f"{cut}: {_first_and_last(lines)}" for (cut,), lines in grouped(thresholds, "cut").items()]
    return f"On {sample.family} at {gamma_words(gamma)} quality falls half-way with so much kept ({'; '.join(told)})."


def _first_and_last(lines: Sequence[Row]) -> str:
    """Who needs most and who least, as less and less is kept; who has no threshold."""
    ordered = sorted((line for line in lines if math.isfinite(line["threshold"])), key=lambda line: -line["threshold"])
    said = [f"{line['operator']} at {_percent(_interval(line, 'threshold'))}" for line in ordered]
    flat = [f"{line['operator']} nowhere" for line in lines if not math.isfinite(line["threshold"])]
    ends = [f"{said[0]} first", f"{said[-1]} last"] if len(said) > 1 else said
    return ", ".join([*ends, *flat])


def _below_scratch(sample: Sample, every: Sequence[Row]) -> str:
    told = []
    for (cut,), rows in grouped(every, "cut").items():
        said = []
        for (operator,), same in grouped(rows, "operator").items():
            lost = [kept for (kept,), level in grouped(same, "kept").items() if _is_below(sample, level)]
            if lost:
                said.append(f"{operator} from {max(lost):.0%} on")
        told.append(f"{cut}: {listed(said) if said else 'none'}")
    return f"quality is below scratch with so much kept or less ({'; '.join(told)})."


def _is_below(sample: Sample, rows: Sequence[Row]) -> bool:
    over = [row | {"over": row["quality/normalised"] - row["quality/scratch"]} for row in rows]
    return verdict(sample.mean(over, "over")) == BELOW


def predictors(family: str, lines: Sequence[Row]) -> Drawn | None:
    """How well each metric of coverage tells success from failure: AUC by operator. None without lines.

    Args:
        family: of the layouts.
        lines: ``metric``, ``operator``, ``auc`` with its interval; also ``gamma`` and ``family`` where they have them.
    """
    known = [line for line in lines if math.isfinite(line["auc"]) and line.get("family", family) == family]
    if not known:
        return None
    metrics = list(dict.fromkeys(str(line["metric"]) for line in known))
    ways = list(_by_way(known))
    figure, axes_of = style.panels([family], height=0.5 + (0.15 + 0.075 * len(ways)) * len(metrics), extra=0.75)
    axes = axes_of[family]
    for line in known:
        way = _way(line)
        place = metrics.index(line["metric"]) + 0.8 / len(ways) * (ways.index(way) - (len(ways) - 1) / 2)
        style.error_bar(axes, place, _interval(line, "auc"), style.operator_style(way[0])[0], across=True)
        axes.plot(line["auc"], place, markersize=3.5, **style.marks(*way))
    axes.axvline(0.5, color=plot.INK, linewidth=0.8)
    axes.set_yticks(range(len(metrics)), [metric_words(name) for name in metrics])
    axes.set(ylim=(len(metrics) - 0.5, -0.5), xlabel="AUC; 0.5 is chance, 1 tells every success")
    gammas = sorted({gamma for _, gamma in ways})
    keys = style.operator_keys(dict.fromkeys(operator for operator, _ in ways))
    style.legend(figure, keys + (style.gamma_keys(gammas) if len(gammas) > 1 else []))
    told = "A success is a composition that is at least as good as scratch on its layout."
    title = f"What predicts success, {family}"
    return Drawn(f"predictors_{family}", title, f"{predictors_finding(family, known)} {told}", figure)


def _way(line: Row) -> tuple[str, float]:
    return str(line["operator"]), float(line.get("gamma", math.inf))


def _by_way(lines: Sequence[Row]) -> dict[tuple[str, float], list[Row]]:
    """Lines by operator and discount, in the order of operators."""
    operators = in_operator_order({line["operator"] for line in lines})
    found: dict[tuple[str, float], list[Row]] = {}
    for line in sorted(lines, key=lambda line: (operators.index(line["operator"]), _way(line)[1])):
        found.setdefault(_way(line), []).append(line)
    return found


def predictors_finding(family: str, lines: Sequence[Row]) -> str:
    """Which metric has the highest AUC, for which operators, and where it is no better than chance."""
    best = {way: max(same, key=lambda line: line["auc"]) for way, same in _by_way(lines).items()}
    told = []
    for (metric,), ways in grouped([line | {"way": way} for way, line in best.items()], "metric").items():
        scores = sorted(line["auc"] for line in ways)
        span = f"{scores[0]:.2f}" if scores[0] == scores[-1] else f"{scores[0]:.2f} to {scores[-1]:.2f}"
        names = "every operator" if len(ways) == len(best) > 1 else listed(_named(line["way"]) for line in ways)
        told.append(f"{metric_words(metric)} coverage for {names} (AUC {span})")
    chance = [_named(way) for way, line in best.items() if not line["auc/ci_low"] > 0.5]
    lost = f"; for {listed(chance)} it is not told apart from chance" if chance else ""
    return f"On {family} success is best predicted by {listed(told)}{lost}."


def _named(way: tuple[str, float]) -> str:
    return way[0] if math.isinf(way[1]) else f"{way[0]} at {gamma_words(way[1])}"


def metric_words(name: str) -> str:
    """A metric of coverage in words, e.g. ``on-policy``."""
    return str(name).removeprefix("coverage/").replace("_", "-")


def _interval(line: Row, name: str) -> Interval:
    return Interval(*(float(line[name + end]) for end in ("", "/ci_low", "/ci_high")))


def _percent(found: Interval) -> str:
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"
