"""Parts of a stage's work, made in a workspace of their own, and the processes that share them among devices: each
takes the next part when it has finished one.

    → {"part": "parts/base/gsm8k/00000512.jsonl"}      ← {"done": "parts/base/gsm8k/00000512.jsonl"}
                                                       ← {"failed": "why", "kind": "ModelError"}

One JSON object a line, after a first one that says what the stage is.
"""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from posttrain.errors import EngineError, PosttrainError, error_named
from posttrain.pipeline.devices import Device, environment_of
from posttrain.pipeline.jobs import job_of
from posttrain.pipeline.order import Order
from posttrain.stage import Workspace
from posttrain.talk import Helper, Line

MODULE = "posttrain.pipeline.shard"
SHARDS = "shards"  # below a stage's state: the workspaces of those that make its parts


def make_parts(
    order: Order, names: Iterable[str], scratch: Path, *, device: str, quiet: bool = False
) -> Iterator[tuple[str, Path]]:
    """Makes parts of an order in the workspace `scratch`; yields each name with its file as soon as that is whole."""
    parts = order.spec.parts
    assert parts is not None, f"{order.spec.name} can't be parted"
    work = Workspace(scratch, seed=order.seed, device=device, quiet=quiet)
    with (
        work.metrics,
        work.closing,
        contextlib.closing(parts.make(order.config, order.inputs, work, names)) as made,
    ):
        for name in made:
            yield name, work.state / name


def shard_log(log: Path, number: int) -> Path:
    """The log of a stage's process `number` (from 1), beside the stage's own."""
    return log.with_name(f"{log.stem}.shard-{number}.log")


def share_among(
    devices: Sequence[Device], log: Path, order: Order, work: Workspace, names: Sequence[str], lock: int
) -> None:
    """Has the parts made by a process on each device, and moves them into `work.state`.

    log: the stage's; each process has one of its own beside it. lock: the stage's folder stays locked as long as any of
    them lives. When one fails, the others stop; what is finished is kept. The error of a part is raised as it was; an
    EngineError tells of a process that died.
    """
    waiting = list(reversed(names))
    said: queue.SimpleQueue[tuple[Helper, Line | None]] = queue.SimpleQueue()
    busy: dict[Helper, tuple[str, Path]] = {}
    helpers: list[Helper] = []
    if len(names) < len(devices):
        work.note(f"{len(names)} parts for {len(devices)} devices: the others stay idle. A smaller block makes more.")

    def hand_out(helper: Helper, scratch: Path) -> None:
        name = waiting.pop()
        _bring(work.state, name, scratch)
        busy[helper] = name, scratch
        helper.tell({"part": name})

    try:
        for number, device in enumerate(devices[: len(names)], 1):
            helper = Helper(MODULE, said, log=shard_log(log, number), environment=environment_of(device), keep=[lock])
            helpers.append(helper)
            scratch = work.state / SHARDS / str(number)
            helper.tell({**job_of(order, device.kind, "never"), "scratch": str(scratch.resolve())})
            hand_out(helper, scratch)
        with work.progress(len(names), order.label or order.directory.name, "parts") as bar:
            while busy:
                helper, line = said.get()
                if helper not in busy:
                    continue  # it had nothing to do any more
                name, scratch = busy.pop(helper)
                if line is None or "failed" in line:
                    raise _failure(helper, name, line)
                take_over(scratch / ".work" / name, work.state / name)
                bar.update(1)
                if waiting:
                    hand_out(helper, scratch)
    finally:
        for helper in helpers:
            helper.process.terminate()  # all at once, and then wait for each
        for helper in helpers:
            helper.stop()


def take_over(made: Path, place: Path) -> None:
    """A part becomes one of the stage's: a rename, so that it is there whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(made, place)


def _bring(state: Path, name: str, scratch: Path) -> None:
    """What an interrupted process began of a part goes to the one that makes it now."""
    for begun in state.glob(f"{SHARDS}/*/.work/{name}"):
        take_over(begun, scratch / ".work" / name)


def _failure(helper: Helper, name: str, line: Line | None) -> PosttrainError:
    if line is not None:
        return error_named(line["kind"], line["failed"])
    code, tail = helper.last_words()
    return EngineError(
        f"the process that made {name} ended with {code}; what others finished is kept, so mend it and run again. "
        f"It said last:\n{tail}"
    )


def described(devices: Sequence[Device]) -> list[dict[str, Any]]:
    """Devices as JSON-able values; `Device(**…)` reads them back."""
    return [{"name": d.name, "kind": d.kind, "visible": d.visible} for d in devices]
