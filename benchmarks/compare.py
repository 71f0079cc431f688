"""Another version of the code against this one: the same work in whole processes, in turn.

    python -m benchmarks.compare ../other-checkout [runs]

Prints the median CPU seconds of both, their ratio, and the spread of the other version against itself (its odd runs
over its even ones), which is what noise alone makes of a ratio. Kernels are compiled anew, once each, in a cache of
their own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[1]
_COLD = "from lever_ray.query.warm import warm_up, warm_up_routes; warm_up(); warm_up_routes()"


def run(checkout: Path, scratch: Path, code: list[str]) -> tuple[str, float]:
    """What a process prints that imports a checkout, and the CPU seconds that it took."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "NUMBA_CACHE_DIR": str(scratch / "kernels")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *code], env=environment, cwd=scratch, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(other: Path, runs: int) -> None:
    """Compare and print."""
    work = [str(HERE / "benchmarks" / "workload.py"), "."]
    found: dict[str, list[dict[str, float]]] = {"other": [], "this": []}
    with tempfile.TemporaryDirectory() as folder:
        places = {"other": (other.resolve(), Path(folder) / "other"), "this": (HERE, Path(folder) / "this")}
        for name, (checkout, scratch) in places.items():
            scratch.mkdir()
            _, cold = run(checkout, scratch, ["-c", _COLD])
            print(f"cold kernels, {name}: {cold:.1f} CPU s", flush=True)
            run(checkout, scratch, work)
        for _ in range(runs):
            for name, (checkout, scratch) in places.items():
                found[name].append(json.loads(run(checkout, scratch, work)[0]))
    print(f"{'median CPU ms':24}{'other':>10}{'this':>10}{'ratio':>8}{'noise':>8}")
    for figure in found["other"][0]:
        old, new = ([each[figure] for each in found[name]] for name in ("other", "this"))
        noise = median(old[1::2]) / median(old[::2])
        print(
            f"{figure:24}{1e3 * median(old):10.3f}{1e3 * median(new):10.3f}{median(new) / median(old):8.2f}{noise:8.2f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 15)
