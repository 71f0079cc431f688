"""Fixtures shared by all suites: small libraries, and one local Ray cluster where a test asks for it."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lever_ray.building.build import build_library
from lever_ray.config import LibrarySettings, SetupSettings
from lever_ray.executor import SerialExecutor
from lever_ray.library.library import PolicyLibrary
from lever_ray.tasks import registry


def pytest_configure(config: pytest.Config) -> None:
    """What Ray reads when it is imported: a token of our own, loopback sockets, nobody else's cluster."""
    folder = Path(tempfile.mkdtemp(prefix="lever-ray-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "LEVER_RAY_HOME": str(folder / "home"),
    }
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)


SMALL_LIBRARY = LibrarySettings(
    name="small",
    family="grid8",
    layouts=3,
    training_seeds=1,
    gammas=[0.0, 0.99],
    budget="X1",
    objectives=["path", "gold", "hazard", "lever", "path-gold", "hazard-lever"],
)


@pytest.fixture(scope="session")
def small_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a library of 3 grid8 environments; read only."""
    path = tmp_path_factory.mktemp("libraries") / "small"
    build_library(path, SMALL_LIBRARY, executor=SerialExecutor())
    return path


@pytest.fixture(scope="session")
def maze_library(small_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``grid8-1``, and policies in an environment of a name without a number, which was not sampled; read only."""
    held = PolicyLibrary.open(small_library)
    mazes = [
        replace(each, environment="maze", task=replace(each.task, seed=None))  # type: ignore[type-var]
        for each in held.select(environment="grid8-0")
    ]
    library = PolicyLibrary.create(tmp_path_factory.mktemp("libraries") / "mazes")
    library.add([*mazes, *held.select(environment="grid8-1")])
    return library.path


SEA = registry.source("deep-sea")


def sea_settings() -> LibrarySettings:
    """A library of three deep seas that lacks nothing which its first mode asks for."""
    objectives = list(dict.fromkeys(name for pool in SEA.pools.values() for name in pool))
    return LibrarySettings(
        name="sea", family=SEA.name, layouts=3, training_seeds=1, gammas=[0.99], budget="X1", objectives=objectives
    )


def sea_setup() -> SetupSettings:
    """All terms at once, in the first mode."""
    return SetupSettings(next(iter(SEA.pools)), "-".join(SEA.terms))


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray cluster of two cores in this process, with token authentication, for the whole session."""
    from lever_ray.ray_execution import connect, disconnect

    folder = tempfile.mkdtemp(prefix="lever-ray-")  # short, since socket paths may have 107 characters
    connect("local", num_cpus=2, include_dashboard=False, _temp_dir=folder)
    yield
    disconnect()
    shutil.rmtree(folder, ignore_errors=True)
