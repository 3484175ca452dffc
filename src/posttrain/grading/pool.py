"""The pool of symbolic workers: killable, limited in memory and time, usable from any thread, asyncio task or process.

The pool talks to one `worker` process over pipes; a thread of its own reads the answers. Nothing depends on signals or
on the main thread. A process that was forked from one with a pool starts its own at its first use.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, cast

Result = bool | str | None  # True, False, None = undecided, "timeout", "error"

FIRST_SECONDS = 0.12
SECOND_SECONDS = 0.6  # for those that didn't finish, after all others have
BATCH_SECONDS = 2.5  # of second tries in one batch; what is left then stays undecided
GRACE_SECONDS = 20.0  # for the worker to start and import SymPy


class Pool:
    """One worker process and the jobs it has in hand."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._ids = itertools.count()
        self._jobs: dict[int, Future[Result]] = {}
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

    def submit(self, gold: str, answer: str, seconds: float) -> Future[Result]:
        """Starts one comparison; its future holds a Result and never an exception."""
        future: Future[Result] = Future()
        with self._lock:
            key = next(self._ids)
            self._jobs[key] = future
            line = json.dumps({"id": key, "gold": gold, "answer": answer, "seconds": seconds}) + "\n"
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
        with self._lock:
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
        if pool is None or not pool.alive:
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

    Every pair gets a short try; those that ran out of time get a longer one, as long as the batch's time for second
    tries lasts. So poisoned answers can't take the time of ordinary ones.
    """
    if not pairs:
        return []
    pool = shared_pool()
    results = _run(pool, pairs, FIRST_SECONDS)
    late = [i for i, result in enumerate(results) if result == "timeout"]
    late = late[: int(BATCH_SECONDS / SECOND_SECONDS) * pool.workers]
    for i, result in zip(late, _run(pool, [pairs[i] for i in late], SECOND_SECONDS), strict=True):
        results[i] = result
    return results


def _run(pool: Pool, pairs: Sequence[tuple[str, str]], seconds: float) -> list[Result]:
    futures = [pool.submit(gold, answer, seconds) for gold, answer in pairs]
    limit = GRACE_SECONDS + seconds * len(pairs)
    results: list[Result] = []
    for future in futures:
        try:
            results.append(future.result(timeout=limit))
        except TimeoutError:  # the machine, not the answer: the worker itself doesn't respond
            results.append("error")
    return results
