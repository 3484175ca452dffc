"""Several devices share a sweep: one process each, with an engine of its own that it keeps warm; each takes the next
checkpoint when it has finished one.

    → {"point": {...}}      ← {"done": "step-000050"}
    → {"end": true}         ← {"failed": "why", "kind": "ModelError"}

One JSON object a line, after a first one that says what is asked (`job_of`).
"""

from __future__ import annotations

import dataclasses
import os
import queue
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from posttrain.errors import EngineError, PosttrainError, error_named
from posttrain.evals.external.devices import devices
from posttrain.evals.sweep.answering import Digest, read_point
from posttrain.evals.sweep.config import SweepConfig
from posttrain.evals.sweep.points import Point
from posttrain.stage import Workspace
from posttrain.store import Problems
from posttrain.store.artifacts import packed
from posttrain.talk import Helper

Device = tuple[str, str | None]  # (kind, CUDA_VISIBLE_DEVICES)
WORKER = "posttrain.evals.sweep.worker"


def shards_for(config: SweepConfig, device: str, points: int) -> list[Device]:
    """The devices that share `points` checkpoints. One means: this process itself.

    Every GPU that this process may see is one, unless vLLM's own replicas take them. Without GPUs there is one shard,
    or as many as `shards` says, on the processor.
    """
    found = devices(device)
    several = config.engine == "vllm" and config.vllm.replicas * config.vllm.tensor_parallel > 1
    count = config.shards or (1 if several or found[0][0] == "cpu" else len(found))
    return [found[i % len(found)] for i in range(min(count, points))]


def answer_in_shards(
    config: SweepConfig, walk: Sequence[Point], work: Workspace, problems: Problems | None, shards: Sequence[Device]
) -> Iterator[tuple[Point, Digest]]:
    """Every checkpoint once, as a process finishes it. When one fails, the others stop, and what is finished is
    kept."""
    waiting, running = list(reversed(walk)), 0
    results: queue.SimpleQueue[tuple[Helper, dict[str, Any] | None]] = queue.SimpleQueue()
    job = job_of(config, work, problems)
    folder = work.state / "shards"
    folder.mkdir(exist_ok=True)
    processes: list[_Shard] = []
    try:
        for number, device in enumerate(shards):
            processes.append(_Shard(job, device, folder / f"{number}.log", results))
            processes[-1].take(waiting.pop())
            running += 1
        while running:
            shard, told = results.get()
            assert isinstance(shard, _Shard)
            point, shard.point = shard.point, None
            if point is None:
                continue  # it had nothing to do any more
            if told is None or "failed" in told:
                raise _failure(shard, point, told)
            running -= 1
            if waiting:
                shard.take(waiting.pop())
                running += 1
            digest = read_point(work, point)
            assert digest is not None, f"{point.label} was said to be finished and is not"
            yield point, digest
    finally:
        for process in processes:
            process.stop()


def job_of(config: SweepConfig, work: Workspace, problems: Problems | None) -> dict[str, Any]:
    """The first line that a process is told, all but its device."""
    return {
        "config": config.model_dump(mode="json", exclude_unset=True),
        "problems": packed(problems) if problems is not None else None,
        "directory": str(work.dir.resolve()),
        "seed": work.seed,
    }


class _Shard(Helper):
    """A process and the checkpoint that it works on."""

    def __init__(
        self,
        job: dict[str, Any],
        device: Device,
        log: Path,
        results: queue.SimpleQueue[tuple[Helper, dict[str, Any] | None]],
    ) -> None:
        kind, visible = device
        environment = dict(os.environ) if visible is None else {**os.environ, "CUDA_VISIBLE_DEVICES": visible}
        log.unlink(missing_ok=True)
        super().__init__(WORKER, results, log=log, environment=environment)
        self.point: Point | None = None
        self.tell({**job, "device": kind})

    def take(self, point: Point) -> None:
        """The process works on this one next."""
        self.point = point
        self.tell({"point": dataclasses.asdict(point)})


def _failure(shard: _Shard, point: Point, told: dict[str, Any] | None) -> PosttrainError:
    if told is not None:
        return error_named(told["kind"], told["failed"])
    code, tail = shard.last_words()
    return EngineError(
        f"the process that answered {point.label} ended with {code}; what other checkpoints finished is kept, so "
        f"mend it and run again. It said last:\n{tail}"
    )
