"""The README's Python runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_example_runs(small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert "runs/libraries/grid8" in code
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("runs/libraries/grid8", str(small_library)), "README.md", "exec"), {})
    assert "composed" in capsys.readouterr().out
    assert (tmp_path / "route.png").stat().st_size > 10_000


def test_what_the_readme_mentions_exists() -> None:
    text = README.read_text()
    for path in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (README.parent / path).exists(), path
    targets = set(re.findall(r"^([a-z-]+):", (README.parent / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", text)) <= targets
