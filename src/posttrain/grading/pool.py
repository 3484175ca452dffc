"""The pool of symbolic workers: killable, limited in memory and time, usable from any thread, asyncio task or process.

The pool talks to one `worker` process over pipes; a thread of its own reads the answers. Nothing depends on signals or
on the main thread. A process that was forked from one with a pool starts its own at its first use.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, NamedTuple, cast

Result = bool | str | None  # True, False, None = undecided, "timeout", "error"


class Limit(NamedTuple):
    """What one comparison may take: of a processor, and of the clock. A busy machine costs clock, not processor."""

    processor: float
    clock: float


FIRST = Limit(0.12, 0.3)
SECOND = Limit(0.4, 0.6)  # for those that didn't finish, after all others have
# Of the clock, for a whole batch once the worker answers: so much, so much more per pair, at most the last. What is
# left then stays undecided.
BATCH_SECONDS = (0.95, 0.05, 4.0)
START_SECONDS = 30.0  # for the worker to start and import SymPy


class Job(Future[Result]):
    """A comparison in hand. Its result never is an exception."""

    def result_or(self, otherwise: Result, timeout: float) -> Result:
        try:
            return self.result(timeout=timeout)
        except TimeoutError:
            return otherwise


class Pool:
    """One worker process and the jobs it has in hand."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._ids = itertools.count()
        self._jobs: dict[int, Job] = {}
        self._lock = threading.Lock()
        code = f"from posttrain.grading.worker import main; main({workers})"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal must not reach the workers before their owner decides
        )
        self._reader = threading.Thread(target=self._read, name="grading-pool", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def submit(self, gold: str, answer: str, limit: Limit) -> Job:
        """Starts one comparison."""
        future = Job()
        with self._lock:
            key = next(self._ids)
            self._jobs[key] = future
            line = json.dumps({"id": key, "gold": gold, "answer": answer, "limit": limit}) + "\n"
            try:
                stdin = cast(Any, self._process.stdin)
                stdin.write(line.encode())
                stdin.flush()
            except OSError:
                self._jobs.pop(key)
                future.set_result("error")
        return future

    def _read(self) -> None:
        for line in cast(Any, self._process.stdout):
            answer = json.loads(line)
            with self._lock:
                future = self._jobs.pop(answer["id"])
            future.set_result(answer["result"])
        with self._lock:  # the worker is gone: nothing may wait for it
            lost, self._jobs = self._jobs, {}
        for future in lost.values():
            future.set_result("error")

    def close(self) -> None:
        """Ends the worker; open jobs become "error"."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            cast(Any, self._process.stdin).close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=2)
        cast(Any, self._process.stdout).close()


_pools: dict[int, Pool] = {}  # by process id: a pool is of no use to a forked child
_starting = threading.Lock()


def shared_pool() -> Pool:
    """This process's pool, started or restarted when needed."""
    with _starting:
        pool = _pools.get(os.getpid())
        if pool is not None and not pool.alive:
            pool.close()
            pool = None
        if pool is None:
            pool = _pools[os.getpid()] = Pool(workers=min(4, os.cpu_count() or 1))
        return pool


def close_shared_pool() -> None:
    """Ends this process's pool; the next use starts a new one."""
    with _starting:
        pool = _pools.pop(os.getpid(), None)
    if pool is not None:
        pool.close()


def compare_all(pairs: Sequence[tuple[str, str]]) -> list[Result]:
    """Symbolic results of (gold, answer) pairs, side by side.

    Every pair gets a short try; those that ran out of time get a longer one while the batch's time lasts. So a poisoned
    answer can't take the time of the ordinary ones, and a batch of them can't stop a training step.
    """
    if not pairs:
        return []
    pool = shared_pool()
    results: list[Result] = ["timeout"] * len(pairs)
    if pool.submit("0", "0", FIRST).result_or("error", START_SECONDS) == "error":
        return ["error"] * len(pairs)
    base, each, most = BATCH_SECONDS
    deadline = time.monotonic() + min(base + each * len(pairs), most)
    for limit in (FIRST, SECOND):
        late = [i for i, result in enumerate(results) if result == "timeout"]
        _run(pool, pairs, late, limit, deadline, results)
    return results


def _run(
    pool: Pool,
    pairs: Sequence[tuple[str, str]],
    chosen: Sequence[int],
    limit: Limit,
    deadline: float,
    results: list[Result],
) -> None:
    """Fills in the results of the chosen pairs, a few in flight at a time, until the deadline."""
    queue = iter(chosen)
    flying: dict[Job, int] = {}
    while time.monotonic() < deadline:
        for i in itertools.islice(queue, 2 * pool.workers - len(flying)):
            flying[pool.submit(*pairs[i], limit)] = i
        if not flying:
            return
        done, _ = wait(flying, timeout=max(0.0, deadline - time.monotonic()), return_when=FIRST_COMPLETED)
        for job in [job for job in flying if job in done]:
            results[flying.pop(job)] = job.result()
