"""Do sampler and trainer agree? Log-probabilities of an engine against the module's own forward."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from posttrain.engines.base import Engine, Prompt, Sampling
from posttrain.errors import EngineError


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences of natural-log probabilities, engine against module, over `tokens` tokens.

    kl: mean of e^d - 1 - d with d = log p_module - log p_engine: an estimate of KL(engine || module) in nats per token
    that is never negative (Schulman 2020, "Approximating KL divergence", k3); unbiased on text the engine sampled.
    """

    tokens: int
    max_difference: float
    mean_difference: float
    kl: float

    def holds(self, tolerance: float) -> bool:
        """Whether no token differs by more than `tolerance`. NaN never holds."""
        return self.max_difference <= tolerance


def compare(engine: Sequence[float], module: Sequence[float]) -> Parity:
    """Parity of two aligned lists of log-probabilities. EngineError when there is nothing to compare."""
    if not engine:
        raise EngineError(
            "parity: there are no tokens to compare, so agreement can't be shown. Give sequences of two or more tokens."
        )
    ours = torch.tensor(engine, dtype=torch.float64)
    difference = torch.tensor(module, dtype=torch.float64) - ours
    absolute = difference.abs()
    largest = float(absolute.max())
    return Parity(
        tokens=len(engine),
        max_difference=math.inf if math.isnan(largest) else largest,
        mean_difference=float(absolute.mean()),
        kl=float((difference.expm1() - difference).mean()),
    )


def module_logprobs(model: nn.Module, sequence: Sequence[int], *, temperature: float = 1.0) -> list[float]:
    """log p(id_t | id_<t) for t = 1..T-1 by the module's own forward, one unpadded sequence, float32 softmax."""
    ids = torch.tensor([list(sequence)], device=next(model.parameters()).device)
    with torch.no_grad():
        logits: Tensor = cast(Any, model)(input_ids=ids, use_cache=False).logits[0, :-1].float()
        values = (logits / temperature).log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    result: list[float] = values.tolist()
    return result


def parity(engine: Engine, model: nn.Module, sequences: Iterable[Sequence[int]]) -> Parity:
    """engine.score against the module's forward on given sequences of token ids."""
    kept = [tuple(sequence) for sequence in sequences]
    ours = [value for scores in engine.score(kept) for value in scores]
    theirs = [value for sequence in kept for value in module_logprobs(model, sequence)]
    return compare(ours, theirs)


def sampled_parity(engine: Engine, model: nn.Module, prompts: Iterable[Prompt], sampling: Sampling) -> Parity:
    """The log-probabilities that came with sampled tokens against the module's forward on the same text.

    This is the path that RL learns from: prompts, cache and sampler, token by token. The filters must be off, since
    the module knows nothing of them.
    """
    if sampling.top_p < 1 or sampling.top_k or sampling.min_p:
        raise EngineError(
            "parity: top_p, top_k and min_p change the sampled distribution, and the module's forward has none of "
            "them. Compare at top_p 1, top_k 0, min_p 0."
        )
    ours: list[float] = []
    theirs: list[float] = []
    for completion in engine.generate(prompts, sampling):
        text = completion.prompt_ids + completion.token_ids
        ours.extend(completion.logprobs)
        values = module_logprobs(model, text, temperature=sampling.temperature or 1.0)
        theirs.extend(values[len(completion.prompt_ids) - 1 :])
    return compare(ours, theirs)
