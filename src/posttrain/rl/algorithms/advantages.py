"""Advantages of rewards (formulas: docs/algorithms.md). Pure functions on floats.

Undecided rollouts have left their group before these are called; a group that this leaves with fewer than two members
has no baseline and gets zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from posttrain.errors import TrainingError

WHITEN_EPSILON = 1e-8  # added to the variance, as verl's and OpenRLHF's whitening do


def group_advantages(name: str, rewards: Sequence[float], epsilon: float) -> list[float]:
    """One advantage per reward of one group.

    none           x                      (REINFORCE)
    group_mean     x − mean               (REINFORCE with baseline, Dr. GRPO; batch_norm's first half)
    group_norm     (x − mean)/(std + ε)   (GRPO; std with Bessel's correction)
    leave_one_out  x − mean of the others (RLOO)
    """
    x = np.asarray(rewards, dtype=np.float64)
    if name == "none":
        return [float(v) for v in x]
    if x.size < 2 or np.ptp(x) == 0:
        return [0.0] * x.size  # exactly: no rounding residue may masquerade as signal
    centred = x - x.mean()
    if name in ("group_mean", "batch_norm"):
        return [float(v) for v in centred]
    if name == "group_norm":
        return [float(v) for v in centred / (x.std(ddof=1) + epsilon)]
    if name == "leave_one_out":
        return [float(v) for v in centred * x.size / (x.size - 1)]
    raise TrainingError(
        f"advantage {name!r} is unknown. Use none, group_mean, group_norm, leave_one_out or batch_norm."
    )


def whitened(advantages: Sequence[float], lengths: Sequence[int]) -> list[float]:
    """(a − mean)/sqrt(var + 1e-8), mean and variance (Bessel) over the batch's *tokens*: the rest of `batch_norm`.

    REINFORCE++ (arXiv 2501.03262, section 3): a sequence counts once per token. Advantages that are all equal, which
    includes a batch without any signal, become zeros.
    """
    a, n = np.asarray(advantages, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    tokens = n.sum()
    if a.size == 0 or np.ptp(a) == 0 or tokens < 2:
        return [0.0] * a.size
    mean = (n * a).sum() / tokens
    variance = (n * (a - mean) ** 2).sum() / (tokens - 1)
    return [float(v) for v in (a - mean) / math.sqrt(variance + WHITEN_EPSILON)]


def overlong_penalty(length: int, limit: int, buffer: int) -> float:
    """DAPO's soft punishment (arXiv 2503.14476, equation 13): 0 up to limit − buffer, then linearly down to −1."""
    if buffer <= 0:
        return 0.0
    return -min(max(length - (limit - buffer), 0) / buffer, 1.0)
