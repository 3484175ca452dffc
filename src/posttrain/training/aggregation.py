"""The one aggregator of every loss: per-token weights from *global* denominators, so that loss = Σ value · weight.

Because the denominators are those of the whole optimizer step (all micro-batches, all ranks), the gradient is the same
however the step is split. Formulas: docs/algorithms.md, "Aggregation".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from posttrain.errors import TrainingError

Aggregation = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]


@dataclass(frozen=True, slots=True)
class Denominators:
    """Of one optimizer step, over every micro-batch and rank: sequences in the loss, tokens in it, the fixed length."""

    sequences: int
    tokens: int
    limit: int = 0  # the generation limit of the run; only `constant` reads it


def token_weights(kind: Aggregation, sequence: Tensor, of: Denominators) -> Tensor:
    """Weight of each supervised token: [n] float32.

    sequence: [n] int64, which sequence of the micro-batch a token belongs to. All of a sequence's supervised tokens are
    in the same micro-batch (sequences are never cut), so its own length is local knowledge; the rest is in `of`.

    token_mean     1/N                (DAPO; TRL "dapo", verl "token-mean")
    sequence_mean  1/(B·n_i)          (GRPO as published; TRL "grpo", verl "seq-mean-token-mean")
    sequence_sum   1/B                (verl "seq-mean-token-sum"; CS336's masked_normalize with constant 1)
    constant       1/(B·L), L fixed   (Dr. GRPO)
    """
    ones = torch.ones(sequence.shape[0], dtype=torch.float32, device=sequence.device)
    if kind == "token_mean":
        return ones / max(of.tokens, 1)
    if kind == "sequence_mean":
        lengths = torch.bincount(sequence).clamp(min=1)
        return ones / (max(of.sequences, 1) * lengths[sequence])
    if kind == "sequence_sum":
        return ones / max(of.sequences, 1)
    if kind == "constant":
        if of.limit < 1:
            raise TrainingError("aggregation 'constant' needs the generation limit as its denominator; it is not set.")
        return ones / (max(of.sequences, 1) * of.limit)
    raise TrainingError(f"aggregation {kind!r} is unknown. Use token_mean, sequence_mean, sequence_sum or constant.")
