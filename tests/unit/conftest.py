"""Small libraries of made-up policies, with all vectors."""

import os
import shutil

import pytest

from lever_ray.behaviour.psi import embed
from lever_ray.library.library import PolicyLibrary
from tests.library_files import RECORDS, make_library, opened


@pytest.fixture(scope="session")
def kept_library(tmp_path_factory):
    """Two shards and one file of environments; every test leaves it as it found it."""
    return make_library(tmp_path_factory.mktemp("kept") / "library", RECORDS, 1, embedded=True)


@pytest.fixture(scope="session")
def _three_appends(tmp_path_factory):
    return make_library(tmp_path_factory.mktemp("three") / "library", RECORDS[:11], 3, embedded=True)


@pytest.fixture
def own_library(_three_appends, tmp_path):
    """A library of three appends that a test may do with as it likes."""
    shutil.copytree(_three_appends.path, tmp_path / "own")
    return opened(tmp_path / "own")


@pytest.fixture
def home(small_library, tmp_path, monkeypatch):
    """A home of a test's own with the small library, on a disk that does not keep anyone waiting."""
    shutil.copytree(small_library, tmp_path / "libraries" / "small")
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("os.fsync", lambda _: None)
    return tmp_path


@pytest.fixture(scope="session")
def console_home(small_library, tmp_path_factory):
    """A home whose library ``grid8`` is the small one, with text vectors; no test changes it."""
    path = tmp_path_factory.mktemp("home")
    shutil.copytree(small_library, path / "libraries" / "grid8")
    embed(PolicyLibrary.open(path / "libraries" / "grid8"))
    return path


@pytest.fixture(scope="session")
def odd_home(console_home, tmp_path_factory):
    """The same in a folder whose name has a space, letters beyond ASCII, brackets, and a byte that is no UTF-8."""
    path = tmp_path_factory.mktemp("odd") / os.fsdecode("a b ü 中 [x] ".encode() + b"\xff")
    try:
        shutil.copytree(console_home, path)
    except OSError:
        pytest.skip("the file system takes no such names")
    return path


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A small benchmark and the answers to its private split; no test changes them."""
    from tests.benchmark_files import make_benchmark

    return make_benchmark(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture
def benchmark(made):
    """The benchmark as everybody has it."""
    from lever_ray.scoring import Benchmark

    return Benchmark(made[0])


@pytest.fixture
def keeper(made):
    """The benchmark with the answers to its private split."""
    from lever_ray.scoring import Benchmark

    return Benchmark(*made)
