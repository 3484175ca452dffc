"""What is drawn follows the processed distribution, and depends on seed, sample and position only."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats
from tests.unit.engines.tiny import VOCAB, prompts, tiny
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native import NativeEngine
from posttrain.engines.native.noise import sample_key, uniforms
from posttrain.engines.sampler import draw, process

SETTINGS = [
    Sampling(),
    Sampling(temperature=0.6),
    Sampling(temperature=1.5, top_k=7),
    Sampling(top_p=0.8),
    Sampling(min_p=0.1),
    Sampling(temperature=0.8, top_k=20, top_p=0.9, min_p=0.02),
]


def reference(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The processed logits by transformers' own warpers, in generate's order."""
    warpers = LogitsProcessorList()
    if sampling.temperature != 1:
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    return warpers(torch.zeros(len(logits), 1, dtype=torch.long), logits)


@pytest.mark.parametrize("sampling", SETTINGS)
@pytest.mark.parametrize("vocabulary", [50, 3000])
def test_filters_keep_the_tokens_that_transformers_keeps(sampling: Sampling, vocabulary: int) -> None:
    # float64: at the border of a nucleus, rounding alone can decide, and the two sum in opposite orders
    logits = 2 * torch.randn(40, vocabulary, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, theirs = process(logits, sampling), reference(logits, sampling)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("sampling", SETTINGS)
def test_draws_follow_the_processed_distribution_by_chi_square(sampling: Sampling) -> None:
    vocabulary, draws = 30, 20_000
    logits = 1.5 * torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(2))
    keys = np.array([sample_key(7, i) for i in range(draws)], dtype=np.uint64)
    uniform = torch.from_numpy(uniforms(keys, np.zeros(draws, dtype=np.int64)).astype(np.float32))[:, None]
    tokens, logprobs = draw(logits.expand(draws, -1), sampling, uniform)
    expected = reference(logits, sampling).softmax(-1)[0].double()
    counts = torch.bincount(tokens, minlength=vocabulary)
    kept = expected > 0
    assert counts[~kept].sum() == 0
    torch.testing.assert_close(logprobs, expected.log()[tokens].float(), atol=1e-5, rtol=0)
    wanted = expected[kept] / expected[kept].sum() * draws
    if kept.sum() > 1:
        assert stats.chisquare(counts[kept].numpy(), wanted.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("sampling", SETTINGS)
def test_the_whole_engine_samples_the_processed_distribution_by_chi_square(sampling: Sampling) -> None:
    model = tiny("qwen2", initializer_range=0.05)
    engine = NativeEngine(model, pad_id=0, max_batch=512)
    prompt = Prompt("p", (3, 1, 4, 1, 5), seed=11)
    drawn = engine.generate([prompt], dataclasses.replace(sampling, n=4000, max_tokens=1))
    counts = np.bincount([c.token_ids[0] for c in drawn], minlength=VOCAB)
    with torch.no_grad():
        logits = model(torch.tensor([prompt.token_ids])).logits[:, -1].double()
    expected = reference(logits, sampling)[0].softmax(-1).numpy()
    kept = expected > 0
    assert counts[~kept].sum() == 0
    wanted = expected[kept] / expected[kept].sum() * 4000
    assert stats.chisquare(counts[kept], wanted).pvalue > 1e-4


def test_noise_is_uniform_and_independent_of_its_neighbours() -> None:
    keys = np.array([sample_key(seed, index) for seed in range(200) for index in range(8)], dtype=np.uint64)
    grid = np.stack([uniforms(keys, np.full(len(keys), t, dtype=np.int64)) for t in range(40)])
    assert stats.kstest(grid.ravel(), "uniform").pvalue > 1e-4
    n = grid.size
    for other in (np.roll(grid, 1, axis=0), np.roll(grid, 1, axis=1), np.roll(grid, 8, axis=1)):
        correlation = np.corrcoef(grid.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 4.5 / math.sqrt(n)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_tokens_do_not_depend_on_batch_size_or_order(kind: str) -> None:
    model = tiny(kind)
    asked = prompts(24)
    sampling = Sampling(n=3, max_tokens=40, temperature=0.9, top_p=0.95, stop_token_ids=(5,))

    def tokens(rows: int, order: list[Prompt]) -> dict[tuple[str, int], tuple[int, ...]]:
        engine = NativeEngine(model, pad_id=0, max_batch=rows)
        return {(c.key, c.index): c.token_ids for c in engine.generate(order, sampling)}

    wide, narrow, reversed_ = tokens(72, asked), tokens(5, asked), tokens(16, asked[::-1])
    assert len(wide) == 72
    assert wide == narrow == reversed_


def test_samples_of_one_prompt_and_equal_prompts_with_other_seeds_differ() -> None:
    engine = NativeEngine(tiny("qwen2", initializer_range=0.05), pad_id=0)
    same = (1, 2, 3)
    asked = [Prompt("a", same, seed=1), Prompt("b", same, seed=2)]
    completions = list(engine.generate(asked, Sampling(n=8, max_tokens=12)))
    assert len({c.token_ids for c in completions}) == 16


def test_a_token_of_probability_zero_is_never_drawn_at_the_edges_of_the_uniform() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 1.0, -math.inf]])
    for u in (0.0, 1e-30, 0.5, 1 - 2**-24, 1.0):
        token, logprob = draw(logits, Sampling(), torch.tensor([[u]], dtype=torch.float32))
        assert token.item() in (1, 3)
        assert math.isfinite(logprob.item())
