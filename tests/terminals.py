"""Commands in processes of their own: with redirections, on a terminal, in an environment of some variables alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DEAD = "http://127.0.0.1:9"
PROXIES = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), DEAD)
NOWHERE = "/dev/null/none"
"""A path that nobody, whatever his rights, can make."""
UNWRITABLE = Path("/proc")
"""A folder that takes no files from anybody."""
SERIAL = ["cluster=serial", "tracking=none"]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    err: bytes


def variables(home: Path, **changes: str | None) -> dict[str, str]:
    """The environment of a command; None takes a variable out."""
    mine = {"COLUMNS", "NO_COLOR", "FORCE_COLOR", "MLFLOW_TRACKING_URI", "PYTHONUNBUFFERED", "no_proxy", "NO_PROXY"}
    kept = {name: value for name, value in os.environ.items() if name not in mine | PROXIES.keys()}
    given = kept | {"LEVER_RAY_HOME": str(home), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"} | changes
    return {name: value for name, value in given.items() if value is not None}


def line(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "lever_ray", *words]


def ran(words: Sequence[str], environment: dict[str, str], *, cwd: Path = ROOT) -> Done:
    done = subprocess.run(
        line(words), env=environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
    )
    assert b"Traceback" not in done.stderr + done.stdout, done.stderr.decode(errors="replace")
    return Done(done.returncode, done.stdout, done.stderr)


def in_shell(words: Sequence[str], redirected: str, environment: dict[str, str]) -> Done:
    """Run in a shell with redirections; nobody reads the pipe ``3`` any more."""
    reads, writes = os.pipe()
    os.close(reads)
    quoted = " ".join(f"'{word}'" for word in line(words))
    try:
        done = subprocess.run(
            ["bash", "-c", f"{quoted} {redirected.replace('&3', f'&{writes}')}"],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=(writes,),
            capture_output=True,
            timeout=120,
        )
    finally:
        os.close(writes)
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"Exception ignored" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def on_terminal(words: Sequence[str], columns: int, environment: dict[str, str]) -> tuple[int, list[str]]:
    """The exit code, and the lines that a terminal of a width shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen(
        line(words), env=environment, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # Linux ends a terminal that way
            while part := os.read(ours, 1 << 16):
                said += part
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode()).replace("\r", "\n")
    assert "Traceback" not in text
    return process.returncode, text.splitlines()
