"""Training with validation beside it, killed from outside: the trainer alone, and both at once. The end is the same."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.kill import finish, killpg
from tests.kill_stages import results, timeless
from tests.warm import Warm

from posttrain.tracking import Metrics
from posttrain.training.beside.weights import HOME, open_shelf

RECIPE = """
name: beside
seed: 3
stages:
  problems: {stage: data, dataset: synthetic, train: 60, validation: 6, test: 4, levels: [1]}
  traces: {stage: traces, problems: problems}
  base:
    stage: pretrain
    corpus: problems
    model: {hidden: 16, layers: 1, heads: 2, vocabulary: 300, context: 128}
    steps: 2
    batch_size: 2
    block: 32
  sft:
    stage: sft
    model: base
    traces: traces
    problems: problems
    steps: 400
    batch_size: 4
    save_every: 40
    optimizer: {lr: 1e-2}
    validation: {every: 100, problems: 6, max_tokens: 8, beside: true, device: cpu}
"""
COMMAND = ["run", "beside.yaml", "--quiet"]


def test_a_killed_trainer_ends_as_an_undisturbed_one_with_every_score(tmp_path: Path) -> None:
    (tmp_path / "beside.yaml").write_text(RECIPE)
    calm, rough = (tmp_path / runs / "beside" / "sft" for runs in ("calm", "rough"))
    with Warm(os.environ) as start:
        finish([*COMMAND, "--runs", "calm", "sft.validation.beside=false"], cwd=tmp_path, env=os.environ, start=start)

        again = [*COMMAND, "--runs", "rough"]
        trainer = start(again, tmp_path, os.environ)
        reach(rough, 150)
        os.kill(trainer.pid, signal.SIGKILL)
        assert trainer.wait(60) == -signal.SIGKILL
        memory = open_shelf(rough).memory
        assert memory is not None
        wait_until(lambda: not any(memory.glob("step-*")), "the process beside outlived its trainer")
        kept = {path.name for path in (rough / HOME).glob("step-*")}
        assert answered(rough) or "step-000100" in kept, "what was in memory is on the disk"

        trainer = start(again, tmp_path, os.environ)
        reach(rough, 250)
        killpg(trainer)
        assert trainer.wait(60) == -signal.SIGKILL
        assert answered(rough) or any(memory.glob("step-*")) or any((rough / HOME).glob("step-*"))

        finish(again, cwd=tmp_path, env=os.environ, start=start)
    assert answered(rough) == [0, 100, 200, 300, 400]
    assert results(rough) == results(calm)
    samples = [[timeless(row) for row in Metrics(path / "validation.jsonl").read()] for path in (rough, calm)]
    assert samples[0] == samples[1]
    assert len(samples[0]) == 5 * 6
    assert not (rough / HOME).exists()
    assert not memory.exists()


def answered(stage: Path) -> list[int]:
    return [row["step"] for row in Metrics(stage / "metrics.jsonl").read() if "val_n" in row]


def reach(stage: Path, step: int) -> None:
    wait_until(lambda: any(r["step"] >= step for r in Metrics(stage / "metrics.jsonl").read()), f"no step {step}")


def wait_until(holds: Any, otherwise: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, otherwise
        time.sleep(0.02)
