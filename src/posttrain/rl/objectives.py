"""Per-token objectives: pure functions from log-probabilities and advantages to losses and their metrics.

All tensors are flat over the supervised tokens of a micro-batch, [n] float32; aggregation is somebody else's work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tokens:
    """logprobs carry gradient; old are those at the start of the update batch; the rest are constants."""

    logprobs: Tensor
    old: Tensor
    advantages: Tensor


def ppo_clip(t: Tokens, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
    """−min(r·A, clip(r, 1−ε_low, 1+ε_high)·A) per token, and which tokens the clip silences.

    r = exp(logπ − logπ_old). PPO (arXiv 1707.06347), as in GRPO (arXiv 2402.03300); ε_high > ε_low is DAPO's
    clip-higher (arXiv 2503.14476).
    """
    ratio = torch.exp(t.logprobs - t.old)
    free = ratio * t.advantages
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high) * t.advantages
    return -torch.minimum(free, bounded), (bounded < free).detach()


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """e^{−Δ} + Δ − 1 with Δ = logπ − logπ_ref: unbiased for KL(π‖π_ref) under π, and never negative."""
    delta = logprobs - reference
    return torch.exp(-delta) + delta - 1
