"""One strategy out of a Pareto front, and the configuration file that makes it usable by name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lever_ray.composition.recipe import with_use
from lever_ray.config import StrategySettings
from lever_ray.errors import InvalidValue
from lever_ray.experiment.statistics import significant
from lever_ray.tuning.front import COLUMNS

PREFIX = "tuned-"
"""What names of recommended strategies begin with."""


@dataclass(frozen=True)
class Wish:
    """What a user asks of a strategy; None where it does not matter.

    Attributes:
        seconds: most seconds per query.
        candidates: most candidates evaluated per query.
        share: least share of the best quality on the front.

    Raises:
        InvalidValue: a number outside its domain.
    """

    seconds: float | None = None
    candidates: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("candidates", self.candidates)):
            if value is not None and not value > 0:
                raise InvalidValue(f"at most {value:g} {name} per query can be kept by nothing; give a positive number")
        if self.share is not None and not 0 < self.share <= 1:
            raise InvalidValue(f"{self.share:g} is no share of the best quality; give one in (0, 1], e.g. 0.95")

    @property
    def words(self) -> str:
        """In words, e.g. ``at most 5 ms per query``."""
        parts = [] if self.seconds is None else [f"at most {self.seconds * 1e3:g} ms per query"]
        parts += [] if self.candidates is None else [f"at most {self.candidates:g} candidates"]
        parts += [] if self.share is None else [f"at least {self.share:.4g} of the best quality"]
        return ", ".join(parts) or "the best quality"


def recommend(rows: Sequence[Mapping[str, Any]], wish: Wish) -> Mapping[str, Any]:
    """The row of the front that a wish asks for.

    Decided on tuning environments alone, so that what the held-out ones say of it stays an unbiased promise. Under a
    limit of cost the best quality that keeps it; with a share of the best quality, the cheapest that has it.

    Args:
        rows: see :func:`held_out_rows`.
        wish: what is asked.

    Raises:
        InvalidValue: nothing on the front keeps the limit; the message names what comes closest.
    """
    if not rows:
        raise InvalidValue("the study has no front yet; run `lever-ray tune` first")
    cheap = rows
    for name, most in (("seconds", wish.seconds), ("candidates", wish.candidates)):
        if most is None:
            continue
        kept = [row for row in cheap if row[name] <= most]
        if not kept:
            closest = min(cheap, key=lambda row: row[name])
            raise InvalidValue(
                f"nothing on the front keeps {wish.words}; closest is trial {closest['number']} ({closest['label']}) "
                f"with {significant(closest['seconds'] * 1e3)} ms and {significant(closest['candidates'], 4)} "
                "candidates per query"
            )
        cheap = kept
    if wish.share is None:
        return max(cheap, key=lambda row: (row["quality"], -row["cost"]))
    best = max(row["quality"] for row in rows)
    enough = min(best, best * wish.share)
    good = [row for row in cheap if row["quality"] >= enough]
    if not good:
        closest = max(cheap, key=lambda row: row["quality"])
        raise InvalidValue(
            f"nothing on the front keeps {wish.words}; closest is trial {closest['number']} ({closest['label']}) with "
            f"quality {closest['quality']:.3f} where {enough:.3f} are asked"
        )
    return min(good, key=lambda row: (row["cost"], row["number"]))


def strategy_settings(row: Mapping[str, Any]) -> StrategySettings:
    """The configuration group ``strategy`` of one row of a front: everything that its recipe has a use for."""
    given = with_use({field: row[column] for column, field in COLUMNS.items() if row.get(column) is not None})
    return StrategySettings(name=given.pop("strategy"), **given)


def strategy_file(row: Mapping[str, Any], *, name: str, wish: Wish, measured_on: str) -> str:
    """Text of ``tuned-<name>.yaml``: a comment of what is promised and where that was measured, then the settings.

    Args:
        row: of the front, see :func:`lever_ray.tuning.front.held_out_rows`.
        name: without the prefix.
        wish: what was asked.
        measured_on: library, problem and study, in words.
    """
    lines = [
        f"{PREFIX}{name}: {row['label']}, information tier {row['tier']}",
        f"asked for: {wish.words}; trial {row['number']} of {measured_on}",
        f"on {row['environments']} tuning environments: {_promise(row, '')}",
        f"on {row['held_out/environments']} held-out environments: {_promise(row, 'held_out/')}",
    ]
    if row["verdict"] not in ("cheapest", "confirmed"):
        lines.append(f"its gain over the next cheaper point of the front is {row['verdict']} on held-out environments")
    usual = asdict(StrategySettings())
    settings = {key: value for key, value in asdict(strategy_settings(row)).items() if value != usual[key]}
    settings = {"name": row["strategy"]} | settings
    written = [f"{key}: {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join([*(f"# {line}" for line in lines), *written]) + "\n"


def _promise(row: Mapping[str, Any], part: str) -> str:
    low, high = row.get(f"{part}quality/ci_low", math.nan), row.get(f"{part}quality/ci_high", math.nan)
    bounds = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
    return (
        f"normalised quality {row[f'{part}quality']:.3f}{bounds}, "
        f"{significant(row[f'{part}candidates'], 4)} candidates, "
        f"{significant(row[f'{part}seconds'] * 1e3)} ms per query, coverage {row[f'{part}coverage']:.1%}"
    )


def origin(file: Path) -> str:
    """Trial, study and library that a strategy's file was written from, as the file says; empty where it does not."""
    if not file.exists():
        return ""
    found = re.search(r"^# asked for: .*?; (trial \d+ of .*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else "unknown origin"


def write_strategy(folder: Path, name: str, text: str) -> Path:
    """Write ``tuned-<name>.yaml``, atomically; returns the file.

    Raises:
        InvalidValue: the name is no plain file name.
    """
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise InvalidValue(f"{name!r} cannot name a strategy; use letters, digits, '-', '_' and '.'")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{PREFIX}{name}.yaml"
    temporary = file.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
    return file
