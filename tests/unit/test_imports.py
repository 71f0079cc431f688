"""Importing the package is quick and drags nothing heavy in; the one timed test we keep."""

from __future__ import annotations

import json
import subprocess
import sys

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


def _fresh(code: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
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
