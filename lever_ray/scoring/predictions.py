"""Files of predictions: what others computed, read and checked before anything is scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lever_ray.errors import InvalidValue
from lever_ray.scoring.benchmark import Benchmark
from lever_ray.scoring.question import Answer, Route
from lever_ray.scoring.tables import write_file

MADE_FOR = b"lever_ray.benchmark"
"""Metadata of a file of predictions: the id of the benchmark that it was made for."""
_SCORES = ("question", "candidate", "score")
_ROUTES = ("question", "actions")
_SHOWN = 3


def write_predictions(file: Path | str, benchmark: Benchmark, answers: Mapping[str, Answer]) -> None:
    """Write answers as a file that ``lever-ray benchmark score`` reads.

    Args:
        file: Parquet.
        benchmark: that they answer; the file keeps its id.
        answers: by question; scores float[K] for all, or routes for all; None for no answer.

    Raises:
        InvalidValue: answers are neither scores nor routes, or both.
        LibraryError, StorageError: the file cannot be written.
    """
    given = [answer for answer in answers.values() if answer is not None]
    routes = {isinstance(answer, Route) for answer in given}
    tables = [answer for answer in given if not isinstance(answer, Route) and np.ndim(answer) != 1]
    if len(routes) != 1 or tables:
        raise InvalidValue("a file of predictions holds a score for every candidate, or routes; and not both of them")
    table = _routes_table(answers) if routes == {True} else _scores_table(answers)
    write_file(Path(file), table.replace_schema_metadata({MADE_FOR: benchmark.id.encode()}))


def _routes_table(answers: Mapping[str, Answer]) -> pa.Table:
    actions = [answer.actions.tolist() if isinstance(answer, Route) else None for answer in answers.values()]
    return pa.table({"question": list(answers), "actions": pa.array(actions, pa.list_(pa.int32()))})


def _scores_table(answers: Mapping[str, Answer]) -> pa.Table:
    lengths = [1 if answer is None else len(answer) for answer in answers.values()]
    empty = np.array([np.nan])
    values = [empty if answer is None else np.asarray(answer, np.float64) for answer in answers.values()]
    unanswered = np.repeat([answer is None for answer in answers.values()], lengths)
    candidates = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    columns = {
        "question": np.repeat(np.array(list(answers), object), lengths),
        "candidate": pa.array(candidates, mask=unanswered),
        "score": pa.array(np.concatenate(values), mask=unanswered),
    }
    return pa.table(columns)


def read_predictions(file: Path | str, benchmark: Benchmark, split: str) -> dict[str, Answer]:
    """The answers of a file, by question.

    Every question of the split has to be there. One row whose candidate and score (or whose actions) are null says that
    a question is not answered.

    Args:
        file: Parquet; columns ``question, candidate, score`` (of every candidate), or ``question, actions``.
        benchmark: that it answers.
        split: of which questions.

    Raises:
        InvalidValue: the file cannot be read, has other columns, was made for another benchmark, lacks a question or
            candidate, names one that does not exist or twice, or holds NaN; the message names it.
    """
    table = _table(Path(file), benchmark)
    questions = benchmark.questions(split)
    names = np.array(table["question"].to_pylist(), object)
    if unknown := [name for name in dict.fromkeys(names.tolist()) if name not in {*questions}]:
        raise InvalidValue(
            f"{file} answers question {unknown[0]!r} ({len(unknown)} such), which the {split} split does not have"
        )
    if missing := [name for name in questions if name not in {*names.tolist()}]:
        raise InvalidValue(
            f"{file} lacks {len(missing)} of {len(questions)} questions of the {split} split, e.g. "
            f"{', '.join(missing[:_SHOWN])}; a row with nulls says that one is not answered"
        )
    order = np.argsort(names, kind="stable")
    bounds = np.flatnonzero(np.concatenate([[True], names[order][1:] != names[order][:-1]]))
    parts = np.split(order, bounds[1:])
    rows_of = {str(names[rows[0]]): table.take(rows) for rows in parts}
    if "score" not in table.schema.names:
        return {name: _read_route(file, name, rows_of[name]) for name in questions}
    counts = {name: int(benchmark.about_question(name)["candidates"]) for name in questions}
    return {name: _read_scores(file, name, rows_of[name], counts[name]) for name in questions}


def _table(file: Path, benchmark: Benchmark) -> pa.Table:
    try:
        with file.open("rb") as handle:
            table = pq.read_table(handle)
    except (OSError, pa.ArrowException) as error:
        raise InvalidValue(f"{file} is no Parquet file that can be read ({error})") from error
    if {*table.schema.names} not in ({*_SCORES}, {*_ROUTES}):
        raise InvalidValue(
            f"{file} has columns {', '.join(table.schema.names)}; columns {', '.join(_SCORES)} are needed, or "
            f"{', '.join(_ROUTES)}"
        )
    _check_kinds(file, table)
    made_for = (table.schema.metadata or {}).get(MADE_FOR)
    if made_for is not None and made_for.decode(errors="replace") != benchmark.id:
        raise InvalidValue(
            f"{file} was made for another benchmark ({made_for[:12].decode(errors='replace')}) than "
            f"{benchmark.folder} ({benchmark.id[:12]})"
        )
    return table.replace_schema_metadata(None)


def _check_kinds(file: Path, table: pa.Table) -> None:
    """Refuse columns of another type."""
    kinds = pa.types
    fits = {
        "question": lambda kind: kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_dictionary(kind),
        "candidate": kinds.is_integer,
        "score": lambda kind: kinds.is_floating(kind) or kinds.is_integer(kind),
        "actions": lambda kind: (
            (kinds.is_list(kind) or kinds.is_large_list(kind)) and kinds.is_integer(kind.value_type)
        ),
    }
    for field in table.schema:
        if not fits[field.name](field.type):
            raise InvalidValue(f"{file}: column {field.name!r} holds {field.type}; see the benchmark's README.md")
    if table["question"].null_count:
        raise InvalidValue(f"{file} has {table['question'].null_count} rows without a question")


def _read_scores(file: Path | str, name: str, rows: pa.Table, count: int) -> Answer:
    if len(rows) == 1 and rows["candidate"].null_count and rows["score"].null_count:
        return None
    if rows["candidate"].null_count or rows["score"].null_count:
        raise InvalidValue(f"{file}: question {name!r} has a row with a null, beside {len(rows) - 1} others")
    candidates = rows["candidate"].to_numpy().astype(np.int64)
    scores = rows["score"].to_numpy().astype(np.float64)
    if ((candidates < 0) | (candidates >= count)).any():
        wrong = candidates[(candidates < 0) | (candidates >= count)][0]
        raise InvalidValue(f"{file}: question {name!r} has no candidate {wrong}; it has 0 to {count - 1}")
    given = np.bincount(candidates, minlength=count)
    if (given != 1).any():
        wrong = int(np.flatnonzero(given != 1)[0])
        told = f"{given[wrong]} scores for candidate {wrong}"
        raise InvalidValue(f"{file}: question {name!r} has {told}; one for each of {count} is needed")
    if np.isnan(scores).any():
        wrong = candidates[np.isnan(scores)][0]
        raise InvalidValue(
            f"{file}: question {name!r} scores candidate {wrong} NaN; give a number, or -inf for the last"
        )
    ordered = np.empty(count)
    ordered[candidates] = scores
    return ordered


def _read_route(file: Path | str, name: str, rows: pa.Table) -> Answer:
    if len(rows) != 1:
        raise InvalidValue(f"{file} answers question {name!r} {len(rows)} times; one route is needed")
    value = rows["actions"][0].as_py()
    if value is None:
        return None
    if any(action is None for action in value):
        raise InvalidValue(f"{file}: the route of question {name!r} holds a null")
    return Route(np.array(value, np.int64))
