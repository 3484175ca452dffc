"""A process of a sweep: reads what is asked, then checkpoints one after another (shards.py says how they talk).

Every finished sample is in a journal, so it may be ended at any moment.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from posttrain.benchmarks import slug
from posttrain.config import parse
from posttrain.errors import LockedError, PosttrainError
from posttrain.evals.chosen import chosen_benchmarks
from posttrain.evals.sweep.answering import answer_point
from posttrain.evals.sweep.config import SweepConfig
from posttrain.evals.sweep.points import Point
from posttrain.evals.sweep.warm import WarmEngine
from posttrain.stage import Workspace
from posttrain.store import Problems
from posttrain.store.artifacts import unpacked
from posttrain.store.lock import locked
from posttrain.talk import listen, wait_to_be_ended

LOOK = 0.2  # seconds between looks at a lock
PATIENCE = 20.0  # seconds for a process of a killed sweep to let go of a checkpoint


def main() -> None:
    """Speaks on stdin and stdout."""
    lines, say = listen()
    try:
        _serve(lines, say)
    except PosttrainError as error:
        say({"failed": str(error), "kind": type(error).__name__})
        wait_to_be_ended()


def _serve(lines: queue.SimpleQueue[dict[str, Any]], say: Callable[[dict[str, Any]], None]) -> None:
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
            say({"done": point.label})


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
                time.sleep(LOOK)
        yield


if __name__ == "__main__":
    main()
