"""What is finished already: where question, settings and code are the same, nothing is computed or logged again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lever_ray.app.session import Session
from lever_ray.config import Settings
from lever_ray.kernel_cache import PACKAGE, digest_of

_NOTE = "finished.json"
"""File beside the results."""
_CODE, _SETTINGS = "code", "settings"
_IDLE = ("experiment.resume",)
"""Settings that decide nothing about results."""


@dataclass(frozen=True)
class Note:
    """What is noted of something that was finished.

    Attributes:
        run: id of the MLflow run that it was logged to; empty where nothing was tracked.
        ended: when, to the minute, in local time.
        told: what else is kept.
    """

    run: str
    ended: str
    told: dict[str, Any] = field(default_factory=dict)


def flat_settings(settings: Settings, groups: Sequence[str]) -> dict[str, str]:
    """The settings of some groups by ``group.key``, as text."""
    everything = asdict(settings)
    return _flat({group: everything[group] for group in groups})


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def note(folder: Path, settings: Mapping[str, str], *, run: str, **told: Any) -> None:
    """Note that the results in a folder are finished.

    Args:
        folder: of the results.
        settings: that decide them; see :func:`flat_settings`.
        run: see :class:`Note`.
        told: what else is kept; plain values.
    """
    kept = Note(run, datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"), told)
    content = {_CODE: digest_of(PACKAGE), _SETTINGS: _deciding(settings), **asdict(kept)}
    temporary = folder / f".{_NOTE}.tmp"
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(folder / _NOTE)


def forget(folder: Path) -> None:
    """Take the note away, before results in the folder change."""
    (folder / _NOTE).unlink(missing_ok=True)


def noted(folder: Path, settings: Mapping[str, str]) -> Note | None:
    """What is noted of the results in a folder; None where settings or code were others, or nothing is finished."""
    with suppress(OSError, ValueError, KeyError, TypeError):  # missing, or broken: it is no news to compute again
        content = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        if (content.pop(_CODE), content.pop(_SETTINGS)) == (digest_of(PACKAGE), _deciding(settings)):
            return Note(**content)
    return None


def _deciding(settings: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in settings.items() if key not in _IDLE}


def is_logged(parts: Session, known: Note) -> bool:
    """Whether the run of a note stands in the store of the session, finished; True where nothing is tracked."""
    return parts.tracker is None or (known.run != "" and parts.tracker.has_finished(known.run))
