"""A headless Chromium that says what a page has drawn, over its debugging protocol."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--window-size=1600,1400",
)


def browser() -> str | None:
    """Path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that was started in a session of its own, and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Browser:
    """A browser with an empty profile in a folder; a context manager that ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Browser:
        command = [browser() or "chromium", *_FLAGS, f"--user-data-dir={self._folder}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, start_new_session=True, **quiet)
        told, until = self._folder / "DevToolsActivePort", time.monotonic() + 20
        while not (told.exists() and told.read_text()):
            if time.monotonic() > until:
                end(self._process)
                raise TimeoutError("the browser does not say where it listens")
            time.sleep(0.05)
        self._port = int(told.read_text().split()[0])
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)

    def watch(self, url: str, script: str, wanted: Callable[[Any], bool], *, seconds: float) -> Any:
        """What a script says of a page, once that is what is wanted; what it said last, when time is up."""
        return asyncio.run(self._watch(url, script, wanted, seconds))

    async def _watch(self, url: str, script: str, wanted: Callable[[Any], bool], seconds: float) -> Any:
        until, told = time.monotonic() + seconds, None
        async with aiohttp.ClientSession() as session:
            async with session.put(f"http://127.0.0.1:{self._port}/json/new?{quote(url, safe='')}") as response:
                page = await response.json()
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                while time.monotonic() < until:
                    await asyncio.sleep(0.3)
                    told = await _evaluate(socket, script)
                    if told is not None and wanted(told):
                        break
            await session.get(f"http://127.0.0.1:{self._port}/json/close/{page['id']}")
        return told


async def _evaluate(socket: aiohttp.ClientWebSocketResponse, script: str) -> Any:
    await socket.send_json(
        {"id": 1, "method": "Runtime.evaluate", "params": {"expression": script, "returnByValue": True}}
    )
    while (answer := await socket.receive_json(timeout=10)).get("id") != 1:
        pass
    return answer.get("result", {}).get("result", {}).get("value")
