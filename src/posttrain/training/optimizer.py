"""Optimizers by name and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from posttrain.models.quantise import bitsandbytes
from posttrain.training.config import OptimizerConfig

if TYPE_CHECKING:
    from torch import nn


def make_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer over the trainable parameters. Norm gains and biases (one axis) are not decayed.

    MissingExtraError for adamw_8bit without bitsandbytes.
    """
    trainable = [p for p in parameters if p.requires_grad]
    decayed: dict[str, Any] = {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay}
    plain: dict[str, Any] = {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0}
    groups = [g for g in (decayed, plain) if g["params"]]
    if config.name == "adamw_8bit":
        # Moments of tensors below 4096 numbers stay in 32 bits: bitsandbytes' own default, and they weigh nothing.
        eight: torch.optim.Optimizer = bitsandbytes().optim.AdamW8bit(
            groups, lr=config.lr, betas=config.betas, eps=config.eps
        )
        return eight
    if config.name == "adafactor":
        return torch.optim.Adafactor(groups, lr=config.lr)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: linear warm-up from lr/w, then the schedule to final·lr.

    wsd (MiniCPM, arXiv 2404.06395, section 4): lr after the warm-up, and linearly down in the last share `decay`.
    """
    warm = round(config.warmup * steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    if config.schedule == "constant":
        return config.lr
    begin = max(warm, steps - max(1, round(config.decay * steps))) if config.schedule == "wsd" else warm
    progress = min(1.0, max(0, step - begin) / max(1, steps - 1 - begin))
    shape = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1 - progress
    return config.lr * (config.final + (1 - config.final) * shape)
