"""What the preference stages cost, told before."""

from __future__ import annotations

from typing import Any

from posttrain.forecast import answer_tokens, question_tokens, shape_behind
from posttrain.models.cost import RUNTIME_BYTES, STARTUP, loading_seconds, sampling_seconds, weights_bytes
from posttrain.preference.config import DPOConfig, PairsConfig, SampleConfig
from posttrain.training.forecast import training_forecast, unknown

KEPT = 0.5  # share of answers that are correct, and of problems that give a pair, where nothing is known of them


def sample_forecast(config: SampleConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Answers sampled token by token; a stored one is about 2.5 bytes a token."""
    shape, told = shape_behind(inputs["model"]), inputs["problems"].facts
    rows = told.get(config.split)
    if shape is None or rows is None:
        return {"dollars": 0.0, "makes": {}}
    rows = min(rows, config.limit or rows)
    question, answer = question_tokens(told), answer_tokens(told, config.max_tokens)
    kept = config.n * rows * (KEPT if config.keep == "correct" else 1)
    return {
        "seconds": loading_seconds(shape) + sampling_seconds(shape, rows * (question + config.n * answer)),
        "memory_bytes": RUNTIME_BYTES + 2 * weights_bytes(shape),
        "disk_bytes": 1e4 + 2.5 * kept * (question + answer),
        "dollars": 0.0,
        "makes": {"rows": round(kept), "tokens": question + answer},
    }


def pairs_forecast(config: PairsConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Sorting: a tenth of a millisecond a sample."""
    told = [expected.facts for expected in inputs["samples"]]
    rows = sum(facts.get("rows") or 0 for facts in told)
    if not rows:
        return {"dollars": 0.0, "makes": {}}
    tokens = next((facts["tokens"] for facts in told if facts.get("tokens")), None)
    return {
        "seconds": STARTUP + 1e-4 * rows,
        "memory_bytes": RUNTIME_BYTES + 4000 * rows,
        "disk_bytes": 1e4 + 250 * rows,
        "dollars": 0.0,
        "makes": {"rows": round(KEPT * rows), **({"tokens": tokens} if tokens else {})},
    }


def dpo_forecast(config: DPOConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Steps over pairs, two sequences each, and one forward pass of every pair for the reference."""
    shape, told = shape_behind(inputs["model"]), inputs["pairs"].facts
    rows, each = told.get("rows"), told.get("tokens")
    if shape is None or rows is None or each is None:
        return unknown(shape)
    count = max(1, rows // 2)
    steps = config.steps or -(-round(count * (config.epochs or 1)) // config.batch_size)
    batch = 2 * config.batch_size * min(each, config.max_tokens)
    tokens = steps * batch + 2 * count * each / 3
    return training_forecast(config, shape, steps=steps, tokens=tokens, batch_tokens=batch)
