"""The library that a command is about: a folder, or settings that name it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lever_ray.errors import SettingsError

if TYPE_CHECKING:
    from lever_ray.config import Settings


def place_of(words: Sequence[str]) -> Path:
    """Folder of the library that words name, as a path or as settings; those are read only where they are needed.

    Raises:
        SettingsError: several paths.
        UnknownName, SettingsError, InvalidValue: see :func:`~lever_ray.app.settings.load_settings`.
    """
    from lever_ray.config import library_path

    folders = [word for word in words if _is_folder(word)]
    if len(folders) > 1:
        raise SettingsError(f"{len(folders)} folders are given ({', '.join(folders)}); give one, or library=NAME")
    if len(folders) == len(words) == 1:
        return Path(folders[0])
    settings = settings_of(words)
    return Path(folders[0]) if folders else library_path(settings.library)


def settings_of(words: Sequence[str]) -> Settings:
    """The settings among words that may also name a folder; see :func:`place_of` for the errors."""
    from lever_ray.app.settings import load_settings

    return load_settings([word for word in words if not _is_folder(word)], about=())


def _is_folder(word: str) -> bool:
    """Whether a word names a folder. A word that sets a known key never does (``./library=x`` is the folder).

    What is neither known nor there is refused either way: as a key where it could be one, as a folder otherwise.
    """
    from lever_ray.app.keys import is_setting, key_of

    if is_setting(word):
        return False
    could_be = "=" in word and all(part.isidentifier() for part in key_of(word).split("."))
    return not could_be or is_there(Path(word))


def is_there(path: Path) -> bool:
    """Whether a file or folder exists; False for what can be the name of none, such as a long text."""
    try:
        return path.exists()
    except OSError:
        return False
