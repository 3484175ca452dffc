"""Checks before the first update: does the sampler say what the trainer says, and is the gradient split-invariant?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from posttrain.errors import TrainingError
from posttrain.models import token_stats
from posttrain.rl.config import RLConfig
from posttrain.rl.rollouts import Rollout
from posttrain.training.aggregation import Denominators, token_weights
from posttrain.training.batches import micro_batches
from posttrain.training.update import autocast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from posttrain.stage import Workspace

PARITY_MAX = 1e-4  # float32: largest |logπ − logμ| of a token
PARITY_MEAN_BF16 = 1e-2  # bfloat16: mean |logπ − logμ|
GRADIENT_RTOL = 1e-5  # relative difference of whole-gradient norm between two splits, float32
PROBE = 64  # rollouts looked at


def certify_start(
    config: RLConfig, rollouts: Sequence[Rollout], policy: PreTrainedModel, pad_id: int, work: Workspace
) -> None:
    """Writes the first certificate lines. TrainingError before step 1 where sampler and trainer disagree."""
    probe = list(rollouts[:PROBE])
    if not probe:
        return
    worst, mean = parity(config, probe, policy, pad_id)
    bf16 = config.dtype == "bfloat16"
    ok = mean <= PARITY_MEAN_BF16 if bf16 else worst <= PARITY_MAX
    tolerance = f"mean ≤ {PARITY_MEAN_BF16:g} (bfloat16)" if bf16 else f"max ≤ {PARITY_MAX:g} (float32)"
    work.certify("log-probability parity", ok, max=worst, mean=mean, tolerance=tolerance, rollouts=len(probe))
    if not ok:
        raise TrainingError(
            f"sampler and trainer disagree before the first update: |Δ log-probability| is at most {worst:.3g}, on "
            f"average {mean:.3g}, over {len(probe)} rollouts; allowed is {tolerance}. Training on such samples would "
            "not be on-policy. Check temperature, dtype and that both read the same weights (`posttrain parity`)."
        )
    difference = gradient_difference(config, probe, policy, pad_id)
    work.certify(
        "gradient is split-invariant", difference <= GRADIENT_RTOL, relative=difference, tolerance=GRADIENT_RTOL
    )


def parity(config: RLConfig, rollouts: Sequence[Rollout], policy: PreTrainedModel, pad_id: int) -> tuple[float, float]:
    """(max, mean) over response tokens of |logπ − logμ|: trainer's forward pass against what the sampler recorded."""
    worst = total = 0.0
    tokens = 0
    with torch.no_grad():
        for micro in micro_batches(rollouts, config.token_budget, pad_id, str(policy.device)):
            with autocast(config.dtype, str(policy.device)):
                stats = token_stats(policy, micro.ids, micro.row, micro.col, temperature=config.temperature)
            difference = (stats.logprobs - micro.gather([r.sampled for r in rollouts])).abs()
            worst = max(worst, float(difference.max()))
            total += float(difference.sum())
            tokens += difference.shape[0]
    return worst, total / tokens


def gradient_difference(config: RLConfig, rollouts: Sequence[Rollout], policy: PreTrainedModel, pad_id: int) -> float:
    """‖g_whole − g_split‖ / ‖g_whole‖ of a plain policy gradient, all rollouts at once against one at a time."""

    def gradient(budget: int) -> list[torch.Tensor]:
        micros = micro_batches(rollouts, budget, pad_id, str(policy.device))
        of = Denominators(len(rollouts), sum(int(m.row.shape[0]) for m in micros), config.max_tokens)
        for micro in micros:
            stats = token_stats(policy, micro.ids, micro.row, micro.col, temperature=config.temperature)
            # Alternating signs stand in for advantages, which may all be zero in the first batch.
            sign = torch.tensor([1.0 if m % 2 else -1.0 for m in micro.members], device=micro.ids.device)[micro.row]
            loss = (-stats.logprobs * sign * token_weights(config.aggregation, micro.row, of)).sum()
            loss.backward()  # type: ignore[no-untyped-call]
        found = [p.grad.clone() for p in policy.parameters() if p.grad is not None]
        policy.zero_grad(set_to_none=True)
        return found

    whole, split = gradient(1 << 30), gradient(1)
    norm = torch.stack([g.norm() for g in whole]).norm()
    apart = torch.stack([(a - b).norm() for a, b in zip(whole, split, strict=True)]).norm()
    return float(apart / norm) if float(norm) > 0 else float(apart)
