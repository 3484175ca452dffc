"""Per-token objectives: pure functions from a record of tokens to losses and what they silenced.

Every tensor is flat over the supervised tokens of a micro-batch, [n]; aggregation is somebody else's work.
r = exp(logπ − logπ_old), A = advantage, sg = stop-gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tokens:
    """`logprobs` carry gradient; the rest are constants. A sequence's tokens are all here: none is cut."""

    logprobs: Tensor  # [n] logπ
    old: Tensor  # [n] logπ_old, at the start of the update batch
    advantages: Tensor  # [n] A of the token's sequence
    sequence: Tensor  # [n] int64, which sequence of the micro-batch the token is of


@dataclass(frozen=True, slots=True)
class Clip:
    """Bounds of the ratio: [1 − low, 1 + high]. `dual`: −A·c is the most that a negative advantage may cost."""

    low: float = 0.2
    high: float = 0.2
    dual: float | None = None


Objective = Callable[[Tokens, Clip], tuple[Tensor, Tensor]]


def reinforce(t: Tokens, clip: Clip) -> tuple[Tensor, Tensor]:
    """−A·logπ (Williams 1992). Nothing is clipped, `clip` is there for the table's sake."""
    del clip
    return -t.advantages * t.logprobs, torch.zeros_like(t.advantages, dtype=torch.bool)


def ppo_clip(t: Tokens, clip: Clip) -> tuple[Tensor, Tensor]:
    """−min(r·A, clip(r, 1−ε_low, 1+ε_high)·A), and which tokens the clip silences.

    PPO (arXiv 1707.06347), as in GRPO (arXiv 2402.03300); ε_high > ε_low is DAPO's clip-higher (arXiv 2503.14476).
    `dual`: where A < 0 the loss is at most −c·A (arXiv 1912.09729).
    """
    return _clipped(torch.exp(t.logprobs - t.old), t.advantages, clip)


def gspo(t: Tokens, clip: Clip) -> tuple[Tensor, Tensor]:
    """The sequence's ratio s = exp(mean of log r) in place of the token's, as sg[s]·π/sg[π].

    GSPO (arXiv 2507.18071, equations 7 and 14): with an advantage that is one number per sequence, the gradient
    under `sequence_mean` is that of the sequence's own clipped objective.
    """
    with torch.no_grad():
        log_ratio = t.logprobs - t.old
        count = int(t.sequence.max()) + 1 if t.sequence.numel() else 0
        lengths = torch.bincount(t.sequence, minlength=count).clamp(min=1)
        sums = torch.zeros(count, dtype=log_ratio.dtype, device=log_ratio.device).index_add_(0, t.sequence, log_ratio)
        mean = (sums / lengths)[t.sequence]
    return _clipped(torch.exp(mean + t.logprobs - t.logprobs.detach()), t.advantages, clip)


def cispo(t: Tokens, clip: Clip) -> tuple[Tensor, Tensor]:
    """−sg(clip(r, 1−ε_low, 1+ε_high))·A·logπ: the weight is bounded, no token loses its gradient.

    CISPO (arXiv 2506.13585, equation 4). `clip_low: 1` is no lower bound (r > 0), as in the paper and in TRL.
    """
    ratio = torch.exp(t.logprobs - t.old).detach()
    bounded = ratio.clamp(1 - clip.low, 1 + clip.high)
    return -bounded * t.advantages * t.logprobs, bounded != ratio


def _clipped(ratio: Tensor, advantages: Tensor, clip: Clip) -> tuple[Tensor, Tensor]:
    free = ratio * advantages
    kept = torch.minimum(free, ratio.clamp(1 - clip.low, 1 + clip.high) * advantages)
    silenced = kept < free
    if clip.dual is not None:
        floor = torch.where(advantages < 0, clip.dual * advantages, torch.full_like(advantages, -torch.inf))
        silenced = silenced | (kept < floor)
        kept = torch.maximum(kept, floor)
    return -kept, silenced.detach()


OBJECTIVES: dict[str, Objective] = {"reinforce": reinforce, "ppo_clip": ppo_clip, "gspo": gspo, "cispo": cispo}
