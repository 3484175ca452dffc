"""Log-probabilities of given tokens, chunked over the vocabulary projection.

Axes: n = supervised tokens of a micro-batch, d = hidden size, v = vocabulary. A [n, v] tensor exists only one chunk of
tokens at a time, in the forward and in the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from posttrain.models.attention import Documents
from posttrain.models.forward import causal_lm, hidden_states, supports
from posttrain.models.lean import run_lean, serves
from posttrain.models.products import product, weight_gradient
from posttrain.models.sharing import Shared, tree_of

if TYPE_CHECKING:
    from torch import nn

CHUNK_ELEMENTS = 1 << 25  # logits held at once: 128 MiB in float32
WORTH_SHARING = 0.9  # a tree of documents with more nodes than this share of their tokens is not worth its gathers


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Per supervised token: log p(target) with gradient, entropy in nats and whether the target was the argmax."""

    logprobs: Tensor  # [n] float32
    entropy: Tensor  # [n] float32, detached
    top1: Tensor  # [n] bool


class _ChunkedLogProbs(torch.autograd.Function):
    """log softmax(h·Wᵀ/T)[target]. The backward pass has d logits = g·(onehot − p)/T.

    Logits that fit into one chunk are kept for it; those of several are computed again, chunk by chunk.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, chunk: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        n = hidden.shape[0]
        cast = weight.to(hidden.dtype)
        parts = []
        logits = lse = None
        for i in range(0, n, chunk):
            logits = product(hidden[i : i + chunk], cast)
            *found, lse = _statistics(logits, targets[i : i + chunk], temperature)
            parts.append(found)
        whole = [logits, lse] if len(parts) == 1 and any(ctx.needs_input_grad) else []
        ctx.save_for_backward(hidden, cast, targets, *whole)
        ctx.temperature, ctx.chunk, ctx.dtype = temperature, chunk, weight.dtype
        logprobs, entropy, top1 = (torch.cat(column) for column in zip(*parts, strict=True))
        ctx.mark_non_differentiable(entropy, top1)
        return logprobs, entropy, top1

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor, _entropy: Tensor, _top1: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, targets, *whole = ctx.saved_tensors
        grad = grad.contiguous()
        grad_hidden = torch.empty_like(hidden)
        needs_weight = ctx.needs_input_grad[1]
        grad_weight: Tensor | None = None
        for i in range(0, hidden.shape[0], ctx.chunk):
            part = slice(i, i + ctx.chunk)
            if whole:
                logits, lse = whole
            else:
                logits = product(hidden[part], weight)
                lse = None
            d_logits = _d_logits(logits, lse, targets[part], grad[part], ctx.temperature, keep=bool(whole))
            grad_hidden[part] = product(d_logits, weight.t())
            if needs_weight:
                more = weight_gradient(d_logits, hidden[part], _sum_dtype(d_logits))
                grad_weight = more if grad_weight is None else grad_weight.add_(more)
        return grad_hidden, None if grad_weight is None else grad_weight.to(ctx.dtype), None, None, None


def _sum_dtype(value: Tensor) -> torch.dtype:
    """Sums over chunks are float32, or float64 where that is what there is."""
    return torch.promote_types(value.dtype, torch.float32)


def _statistics(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log p(target), entropy, whether the target is the argmax, and log Σ exp(logits / T): each [n]."""
    if serves(logits):
        lse, logprobs, entropy = torch.empty(3, len(logits)).unbind()
        top1 = torch.empty(len(logits), dtype=torch.bool)
        run_lean(
            "token_stats",
            logits.dtype,
            *(logits, targets, 1 / temperature, lse, logprobs, entropy, top1, *logits.shape),
        )
        return logprobs, entropy, top1, lse
    scaled = logits.float() if temperature == 1.0 else logits.float() / temperature
    lse = scaled.logsumexp(1)
    log_p = scaled - lse[:, None]
    entropy = -(log_p.exp() * log_p).sum(1)
    return log_p.gather(1, targets[:, None]).squeeze(1), entropy, log_p.argmax(1) == targets, lse


def _d_logits(
    logits: Tensor, lse: Tensor | None, targets: Tensor, grad: Tensor, temperature: float, *, keep: bool
) -> Tensor:
    """g·(onehot − p)/T in the logits' dtype; over the logits themselves where they need not be kept."""
    if serves(logits):
        if lse is None:
            lse = _statistics(logits, targets, temperature)[3]
        out = torch.empty_like(logits) if keep else logits
        run_lean("token_stats_back", logits.dtype, *(logits, targets, 1 / temperature, lse, grad, out, *logits.shape))
        return out
    scaled = logits.float() if temperature == 1.0 else logits.float() / temperature
    minus_p = (scaled - scaled.logsumexp(1, keepdim=True)).exp_().neg_()
    minus_p.scatter_add_(1, targets[:, None], torch.ones_like(minus_p[:, :1]))
    return minus_p.mul_((grad / temperature)[:, None]).to(logits.dtype)


def logprobs_of(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, temperature: float = 1.0, chunk: int | None = None
) -> TokenStats:
    """`hidden` [n, d], `weight` [v, d] (the vocabulary projection), `targets` [n]. Chunking changes no result."""
    size = chunk or max(1, CHUNK_ELEMENTS // weight.shape[0])
    return TokenStats(*_ChunkedLogProbs.apply(hidden, weight, targets, temperature, size))  # type: ignore[no-untyped-call]


def token_stats(model: nn.Module, ids: Tensor, row: Tensor, col: Tensor, *, temperature: float = 1.0) -> TokenStats:
    """Statistics of the tokens ids[row, col], each predicted from its predecessor.

    ids: [batch, time], padded on the *right*, so that causality alone keeps padding away from every real token and no
    attention mask is needed. row, col: [n], col ≥ 1, row ascending.

    Where forward.py knows the model, each row is a document that ends before its last asked-for token: padding costs
    nothing, and neither does what follows; what several rows begin with is computed once (sharing.py).
    """
    weight = cast("Any", model).get_output_embeddings().weight
    hidden = predicting_states(model, ids, row, col)
    with torch.autocast(ids.device.type, enabled=False):
        return logprobs_of(hidden, weight, ids[row, col], temperature=temperature)


def predicting_states(model: nn.Module, ids: Tensor, row: Tensor, col: Tensor) -> Tensor:
    """Hidden states [n, d], after the last norm, that predict ids[row, col]; in autocast's dtype, if there is one."""
    if len(row) and supports(model):
        hidden = _hidden_of_documents(model, ids, row, col)
    else:
        states = causal_lm(model).base_model(input_ids=ids, use_cache=False).last_hidden_state
        hidden = states[row, col - 1]
    if torch.is_autocast_enabled(ids.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(ids.device.type))
    return hidden


def _hidden_of_documents(model: nn.Module, ids: Tensor, row: Tensor, col: Tensor) -> Tensor:
    """Hidden states [n, d] that predict ids[row, col]: only tokens that some of them sees are computed.

    Those that several documents begin with are computed once where that saves more than it costs (rollouts of a group
    do, examples whose chat template writes the same first words don't).
    """
    lengths = torch.zeros(len(ids), dtype=torch.int64, device=ids.device).scatter_reduce_(0, row, col, "amax")
    starts = (lengths.cumsum(0) - lengths)[row] + col - 1
    last = lengths.tolist()
    documents = [tokens[:length] for tokens, length in zip(ids.tolist(), last, strict=True) if length]
    tree = tree_of(documents)
    if len(tree.ids) > WORTH_SHARING * sum(last):
        inside = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        return hidden_states(model, ids[inside], Documents(tuple(map(len, documents))), starts)
    rows = torch.from_numpy(np.concatenate(tree.nodes)).to(ids.device)[starts]
    shared = Shared.of(tree, ids.device)
    return hidden_states(model, torch.from_numpy(tree.ids).to(ids.device), Documents(tree.lengths), rows, shared)
