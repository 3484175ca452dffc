"""Log-probabilities of given tokens, chunked over the vocabulary projection.

Axes: n = supervised tokens of a micro-batch, d = hidden size, v = vocabulary. A [n, v] tensor exists only one chunk of
tokens at a time, in the forward and in the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

CHUNK_ELEMENTS = 1 << 23  # logits held at once: 32 MiB in float32


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Per supervised token: log p(target) with gradient, entropy in nats and whether the target was the argmax."""

    logprobs: Tensor  # [n] float32
    entropy: Tensor  # [n] float32, detached
    top1: Tensor  # [n] bool


class _ChunkedLogProbs(torch.autograd.Function):
    """log softmax(h·Wᵀ/T)[target]. The backward pass recomputes each chunk: d logits = g·(onehot − p)/T."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, chunk: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        n = hidden.shape[0]
        logprobs = torch.empty(n, dtype=torch.float32, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        top1 = torch.empty(n, dtype=torch.bool, device=hidden.device)
        for i in range(0, n, chunk):
            part = slice(i, min(i + chunk, n))
            log_p = _log_softmax(hidden[part], weight, temperature)
            logprobs[part] = log_p.gather(1, targets[part, None]).squeeze(1)
            entropy[part] = -(log_p.exp() * log_p).sum(1)
            top1[part] = log_p.argmax(1) == targets[part]
        ctx.save_for_backward(hidden, weight, targets)
        ctx.temperature, ctx.chunk = temperature, chunk
        ctx.mark_non_differentiable(entropy, top1)
        return logprobs, entropy, top1

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _entropy: Tensor, _top1: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        hidden, weight, targets = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        for i in range(0, hidden.shape[0], ctx.chunk):
            part = slice(i, min(i + ctx.chunk, hidden.shape[0]))
            minus_p = _log_softmax(hidden[part], weight, ctx.temperature).exp_().neg_()
            minus_p.scatter_add_(1, targets[part, None], torch.ones_like(minus_p[:, :1]))
            d_logits = minus_p.mul_((grad[part] / ctx.temperature)[:, None]).to(hidden.dtype)
            grad_hidden[part] = d_logits @ weight
            grad_weight += d_logits.T @ hidden[part]
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None


def _log_softmax(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    logits = (hidden @ weight.T).float()
    return torch.log_softmax(logits if temperature == 1.0 else logits / temperature, dim=-1)


def logprobs_of(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, temperature: float = 1.0, chunk: int | None = None
) -> TokenStats:
    """`hidden` [n, d], `weight` [v, d] (the vocabulary projection), `targets` [n]. Chunking changes no result."""
    size = chunk or max(1, CHUNK_ELEMENTS // weight.shape[0])
    return TokenStats(*_ChunkedLogProbs.apply(hidden, weight, targets, temperature, size))  # type: ignore[no-untyped-call]


def token_stats(model: nn.Module, ids: Tensor, row: Tensor, col: Tensor, *, temperature: float = 1.0) -> TokenStats:
    """Statistics of the tokens ids[row, col], each predicted from its predecessor.

    ids: [batch, time], padded on the *right*, so that causality alone keeps padding away from every real token and no
    attention mask is needed. row, col: [n], col ≥ 1.
    """
    causal = cast("Any", model)
    hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
    weight = causal.get_output_embeddings().weight
    return logprobs_of(hidden[row, col - 1], weight, ids[row, col], temperature=temperature)
