"""Reinforcement learning and evaluation with the real vLLM server as their sampler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from posttrain.engines.vllm import VLLMConfig
from posttrain.engines.vllm.server import find_environment
from posttrain.errors import EngineError
from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer
from posttrain.pipeline import run_stage
from posttrain.store import Checkpoint, Samples, Scores

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

EAGER = {"extra_args": ["--enforce-eager"]}  # no compilation: a start costs half
COIN = """
import random

_draw = random.Random(7)


def coin(**columns):
    return [float(_draw.random() < 0.5) for _ in columns["completions"]]
"""


def test_three_steps_of_grpo_sample_the_weights_of_each_step_and_the_result_answers_as_natively(tmp_path: Path) -> None:
    try:
        find_environment(VLLMConfig())
    except EngineError as error:
        pytest.skip(str(error))
    tokenizer = train_tokenizer(["one and one is two. " * 4], 300)
    model = tiny_model(tokenizer, TinyConfig(hidden=64, layers=2, heads=2, context=192), seed=0)
    save_model(model, tokenizer, tmp_path / "base")
    (tmp_path / "coin.py").write_text(COIN, encoding="utf-8")
    amounts = {"train": 32, "validation": 0, "test": 0}
    problems = run_stage(
        "data", {"dataset": "synthetic", **amounts, "levels": [1]}, {}, tmp_path / "problems", seed=1, quiet=True
    )
    config = {
        "steps": 3,
        "prompts": 4,
        "group": 4,
        "max_tokens": 16,
        "optimizer": {"lr": 3e-3},
        "reward": {"correct": 0.0, "function": f"{tmp_path / 'coin.py'}:coin"},
        "engine": "vllm",
        "vllm": {**EAGER, "sleep": True},
    }
    inputs = {"model": Checkpoint(tmp_path / "base"), "problems": problems}
    trained = run_stage("rl", config, inputs, tmp_path / "policy", seed=1, device="cpu", quiet=True)
    lines = json.loads((trained.path / "certificate.json").read_text())
    served = lines["the sampler serves the trained weights"]
    assert served["ok"]
    assert (served["updates"], served["failed"], served["by"]) == (3, 0, {"start": 1, "endpoint": 3})
    assert served["max"] <= 1e-4 < served["moved"]
    rows = [json.loads(line) for line in (trained.path / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "mismatch" in row]
    assert len(steps) == 3
    assert all(row["mismatch"] < 1e-4 for row in steps)

    answers = {}
    for engine in ("native", "vllm"):
        asked = {"split": "train", "limit": 8, "temperature": 0, "max_tokens": 24, "engine": engine, "vllm": EAGER}
        inputs = {"models": [trained], "problems": problems}
        scores = run_stage("eval", asked, inputs, tmp_path / engine, seed=1, device="cpu", quiet=True)
        assert isinstance(scores, Scores)
        (entry,) = scores.read()["entries"]
        samples = Samples(scores.path / entry["folder"]).read()
        answers[engine] = {s.key: (s.token_ids, s.finish_reason, s.verdict) for s in samples}
    assert len(answers["native"]) == 8
    assert answers["vllm"] == answers["native"]
