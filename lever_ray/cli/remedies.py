"""Remedies as the console writes them: messages name keywords of Python, ``ranker='regressor'``."""

from __future__ import annotations

import re

from lever_ray.cli.recipe_options import RECIPE_OPTIONS

_KEYWORDS = "|".join((*RECIPE_OPTIONS, "objective", "groups", "factors", "tier", "environment", "recipe"))
_VALUE = r"""(?:'([^']*)'|"([^"]*)"|([\w.+-]*))"""
_KEYWORD = re.compile(rf"(?<![\w,.-])({_KEYWORDS})={_VALUE}(?![\w,]*=)(?!,\w+=)")


def on_console(text: str) -> str:
    """A message with options in place of keywords, e.g. ``--ranker regressor``; ids of recipes stay as they are."""

    def option(found: re.Match[str]) -> str:
        name, *values = found.groups()
        value = next((each for each in values if each), "")
        quoted = f"'{value}'" if " " in value else value
        return f"--{name.replace('_', '-')} {quoted}".rstrip()

    return _KEYWORD.sub(option, text)
