"""From logits to tokens: the processed distribution, one draw per row, and its exact log-probability.

Axes: B rows, V vocabulary, S tokens of prompt and answer. Penalties come first, then temperature, top-k, top-p, min-p,
in the order of transformers' generate and of vLLM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from posttrain.engines.base import Sampling
from posttrain.engines.drawing import draw_compiled

_BELOW_ONE = 1.0 - 2.0**-23  # u x total stays below total in float32


@dataclass(frozen=True, slots=True)
class Drawn:
    """One token per row: ids [B], log-probabilities [B], and what Sampling asked for beside."""

    tokens: Tensor
    logprobs: Tensor
    raw_logprobs: Tensor | None
    entropies: Tensor | None


@dataclass(frozen=True, slots=True)
class History:
    """What penalties look at: ids [B, S] of prompt then answer, padded anyhow; `in_text`, `in_answer` [B, S] tell."""

    ids: Tensor
    in_text: Tensor
    in_answer: Tensor


def sample(logits: Tensor, sampling: Sampling, uniform: Tensor, history: History | None = None) -> Drawn:
    """Tokens from float32 logits [B, V] by uniform [B, 1]; history is needed where the sampling has penalties."""
    penalised = logits
    if sampling.penalised:
        assert history is not None
        penalised = penalise(logits, sampling, history)
    tokens, logprobs = draw(penalised, sampling, uniform)
    raw = entropies = None
    if sampling.raw_logprobs:
        raw = logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    if sampling.entropy:
        entropies = torch.special.entr((penalised / (sampling.temperature or 1.0)).softmax(-1)).sum(-1)
    return Drawn(tokens, logprobs, raw, entropies)


def penalise(logits: Tensor, sampling: Sampling, history: History) -> Tensor:
    """Logits with repetition, presence and frequency penalties, in this order, as vLLM has them.

    Repetition (Keskar et al. 2019, CTRL, section 4.1, in the sign-aware form of transformers) counts prompt and answer;
    presence and frequency (OpenAI's API) the answer alone.
    """
    said = torch.zeros_like(logits).scatter_add_(1, history.ids, history.in_answer.to(logits.dtype))
    seen = torch.zeros_like(logits).scatter_add_(1, history.ids, history.in_text.to(logits.dtype)) > 0
    repeated = torch.where(logits > 0, logits / sampling.repetition_penalty, logits * sampling.repetition_penalty)
    result = torch.where(seen, repeated, logits)
    return result - sampling.frequency_penalty * said - sampling.presence_penalty * (said > 0)


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
    if (drawn := draw_compiled(x, uniform)) is not None:
        return drawn
    top = x.amax(-1, keepdim=True)
    mass = (x - top).exp_().cumsum(-1)
    total = mass[:, -1:]
    # The first token whose cumulated mass exceeds the target: never one with probability 0.
    token = torch.searchsorted(mass, uniform.clamp(max=_BELOW_ONE) * total, right=True)
    token = token.clamp_(max=x.shape[-1] - 1)  # only reached by NaN
    return token[:, 0], (x.gather(-1, token) - top - total.log())[:, 0]
