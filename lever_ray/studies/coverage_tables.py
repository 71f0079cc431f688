"""The coverage study as tables: where reuse fails as records are cut, what tells, and the curves themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lever_ray.experiment.plan import ALL_GAMMAS, gamma_told
from lever_ray.experiment.report import TableSpec, markdown_table
from lever_ray.experiment.statistics import Row, layout_of
from lever_ray.studies.coverage_fit import BOOTSTRAP, LEAST_FALL, LEAST_FIT, METRICS, predictors, thresholds

_THRESHOLDS = {
    "": "Share kept at which quality has fallen half-way",
    "success/scratch/": "Share kept at which half the successes over scratch are lost",
    "success/own/": "Share kept at which half lose a tenth of their own quality",
}
_HOW = (
    "Of a sigmoid through the means over layouts, 95% intervals by layouts resampled jointly, and R^2 over the levels. "
    f"Flat: the fall may be below {LEAST_FALL:g}; no sigmoid: R^2 below {LEAST_FIT:g}. Kept is the share of recorded "
    "pairs, of each policy, of all in common, or outside a region; for chain, of the best route's transitions."
)
_TELLS = (
    "AUC: of a success and a failure, how often the success has more coverage; .5 is chance. Pooled over cuts, levels "
    "and draws; in brackets 95% intervals by layouts resampled jointly. gpi, options and plan never leave the records "
    "they follow, so coverage on their own route is 1 by construction; value coverage is all but the quality of plan."
)
_CURVES = (
    "Normalised quality as records are cut",
    "In the environment. Where nothing is recorded tables go on unmasked, and gpi, options and plan stand still. "
    "Scratch may take everything; best single: by oracle, of all discounts, under the same cut.",
)
_OVER_RANDOM = (
    "What the policies add: quality over that of random tables",
    "The same search under the same cut with random tables in place of the policies. Plan reads no tables.",
)


def coverage_tables(rows: Sequence[Row], *, bootstrap: int = BOOTSTRAP) -> str:
    """All tables of the study as Markdown."""
    found = thresholds(rows, bootstrap=bootstrap)
    parts = [_threshold_table(found, prefix, title) for prefix, title in _THRESHOLDS.items()]
    parts[0] = parts[0].replace("\n\n", f"\n\n{_HOW}\n\n", 1)
    told = predictors(rows, bootstrap=bootstrap)
    parts += [
        _predictor_table(told, "auc", "Which coverage tells success: quality of at least scratch's") + f"\n\n{_TELLS}",
        _predictor_table(told, "auc/own", "Which coverage tells what keeps nine tenths of its own quality"),
        _curve_table(rows, *_CURVES, _reached(rows), bootstrap),
        _curve_table(rows, *_OVER_RANDOM, _over_random(rows), bootstrap),
    ]
    return "\n\n".join(parts)


_MORE = "value over library"
"""Heading of what the last metric is better by than the first."""


def _threshold_table(lines: Sequence[Row], prefix: str, title: str) -> str:
    cuts = list(dict.fromkeys(line["cut"] for line in lines))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for line in lines:
        shown = f"{_interval(line, f'{prefix}threshold')}, R^2 {line[f'{prefix}fit']:.2f}"
        found = line[f"{prefix}found"]
        cells.setdefault(_way(line), {})[line["cut"]] = shown if found == "threshold" else found
    return _table(title, cuts, cells)


def _predictor_table(lines: Sequence[Row], prefix: str, title: str) -> str:
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for line in lines:
        share = line["success" if prefix == "auc" else "success/own"]
        cell = cells.setdefault(_way(line), {"successes": f"{share:.2f}"})
        cell[line["metric"]] = _interval(line, prefix)
        cell[_MORE] = _interval(line, f"{prefix}/over_library")
    return _table(title, ["successes", *METRICS, _MORE], cells)


def _way(line: Row) -> tuple[str, str, str]:
    return line["family"], line["operator"], gamma_told(line["gamma"])


def _interval(line: Row, name: str) -> str:
    value, low, high = (line[f"{name}{bound}"] for bound in ("", "/ci_low", "/ci_high"))
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if math.isnan(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _table(title: str, columns: Sequence[str], cells: dict[tuple[str, ...], dict[str, str]]) -> str:
    header = ["family", "operator", "gamma", *(name.removeprefix("coverage/") for name in columns)]
    rule = ["---"] * 3 + ["---:"] * len(columns)
    body = [[*way, *(line.get(name, "-") for name in columns)] for way, line in cells.items()]
    return "\n".join([f"### {title}", "", *("| " + " | ".join(each) + " |" for each in (header, rule, *body))])


def _reached(rows: Sequence[Row]) -> list[dict[str, float]]:
    """By row: its operator's quality, and the controls that all operators share."""
    return [
        {_column(row): row["quality/normalised"], "scratch": row["quality/scratch"]}
        | ({"best single": row["quality/best_single"]} if row["gamma"] == ALL_GAMMAS else {})
        for row in rows
    ]


def _over_random(rows: Sequence[Row]) -> list[dict[str, float]]:
    """By row: its operator's quality less that of random tables; nothing for plan."""
    return [
        {_column(row): row["quality/normalised"] - row["quality/random_tables"]} if row["operator"] != "plan" else {}
        for row in rows
    ]


def _column(row: Row) -> str:
    return f"{row['operator']} {gamma_told(row['gamma'])}"


def _curve_table(rows: Sequence[Row], title: str, note: str, values: Sequence[dict[str, float]], bootstrap: int) -> str:
    """Values by cut and level, operators side by side."""
    wide: dict[tuple[object, ...], Row] = {}
    for row, given in zip(rows, values, strict=True):
        key = (row["family"], row["cut"], row["kept"], layout_of(row), row["draw"])
        wide.setdefault(key, {part: row[part] for part in ("layout_seed", "family", "cut", "kept")}).update(given)
    cuts = list(dict.fromkeys(row["cut"] for row in rows))
    lines = sorted(wide.values(), key=lambda line: (cuts.index(line["cut"]), -line["kept"]))
    names = dict.fromkeys(name for given in values for name in given)
    ordered = {name: name for name in sorted(names, key=lambda name: name in ("scratch", "best single"))}
    return markdown_table(TableSpec(title, ("family", "cut", "kept"), ordered, note), lines, bootstrap=bootstrap)
