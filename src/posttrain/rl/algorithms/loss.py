"""The row put together: objective × correction + KL, aggregated with global denominators."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from posttrain.rl.algorithms.correction import Correction, correct
from posttrain.rl.algorithms.divergence import kl_estimate
from posttrain.rl.algorithms.objectives import OBJECTIVES, Clip, Tokens
from posttrain.training.aggregation import Aggregation, Denominators, token_weights


@dataclass(frozen=True, slots=True)
class Row:
    """What of an algorithm the loss needs; advantages were computed before."""

    objective: str
    aggregation: Aggregation
    clip: Clip = field(default_factory=Clip)
    kl: float = 0.0
    kl_estimator: str = "k3"
    correction: Correction = field(default_factory=Correction)


def policy_loss(
    row: Row, tokens: Tokens, sampled: Tensor, of: Denominators, reference: Tensor | None = None
) -> tuple[Tensor, dict[str, float]]:
    """(loss of this micro-batch, sums over its tokens for the metrics). The losses of a step's micro-batches add up.

    sampled: logμ [n]; reference: logπ_ref [n], needed where kl > 0.
    """
    losses, silenced = OBJECTIVES[row.objective](tokens, row.clip)
    weight, sums = correct(row.correction, tokens.old, sampled, tokens.sequence)
    if row.correction.kind != "none":
        losses = losses * weight
    if reference is not None:
        kl = kl_estimate(row.kl_estimator, tokens.logprobs, reference)
        losses = losses + row.kl * kl
        sums["kl"] = float(kl.detach().sum())
    loss = (losses * token_weights(row.aggregation, tokens.sequence, of)).sum()
    with torch.no_grad():
        ratio = torch.exp(tokens.logprobs - tokens.old)
        sums |= {
            "loss": float(loss.detach()),
            "ratio": float(ratio.sum()),
            "ratio_off": float((ratio - 1).abs().max()) if ratio.numel() else 0.0,
            "clip_fraction": float(silenced.sum()),
        }
    return loss, sums
