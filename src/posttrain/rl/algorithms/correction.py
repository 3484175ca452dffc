"""What the sampler's distribution μ differs from the trainer's π_old: measured always, corrected where asked.

w = exp(logπ_old − logμ) per token, or one number per sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["none", "truncate", "mask"]
Level = Literal["token", "sequence", "sequence_mean"]


@dataclass(frozen=True, slots=True)
class Correction:
    """truncate: min(w, high), truncated importance sampling. mask: 0 outside [low, high]. none: w is only measured.

    level: `token`; `sequence`, the product over the sequence's tokens; `sequence_mean`, their geometric mean.
    """

    kind: Kind = "none"
    level: Level = "token"
    low: float = 0.5
    high: float = 2.0


def importance(old: Tensor, sampled: Tensor, sequence: Tensor, level: Level) -> Tensor:
    """w of each token [n]. old: logπ_old, sampled: logμ, sequence: which sequence the token is of, all [n]."""
    drift = old - sampled
    if level != "token" and drift.numel():
        count = int(sequence.max()) + 1
        sums = torch.zeros(count, dtype=drift.dtype, device=drift.device).index_add_(0, sequence, drift)
        if level == "sequence_mean":
            sums = sums / torch.bincount(sequence, minlength=count).clamp(min=1)
        drift = sums[sequence]
    return torch.exp(drift.clamp(-20.0, 20.0))


def correct(how: Correction, old: Tensor, sampled: Tensor, sequence: Tensor) -> tuple[Tensor, dict[str, float]]:
    """(weight of each token's loss [n], sums for the metrics).

    Sums: `mismatch` |logπ_old − logμ|, `mismatch_kl` (k3 of it), `w` and `w_squared` (for the effective sample size
    (Σw)²/Σw²), `corrected` (tokens truncated or masked).
    """
    w = importance(old, sampled, sequence, how.level)
    if how.kind == "truncate":
        weight, touched = w.clamp(max=how.high), w > how.high
    elif how.kind == "mask":
        touched = (w < how.low) | (w > how.high)
        weight = w.masked_fill(touched, 0.0)
    else:
        weight, touched = torch.ones_like(w), torch.zeros_like(w, dtype=torch.bool)
    drift = old - sampled
    return weight, {
        "mismatch": float(drift.abs().sum()),
        "mismatch_kl": float((torch.exp(drift) - drift - 1).sum()),
        "w": float(w.sum()),
        "w_squared": float(w.square().sum()),
        "corrected": float(touched.sum()),
    }
