"""Remedies name options on the console, and keywords in Python."""

from __future__ import annotations

import numpy as np
import pytest

import lever_ray as lever
from lever_ray.cli.remedies import on_console
from lever_ray.errors import InvalidValue


@pytest.mark.parametrize(
    ("python", "console"),
    [
        ("use ranker='offline-return', or estimate='none'", "use --ranker offline-return, or --estimate none"),
        ("lower the threshold (threshold=0.2 admits it)", "lower the threshold (--threshold 0.2 admits it)"),
        ("leave it out, or set regressor_model='ridge'", "leave it out, or set --regressor-model ridge"),
        ("give objective=, and not both", "give --objective, and not both"),
        ("objective='path gold'", "--objective 'path gold'"),
        ("write each field once, e.g. strategy=hybrid,k=5", "write each field once, e.g. strategy=hybrid,k=5"),
        ("write library=NAME, or experiment.k=3", "write library=NAME, or experiment.k=3"),
    ],
)
def test_keywords_become_options(python: str, console: str) -> None:
    assert on_console(python) == console


def test_options_become_keywords() -> None:
    q = np.zeros((1, 9, 4), np.float32)
    with pytest.raises(InvalidValue) as refused:
        lever.read_policies({"q": q})
    assert "--" not in str(refused.value)
    assert "gamma=NUMBER" in str(refused.value)
    assert "layouts={NAME: layout}" in str(refused.value)
