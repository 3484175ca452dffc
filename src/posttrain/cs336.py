"""The helpers of Stanford's CS336 assignment 5 (alignment), under their own names, with the assignment's shapes.

They are for those who come from the course, and for holding our own formulas against its reference values. The stages
use the packed forms in `training/` and `rl/`, which compute the same on flat tokens.

Axes: B batch, T sequence length (of the longest prompt + output, less one), V vocabulary.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from posttrain.errors import DataError, RecipeError

LossType = Literal["no_baseline", "reinforce_with_baseline", "grpo_clip"]
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n{response}"
)


def tokenize_prompt_and_output(
    prompt_strs: Sequence[str], output_strs: Sequence[str], tokenizer: Any
) -> dict[str, Tensor]:
    """`input_ids` and `labels` (shifted by one), int64 [B, T], and `response_mask`, bool [B, T], aligned with labels.

    Prompt and output are tokenised apart and concatenated, so nothing merges across the boundary; padded on the right.
    """
    prompts = [tokenizer.encode(text, add_special_tokens=False) for text in prompt_strs]
    outputs = [tokenizer.encode(text, add_special_tokens=False) for text in output_strs]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    longest = max(len(p) + len(o) for p, o in zip(prompts, outputs, strict=True))
    ids = torch.full((len(prompts), longest), int(pad), dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        end = len(prompt) + len(output)
        ids[row, :end] = torch.tensor([*prompt, *output], dtype=torch.long)
        mask[row, len(prompt) : end] = True
    return {"input_ids": ids[:, :-1], "labels": ids[:, 1:], "response_mask": mask[:, 1:]}


def compute_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of the last axis: [B, T, V] → [B, T]."""
    logprobs = torch.log_softmax(logits, dim=-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def get_response_log_probs(
    model: nn.Module, input_ids: Tensor, labels: Tensor, return_token_entropy: bool = False
) -> dict[str, Tensor]:
    """`log_probs` [B, T] of the labels, and `token_entropy` [B, T] where asked for."""
    logits = model(input_ids).logits
    logprobs = torch.log_softmax(logits, dim=-1).gather(-1, labels[..., None]).squeeze(-1)
    found = {"log_probs": logprobs}
    if return_token_entropy:
        found["token_entropy"] = compute_entropy(logits)
    return found


def masked_normalize(tensor: Tensor, mask: Tensor, normalize_constant: float = 1.0, dim: int | None = None) -> Tensor:
    """Sum of the unmasked elements along `dim` (None: of all) over a constant."""
    kept = torch.where(mask.bool(), tensor, torch.zeros_like(tensor))
    return (kept.sum() if dim is None else kept.sum(dim)) / normalize_constant


def masked_mean(tensor: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of the unmasked elements along `dim` (None: of all); NaN where there are none, as in the assignment."""
    keep = mask.bool()
    kept = torch.where(keep, tensor, torch.zeros_like(tensor))
    return kept.sum() / keep.sum() if dim is None else kept.sum(dim) / keep.sum(dim)


def sft_microbatch_train_step(
    policy_log_probs: Tensor,
    response_mask: Tensor,
    gradient_accumulation_steps: int,
    normalize_constant: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss, metadata) after the backward pass: the mean over sequences of −Σ_t logp·m / c, over the steps."""
    per_sequence = masked_normalize(-policy_log_probs, response_mask, normalize_constant, dim=-1)
    loss = per_sequence.mean() / gradient_accumulation_steps
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), {"per_sequence": per_sequence.detach()}


def compute_group_normalized_rewards(
    reward_fn: Callable[[str, str], Mapping[str, float]],
    rollout_responses: Sequence[str],
    repeated_ground_truths: Sequence[str],
    group_size: int,
    advantage_eps: float,
    normalize_by_std: bool,
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """(advantages [n], raw rewards [n], statistics): x − group mean, over std + ε (Bessel) where asked for."""
    if group_size < 1 or len(rollout_responses) % group_size:
        raise DataError(f"{len(rollout_responses)} responses are no whole number of groups of {group_size}.")
    scored = [reward_fn(r, t) for r, t in zip(rollout_responses, repeated_ground_truths, strict=True)]
    raw = torch.tensor([s["reward"] for s in scored], dtype=torch.float32)
    groups = raw.view(-1, group_size)
    advantages = groups - groups.mean(-1, keepdim=True)
    if normalize_by_std:
        advantages = advantages / (groups.std(-1, keepdim=True) + advantage_eps)
    statistics = {"mean": float(raw.mean()), "max": float(raw.max()), "min": float(raw.min())}
    for part in ("format_reward", "answer_reward"):
        if all(part in s for s in scored):
            statistics[part] = sum(s[part] for s in scored) / len(scored)
    return advantages.flatten(), raw, statistics


def compute_naive_policy_gradient_loss(raw_rewards_or_advantages: Tensor, policy_log_probs: Tensor) -> Tensor:
    """−A·logπ per token: [B, 1] and [B, T] → [B, T]."""
    return -raw_rewards_or_advantages * policy_log_probs


def compute_grpo_clip_loss(
    advantages: Tensor, policy_log_probs: Tensor, old_log_probs: Tensor, cliprange: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """−min(r·A, clip(r, 1 ± cliprange)·A) per token [B, T]; metadata: `clipped`, bool [B, T], and `ratio`."""
    ratio = torch.exp(policy_log_probs - old_log_probs)
    free, bounded = ratio * advantages, ratio.clamp(1 - cliprange, 1 + cliprange) * advantages
    return -torch.minimum(free, bounded), {"clipped": bounded < free, "ratio": ratio.detach()}


def compute_policy_gradient_loss(
    policy_log_probs: Tensor,
    loss_type: LossType,
    raw_rewards: Tensor | None = None,
    advantages: Tensor | None = None,
    old_log_probs: Tensor | None = None,
    cliprange: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One of the three losses by name, per token [B, T]. RecipeError where it lacks what it needs."""
    if loss_type == "no_baseline" and raw_rewards is not None:
        return compute_naive_policy_gradient_loss(raw_rewards, policy_log_probs), {}
    if loss_type == "reinforce_with_baseline" and advantages is not None:
        return compute_naive_policy_gradient_loss(advantages, policy_log_probs), {}
    if loss_type == "grpo_clip" and None not in (advantages, old_log_probs, cliprange):
        assert advantages is not None
        assert old_log_probs is not None
        assert cliprange is not None
        return compute_grpo_clip_loss(advantages, policy_log_probs, old_log_probs, cliprange)
    raise RecipeError(
        f"loss type {loss_type!r}: no_baseline needs raw_rewards; reinforce_with_baseline needs advantages; grpo_clip "
        "needs advantages, old_log_probs and cliprange. Give these, or another of the three types."
    )


def grpo_microbatch_train_step(
    policy_log_probs: Tensor,
    response_mask: Tensor,
    gradient_accumulation_steps: int,
    loss_type: LossType,
    raw_rewards: Tensor | None = None,
    advantages: Tensor | None = None,
    old_log_probs: Tensor | None = None,
    cliprange: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss, metadata) after the backward pass: masked mean per sequence, their mean, over the accumulation steps."""
    per_token, metadata = compute_policy_gradient_loss(
        policy_log_probs, loss_type, raw_rewards, advantages, old_log_probs, cliprange
    )
    loss = masked_mean(per_token, response_mask, dim=-1).mean() / gradient_accumulation_steps
    loss.backward()  # type: ignore[no-untyped-call]
    if "clipped" in metadata:
        metadata["clip_fraction"] = masked_mean(metadata["clipped"].float(), response_mask)
    return loss.detach(), metadata


def compute_per_instance_dpo_loss(
    lm: nn.Module,
    lm_ref: nn.Module,
    tokenizer: Any,
    beta: float,
    prompt: str,
    response_chosen: str,
    response_rejected: str,
) -> Tensor:
    """DPO loss (arXiv 2305.18290, equation 7) of one pair, in the alpaca format with the end-of-text token."""

    def logprob(model: nn.Module, response: str) -> Tensor:
        text = ALPACA.format(instruction=prompt, response=response)
        ids = torch.tensor([[*tokenizer.encode(text), tokenizer.eos_token_id]], device=next(model.parameters()).device)
        # Of the whole text: what the two have in common cancels.
        return get_response_log_probs(model, ids[:, :-1], ids[:, 1:])["log_probs"].sum()

    with torch.no_grad():
        reference = logprob(lm_ref, response_chosen) - logprob(lm_ref, response_rejected)
    policy = logprob(lm, response_chosen) - logprob(lm, response_rejected)
    return -F.logsigmoid(beta * (policy - reference.to(policy.device)))


class PackedSFTDataset(Dataset[dict[str, Tensor]]):
    """Instruction pairs (`prompt`, `response` per JSON line) in the alpaca format, laid end to end, cut to one length.

    Each document is begun as the tokenizer begins a text and ended with the end-of-text token. Items have `input_ids`
    and `labels`, int64 [seq_length], the labels one token on; what does not fill a sequence at the end is left out.
    """

    def __init__(self, tokenizer: Any, dataset_path: str | Path, seq_length: int, shuffle: bool, seed: int = 0) -> None:
        lines = Path(dataset_path).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        if shuffle:
            random.Random(seed).shuffle(rows)
        ids: list[int] = []
        for row in rows:
            text = ALPACA.format(instruction=row["prompt"], response=row["response"])
            ids += [*tokenizer.encode(text), tokenizer.eos_token_id]
        self.ids, self.length = torch.tensor(ids, dtype=torch.long), seq_length

    def __len__(self) -> int:
        return max(0, (len(self.ids) - 1) // self.length)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.length
        return {
            "input_ids": self.ids[start : start + self.length],
            "labels": self.ids[start + 1 : start + 1 + self.length],
        }


def iterate_batches(dataset: Dataset[dict[str, Tensor]], batch_size: int, shuffle: bool) -> DataLoader[Any]:
    """One epoch of batches; the last may be smaller."""
    return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle)
