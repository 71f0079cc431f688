"""Studies that stand apart from an experiment's cells: each trains what it needs and answers one question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lever_ray.errors import InvalidValue, UnknownName, look_up
from lever_ray.executor import Executor
from lever_ray.experiment.report import TableSpec, markdown_table
from lever_ray.experiment.statistics import Row
from lever_ray.query.members import RECOMMENDED
from lever_ray.studies.boundary_study import BoundaryStudy, run_boundary_study
from lever_ray.studies.chain_findings import chain_report
from lever_ray.studies.chain_study import ChainStudy, run_chain_study
from lever_ray.studies.coverage_fit import as_csv, predictors, thresholds
from lever_ray.studies.coverage_study import CoverageStudy, run_coverage_study
from lever_ray.studies.coverage_tables import coverage_tables
from lever_ray.studies.defaults_study import DefaultsStudy, recommended, run_defaults_study
from lever_ray.studies.option_study import OptionStudy, run_option_study
from lever_ray.studies.ranker_cases import CASE_COLUMNS
from lever_ray.studies.ranker_study import RankerStudy, run_ranker_study
from lever_ray.studies.search_study import SearchStudy, run_search_study
from lever_ray.studies.shaping_study import ShapingStudy, run_shaping_study
from lever_ray.watching import Watch


@dataclass(frozen=True)
class Study:
    """A study by name.

    Attributes:
        settings: dataclass of its settings.
        run: gives its rows, each with a ``layout_seed``; takes its settings, ``executor`` and ``watch``.
        tables: how they are summed up.
        files: what else is made of them, by the name of its file.
        more: further tables as Markdown, of rows and ``bootstrap``.
    """

    settings: type[Any]
    run: Callable[..., list[Row]]
    tables: tuple[TableSpec, ...]
    files: Mapping[str, Callable[[Sequence[Row]], str]] = field(default_factory=dict)
    more: Callable[..., str] | None = None


_SHAPING = TableSpec(
    "What remains without shaping",
    ("family", "setup", "mode", "gamma", "shaping", "operator"),
    {
        "quality/best_candidate": "best composition",
        "quality/mean_candidate": "mean composition",
        "quality/best_single": "best single policy",
        "quality/scratch": "scratch, same gamma",
        "quality/plan": "optimum on recorded transitions",
    },
    "Normalised quality under the same reward, (J - J_rand) / (J* - J_rand); best means by oracle.",
)
_RANKERS = TableSpec(
    "How rankers choose on unseen layouts",
    ("family", "drop", "gamma", "coverage", *CASE_COLUMNS),
    {"regret": "regret", "tau": "Kendall tau-b", "undefined": "tau undefined", "left_support": "left the support"},
    "A layout counts with the mean of its setups.",
)
_SEARCH = TableSpec(
    "What a budget of evaluations buys",
    ("family", "gamma", "strategy", "budget"),
    {"share": "share of the exhaustive best", "gap_closed": "share of the gap from random closed"},
    "Exhaustive best over a seeded sample of the product; random is the same number of independent draws.",
)
_OPTIONS = TableSpec(
    "What policies are worth as options",
    ("family", "mode", "setup", "variant", "tier"),
    {
        "quality/normalised": "normalised quality",
        "quality/share": "share of the best known",
        "quality/over_control": "over the best control",
        "quality/over_single": "over the best single by the same score",
        "quality/best_single": "best single (oracle)",
        "quality/scratch": "scratch",
        "quality/random_tables": "random tables",
        "quality/constant_actions": "constant actions",
        "quality/moves": "planning over moves, same score",
        "members": "members",
        "segments": "segments",
        "milliseconds": "ms",
    },
    "J in the real environment; the best control is the better of the best single policy by oracle over the pool and "
    "scratch at its best discount, final or best snapshot. Tables and constant actions under the same mask and rule.",
)
_DEFAULTS = TableSpec(
    "Which discount members have where nobody says",
    ("family", "setup", "operator", "gamma"),
    {"quality/normalised": "normalised quality"},
    "The usual answer (hybrid-3, the operator's usual ranker) of policies for single terms, in the environment.",
)
_RECORDS = ("family", "episodes", "coverage", "drop")
_BOUNDARY = (
    TableSpec(
        "When policies matter more than transitions",
        _RECORDS,
        {
            "steps": "recorded steps",
            "pairs": "recorded pairs",
            "quality/options_I1": "options, outcomes",
            "quality/options_I3": "options, reward",
            "quality/cut_I3": "with a cut of 16",
            "quality/random_I3": "random tables, the same cut",
            "quality/single": "best single (oracle)",
            "quality/moves_I1": "moves, outcomes",
            "quality/moves_I3": "moves, reward",
            "quality/plan_I3": "plan, reward",
            "quality/walks_I3": "plan on random walks",
        },
        "Normalised quality on all terms, the best of all ways standing for the optimum; all answer from the same "
        "records but the last, which walks as many steps at random. Pairs are dropped by each policy or by all.",
    ),
    TableSpec(
        "What each way costs: milliseconds",
        _RECORDS,
        {
            "milliseconds/options_I1": "options, outcomes",
            "milliseconds/options_I3": "options, reward",
            "milliseconds/cut_I3": "with a cut of 16",
            "milliseconds/moves_I1": "moves, outcomes",
            "milliseconds/moves_I3": "moves, reward",
            "milliseconds/plan_I3": "plan",
            "milliseconds/tables": "action tables, once a pool",
            "milliseconds/events": "events, once an objective",
        },
        "CPU time of one answer, warm. Options need the members' action tables before and, without a memory, "
        "the events.",
    ),
    TableSpec(
        "What each way costs: megabytes",
        _RECORDS,
        {
            "megabytes/options_I3": "options, held",
            "megabytes/moves_I3": "moves, held",
            "megabytes/plan_I3": "plan, held",
            "peak/options_I3": "options, at work",
            "peak/cut_I3": "with a cut of 16, at work",
            "peak/moves_I1": "moves, outcomes, at work",
            "peak/moves_I3": "moves, reward, at work",
            "peak/plan_I3": "plan, at work",
        },
        "Held: the arrays that are read for an answer: successors and rewards, and with them action tables and events "
        "(options, moves) or the bits of recorded pairs (plan). At work: by how much the resident memory grows at most "
        "meanwhile, on top.",
    ),
)
_COVERAGE_FILES = {"thresholds.csv": as_csv(thresholds), "predictors.csv": as_csv(predictors)}
STUDIES: dict[str, Study] = {
    "boundary": Study(BoundaryStudy, run_boundary_study, _BOUNDARY),
    "chain": Study(ChainStudy, run_chain_study, (), more=chain_report),
    "coverage": Study(CoverageStudy, run_coverage_study, (), _COVERAGE_FILES, coverage_tables),
    "defaults": Study(DefaultsStudy, run_defaults_study, (_DEFAULTS,), {RECOMMENDED: recommended}),
    "options": Study(OptionStudy, run_option_study, (_OPTIONS,)),
    "rankers": Study(RankerStudy, run_ranker_study, (_RANKERS,)),
    "search": Study(SearchStudy, run_search_study, (_SEARCH,)),
    "shaping": Study(ShapingStudy, run_shaping_study, (_SHAPING,)),
}
"""``boundary``: options beside planning, by records; ``chain``: routes that need transitions which no policy took;
``coverage``: quality as records are cut to nothing; ``defaults``: discounts of members by operator; ``options``:
quality beside every control; ``rankers``: regret at full and partial coverage; ``search``: quality by budget;
``shaping``: reward without it."""


def study_settings(name: str, overrides: Mapping[str, Any]) -> Any:
    """The settings of a study, with some values replaced.

    Raises:
        UnknownName: there is no such study or setting.
        InvalidValue: a value has the wrong type or lies outside its domain.
    """
    return settings_of(look_up("study", name, STUDIES).settings, overrides, whose=f"Study {name!r}")


def settings_of(kind: type[Any], overrides: Mapping[str, Any], *, whose: str) -> Any:
    """Settings with some values replaced, which take the types of the usual ones.

    Args:
        kind: dataclass of them.
        overrides: values by name.
        whose: they are, for messages.

    Raises:
        UnknownName: there is no such setting.
        InvalidValue: a value has the wrong type or lies outside its domain.
    """
    known = {part.name: getattr(kind, part.name) for part in fields(kind)}
    for key in overrides:
        if key not in known:
            raise UnknownName("setting", key, sorted(known), hint=f"{whose} has no such setting.")
    return kind(**{key: _typed(key, value, known[key]) for key, value in overrides.items()})


def _typed(key: str, value: Any, default: Any) -> Any:
    """A value as the default's type has it; lists become tuples, all the way down."""
    if isinstance(default, tuple):
        given = value if isinstance(value, list) else [value]
        inner = default[0] if default else ""
        return tuple(_typed(key, part, inner) for part in given)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, type(default)):
        raise InvalidValue(f"{key} holds {value!r}; a value such as {default!r} is needed")
    return value


def run_study(name: str, settings: Any, *, executor: Executor, watch: Watch | None = None) -> list[Row]:
    """Rows of a study.

    Args:
        name: of the study.
        settings: see :func:`study_settings`.
        executor: where layouts are trained and asked.
        watch: told how many layouts are done, stage by stage.
    """
    return STUDIES[name].run(settings, executor=executor, watch=watch)


def study_files(name: str, rows: Sequence[Row]) -> dict[str, str]:
    """What else a study makes of its rows: texts by the name of the file."""
    return {file: made(rows) for file, made in STUDIES[name].files.items()}


def study_report(name: str, rows: Sequence[Row], *, bootstrap: int = 2_000) -> str:
    """A study's tables as Markdown, with 95% bootstrap intervals over layouts."""
    study = STUDIES[name]
    parts = [markdown_table(spec, rows, bootstrap=bootstrap) for spec in study.tables]
    parts += [] if study.more is None else [study.more(rows, bootstrap=bootstrap)]
    return "\n\n".join(parts) + "\n"
