"""Losses on pairs: pure functions from sums of log-probabilities to one loss per pair.

Everything is [pairs] float. Sums run over response tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pair:
    """logπ − logπ_ref of the chosen and of the rejected response, summed over its tokens, and their lengths."""

    chosen: Tensor
    rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor


def dpo(p: Pair, beta: float) -> Tensor:
    """−log σ(β(Δ_chosen − Δ_rejected)). DPO (arXiv 2305.18290, equation 7)."""
    return -F.logsigmoid(beta * (p.chosen - p.rejected))


def ipo(p: Pair, beta: float) -> Tensor:
    """(Δ_chosen − Δ_rejected − 1/(2β))². IPO (arXiv 2310.12036, equation 17)."""
    return (p.chosen - p.rejected - 1 / (2 * beta)).square()


def dpo_norm(p: Pair, beta: float) -> Tensor:
    """DPO with each sum divided by its response's length (arXiv 2411.15124, section 5.1.2, equation 6)."""
    return -F.logsigmoid(beta * (p.chosen / p.chosen_length - p.rejected / p.rejected_length))


LOSSES: dict[str, Callable[[Pair, float], Tensor]] = {"dpo": dpo, "ipo": ipo, "dpo_norm": dpo_norm}
