"""The order in which people see names."""

from __future__ import annotations

import re
from collections.abc import Iterable

Key = tuple[tuple[tuple[int, str], ...], str]


def natural_key(name: str) -> Key:
    """What sorts names as people count: ``grid8-2`` before ``grid8-10``, ``grid8`` before ``grid16``."""
    parts = re.split(r"([0-9]+)", name)
    return tuple(_numeral(part) if place % 2 else (0, part) for place, part in enumerate(parts)), name


def _numeral(digits: str) -> tuple[int, str]:
    """Sorts digits as the number that they are, however many there are."""
    plain = digits.lstrip("0")
    return len(plain), plain


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Names in the order of :func:`natural_key`."""
    return sorted(names, key=natural_key)
