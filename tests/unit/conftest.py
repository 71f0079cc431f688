"""Small libraries of made-up policies, with all vectors."""

import shutil

import pytest

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
