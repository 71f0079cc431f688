"""``lever-ray doctor``: is everything that a job needs in order?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lever_ray.config import Settings, library_path, make_home
from lever_ray.errors import LeverError, LibraryError
from lever_ray.library.checking import verify
from lever_ray.library.store import PolicyLibrary
from lever_ray.query.warm import warm_up


@dataclass(frozen=True)
class Finding:
    """One checked part: whether it is sound, and what was found or is to be done."""

    part: str
    sound: bool
    text: str


def examine(settings: Settings) -> list[Finding]:
    """Check every part; a part that fails does not keep the others from being checked."""
    checks: dict[str, Callable[[Settings], str]] = {
        "home": _home,
        "kernels": _kernels,
        "ray": _ray,
        "mlflow": _mlflow,
        "library": _library,
    }
    return [_examine(part, check, settings) for part, check in checks.items()]


def _examine(part: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(part, True, check(settings))
    except (LeverError, OSError, ConnectionError, RuntimeError) as error:
        return Finding(part, False, f"{error}")


def _home(_: Settings) -> str:
    place = make_home()
    probe = place / ".doctor"
    probe.write_text("")
    probe.unlink()
    return f"results go to {place}"


def _kernels(_: Settings) -> str:
    return f"compiled or loaded in {warm_up():.1f} s"


def _ray(settings: Settings) -> str:
    if settings.cluster.executor != "ray":
        return "not used: cluster.executor is serial"
    from lever_ray.executor import in_order
    from lever_ray.ray_execution import RayExecutor, connect, disconnect

    connect(settings.cluster.address)
    try:
        executor = RayExecutor()
        in_order(executor.map(abs, [-1, -2]))
        return f"tasks run on {executor.workers} cores"
    finally:
        disconnect()


def _mlflow(settings: Settings) -> str:
    if not settings.tracking.enabled:
        return "not used: tracking.enabled is false"
    from lever_ray.tracking import Tracker

    tracker = Tracker(settings.tracking)
    return f"store {tracker.uri}, experiment {tracker.experiment_id}"


def _library(settings: Settings) -> str:
    library = PolicyLibrary.open(library_path(settings.library))
    damages = verify(library.path)
    if damages:
        raise LibraryError(damages[0].what)
    return f"{library.path}: {len(library)} policies, every file sound"
