"""The Python of the README and of docs/answering.md runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lever_ray as lever

README = Path(__file__).resolve().parents[2] / "README.md"


def python_of(page: Path) -> str:
    """Its examples, one after the other."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))


def test_the_examples_of_answering_run(small_library: Path) -> None:
    code = python_of(README.parent / "docs" / "answering.md")
    known: dict[str, object] = {"library": lever.PolicyLibrary.open(small_library)}
    exec(compile(code, "answering.md", "exec"), known)
    for line in re.findall(r"^(recipe\.[^#\n]+?) *# '([^']+)'$", code, flags=re.MULTILINE):
        assert eval(line[0], known) == line[1]


def test_the_example_runs(small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    code = python_of(README)
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
