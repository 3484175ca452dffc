"""Kills a command from outside at uniformly random moments, lets it go on, and says what came out.

``baseline = finish(command, ...)`` runs it once undisturbed in one folder; ``survive(command, ...)`` kills it `kills`
times in another, each time SIGKILLing its whole process group; then the files of both must be the same, byte for byte.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from posttrain.store import Manifest, sha256_file
from posttrain.store.manifest import VOLATILE, data_files


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


def finish(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float = 600) -> float:
    """Runs `command` to its end, which must be a good one; returns its seconds."""
    started = time.monotonic()
    done = subprocess.run(command, cwd=cwd, env=dict(env), capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
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
) -> list[float]:
    """Kills `command` `kills` times, each time at a moment drawn from U(0, `horizon`) seconds; returns the moments.

    run: the folder the command writes. Whenever it finishes before its moment, `check` is called, `run` is removed and
    it starts anew, so that all kills land in living processes. After the last kill it runs to its end; `check` again.
    clock: a file; the moment is counted from when the command writes it (else from the start of the process, imports
    included).
    """
    generator = random.Random(seed)
    print(f"kill: seed {seed}, {kills} kills within {horizon:.2f} s of `{' '.join(command)}`")
    moments: list[float] = []
    while len(moments) < kills:
        moment = generator.uniform(0, horizon)
        if _killed(command, moment, cwd=cwd, env=env, clock=clock):
            moments.append(moment)
        else:
            check()
            shutil.rmtree(run)
    print(f"kill: moments {', '.join(f'{m:.3f}' for m in moments)}")
    finish(command, cwd=cwd, env=env)
    check()
    return moments


def _killed(command: Sequence[str], moment: float, *, cwd: Path, env: Mapping[str, str], clock: Path | None) -> bool:
    """True when the command lived until its moment and was killed; False when it had finished well before."""
    before = _written(clock)
    process = subprocess.Popen(
        command, cwd=cwd, env=dict(env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    while clock is not None and _written(clock) == before and process.poll() is None:
        time.sleep(0.002)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return False


def _written(clock: Path | None) -> int:
    return clock.stat().st_mtime_ns if clock is not None and clock.exists() else 0
