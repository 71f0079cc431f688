"""What compiling every kernel costs: CPU seconds and signatures of each, in a process with an empty cache.

A kernel's seconds are those of compiling it without the kernels that it calls, which are compiled within; kernels that
are inlined into others count among theirs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

SHOWN = 12
"""Kernels that the figures name: those that take longest."""
_MEASURE = """
import json
from collections import Counter
from time import process_time

from numba.core import event

from lever_ray.query.warm import compile_all


class Listener(event.Listener):
    def __init__(self):
        self.seconds, self.count, self.running = Counter(), Counter(), []

    def on_start(self, found):
        kernel = found.data["dispatcher"].py_func
        self.running.append([f"{kernel.__module__.removeprefix('lever_ray.')}.{kernel.__name__}", process_time(), 0.0])

    def on_end(self, found):
        name, begun, inside = self.running.pop()
        took = process_time() - begun
        self.seconds[name] += took - inside
        self.count[name] += 1
        if self.running:
            self.running[-1][2] += took


listener = Listener()
before = process_time()
with event.install_listener("numba:compile", listener):
    compile_all()
print(json.dumps([process_time() - before, listener.seconds, listener.count]))
"""


def figures() -> dict[str, float]:
    """CPU seconds of all and of the costliest, how many kernels there are, and in how many signatures."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE], env=environment, capture_output=True, text=True, check=True
        )
    total, seconds, count = json.loads(done.stdout)
    found = {
        "kernels.cpu_seconds": total,
        "kernels.compiled": float(len(count)),
        "kernels.signatures": float(sum(count.values())),
    }
    for name in sorted(seconds, key=lambda name: -seconds[name])[:SHOWN]:
        found[f"kernels.{name}.cpu_seconds"] = seconds[name]
        found[f"kernels.{name}.signatures"] = float(count[name])
    return found
