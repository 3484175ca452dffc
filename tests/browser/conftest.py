"""Debian's Chromium, driven by Playwright: no browser is downloaded, nothing outside this machine is asked for."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--mute-audio",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """Its path; the test is skipped, with the reason, where there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed: make test-real installs it")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """`serve(run)`: the address of `posttrain explore run --port 0`, token included."""
    with ExitStack() as ending:

        def start(run: Path) -> str:
            code = f"from posttrain.cli import main; main(['explore', {str(run)!r}, '--port', '0'])"
            server = subprocess.Popen(
                [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
            )
            ending.callback(_end, server)
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None, "the server said no address"
            return found[0]

        yield start


def _end(server: subprocess.Popen[str]) -> None:
    server.send_signal(signal.SIGINT)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    if server.stdout is not None:
        server.stdout.close()
