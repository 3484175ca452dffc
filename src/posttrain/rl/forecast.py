"""What reinforcement learning costs, told before."""

from __future__ import annotations

from typing import Any

from posttrain.forecast import answer_tokens, question_tokens, shape_behind
from posttrain.models.cost import sampler_bytes, sampling_seconds, weights_bytes
from posttrain.rl.config import RLConfig
from posttrain.training.forecast import training_forecast, unknown, validation_seconds

EFFECTIVE = 0.5  # share of groups with a signal: only those are trained on (all, where there is a KL term)
ROLLOUT_BYTES = 8  # of a stored token: its id and its log-probability


def forecast(config: RLConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Rollouts sampled token by token, then one pass forward and backward over those that carry a signal.

    A second look at the old or the reference policy is a forward pass: a third of training. Dynamic sampling draws till
    all groups carry a signal, or its rounds are used up. Below adapters the base is the reference.
    """
    shape, problems = shape_behind(inputs["model"]), inputs["problems"]
    if shape is None:
        return unknown(shape)
    question = question_tokens(problems.facts)
    answer = answer_tokens(problems.facts, config.max_tokens)
    rollouts = config.prompts * config.group
    rounds = min(config.dynamic_sampling.max_rounds, 1 / EFFECTIVE)
    sampled = config.steps * rounds * (config.prompts * question + rollouts * answer)
    trained = config.steps * rollouts * (question + answer)
    in_loss = config.kl > 0 and config.kl_in == "loss"
    again = config.updates > 1 and (config.staleness > 0 or config.dtype != "float32" or config.engine != "native")
    share = 1.0 if in_loss else min(1.0, rounds * EFFECTIVE)
    passes = config.passes * share * (1 + again / 3 + in_loss / 3) + (config.kl > 0 and not in_loss) / 3
    told = training_forecast(
        config,
        shape,
        steps=config.steps,
        tokens=trained * passes,
        batch_tokens=rollouts * (question + answer),
        seconds=sampling_seconds(shape, sampled, config.dtype)
        + validation_seconds(config.validation, shape, config.steps, problems),
    )
    stored = config.steps // config.keep_rollouts if config.keep_rollouts else 0
    cached = min(config.max_batch, rollouts) * (question + answer)
    reference = weights_bytes(shape) if config.kl and config.lora is None else 0.0
    told["memory_bytes"] += sampler_bytes(shape, cached, config.dtype) + reference
    told["disk_bytes"] += stored * rollouts * answer * ROLLOUT_BYTES
    return told
