"""Importing the package is quick and drags nothing heavy in; the one timed test we keep."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lever_ray as package
from lever_ray.behaviour.psi import embed
from lever_ray.tasks.registry import families, family
from tests.compose_library import make_library

HEAVY = (
    "ray",
    "mlflow",
    "optuna",
    "hydra",
    "omegaconf",
    "sklearn",
    "scipy",
    "matplotlib",
    "wordllama",
    "numba",
    "rich",
)


def _fresh(code: str, **variables: str) -> dict[str, Any]:
    environment = os.environ | variables
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def test_import_is_fast_and_light() -> None:
    code = (
        "import json, sys, time; begun = time.perf_counter(); import lever_ray; seconds = time.perf_counter() - begun; "
        f"print(json.dumps({{'seconds': seconds, 'heavy': [name for name in {HEAVY} if name in sys.modules]}}))"
    )
    found = _fresh(code)
    assert found["heavy"] == []
    assert float(str(found["seconds"])) < 0.5


def test_composing_needs_no_adapter() -> None:
    adapters = ("ray", "mlflow", "optuna", "hydra", "rich", "matplotlib")
    code = (
        "import json, sys; import lever_ray; lever_ray.compose, lever_ray.PolicyLibrary, lever_ray.train; "
        f"print(json.dumps({{'loaded': [name for name in {adapters} if name in sys.modules]}}))"
    )
    assert _fresh(code)["loaded"] == []


NOT_FOR_AN_ANSWER = (
    *("ray", "mlflow", "optuna", "hydra", "omegaconf", "sklearn", "pandas", "matplotlib", "sqlalchemy", "wordllama"),
    *("pyarrow.compute", "rich.progress", "lever_ray.learning.sarsa", "lever_ray.library.search.scan"),
    "lever_ray.tasks.gridworld.memoryless",
)
OTHER_KERNELS = {"sarsa_episodes", "recorded_returns", "_add_psi", "add_static_features", "_walk"}
"""Of training, of other rankers and of what the library keeps."""
PARSER, WORD_VECTORS = ["lever_ray.query.parse"], ["tokenizers", "safetensors"]
BY_DESCRIPTION = ("--retrieval", "description", "--threshold", "0.5")


@pytest.fixture(scope="module")
def small_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    embed(make_library(home / "libraries" / "grid8"))
    return home


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        (["--objective", "path-gold"], []),
        (["reach the exit and collect the gold"], PARSER),
        (["--objective", "path-gold", "--ranker", "offline-return", *BY_DESCRIPTION], WORD_VECTORS),
    ],
)
def test_an_answer_imports_what_it_uses(asked: list[str], used: list[str], small_library: Path) -> None:
    code = (
        "import io, json, sys; from contextlib import redirect_stdout; from lever_ray.cli import main\n"
        f"with redirect_stdout(io.StringIO()) as told: code = main({['compose', *asked, '--environment', 'tiny-0']})\n"
        "assert code == 0 and 'predicted by offline-return' in told.getvalue()\n"
        "from numba.core.dispatcher import Dispatcher\n"
        "ours = [each for name, each in list(sys.modules.items()) if name.startswith('lever_ray')]\n"
        "found = [each for module in ours for each in vars(module).values() if isinstance(each, Dispatcher)]\n"
        "kernels = sorted({each.py_func.__name__ for each in found if each.signatures})\n"
        f"loaded = [name for name in {(*NOT_FOR_AN_ANSWER, *PARSER, *WORD_VECTORS)} if name in sys.modules]\n"
        "print(json.dumps({'loaded': loaded, 'kernels': kernels}))"
    )
    found = _fresh(code, LEVER_RAY_HOME=str(small_library))
    assert found["loaded"] == used
    assert not set(found["kernels"]) & OTHER_KERNELS


def test_the_first_line_of_the_doctor_waits_for_nothing() -> None:
    code = (
        "import json, sys; import lever_ray.app.conf, lever_ray.app.doctor as doctor, lever_ray.console as console; "
        "console.make_console(stderr=True).print(console.finding_line(doctor.versions())); "
        f"print(json.dumps({{'heavy': [name for name in {('numpy', 'pyarrow', *HEAVY)} if name in sys.modules]}}))"
    )
    assert set(_fresh(code)["heavy"]) <= {"rich"}


def test_keeping_a_library_needs_neither_tuning_nor_learning() -> None:
    heavy = ("ray", "mlflow", "optuna", "sqlalchemy", "sklearn", "matplotlib", "pandas")
    code = (
        "import json, sys; from lever_ray.app import library_commands, settings; settings.load_settings(); "
        f"print(json.dumps({{'loaded': [name for name in {heavy} if name in sys.modules]}}))"
    )
    assert _fresh(code)["loaded"] == []


def test_every_public_name_resolves() -> None:
    import lever_ray

    assert all(getattr(lever_ray, name) is not None for name in lever_ray.__all__)
    assert set(lever_ray.__all__) <= set(dir(lever_ray))
    assert not hasattr(lever_ray, "no_such_name")


# A family of tasks is named in its own folder, by the registry, the public names and what is studied alone.

ROOT = Path(package.__file__).parent
PUBLISHED = ("reproduction/sizes.py", "reproduction/report/published.py", "scoring/settings.py")
AT_HOME = ("tasks/gridworld/", "tasks/finite/", "tasks/registry.py", "__init__.py", "studies/", *PUBLISHED)


def _names() -> set[str]:
    """Families, and what libraries are built from."""
    return {*families(), *(source for name in families() for source in family(name).sources)}


def _strings(file: Path) -> Iterator[str]:
    """String constants of a module that are no docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    told = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for each in ast.walk(tree):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in told:
            yield each.value


def test_no_other_module_names_a_family_in_a_string() -> None:
    names, found = _names(), []
    for file in sorted(ROOT.rglob("*.py")):
        place = file.relative_to(ROOT).as_posix()
        if place.startswith(AT_HOME):
            continue
        found += [(place, text) for text in _strings(file) if names & {text, *text.replace("/", ".").split(".")}]
    assert {"gridworld", "finite", "grid8"} <= names
    assert found == []


def test_no_other_module_names_a_layout() -> None:
    outside = [file for file in ROOT.rglob("*.py") if not file.relative_to(ROOT).as_posix().startswith(AT_HOME)]
    named = [
        file.name
        for file in outside
        for each in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(each, ast.Name | ast.alias) and getattr(each, "id", getattr(each, "name", "")) == "Layout"
    ]
    assert len(outside) > 90
    assert named == []
