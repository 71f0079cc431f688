"""What a person waits for at the prompt: whole processes of ``lever-ray`` over a library, beside the floor below them.

The floor is a process that imports NumPy, PyArrow and Numba and runs one kernel from its cache: no answer can come
sooner, and it is measured in turn with the others, so that a busy machine slows both. Kernels of the product come from
the cache of this installation. Wall times are those of an idle machine alone; CPU times hold on a busy one, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

ROUNDS = 7
_FLOOR = """
import numpy as np
import pyarrow
from numba import njit


@njit(cache=True)
def total(values):
    found = 0.0
    for value in values:
        found += value
    return found


total(np.ones(3))
"""
_ASKED = ["--environment", "grid8-3", "--gamma", "0"]
_WORDS = "reach the exit and collect the gold"
COMMANDS: dict[str, list[str]] = {
    "objective": ["-m", "lever_ray", "compose", "--objective", "path-gold", *_ASKED],
    "words": ["-m", "lever_ray", "compose", _WORDS, *_ASKED],
    "doctor": ["-m", "lever_ray", "doctor"],
}


def figures() -> dict[str, float]:
    """Medians over whole processes, in turn: seconds until they end, CPU seconds, and those over the floor."""
    seconds: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    first: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        floor = place / "floor.py"
        floor.write_text(_FLOOR)
        commands = {"floor": [str(floor)], **COMMANDS}
        environment = os.environ | {"LEVER_RAY_HOME": folder, "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'runs.db'}"}
        subprocess.run(
            [sys.executable, "-m", "lever_ray", "build", "library=grid8", "cluster=serial"],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        for again in range(-1, ROUNDS):
            for name, command in commands.items():
                took, used, waited = _process(command, environment)
                if again >= 0:  # the first of each may compile and touches files
                    seconds.setdefault(name, []).append(took)
                    cpu.setdefault(name, []).append(used)
                    if name == "doctor":
                        first.append(waited)
    found = {f"start.{name}.seconds": median(each) for name, each in seconds.items()}
    found |= {f"start.{name}.cpu_seconds": median(each) for name, each in cpu.items()}
    for name in COMMANDS:
        found[f"start.{name}.over_floor_seconds"] = median(seconds[name]) - median(seconds["floor"])
        found[f"start.{name}.over_floor_cpu_seconds"] = median(cpu[name]) - median(cpu["floor"])
    return found | {"start.doctor.first_line_seconds": median(first)}


def _process(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Seconds that a process took, its CPU seconds, and seconds until its first line."""
    begun = perf_counter()
    with subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = perf_counter() - begun
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        took = perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return took, usage.ru_utime + usage.ru_stime, first
