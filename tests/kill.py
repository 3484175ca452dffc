"""Kills a command from outside at uniformly random moments, lets it go on, and says what came out.

``baseline = finish(command, ...)`` runs it once undisturbed in one folder; ``survive(command, ...)`` kills it `kills`
times in another, each time SIGKILLing its whole process group; then the files of both must be the same, byte for byte.
A command is started as a process of its own, or in a fork of one that has imported everything already (tests/warm.py).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from posttrain.store import Manifest, sha256_file
from posttrain.store.manifest import VOLATILE, data_files


class Process(Protocol):
    """A running command, alone in its process group."""

    pid: int

    def wait(self, timeout: float | None = None) -> int: ...  # subprocess.TimeoutExpired

    def said(self) -> str: ...


Start = Callable[[Sequence[str], Path, Mapping[str, str]], Process]


class Cold:
    """The command as a process of its own."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `said`
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def wait(self, timeout: float | None = None) -> int:
        return self._process.wait(timeout)

    def said(self) -> str:
        self._output.seek(0)
        with self._output as file:
            return file.read().decode(errors="replace")


def data_digests(run: Path) -> dict[str, str]:
    """sha256 of every data file of every finished artifact below `run`; times and speeds are left out."""
    found = {}
    for path in sorted(run.rglob("manifest.json")):
        manifest = Manifest.read(path.parent)
        assert manifest is not None
        assert manifest.status == "finished", f"{path} says {manifest.status}"
        for name in data_files(path.parent):
            if Path(name).name not in VOLATILE:
                found[str((path.parent / name).relative_to(run))] = sha256_file(path.parent / name)
    return found


def finish(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float = 600, start: Start = Cold
) -> float:
    """Runs `command` to its end, which must be a good one; returns its seconds."""
    started = time.monotonic()
    process = start(command, cwd, env)
    code = process.wait(timeout)
    said = process.said()
    assert code == 0, f"exit {code}\n{said}"
    return time.monotonic() - started


def survive(
    command: Sequence[str],
    run: Path,
    *,
    cwd: Path,
    env: Mapping[str, str],
    kills: int,
    horizon: float,
    seed: int,
    clock: Path | None = None,
    check: Callable[[], None] = lambda: None,
    killed: Callable[[], None] = lambda: None,
    start: Start = Cold,
) -> list[float]:
    """Kills `command` `kills` times, each time at a moment drawn from U(0, `horizon`) seconds; returns the moments.

    run: the folder the command writes. Whenever it finishes before its moment, `check` is called, `run` is removed and
    it starts anew, so that all kills land in living processes. After the last kill it runs to its end; `check` again.
    clock: a file; the moment is counted from when the command writes it (else from the start of the process, imports
    included). killed: is called after each kill, to look at what it left.
    """
    generator = random.Random(seed)
    print(f"kill: seed {seed}, {kills} kills within {horizon:.2f} s of `{' '.join(command)}`")
    moments: list[float] = []
    while len(moments) < kills:
        moment = generator.uniform(0, horizon)
        before = _written(clock)
        if _killed(start(command, cwd, env), moment, clock, before):
            moments.append(moment)
            killed()
        else:
            check()
            shutil.rmtree(run)
    print(f"kill: moments {', '.join(f'{m:.3f}' for m in moments)}")
    finish(command, cwd=cwd, env=env, start=start)
    check()
    return moments


def _killed(process: Process, moment: float, clock: Path | None, before: int) -> bool:
    """True when the command lived until its moment and was killed; False when it had finished well before.

    before: what `_written(clock)` was before the process started.
    """
    while clock is not None and _written(clock) == before and not ended_within(process, 0.002):
        pass
    if ended_within(process, moment):
        assert process.wait() == 0, process.said()
        process.said()
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.said()
    return True


def ended_within(process: Process, within: float) -> bool:
    """Waits up to `within` seconds for the end."""
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


def _written(clock: Path | None) -> int:
    return clock.stat().st_mtime_ns if clock is not None and clock.exists() else 0
