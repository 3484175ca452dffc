"""A process of a sweep: reads what is asked, then checkpoints one after another (shards.py says how they talk).

It outlives nobody: when its stdin ends, or its parent is another, it ends at once; every finished sample is in a
journal.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any

from posttrain.benchmarks import slug
from posttrain.config import parse
from posttrain.errors import LockedError, PosttrainError
from posttrain.evals.stages import chosen_benchmarks
from posttrain.evals.sweep.answering import answer_point
from posttrain.evals.sweep.config import SweepConfig
from posttrain.evals.sweep.points import Point
from posttrain.evals.sweep.warm import WarmEngine
from posttrain.stage import Workspace
from posttrain.store import Problems
from posttrain.store.artifacts import unpacked
from posttrain.store.lock import locked

PARENT_EVERY = 0.2  # seconds between looks at who the parent is
PATIENCE = 20.0  # seconds for a process of a killed sweep to let go of a checkpoint


def main() -> None:
    """Speaks on stdin and stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, and the parent ends us
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no result
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the parent wants no more: close the engine well
    parent = os.getppid()
    lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    threading.Thread(target=_look, args=(parent,), daemon=True).start()
    try:
        _serve(lines, results)
    except PosttrainError as error:
        _say(results, {"failed": str(error), "kind": type(error).__name__})
        while True:
            time.sleep(PARENT_EVERY)  # the parent ends us when it has read that


def _listen(lines: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        lines.put(json.loads(line))
    os._exit(1)


def _look(parent: int) -> None:
    """A process that the parent forked may hold the other end of our stdin open: ask the system too."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY)
    os._exit(1)


def _serve(lines: queue.SimpleQueue[dict[str, Any]], results: IO[str]) -> None:
    job = lines.get()
    config = parse(SweepConfig, job["config"], "stage 'sweep'")
    work = Workspace(Path(job["directory"]), seed=int(job["seed"]), device=job["device"], quiet=True)
    problems = unpacked(job["problems"]) if job["problems"] is not None else None
    assert problems is None or isinstance(problems, Problems)
    benchmarks = chosen_benchmarks(config, problems)
    with closing(WarmEngine(config, work)) as engine:
        while True:
            point = Point(**lines.get()["point"])
            with _held(work.state / slug(point.label)):
                answer_point(config, benchmarks, point, work, engine.serve)
            _say(results, {"done": point.label})


def _say(results: IO[str], line: dict[str, Any]) -> None:
    results.write(json.dumps(line) + "\n")
    results.flush()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The lock of a checkpoint's journals: a process of a killed sweep may be about to end. LockedError after a
    while."""
    deadline = time.monotonic() + PATIENCE
    with ExitStack() as holding:
        while True:
            try:
                holding.enter_context(locked(folder))
                break
            except LockedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PARENT_EVERY)
        yield


if __name__ == "__main__":
    main()
