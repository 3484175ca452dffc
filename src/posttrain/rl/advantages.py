"""Advantages of one group's rewards x_1 … x_G (formulas: docs/algorithms.md). Pure functions on float lists.

Undecided rollouts have left the group before these are called; a group that this leaves with fewer than two members
has no baseline and gets zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from posttrain.errors import TrainingError


def group_advantages(name: str, rewards: Sequence[float], epsilon: float) -> list[float]:
    """One advantage per reward.

    none           x                      (REINFORCE)
    group_mean     x − mean               (REINFORCE with baseline, Dr. GRPO)
    group_norm     (x − mean)/(std + ε)   (GRPO; std with Bessel's correction)
    leave_one_out  x − mean of the others (RLOO)
    """
    x = np.asarray(rewards, dtype=np.float64)
    if name == "none":
        return [float(v) for v in x]
    if x.size < 2 or np.ptp(x) == 0:
        return [0.0] * x.size  # exactly: no rounding residue may masquerade as signal
    centred = x - x.mean()
    if name == "group_mean":
        return [float(v) for v in centred]
    if name == "group_norm":
        return [float(v) for v in centred / (x.std(ddof=1) + epsilon)]
    if name == "leave_one_out":
        return [float(v) for v in centred * x.size / (x.size - 1)]
    raise TrainingError(f"advantage {name!r} is unknown. Use none, group_mean, group_norm or leave_one_out.")
