"""What a foreign file was understood to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lever_ray.errors import InvalidValue
from lever_ray.library.ports.options import ImportOptions


class Taken(NamedTuple):
    """What a field was taken from."""

    field: str
    column: str
    kind: str
    told: str = ""


@dataclass(frozen=True)
class Understanding:
    """What a file holds, as far as it was understood; :func:`~lever_ray.library.ports.importing.records` reads it.

    Attributes:
        source: the file.
        policies: how many.
        taken: what every field was taken from.
        missing: what is needed and not there, with the option that gives it; empty where records can be made.
        notes: what is optional and not there.
        ignored: columns that are not used, with the reason.
        values: by field a list with one entry per policy.
        options: what a person said.
    """

    source: str
    policies: int
    taken: tuple[Taken, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...]
    values: Mapping[str, list[Any]] = field(repr=False)
    options: ImportOptions = field(repr=False)

    def check_complete(self) -> None:
        """Refuse to go on while something is missing.

        Raises:
            InvalidValue: naming everything that is missing, with the options that give it.
        """
        if self.missing:
            raise InvalidValue(f"{self.source} does not say everything that is needed; add {'; '.join(self.missing)}")
