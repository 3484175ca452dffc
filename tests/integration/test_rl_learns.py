"""Reinforcement learning learns from its reward, and from nothing else: not from chance.

A model of 190,000 weights learns level 1 of the synthetic task from scratch until it solves about half of it; then RL
goes on from the same checkpoint with the true reward and, in its place, with a coin.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posttrain.evals import Answers, compare, read_answers
from posttrain.pipeline import run_stage
from posttrain.store import Artifact, Scores

MODEL = {"hidden": 64, "layers": 3, "heads": 4, "vocabulary": 512, "context": 192}
RL = {
    "steps": 40,
    "prompts": 16,
    "group": 8,
    "max_tokens": 48,
    "keep_rollouts": 0,
    "optimizer": {"lr": 6e-4, "warmup": 0.05},
}
COIN = """
import random

_draw = random.Random(7)


def coin(**columns):
    return [float(_draw.random() < 0.5) for _ in columns["completions"]]
"""


@dataclasses.dataclass(frozen=True)
class Start:
    """Artifacts that every test starts from."""

    folder: Path
    problems: Artifact
    sft: Artifact


def stage(name: str, folder: Path, config: dict[str, Any], **inputs: Any) -> Artifact:
    return run_stage(name, config, inputs, folder, seed=1, device="cpu", quiet=True)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    folder = tmp_path_factory.mktemp("learns")
    none = {"validation": 0, "test": 0}
    corpus = stage("data", folder / "corpus", {"dataset": "synthetic-text", "train": 8000, **none, "levels": [1]})
    amounts = {"train": 4000, "validation": 0, "test": 500}
    problems = stage("data", folder / "problems", {"dataset": "synthetic", **amounts, "levels": [1]})
    traces = stage("traces", folder / "traces", {"limit": 1500}, problems=problems)
    quick = {"lr": 6e-3, "warmup": 0.05}
    amounts = {"steps": 300, "batch_size": 8, "block": 128}
    base = stage("pretrain", folder / "base", {"model": MODEL, **amounts, "optimizer": quick}, corpus=corpus)
    slow = {"lr": 4e-3, "warmup": 0.05, "schedule": "linear", "final": 0.2}
    amounts = {"steps": 280, "batch_size": 16}
    sft = stage("sft", folder / "sft", {**amounts, "optimizer": slow}, model=base, traces=traces)
    return Start(folder, problems, sft)


def answers(start: Start, *models: Artifact) -> dict[str, Answers]:
    """Greedy answers to the 500 test problems, by model."""
    name = "-".join(["scores", *(m.label for m in models)])
    config = {"temperature": 0, "max_tokens": 48}
    scores = stage("eval", start.folder / name, config, models=list(models), problems=start.problems)
    assert isinstance(scores, Scores)
    return {a.model: a for a in read_answers([scores])}


def steps_of(model: Artifact) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (model.path / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "reward" in row]


def test_a_random_reward_teaches_nothing(start: Start) -> None:
    (start.folder / "coin.py").write_text(COIN)
    reward = {"correct": 0, "function": f"{start.folder / 'coin.py'}:coin"}
    tossed = stage("rl", start.folder / "tossed", {**RL, "reward": reward}, model=start.sft, problems=start.problems)
    found = answers(start, start.sft, tossed)
    assert 0.25 <= found["sft"].entry["accuracy"] <= 0.65, "the start leaves room to gain and to lose"
    assert steps_of(tossed)[0]["effective_groups"] == 1, "the coin does move the weights"
    outcome = compare(found["sft"], found["tossed"]).paired
    assert not (outcome.difference > 0 and outcome.p < 0.01), outcome


def test_the_true_reward_rises_on_policy(start: Start) -> None:
    true = stage("rl", start.folder / "true", RL, model=start.sft, problems=start.problems)
    rows = steps_of(true)
    rewards = [row["reward"] for row in rows]
    early, late = np.mean(rewards[:10]), np.mean(rewards[-10:])
    assert late > early, f"{early:.3f} → {late:.3f}"
    assert {row["ratio_off"] for row in rows if "ratio_off" in row} == {0.0}, "one update per batch: the ratio is 1"
    assert max(row["mismatch"] for row in rows if "mismatch" in row) < 1e-4, "the sampler's log-probabilities are ours"


def test_learning_rate_zero_leaves_every_weight_as_it_was(start: Start) -> None:
    frozen = {**RL, "steps": 2, "optimizer": {"lr": 0.0}}
    still = stage("rl", start.folder / "still", frozen, model=start.sft, problems=start.problems)
    weights = Path("model") / "model.safetensors"
    assert (still.path / weights).read_bytes() == (start.sft.path / weights).read_bytes()
