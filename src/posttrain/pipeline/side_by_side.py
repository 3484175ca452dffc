"""Independent stages side by side: one process per stage, one stage per device at a time, a log file for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import posttrain.errors
from posttrain.errors import PosttrainError
from posttrain.pipeline.devices import Device
from posttrain.pipeline.graph import Node
from posttrain.pipeline.make import Again, Made
from posttrain.pipeline.order import Order
from posttrain.pipeline.worker import job_of, outcome_path

POLL = 0.02  # seconds between looks at the processes
GRACE = 5.0  # seconds between asking a process to stop and killing it


@dataclass
class _Job:
    node: Node
    device: Device
    order: Order
    process: subprocess.Popen[bytes]
    log: Path
    started: float


def run_side_by_side(
    nodes: Sequence[Node],
    devices: Sequence[Device],
    *,
    lock: int,
    logs: Path,
    order: Callable[[Node], Order],
    again: Callable[[Node], Again],
    ready: Callable[[Node], bool],
    done: Callable[[Node, Made], None],
    say: Callable[[str], None],
) -> None:
    """Runs every node as soon as it is `ready` and a device is free.

    lock: the run's lock descriptor, inherited by the processes, so that the run stays locked while any of them lives.
    When a stage fails, nothing new is started, those that run may finish, and the first failure is raised.
    An interrupt stops all of them.
    """
    waiting, free, running = list(nodes), list(devices), list[_Job]()
    failures: list[tuple[Node, BaseException]] = []
    logs.mkdir(exist_ok=True)
    try:
        while running or (waiting and not failures):
            for node in [n for n in waiting if ready(n)] if not failures else []:
                if not free:
                    break
                waiting.remove(node)
                job = _start(node, free.pop(0), order(node), again(node), lock, logs)
                running.append(job)
                say(f"{node.name} … on {job.device.name}, log {job.log}")
            time.sleep(POLL)
            for job in [j for j in running if j.process.poll() is not None]:
                running.remove(job)
                free.append(job.device)
                result = _result(job)
                if isinstance(result, Made):
                    done(job.node, result)
                else:
                    say(f"{job.node.name} failed, log {job.log}")
                    failures.append((job.node, result))
    finally:
        _stop([job.process for job in running])
    if failures:
        node, error = failures[0]
        others = ", ".join(n.name for n, _ in failures[1:])
        error.add_note(
            f"in stage '{node.name}', log {logs / node.name}.log" + (f"; also failed: {others}" if others else "")
        )
        raise error


def _start(node: Node, device: Device, order: Order, again: Again, lock: int, logs: Path) -> _Job:
    environment = dict(os.environ)
    if device.visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device.visible
    log = logs / f"{node.name}.log"
    outcome_path(log).unlink(missing_ok=True)
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "posttrain.pipeline.worker", str(log)],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            env=environment,
            pass_fds=[lock],
        )
    assert process.stdin is not None
    _send(process.stdin, json.dumps(job_of(order, device.kind, again)).encode())
    return _Job(node, device, order, process, log, time.monotonic())


def _send(pipe: IO[bytes], data: bytes) -> None:
    try:
        with pipe:
            pipe.write(data)
    except BrokenPipeError:
        pass  # it died at once: its exit status and log tell why


def _result(job: _Job) -> Made | BaseException:
    path = outcome_path(job.log)
    if not path.exists():
        tail = "\n".join(job.log.read_text(errors="replace").splitlines()[-20:])
        return RuntimeError(f"the process of stage '{job.node.name}' ended with {job.process.returncode}:\n{tail}")
    told = json.loads(path.read_text())
    path.unlink()
    if "error" in told:
        kind = getattr(posttrain.errors, told["error"], PosttrainError)
        error: PosttrainError = kind(told["message"])
        return error
    aside = Path(told["aside"]) if told["aside"] else None
    return Made(job.order.artifact, told["outcome"], time.monotonic() - job.started, told["summary"], aside)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
