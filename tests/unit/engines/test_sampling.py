"""Penalties, and the numbers that come beside a token, against transformers' own processors and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.unit.engines.tiny import module_logprobs, prompts, tiny
from transformers import RepetitionPenaltyLogitsProcessor

from posttrain.engines import HFEngine, NativeEngine, Prompt, Sampling
from posttrain.engines.sampler import History, penalise
from posttrain.engines.stops import Stops
from posttrain.models import train_tokenizer


def test_repetition_penalty_is_that_of_transformers() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 30, generator=generator)
    ids = torch.randint(0, 30, (5, 12), generator=generator)
    everything = History(ids, torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool))
    ours = penalise(logits, Sampling(repetition_penalty=1.3), everything)
    torch.testing.assert_close(ours, RepetitionPenaltyLogitsProcessor(1.3)(ids, logits.clone()))


def test_presence_and_frequency_follow_the_formula_of_the_openai_api() -> None:
    """mu[j] - c[j] * alpha_frequency - (c[j] > 0) * alpha_presence, over the answer's tokens only."""
    logits = torch.arange(6.0)[None]
    ids = torch.tensor([[1, 2, 2, 5, 3]])  # prompt 1; answer 2, 2, 5; padding 3
    history = History(ids, torch.tensor([[True] * 4 + [False]]), torch.tensor([[False, True, True, True, False]]))
    found = penalise(logits, Sampling(presence_penalty=0.5, frequency_penalty=0.25), history)
    assert found[0].tolist() == [0.0, 1.0, 2.0 - 0.5 - 0.5, 3.0, 4.0, 5.0 - 0.5 - 0.25]


def test_a_penalised_engine_draws_from_the_penalised_distribution() -> None:
    model = tiny("qwen2", initializer_range=0.05)
    sampling = Sampling(
        n=3, max_tokens=25, temperature=0.8, repetition_penalty=1.2, presence_penalty=0.4, frequency_penalty=0.3,
        raw_logprobs=True, entropy=True,
    )  # fmt: skip
    for completion in NativeEngine(model, pad_id=0, max_batch=7).generate(prompts(5), sampling):
        ids, start = completion.prompt_ids + completion.token_ids, len(completion.prompt_ids)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].double()
        for t, token in enumerate(completion.token_ids):
            x = logits[start + t - 1].clone()
            for i in set(ids[: start + t]):
                x[i] = x[i] / 1.2 if x[i] > 0 else x[i] * 1.2
            for i in completion.token_ids[:t]:
                x[i] -= 0.3
            for i in set(completion.token_ids[:t]):
                x[i] -= 0.4
            x = (x / 0.8).log_softmax(-1)
            assert completion.logprobs[t] == pytest.approx(x[token].item(), abs=1e-4)
            assert completion.entropies is not None
            assert completion.entropies[t] == pytest.approx(-(x.exp() * x).sum().item(), abs=1e-4)
        exact = module_logprobs(model, ids)[start - 1 :]
        torch.testing.assert_close(torch.tensor(completion.raw_logprobs), exact, atol=1e-4, rtol=0)


def test_a_strong_penalty_leaves_greedy_nothing_to_repeat() -> None:
    engine = NativeEngine(tiny("qwen2", initializer_range=0.02), pad_id=0)
    sampling = Sampling(temperature=0, max_tokens=60, repetition_penalty=10.0, presence_penalty=2, frequency_penalty=2)
    (completion,) = engine.generate([Prompt("p", (1, 2))], sampling)
    assert len(set(completion.token_ids)) == 60


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_hf_reports_the_same_numbers_as_native(temperature: float) -> None:
    model = tiny("llama", initializer_range=0.05)
    sampling = Sampling(
        temperature=temperature, max_tokens=8, repetition_penalty=1.4, frequency_penalty=0.5, raw_logprobs=True,
        entropy=True, top_k=5 if temperature else 0,
    )  # fmt: skip
    native = NativeEngine(model, pad_id=0)
    for completion in HFEngine(model, pad_id=0, max_batch=3).generate(prompts(6), sampling):
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.raw_logprobs), exact, atol=1e-4, rtol=0)
        if temperature:
            continue
        (same,) = native.generate([Prompt("p", completion.prompt_ids)], sampling)
        assert same.token_ids == completion.token_ids
        assert same.logprobs == pytest.approx(completion.logprobs, abs=1e-4)
        assert same.entropies == pytest.approx(completion.entropies, abs=1e-4)


def test_nothing_is_reported_that_was_not_asked_for_and_times_are_in_order() -> None:
    (completion,) = NativeEngine(tiny("qwen2"), pad_id=0).generate([Prompt("p", (1,))], Sampling(max_tokens=20))
    assert completion.raw_logprobs is None
    assert completion.entropies is None
    assert 0 < completion.first_token_seconds < completion.seconds


def test_entropy_of_an_even_distribution_is_the_log_of_the_vocabulary() -> None:
    model = tiny("qwen2", tie_word_embeddings=False)
    torch.nn.init.zeros_(model.lm_head.weight)
    sampling = Sampling(max_tokens=3, entropy=True, top_k=4)
    (completion,) = NativeEngine(model, pad_id=0).generate([Prompt("p", (1,))], sampling)
    assert completion.entropies == pytest.approx([math.log(101)] * 3, abs=1e-5)


def test_prompts_with_settings_of_their_own_share_a_batch() -> None:
    """What a prompt samples is what it samples alone under its settings."""
    model = tiny("qwen3", initializer_range=0.05)
    own = [
        Sampling(max_tokens=9, temperature=0.5),
        Sampling(max_tokens=20, top_k=3, entropy=True),
        Sampling(n=2, max_tokens=14, repetition_penalty=1.5, stop_token_ids=(4, 5, 6, 7, 8)),
        Sampling(temperature=0, max_tokens=11),
    ]
    asked = [Prompt(f"{i}", (3, i, 5), seed=i, sampling=own[i % 4]) for i in range(12)]
    together = NativeEngine(model, pad_id=0, max_batch=5).generate(asked, Sampling(max_tokens=1))
    found = {(c.key, c.index): c for c in together}
    assert len(found) == 15
    for i, prompt in enumerate(asked):
        for alone in NativeEngine(model, pad_id=0).generate([Prompt(prompt.key, prompt.token_ids, i)], own[i % 4]):
            same = found[alone.key, alone.index]
            assert same.token_ids == alone.token_ids
            assert (same.entropies is None) == (alone.entropies is None)
            assert same.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_an_ordinary_stop_id_does_not_fire_inside_a_thought_but_the_end_of_turn_does() -> None:
    tokenizer = train_tokenizer(["I am done now", "<think> hm </think> done"] * 20, 320)
    ordinary = tokenizer("done", add_special_tokens=False)["input_ids"][-1]
    (turn,) = tokenizer("<|im_end|>", add_special_tokens=False)["input_ids"]

    def fires(said: str, last: int, *, asked: bool = False) -> bool:
        stops = Stops(Sampling(stop_token_ids=(ordinary, turn), stop_in_thinking=asked), tokenizer, len(tokenizer))
        ids = np.array([*tokenizer(said, add_special_tokens=False)["input_ids"], last], np.int32)
        return bool(stops.ends[last]) or (bool(stops.perhaps[last]) and stops.ended((turn,), ids))

    assert fires("I am", ordinary)
    assert not fires("<think> I am", ordinary)
    assert fires("<think> I am </think>", ordinary)
    assert fires("<think> I am", ordinary, asked=True)
    assert fires("<think> I am", turn)


def test_settings_leave_out_what_changes_no_answer() -> None:
    plain = Sampling().settings()
    assert plain == Sampling(entropy=True, raw_logprobs=True).settings()
    assert "repetition_penalty" not in plain
    assert Sampling(repetition_penalty=1.1).settings()["repetition_penalty"] == 1.1
