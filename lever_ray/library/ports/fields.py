"""What columns of foreign files may be called; ``docs/import-export.md`` has the same list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lever_ray.errors import InvalidValue, UnknownName


@dataclass(frozen=True)
class Field:
    """Something that a policy has.

    Attributes:
        name: of the field.
        synonyms: what else its column may be called; case, hyphens, blanks and a plural s do not matter.
        kind: ``table`` (numbers over observations and actions), ``transitions``, ``text``, ``number``, ``count``,
            ``integer``, ``weights``, ``layout`` or ``ignored``.
        option: what gives it for all policies on the command line; empty where nothing does.
    """

    name: str
    synonyms: tuple[str, ...]
    kind: str
    option: str = ""


FIELDS: tuple[Field, ...] = (
    Field("q", ("q_table", "qtable", "q_value", "action_value", "q_function", "table"), "table"),
    Field("visits", ("visit_count", "visit", "count", "n_visits", "state_action_count"), "table"),
    Field("successors", ("transition", "next_state", "successor_state"), "transitions"),
    Field("transition_policies", ("transition_policy", "policy_of_transition"), "count"),
    Field("mean_rewards", ("reward_table", "recorded_reward"), "table"),
    Field("environment", ("env", "env_name", "env_id", "environment_name", "map"), "text", "--environment NAME"),
    Field("layout", ("grid_layout", "grid"), "layout", "--layout FILE"),
    Field("description", ("desc", "text", "caption", "sentence", "name"), "text", "--description TEXT"),
    Field("objective", ("goal", "task"), "text", "--objective NAME"),
    Field("weights", ("objective_weight",), "weights"),
    Field("gamma", ("discount", "discount_factor"), "number", "--gamma NUMBER"),
    Field("episodes", ("n_episodes", "training_episode", "budget"), "count", "--episodes NUMBER"),
    Field("label", ("tag",), "text", "--label TEXT"),
    Field("algorithm", ("algo", "method", "trained_by"), "text", "--algorithm TEXT"),
    Field("total", ("return", "total_return", "total_reward", "score"), "number"),
    Field("snapshot", ("snapshot_episode",), "count"),
    Field("seed", ("training_seed", "random_seed"), "integer"),
    Field("environment_steps", ("env_step", "n_steps"), "count"),
    Field("seconds", ("training_second", "wall_clock"), "number"),
    Field("support_source", (), "text"),
    Field("states", ("n_states", "cells"), "count"),
    Field("id", ("policy_id",), "ignored"),
)
BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}


def match_columns(names: Iterable[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Which column stands for which field.

    Args:
        names: of the columns.
        chosen: column by field, as ``--column FIELD=NAME`` says; these go first.

    Returns:
        Column by field. Of several columns for one field the one whose name comes first among field and synonyms.

    Raises:
        UnknownName: ``chosen`` names a field or a column that does not exist.
        InvalidValue: it gives one column to two fields.
    """
    held = list(names)
    for field, column in chosen.items():
        if field not in BY_NAME:
            raise UnknownName("field", field, BY_NAME, hint="Write --column FIELD=COLUMN.")
        if column not in held:
            raise UnknownName("column", column, held, hint=f"Asked for field {field!r}.")
    if len(set(chosen.values())) < len(chosen):
        raise InvalidValue(f"--column gives one column to several fields: {dict(chosen)}; choose one field for each")
    free = {name: _plain(name) for name in held if name not in chosen.values()}
    found = dict(chosen)
    for each in (each for each in FIELDS if each.name not in chosen):
        spellings = [_plain(spelling) for spelling in (each.name, *each.synonyms)]
        fitting = [
            (spellings.index(plain), name != each.name, name) for name, plain in free.items() if plain in spellings
        ]
        if fitting:
            found[each.name] = min(fitting)[2]
            del free[found[each.name]]
    return found


def purpose_asked(policies: int) -> str:
    """How a person says what policies were trained for, where a file does not."""
    of_all = "--objective NAME, or --description TEXT in words"
    if policies == 1:
        return of_all
    return (
        "a column 'objective' (terms joined with hyphens) or 'description' (in words) with an entry for each policy, "
        f"--column objective=COLUMN if it has another name; where all were trained for the same, {of_all}"
    )


def same_field(name: str) -> str:
    """The field that a column's name fits; empty where it fits none."""
    plain = _plain(name)
    return next((each.name for each in FIELDS if plain in map(_plain, (each.name, *each.synonyms))), "")


def _plain(name: str) -> str:
    """A name without what does not matter."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return plain[:-1] if plain.endswith("s") and len(plain) > 1 else plain
