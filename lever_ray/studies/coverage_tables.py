"""The coverage study as tables: where reuse fails as records are cut, what tells, and the curves themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lever_ray.experiment.plan import gamma_told
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
_CURVES = TableSpec(
    "Normalised quality as records are cut",
    ("family", "cut", "kept"),
    {},
    "In the environment. Where nothing is recorded tables go on unmasked, and gpi, options and plan stand still.",
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
        _curve_table(rows, bootstrap),
    ]
    return "\n\n".join(parts)


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
        cells.setdefault(_way(line), {"successes": f"{share:.2f}"})[line["metric"]] = _interval(line, prefix)
    return _table(title, ["successes", *METRICS], cells)


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


def _curve_table(rows: Sequence[Row], bootstrap: int) -> str:
    """Quality by cut and level, operators side by side."""
    wide: dict[tuple[object, ...], Row] = {}
    names: dict[str, str] = {}
    for row in rows:
        name = f"{row['operator']} {gamma_told(row['gamma'])}"
        names[name] = name
        key = (row["family"], row["cut"], row["kept"], layout_of(row), row["draw"])
        shown = {part: row[part] for part in ("layout_seed", "family", "cut", "kept")}
        wide.setdefault(key, shown)[name] = row["quality/normalised"]
    cuts = list(dict.fromkeys(row["cut"] for row in rows))
    lines = sorted(wide.values(), key=lambda line: (cuts.index(line["cut"]), -line["kept"]))
    spec = TableSpec(_CURVES.title, _CURVES.by, names, _CURVES.note)
    return markdown_table(spec, lines, bootstrap=bootstrap)
