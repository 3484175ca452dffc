"""What every test stands on: one torch thread, no network, a home of its own, the mirror where there is one.

The settings are environment variables set before anything heavy is imported, so that processes started by tests
inherit them.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
_SHARED = "POSTTRAIN_TESTS_HOME"
_OURS = _SHARED not in os.environ  # else this is a worker of pytest-xdist, and lives in the home of who started it
_HOME = Path(tempfile.mkdtemp(prefix="posttrain-tests-") if _OURS else os.environ[_SHARED])

os.environ[_SHARED] = str(_HOME)
os.environ.update(
    HOME=str(_HOME),  # nothing a person configured or cached may change a result
    XDG_CACHE_HOME=str(_HOME / "cache"),
    XDG_CONFIG_HOME=str(_HOME / "config"),
    HF_HOME=str(_HOME / "hf"),
    MPLCONFIGDIR=str(_HOME / "matplotlib"),
    MPLBACKEND="Agg",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    WANDB_MODE="offline",
    TOKENIZERS_PARALLELISM="false",
    COLUMNS="120",
)
for _threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"  # a fixed thread count is part of "bitwise"
_beside = ROOT.parent / "shared" / "data"
if "POSTTRAIN_DATA" not in os.environ and _beside.is_dir():
    os.environ["POSTTRAIN_DATA"] = str(_beside)


def pytest_configure() -> None:
    from hypothesis import settings

    # Deadlines measure the machine, not the code; derandomised, so that a red test is red again.
    settings.register_profile("posttrain", deadline=None, derandomize=True, database=None)
    settings.load_profile("posttrain")


def pytest_report_header() -> str:
    return f"mirror: {os.environ.get('POSTTRAIN_DATA', 'none (tests on real data will be skipped)')}"


def pytest_unconfigure() -> None:
    if _OURS:
        shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture
def mirror() -> Path:
    """The folder of real benchmark files; the test is skipped, with the reason, where there is none."""
    folder = os.environ.get("POSTTRAIN_DATA")
    if not folder:
        pytest.skip("no mirror of the real data: set POSTTRAIN_DATA to one (docs/install.md says how to make it)")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"POSTTRAIN_DATA names {path}, which is not a folder")
    return path


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine's own addresses can be reached from the test process."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise ConnectionRefusedError(f"tests use no network, and {address[0]} is not this machine")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def posttrain(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`posttrain("plan", "recipe.yaml")`: the command line in a process of its own, in the test's folder."""

    def run(
        *arguments: str, cwd: Path = tmp_path, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from posttrain.cli import main; main()", *arguments],
            cwd=cwd,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
