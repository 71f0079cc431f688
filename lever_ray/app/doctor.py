"""``lever-ray doctor``: is everything that a job needs in order?"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lever_ray.config import Settings, TrackingSettings, library_path, make_home
from lever_ray.errors import LeverError, LibraryError, SettingsError

_TOLD = ("lever-ray", "ray", "numpy", "numba", "pyarrow", "mlflow", "optuna")
"""Packages whose versions are told."""

PARTS: dict[str, str] = {
    "home": "where results go",
    "kernels": "kernels, compiled the first time",
    "library": "the library",
    "mlflow": "the MLflow store",
    "ray": "Ray",
}
"""What :func:`examine` checks, in its order, and in words."""


@dataclass(frozen=True)
class Finding:
    """One checked part: whether it is sound, and what was found or is to be done."""

    part: str
    sound: bool
    text: str


def versions() -> Finding:
    """What is installed; nothing of it is imported."""
    found, missing = [f"Python {platform.python_version()}"], []
    for name in _TOLD:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    lacking = f"{', '.join(missing)} not installed: run `make install`; " if missing else ""
    return Finding("versions", not missing, lacking + ", ".join(found))


def examine(settings: Settings, *, ray: bool = False) -> Generator[Finding, None, None]:
    """Check every one of :data:`PARTS`, as it is asked for; one that fails keeps no other from being checked.

    Args:
        settings: what is checked.
        ray: whether to start or join a cluster, which takes ten seconds.
    """
    with _Store(settings.tracking) as store:
        checks: dict[str, Callable[[], str]] = {
            "home": _home,
            "kernels": _kernels,
            "library": lambda: _library(settings),
            "mlflow": store.told,
            "ray": lambda: _ray(settings, start=ray),
        }
        for part in PARTS:
            yield _examine(part, checks[part])


def _examine(part: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(part, True, check())
    except (LeverError, OSError, ConnectionError, RuntimeError) as error:
        return Finding(part, False, f"{error}")


def _home() -> str:
    place = make_home()
    probe = place / ".doctor"
    probe.write_text("")
    probe.unlink()
    return f"results go to {place}"


def _kernels() -> str:
    from lever_ray.query.warm import warm_up

    return f"compiled or loaded in {warm_up():.1f} s"


def _ray(settings: Settings, *, start: bool) -> str:
    if settings.cluster.executor != "ray":
        return "not used: cluster.executor is serial"
    if not start:
        return "not tried; --ray starts or joins a cluster and runs tasks on it"
    from lever_ray.executor import in_order
    from lever_ray.ray_execution import RayExecutor, connect, disconnect

    connect(settings.cluster.address)
    try:
        executor = RayExecutor()
        in_order(executor.map(abs, [-1, -2]))
        return f"tasks run on {executor.workers} cores"
    finally:
        disconnect()


def _library(settings: Settings) -> str:
    from lever_ray.library.library import PolicyLibrary
    from lever_ray.library.repair.checking import verify

    library = PolicyLibrary.open(library_path(settings.library))
    damages = verify(library.path)
    if damages:
        raise LibraryError(damages[0].what)
    return f"{library.path}: {len(library)} policies, every file sound"


class _Store:
    """The MLflow store, opened by a process of its own while other parts are checked: importing MLflow takes longest.

    Args:
        settings: of tracking.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self._settings = settings
        self._opening: subprocess.Popen[str] | None = None

    def __enter__(self) -> _Store:
        if self._settings.enabled:
            root = str(Path(__file__).resolve().parents[2])
            paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
            self._opening = subprocess.Popen(
                [sys.executable, "-c", _OPEN, json.dumps(asdict(self._settings))],
                env=os.environ | {"PYTHONPATH": paths},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._opening is not None and self._opening.poll() is None:
            self._opening.kill()
            self._opening.communicate()

    def told(self) -> str:
        """What was found.

        Raises:
            SettingsError: the store cannot be used.
        """
        if self._opening is None:
            return "not used: tracking.enabled is false"
        found, said = self._opening.communicate()
        lines = (found if self._opening.returncode == 0 else said).strip().splitlines()
        if self._opening.returncode:
            raise SettingsError(lines[-1] if lines else f"MLflow ended with code {self._opening.returncode}")
        return lines[-1]


_OPEN = """
import json, sys
from lever_ray.config import TrackingSettings
from lever_ray.errors import LeverError
try:
    from lever_ray.tracking import store_told
    print(store_told(TrackingSettings(**json.loads(sys.argv[1]))))
except LeverError as error:
    sys.exit(str(error))
"""
