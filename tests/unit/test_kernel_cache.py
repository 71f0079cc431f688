"""Kernels of a submitted job: those of the installation, or one compilation for every content of the code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lever_ray.kernel_cache import INSTALLATION_VARIABLE, LOCATORS

MODULE = """
from numba import njit


@njit(cache=True)
def doubled(number):
    return 2 * number
"""
SCRIPT = """
import json
from lever_ray.own import doubled
doubled(2)
hits, misses = (sum(counts.values()) for counts in (doubled.stats.cache_hits, doubled.stats.cache_misses))
print(json.dumps([hits, misses, doubled.stats.cache_path]))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of that name with one kernel."""
    folder = tmp_path / "checkout" / "lever_ray"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "own.py").write_text(MODULE)
    shutil.copy(Path(__file__).parents[2] / "lever_ray" / "kernel_cache.py", folder)
    return folder


def _run(package: Path, **variables: str) -> tuple[int, int, Path]:
    """Cache hits, misses, and where the kernel lies."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_CACHE", "LEVER_RAY"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=package.parent, env=kept | variables, capture_output=True, check=True
    )
    hits, misses, place = json.loads(done.stdout)
    return hits, misses, Path(place)


def _copied(package: Path, name: str) -> Path:
    """As Ray unpacks what a job is submitted with: elsewhere, later, and without caches."""
    copy = package.parents[1] / name / "lever_ray"
    shutil.copytree(package, copy, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def _variables(package: Path, home: Path) -> dict[str, str]:
    cache = {"NUMBA_CACHE_DIR": str(home / "numba"), "NUMBA_CACHE_LOCATOR_CLASSES": LOCATORS}
    return cache | {INSTALLATION_VARIABLE: str(package)}


def test_a_job_takes_the_kernels_of_the_installation(package: Path, tmp_path: Path) -> None:
    assert _run(package)[:2] == (0, 1)
    variables = _variables(package, tmp_path / "home")
    assert _run(_copied(package, "one"), **variables) == (1, 0, package / "__pycache__")
    assert _run(package)[:2] == (1, 0)


def test_other_code_is_compiled_once_whatever_the_cluster_unpacks_it_to(package: Path, tmp_path: Path) -> None:
    assert _run(package)[:2] == (0, 1)
    changed, variables = _copied(package, "one"), _variables(package, tmp_path / "home")
    (changed / "own.py").write_text(MODULE.replace("2 *", "3 *"))
    hits, misses, place = _run(changed, **variables)
    assert (hits, misses) == (0, 1)
    assert place.is_relative_to(tmp_path / "home" / "numba")
    assert _run(_copied(changed, "two"), **variables) == (1, 0, place)
    assert _run(package)[:2] == (1, 0)
    (changed / "helper.py").write_text("")
    assert _run(changed, **variables)[:2] == (0, 1)
