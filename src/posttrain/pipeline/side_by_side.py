"""Independent stages side by side: one process per stage, one stage per device at a time, a log file for each.

A stage whose work can be parted gets its share of the free devices, and a process on each of them makes parts for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from posttrain.errors import error_named
from posttrain.pipeline.devices import Device, environment_of
from posttrain.pipeline.graph import Node
from posttrain.pipeline.jobs import job_of
from posttrain.pipeline.make import Again, Made
from posttrain.pipeline.order import Order
from posttrain.pipeline.panes import Panes
from posttrain.pipeline.parts import described, shard_log
from posttrain.pipeline.worker import outcome_path

POLL = 0.02  # seconds between looks at the processes
GRACE = 10.0  # seconds between asking a process to stop and killing it


@dataclass
class _Job:
    node: Node
    devices: list[Device]
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
    panes: Panes,
) -> None:
    """Runs every node as soon as it is `ready` and a device is free; `panes` show what the processes say.

    lock: the run's lock descriptor, inherited by the processes, so that the run stays locked while any of them lives.
    When a stage fails, nothing new is started, those that run may finish, and the first failure is raised.
    An interrupt stops all of them.
    """
    waiting, free, running = list(nodes), list(devices), list[_Job]()
    failures: list[tuple[Node, BaseException]] = []
    logs.mkdir(exist_ok=True)
    try:
        while running or (waiting and not failures):
            able = [n for n in waiting if ready(n)] if not failures else []
            for rank, node in enumerate(able):
                if not free:
                    break
                waiting.remove(node)
                given = [free.pop(0) for _ in range(_share_of(node, len(free), len(able) - rank))]
                for name, log in _logs(node, len(given), logs).items():
                    panes.follow(name, log)
                job = _start(node, given, order(node), again(node), lock, logs)
                running.append(job)
                panes.say(f"{node.name} … on {', '.join(d.name for d in given)}, log {job.log}")
            time.sleep(POLL)
            panes.look()
            for job in [j for j in running if j.process.poll() is not None]:
                running.remove(job)
                free.extend(job.devices)
                for name in _logs(job.node, len(job.devices), logs):
                    panes.drop(name)
                result = _result(job)
                if isinstance(result, Made):
                    done(job.node, result)
                else:
                    panes.say(f"{job.node.name} failed, log {job.log}")
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


def _logs(node: Node, devices: int, logs: Path) -> dict[str, Path]:
    """By what people call them: the stage's own, and those of the processes that make its parts."""
    own = logs / f"{node.name}.log"
    parts = {f"{node.name}/{k}": shard_log(own, k) for k in range(1, devices + 1)} if devices > 1 else {}
    return {node.name: own, **parts}


def _share_of(node: Node, free: int, able: int) -> int:
    """How many of the free devices a stage gets when `able` stages could start now."""
    return max(1, free // able) if node.spec.parts is not None else 1


def _start(node: Node, devices: list[Device], order: Order, again: Again, lock: int, logs: Path) -> _Job:
    log = logs / f"{node.name}.log"
    outcome_path(log).unlink(missing_ok=True)
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "posttrain.pipeline.worker", str(log)],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            env=environment_of(devices[0]),
            pass_fds=[lock],
        )
    assert process.stdin is not None
    job = {**job_of(order, devices[0].kind, again), "devices": described(devices)}
    _send(process.stdin, json.dumps(job).encode())
    return _Job(node, devices, order, process, log, time.monotonic())


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
        return error_named(told["error"], told["message"])
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
