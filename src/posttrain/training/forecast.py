"""What training costs, told before: operations over a stated speed (models/cost.py), bytes of weights and state."""

from __future__ import annotations

from typing import Any

from posttrain.forecast import Expected, answer_tokens, question_tokens
from posttrain.models.cost import (
    loading_seconds,
    sampling_seconds,
    training_bytes,
    training_seconds,
    weights_bytes,
)
from posttrain.models.size import Shape
from posttrain.training.config import TrainingConfig, ValidationConfig

METRICS_BYTES = 350  # of one step's line in metrics.jsonl


def training_forecast(
    config: TrainingConfig, shape: Shape, *, steps: int, tokens: float, batch_tokens: float, seconds: float = 0.0
) -> dict[str, Any]:
    """Of `steps` optimizer steps over `tokens` in all and `batch_tokens` in one; `seconds` is what comes on top.

    Disk: model folders. The state for a resume (12 bytes a weight) is gone when the stage is finished.
    """
    every, keep = config.checkpoints.every, config.checkpoints.keep
    folders = 1 + (min((steps - 1) // every, keep or steps) if every else 0)
    return {
        "seconds": loading_seconds(shape) + training_seconds(shape, tokens, config.dtype) + seconds,
        "memory_bytes": training_bytes(shape, min(config.token_budget, batch_tokens), config.dtype),
        "disk_bytes": folders * weights_bytes(shape) + METRICS_BYTES * steps,
        "dollars": 0.0,
        "makes": {"shape": shape},
    }


def validation_seconds(config: ValidationConfig, shape: Shape, steps: int, problems: Expected | None) -> float:
    """Greedy answers before the first step, after every `every` steps and after the last."""
    if not config.every or problems is None:
        return 0.0
    times = 1 + -(-steps // config.every)
    asked = min(config.problems, problems.facts.get("validation", config.problems))
    each = question_tokens(problems.facts) + answer_tokens(problems.facts, config.max_tokens)
    return times * sampling_seconds(shape, asked * each)


def unknown(shape: Shape | None) -> dict[str, Any]:
    """Where an input's size can't be known: no numbers, but the shape where that is."""
    return {"dollars": 0.0, "makes": {"shape": shape} if shape is not None else {}}
