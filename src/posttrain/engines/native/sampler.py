"""From logits to tokens: the processed distribution, one draw per row, and its exact log-probability.

Axes: B rows, V vocabulary. The filters come in the order of transformers' generate: temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from posttrain.engines.base import Sampling

_BELOW_ONE = 1.0 - 2.0**-23  # u x total stays below total in float32


def process(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits [B, V] of the distribution that is sampled from: removed tokens are -inf. Temperature 0 leaves them be."""
    if sampling.temperature == 0:
        return logits
    x = logits / sampling.temperature if sampling.temperature != 1 else logits
    if 0 < sampling.top_k < x.shape[-1]:
        x = _drop_below(x, x.topk(sampling.top_k).values[:, -1:])
    if sampling.top_p < 1:
        x = _drop_below(x, _nucleus_edge(x, sampling.top_p))
    if sampling.min_p > 0:
        x = _drop_below(x, x.amax(-1, keepdim=True) + math.log(sampling.min_p))
    return x


def _drop_below(x: Tensor, edge: Tensor) -> Tensor:
    return x.masked_fill(x < edge, float("-inf"))


def _nucleus_edge(x: Tensor, top_p: float) -> Tensor:
    """The least logit [B, 1] of the smallest set of tokens whose probability reaches top_p.

    A sort of the whole vocabulary is slow, and the set is mostly small: look among the largest 64, then 512, ...
    """
    total = x.logsumexp(-1, keepdim=True)
    count = 64
    while True:
        count = min(count, x.shape[-1])
        largest = x.topk(count).values
        before = (largest - total).exp().cumsum(-1)
        if count == x.shape[-1] or bool((before[:, -1] >= top_p).all()):
            # A token is kept while the mass before it is below top_p; the first one always is.
            kept = (before < top_p).sum(-1, keepdim=True).clamp(max=count - 1)
            return largest.gather(-1, kept)
        count *= 8


def draw(logits: Tensor, sampling: Sampling, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [B] and their log-probabilities [B] by inverse CDF at uniform [B, 1] (float32).

    Raises nothing: a row with a NaN gives a NaN log-probability, which the scheduler reports.
    """
    if sampling.temperature == 0:
        best, token = logits.max(-1)
        return token, best - logits.logsumexp(-1)
    x = process(logits, sampling)
    top = x.amax(-1, keepdim=True)
    mass = (x - top).exp_().cumsum(-1)
    total = mass[:, -1:]
    # The first token whose cumulated mass exceeds the target: never one with probability 0.
    token = torch.searchsorted(mass, uniform.clamp(max=_BELOW_ONE) * total, right=True)
    token = token.clamp_(max=x.shape[-1] - 1)  # only reached by NaN
    return token[:, 0], (x.gather(-1, token) - top - total.log())[:, 0]
