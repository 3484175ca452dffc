"""Estimates of KL(π‖π_ref) per token, Δ = logπ − logπ_ref (Schulman, "Approximating KL divergence")."""

from __future__ import annotations

import torch
from torch import Tensor

from posttrain.errors import TrainingError


def kl_estimate(kind: str, logprobs: Tensor, reference: Tensor) -> Tensor:
    """[n] from [n] log-probabilities.

    k1  Δ               unbiased, any sign; as a loss its expected gradient is 0, so it belongs in the reward
    k2  Δ²/2            its gradient is that of the KL, on-policy
    k3  e^(−Δ) + Δ − 1  unbiased and never negative (GRPO's)
    """
    delta = logprobs - reference
    if kind == "k1":
        return delta
    if kind == "k2":
        return 0.5 * delta.square()
    if kind == "k3":
        return torch.exp(-delta) + delta - 1
    raise TrainingError(f"KL estimate {kind!r} is unknown. Use k1, k2 or k3.")
