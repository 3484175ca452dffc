"""What supervised training costs, told before."""

from __future__ import annotations

from typing import Any

from posttrain.forecast import shape_behind
from posttrain.models.size import tiny_shape
from posttrain.sft.config import PretrainConfig, SFTConfig
from posttrain.training.forecast import training_forecast, unknown, validation_seconds

TOKENIZER_SECONDS = 3.0  # to train a tokenizer on some megabytes of text and to encode them


def pretrain_forecast(config: PretrainConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Blocks of fixed length: the tokens are known exactly."""
    batch = config.batch_size * config.block
    return training_forecast(
        config,
        tiny_shape(config.model),
        steps=config.steps,
        tokens=config.steps * batch,
        batch_tokens=batch,
        seconds=TOKENIZER_SECONDS,
        length=config.block,
    )


def sft_forecast(config: SFTConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Steps (or epochs) over examples of the traces' mean length."""
    shape, traces = shape_behind(inputs["model"]), inputs["traces"].facts
    rows, each = traces.get("rows"), traces.get("tokens")
    if shape is None or rows is None or each is None:
        return unknown(shape)
    steps = config.steps or -(-round(rows * (config.epochs or 1)) // config.batch_size)
    batch = config.batch_size * min(each, config.max_tokens)
    watching = validation_seconds(config.validation, shape, steps, inputs.get("problems"))
    return training_forecast(
        config, shape, steps=steps, tokens=steps * batch, batch_tokens=batch, seconds=watching, length=each
    )
