"""The process that does symbolic comparisons: it forks one short-lived child per job.

It is started by `pool.Pool` as a program of its own, so it has no threads and none of the trainer's memory, and has
imported SymPy before the first fork. A child lives under a memory limit and an alarm with the kernel's default action,
so that no code of its own, in Python or C, has to cooperate in being stopped.

Protocol, JSON lines: {"id", "gold", "answer", "limit": [processor, clock]} in, {"id", "result"} out, where result is
true, false, null (undecided), "timeout" or "error". The end of the input ends the process and its children.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import sys
from typing import Any

MEMORY_BYTES = 1 << 29
_CODES: dict[int, bool | str | None] = {10: True, 11: False, 12: None, 13: "timeout"}


def child(job: dict[str, Any]) -> int:
    """Compares in this process and returns the exit code."""
    from posttrain.grading import mathematics, symbolic
    from posttrain.grading.structures import OutOfTimeError

    processor, clock = job["limit"]
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.setitimer(signal.ITIMER_REAL, clock)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        verdict = mathematics.same(job["gold"], job["answer"], seconds=clock, last_resort=symbolic.same_value)
    except OutOfTimeError:
        return 13
    return {True: 10, False: 11, None: 12}[verdict]


def _start(job: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 14
    try:
        devnull = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(devnull, stream)
        code = child(job)
    finally:  # whatever happens, a child must not go on as a second parent; any error is exit code 14
        os._exit(code)


def _result(status: int) -> bool | str | None:
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGPROF) else "error"
    return _CODES.get(os.WEXITSTATUS(status), "error")


def _warm_up() -> None:
    """SymPy's modules and caches, filled before the first fork: children inherit them."""
    from posttrain.grading import mathematics, symbolic

    for gold, answer in (("1", r"\sum_{k=1}^{\infty} \frac{1}{2^k}"), (r"\frac{n^2+n}{2}", r"\sum_{k=1}^{n} k")):
        mathematics.same(gold, answer, seconds=10, last_resort=symbolic.same_value)


def main(workers: int) -> None:
    """Serves until its input ends."""
    _warm_up()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting: list[dict[str, Any]] = []
    running: dict[int, int] = {}
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(reader, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                chunk = os.read(key.fd, 65_536)
                if key.fd == 0:
                    if not chunk:
                        for pid in running:
                            os.kill(pid, signal.SIGKILL)
                        return
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    waiting.extend(map(json.loads, lines))
            _reap(running)
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                running[_start(job)] = job["id"]


def _reap(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        line = json.dumps({"id": running.pop(pid), "result": _result(status)})
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
