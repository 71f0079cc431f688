"""Names of all settings, without reading any; light, for what a word means is asked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from lever_ray.config import Settings


@cache
def setting_keys() -> tuple[str, ...]:
    """Dotted names of every setting and group of settings."""
    return tuple(_keys(Settings))


def _keys(cls: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(cls)
    for part in fields(cls):
        yield prefix + part.name
        kind: Any = hints[part.name]
        if is_dataclass(kind):
            yield from _keys(kind, f"{prefix}{part.name}.")  # type: ignore[arg-type]


def key_of(word: str) -> str:
    """The key that a setting sets, adds (``+``) or removes (``~``), without the package it may name (``@``)."""
    return word.partition("=")[0].lstrip("+~").partition("@")[0]


def is_setting(word: str) -> bool:
    """Whether a word sets a key that there is; any other word may have an ``=``, too."""
    return "=" in word and key_of(word).partition("[")[0] in setting_keys()
