"""What training costs, told before: operations over a stated speed (models/cost.py), bytes of weights and state."""

from __future__ import annotations

from typing import Any

from posttrain.forecast import Expected, answer_tokens, question_tokens
from posttrain.models.cost import (
    loading_seconds,
    sampling_seconds,
    training_bytes,
    training_seconds,
    update_seconds,
    weights_bytes,
)
from posttrain.models.size import Shape
from posttrain.training.config import SHARDED, TrainingConfig, ValidationConfig

METRICS_BYTES = 350  # of one step's line in metrics.jsonl


def training_forecast(
    config: TrainingConfig,
    shape: Shape,
    *,
    steps: int,
    tokens: float,
    batch_tokens: float,
    seconds: float = 0.0,
    length: float = 0.0,
) -> dict[str, Any]:
    """Of `steps` optimizer steps over `tokens` in all and `batch_tokens` in one; `seconds` is what comes on top.

    Disk: model folders. The state for a resume (12 bytes a weight) is gone when the stage is finished.
    """
    every, keep = config.checkpoints.every, config.checkpoints.keep
    folders = 1 + (min((steps - 1) // every, keep or steps) if every else 0)
    again = 4 / 3 if config.gradient_checkpointing else 1.0  # the forward pass once more
    trained = shape.adapters(config.lora.rank) if config.lora is not None else shape.parameters
    working = again * training_seconds(shape, tokens, config.dtype) + update_seconds(trained) * steps
    folder = weights_bytes(shape) if config.lora is None or config.lora.merge else 4.0 * trained + 1e5
    return {
        "seconds": loading_seconds(shape) + working / config.launch.world + seconds,
        "memory_bytes": memory_bytes(config, shape, min(config.token_budget, batch_tokens), length),
        "disk_bytes": folders * folder + METRICS_BYTES * steps,
        "dollars": 0.0,
        "makes": {"shape": shape},
    }


def memory_bytes(config: TrainingConfig, shape: Shape, tokens: float, length: float = 0.0) -> float:
    """Peak of one process: method, precision and what several ranks share are in it. length: of a sequence."""
    state = {"adamw": 12.0, "adamw_8bit": 6.0, "adafactor": 4.0, "sgd": 4.0}[config.optimizer.name]
    share = config.launch.world
    whole = share == 1 or config.launch.strategy == "ddp"
    weight = {"nf4": 0.52, "int8": 1.01, None: 4.0}[config.quantize]
    lora = config.lora
    return training_bytes(
        shape,
        tokens,
        config.dtype,
        trained=shape.adapters(lora.rank) / (1 if whole else share) if lora is not None else None,
        weight_bytes=weight / share if config.launch.strategy in SHARDED and share > 1 else weight,
        state_bytes=state if whole else state / share,
        recompute=config.gradient_checkpointing,
        length=length,
    )


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
