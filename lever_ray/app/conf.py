"""The configuration tree ``conf/``, and settings that are read from it as they stand, where nothing needs Hydra.

Hydra and OmegaConf take a third of a second to import and compose. Files of plain values, and overrides of the usual
forms, are read here, strictly: whatever is out of the ordinary, wrong values among it, is left to Hydra.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from lever_ray.app.keys import key_of, setting_keys
from lever_ray.config import Settings, conf_folder, home
from lever_ray.errors import SettingsError, UnknownName, check_known
from lever_ray.order import in_natural_order

OWN_GROUP = "strategy"
"""The group whose options are looked for under ``LEVER_RAY_HOME`` as well as in ``conf/``."""
_HYDRA, _DEFAULTS, _SELF, _TYPES = "hydra", "defaults", "_self_", "settings"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_SPECIAL = ("null", "true", "false", "nan", "inf")
"""Words that Hydra does not read as text."""
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


class _NotPlainError(Exception):
    """Something that Hydra has to read."""


def settings_for_answers(overrides: Sequence[str]) -> Settings:
    """What :func:`lever_ray.app.settings.load_settings` gives, where only library and strategy are used.

    Of the others only those are checked, and their checks imported, that an override touches.

    Raises:
        UnknownName, SettingsError, InvalidValue: see there.
    """
    own = home()
    overrides = checked_overrides(overrides, own)
    touched = {key_of(override).partition(".")[0] for override in overrides}
    settings = plain_settings(overrides, own) if touched <= {"library", OWN_GROUP} else None
    if settings is None or settings.seeds:
        from lever_ray.app.settings import load_settings

        return load_settings(overrides, about=())
    from lever_ray.building.settings import check_settings

    check_settings(settings.library)
    return settings


def plain_settings(overrides: Sequence[str], own: Path) -> Settings | None:
    """Settings of ``conf/`` with overrides, unchecked; None where they need Hydra, be it for its message.

    Args:
        overrides: ``group=option`` and ``group.key=value``, whose keys exist.
        own: folder with strategies beside those of ``conf/``.
    """
    try:
        return _plain_settings(overrides, own)
    except (_NotPlainError, OSError, UnicodeError, yaml.YAMLError):
        return None


def checked_overrides(overrides: Sequence[str], own: Path) -> list[str]:
    """Overrides whose keys and group options exist; a library's own name is a value where no option has it.

    Args:
        overrides: ``group=option`` and ``group.key=value``.
        own: folder with libraries, and strategies beside those of ``conf/``.

    Raises:
        UnknownName: a group, option or key does not exist.
        SettingsError: an override has no value.
    """
    found = [_by_name(override, own) for override in overrides]
    for override in found:
        _check_key(override, own)
    return found


def _by_name(override: str, own: Path) -> str:
    """``library=NAME`` of a library that was imported under a name which no option in ``conf/`` has."""
    key, _, name = override.partition("=")
    plain = key == "library" and name and Path(name).name == name
    if not plain or (conf_folder() / key / f"{name}.yaml").exists():
        return override
    from lever_ray.library.format.manifest import MANIFEST

    return f"library.name={name}" if (own / "libraries" / name / MANIFEST).exists() else override


def _check_key(override: str, own: Path) -> None:
    """Refuse an override whose key or group option does not exist, whether it is set, added (+) or removed (~)."""
    _, separator, value = override.partition("=")
    key = key_of(override)
    if not separator:
        raise SettingsError(f"override {override!r} has no value; write group=option or group.key=value")
    folder = conf_folder() / key
    if folder.is_dir():
        places = (folder, own / key) if key == OWN_GROUP else (folder,)
        options = in_natural_order(file.stem for place in places for file in place.glob("*.yaml"))
        if key == "library":
            _check_library(value, options, own)
        check_known(f"option of {key}", value, options)
    elif key not in setting_keys() and "[" not in key:
        group = key.partition(".")[0]
        near = [name for name in setting_keys() if name.startswith(f"{group}.")]
        raise UnknownName("configuration key", key, near or [part.name for part in fields(Settings)])


def _check_library(name: str, options: Sequence[str], own: Path) -> None:
    """Refuse a library that is neither described in ``conf/library`` nor there."""
    from lever_ray.library.format.manifest import MANIFEST

    if Path(name).name != name:
        raise SettingsError(f"no policy library is at {name}; give its folder, or a name of {own / 'libraries'}")
    there = sorted(folder.parent.name for folder in (own / "libraries").glob(f"*/{MANIFEST}"))
    if name not in options:
        hint = f"Libraries are looked for in {own / 'libraries'}; a folder may be given as well."
        raise UnknownName("library", name, sorted({*options, *there}), hint=hint)


def _plain_settings(overrides: Sequence[str], own: Path) -> Settings:
    given = dict(override.split("=", 1) for override in overrides)
    if len(given) < len(overrides):
        raise _NotPlainError
    folder = conf_folder()
    tree = _read(folder / "config.yaml")
    tree.pop(_HYDRA, None)
    chosen = _options(tree.pop(_DEFAULTS, None))
    if tree:
        raise _NotPlainError
    for group in chosen.keys() & given.keys():
        chosen[group] = _text(given.pop(group))
    found = {group: _option(folder, own, group, option) for group, option in chosen.items()}
    for key, value in given.items():
        _set(found, key, value)
    made: Settings = _made(Settings, found)
    return made


def _read(file: Path) -> dict[str, Any]:
    loader = _LOADER(file.read_text(encoding="utf-8"))
    try:
        content = loader.get_single_data()
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        raise _NotPlainError
    return content


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads plain values alone; in C where PyYAML has it, which is ten times faster."""


def _options(defaults: Any) -> dict[str, str]:
    """The option of every group, as ``config.yaml`` lists them: the types first, the file's own values last."""
    if not isinstance(defaults, list) or [*defaults[:1], *defaults[-1:]] != [_TYPES, _SELF]:
        raise _NotPlainError
    found: dict[str, str] = {}
    for entry in defaults[1:-1]:
        if not isinstance(entry, dict) or len(entry) != 1:
            raise _NotPlainError
        found |= entry
    return found


def _option(folder: Path, own: Path, group: str, name: str) -> dict[str, Any]:
    """The values of a group's option, over those of the options that it builds on."""
    places = [folder, own] if group == OWN_GROUP else [folder]
    files = [place / group / f"{name}.yaml" for place in places]
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        raise _NotPlainError
    content = _read(file)
    values: dict[str, Any] = {}
    for base in content.pop(_DEFAULTS, []):
        if not isinstance(base, str) or base == _SELF:
            raise _NotPlainError
        values |= _option(folder, own, group, base)
    if any(isinstance(value, dict) and key in values for key, value in content.items()):
        raise _NotPlainError
    return values | content


def _set(tree: dict[str, Any], key: str, text: str) -> None:
    """Set one value of a tree by its dotted key."""
    *path, last = key.split(".")
    kind: Any = Settings
    for part in path:
        kind, tree = get_type_hints(kind).get(part), tree.setdefault(part, {})
        if not is_dataclass(kind) or not isinstance(tree, dict):
            raise _NotPlainError
    hint = get_type_hints(kind).get(last)
    tree[last] = _text(text) if str in (hint, *get_args(hint)) else _number(text)


def _text(text: str) -> str:
    if not _NAME.fullmatch(text) or text.lower() in _SPECIAL:
        raise _NotPlainError
    return text


def _number(text: str) -> int | float:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise _NotPlainError
    return float(text) if found[2] else int(text)


def _made(kind: Any, value: Any) -> Any:
    """A value of the type of a setting, which it must be of already."""
    if is_dataclass(kind) and isinstance(value, Mapping):
        hints = get_type_hints(kind)
        if not value.keys() <= {part.name for part in fields(kind)}:
            raise _NotPlainError
        return kind(**{name: _made(hints[name], each) for name, each in value.items()})  # type: ignore[operator]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _made(arguments[0], value)
    if origin is list and isinstance(value, list):
        return [_made(arguments[0], each) for each in value]
    if origin is dict and isinstance(value, dict):
        return {_made(arguments[0], name): _made(arguments[1], each) for name, each in value.items()}
    if kind is float and type(value) in (int, float):
        return float(value)
    if type(value) is not kind or (kind is str and "${" in value):
        raise _NotPlainError
    return value
