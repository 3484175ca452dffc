"""``python -m posttrain.training.rank JOB NODE [LOCAL]``: one rank of a launch, or all ranks of one machine."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posttrain.errors import PosttrainError, TrainingError
from posttrain.store import Manifest
from posttrain.training.launch import ATTEMPT, GRACE, JOB, end_child, run_rank, start_ranks

JOINING = 600.0  # seconds that a machine waits for the first one to say what there is to do
LOOK = 0.2  # seconds between looks


def main() -> None:
    """Exit code 0, 2 for an error meant for the user; anything else leaves its traceback in the rank's log."""
    job_file, node = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) == 3:
        try:
            sys.exit(follow(job_file.parent.parent, node))
        except PosttrainError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            sys.exit(2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run_rank(job_file, node, int(sys.argv[3]))
    except PosttrainError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(2)
    # Everything is written and the group is closed. PyTorch's own threads may still ask for the interpreter's lock, and
    # one that does so while the interpreter is taken down aborts the process ("terminate called without an active
    # exception").
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def follow(stage: Path, node: int) -> int:
    """Runs all ranks of machine `node` (from 1) of the stage in folder `stage`; returns their exit code.

    It waits for the first machine to write what there is to do. What an earlier attempt left there is told apart by
    POSTTRAIN_ATTEMPT where that is set; else its ranks wait for a first machine that never answers them, until the
    new attempt's word stands, and are then started anew. TrainingError where no first machine comes, and where it took
    its word back (the attempt is over) and ranks here still wait for it.
    """
    job_file, mine = stage / ".work" / JOB, os.environ.get(ATTEMPT)
    children: dict[int, subprocess.Popen[bytes]] = {}
    attempt, deadline, ended = None, time.monotonic() + JOINING, math.inf
    try:
        while True:
            job = _told(job_file)
            if job is not None and job["attempt"] != attempt and mine in (None, job["attempt"]):
                _end_all(children)
                attempt = job["attempt"]
                _check_machine(job, node)
                processes = int(job["config"]["launch"].get("processes", 1))
                children = start_ranks(job, job_file.parent, range(processes), node)
            codes = [child.poll() for child in children.values()]
            if children and (None not in codes or any(codes)):
                return max(abs(code) for code in codes if code is not None)
            ended = math.inf if job is not None else min(ended, time.monotonic())
            if children:
                _check_first(ended)
            else:
                _check_waiting(stage, node, deadline)
                if _finished(stage):
                    return 0
            time.sleep(LOOK)
    finally:
        _end_all(children)


def _told(job_file: Path) -> dict[str, Any] | None:
    try:
        job: dict[str, Any] = json.loads(job_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return job


def _check_machine(job: Mapping[str, Any], node: int) -> None:
    nodes = int(job["config"]["launch"].get("nodes", 1))
    if not 0 < node < nodes:
        raise TrainingError(
            f"this is machine {node}, and the stage was launched on {nodes}, numbered 0 to {nodes - 1}. Start it on "
            "each machine with that machine's number."
        )


def _check_waiting(stage: Path, node: int, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TrainingError(
            f"machine {node} found nothing to join in {stage} for {JOINING:.0f} s. Start the stage on machine 0 too, "
            "and see that both have the same folder."
        )


def _check_first(ended: float) -> None:
    """Ranks that outlive the first machine's attempt for long wait for nobody."""
    if time.monotonic() > ended + GRACE:
        raise TrainingError(
            "the first machine ended this attempt, and the ranks of this one were still waiting for it, so they "
            "were ended. Start all machines again: training goes on from the last saved state."
        )


def _finished(stage: Path) -> bool:
    manifest = Manifest.read(stage)
    return manifest is not None and manifest.status == "finished"


def _end_all(children: Mapping[int, subprocess.Popen[bytes]]) -> None:
    for child in children.values():
        end_child(child)


def _end_with_parent() -> None:
    """Standard input ends when the process that started this one does, however it dies."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    os._exit(3)


if __name__ == "__main__":
    main()
