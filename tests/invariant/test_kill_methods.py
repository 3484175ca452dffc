"""N + M steps are N steps, kill -9, M steps, to the bit: adapters with dropout, quantised weights, 8-bit moments, and
adapters that learn by reinforcement with their base as the reference."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kill import data_digests, finish, killpg
from tests.unit.training.methods import Room
from tests.warm import Warm

from posttrain.store import Manifest

REWARD = Path(__file__).parents[1] / "recipes" / "reward.py"
SFT = ("sft", "batch_size=5")  # of 24 examples: the kill lands inside an epoch
RL = ("rl", "prompts=5", "group=2", "max_tokens=8", f"reward={{correct: 0, function: {REWARD}:variety}}")
METHODS = {
    "lora": (*SFT, "lora={rank: 4, dropout: 0.1}"),
    "qlora": (*SFT, "lora={rank: 64}", "quantize=nf4", "optimizer.name=adamw_8bit"),
    "eight-bit": (*SFT, "optimizer.name=adamw_8bit", "gradient_checkpointing=true", "early_stopping.patience=50"),
    "lora by reinforcement": (*RL, "lora={rank: 4}", "kl=0.05", "optimizer.lr=1e-2"),
}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    made = Room(tmp_path_factory.mktemp("methods"))
    for stage, artifact in (("traces", made.traces), ("data", made.problems)):
        manifest = Manifest(stage, artifact.kind, "finished", "0", {}, {}, {}, 0, "now")
        manifest.seal(artifact.path)
        manifest.write(artifact.path)
    return made


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm(os.environ) as server:
        yield server


@pytest.mark.parametrize("method", METHODS)
def test_a_training_that_was_killed_ends_with_the_bits_of_one_that_was_not(
    room: Room, warm: Warm, method: str, tmp_path: Path
) -> None:
    stage, *settings = METHODS[method]
    learned = f"traces={room.traces.path}" if stage == "sft" else f"problems={room.problems.path}"

    def command(out: Path) -> list[str]:
        fixed = ["steps=16", "save_every=1", "token_budget=128", "checkpoints.every=4", "--quiet"]
        return [stage, f"model={room.base}", learned, *fixed, *settings, f"out={out}"]

    calm, killed = tmp_path / "calm", tmp_path / "killed"
    finish(command(calm), cwd=tmp_path, env=os.environ, start=warm)
    for step in (3, 7):
        process = warm(command(killed), tmp_path, os.environ)
        while not any(p.name >= f"resume-{step:08d}" for p in (killed / ".work").glob("resume-*")):
            time.sleep(0.002)
        killpg(process)
        process.wait()
        process.said()
    finish(command(killed), cwd=tmp_path, env=os.environ, start=warm)
    manifest = Manifest.read(killed)
    assert manifest is not None
    assert manifest.attempts == 3
    assert data_digests(killed) == data_digests(calm)
    shutil.rmtree(killed)
