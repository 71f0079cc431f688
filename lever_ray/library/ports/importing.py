"""Records from what was understood of a foreign file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lever_ray.errors import InvalidValue, LeverError, check_known
from lever_ray.library.ports.options import ImportOptions, action_names
from lever_ray.library.ports.tables import whole
from lever_ray.library.ports.understanding import Held, Understanding, understand
from lever_ray.library.record import PLAIN, SUPPORT_SOURCES, PolicyRecord
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Environment
from lever_ray.watching import Watch, watched

_UINT32 = (1 << 32) - 1


def records(understood: Understanding, watch: Watch | None = None) -> list[PolicyRecord]:
    """The policies of a file, every one checked.

    Args:
        understood: of the file.
        watch: told how many policies are checked.

    Raises:
        InvalidValue: something needed is missing, or a policy has wrong values; the message names it and the remedy.
    """
    understood.check_complete()
    rows = range(understood.policies)
    return [_record(understood, row) for row in watched(rows, watch, "policies checked")]


def read_policies(
    source: str | Path | Mapping[str, Any], *, held: Held = lambda _: None, **options: Any
) -> list[PolicyRecord]:
    """The policies of an npz or Parquet file, or of a mapping of columns to arrays and lists.

    Args:
        source: see :func:`~lever_ray.library.ports.understanding.understand`, which tells what it takes columns for.
        held: gives the tasks of environments that a library has already.
        options: of :class:`~lever_ray.library.ports.options.ImportOptions`, e.g. ``environment`` and ``layouts``.

    Raises:
        LibraryError: the file cannot be read.
        InvalidValue: something needed is missing, or a column or policy has wrong values; the message names it.
        UnknownName: an option names a column, field or action that is not known.
    """
    try:
        return records(understand(source, ImportOptions(**options), held=held))
    except LeverError as error:
        error.args = (_in_python(str(error)),)
        raise


def _in_python(text: str) -> str:
    """A message with keywords in place of options of the console, e.g. ``gamma=NUMBER``."""
    columns = re.sub(r"--column (\w+)=(\w+)", r"columns={'\1': '\2'}", text)
    return re.sub(r"--([a-z]+)(?: ([A-Z][A-Z.a-z]*|'[^']*'))?", _keyword, columns)


def _keyword(found: re.Match[str]) -> str:
    if found[1] == "layout":
        return "layouts={NAME: layout}"
    return f"{found[1]}={found[2] or ''}"


def _record(understood: Understanding, row: int) -> PolicyRecord:
    values = {name: column[row] for name, column in understood.values.items()}
    task: Environment = values["layout"]
    order = understood.options.permutation(action_names(task))
    try:
        return PolicyRecord(
            task=task,
            objective=_objective(values["objective"], values["weights"], task.terms),
            q=_ordered(values, "q", order),
            **_recorded(values, order),
            **{name: values[name] for name in PLAIN},
        )
    except (LeverError, ValueError, OverflowError) as error:
        hint = " If its actions stand in another order, say so with --actions" if "contradict" in str(error) else ""
        raise InvalidValue(f"policy {row} of {understood.source}: {error}{hint}") from error


def _objective(name: str, weights: np.ndarray | None, terms: Sequence[str]) -> Objective | None:
    if not name.strip():
        return None
    try:
        if weights is None:
            return Objective.of(name).resolved(terms)
        given = Objective.of(name.partition("[")[0]).resolved(terms)
        return Objective.of(given, weights={term: float(weights[terms.index(term)]) for term in given.terms})
    except (LeverError, ValueError) as error:
        raise InvalidValue(
            f"objective {name!r}: {str(error).rstrip('.')}. "
            "If these are words, take them as description: --column description=COLUMN"
        ) from error


def _ordered(values: dict[str, Any], name: str, order: list[int]) -> Any:
    """One array of a policy without padding, its actions in its task's order; None where it has none."""
    table = values[name]
    if table is None:
        return None
    table = np.asarray(table)[: values.get("states", len(table))]
    return table[:, order] if len(order) <= table.shape[1] else table


def _recorded(values: dict[str, Any], order: list[int]) -> dict[str, Any]:
    """Visits, successors and rewards, as far as the policy has them."""
    source = values.get("support_source", "visits")
    check_known("support source", source, SUPPORT_SOURCES)
    visits, successors, rewards = (_ordered(values, name, order) for name in ("visits", "successors", "mean_rewards"))
    if visits is not None:
        visits = whole(visits, "visits", low=0, high=_UINT32)
    if successors is not None:
        successors = whole(successors, "successors", low=-1, high=values["layout"].observations - 1)
    if rewards is not None and np.isnan(rewards).all():
        rewards = None
    return {
        "visits": visits if source == "visits" else None,
        "successors": None if source == "unknown" else successors,
        "mean_rewards": rewards,
    }
