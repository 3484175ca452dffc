"""The reference engine keeps the protocol."""

from __future__ import annotations

import pytest
import torch
from tests.unit.engines.tiny import CONTEXT, VOCAB, module_logprobs, prompts, tiny

from posttrain.engines import HFEngine, NativeEngine, Prompt, Sampling
from posttrain.errors import EngineError
from posttrain.models import train_tokenizer


def test_logprobs_are_the_modules_and_stops_are_kept() -> None:
    model = tiny("qwen2", initializer_range=0.05)
    engine = HFEngine(model, pad_id=0, max_batch=6)
    completions = list(engine.generate(prompts(8), Sampling(n=2, max_tokens=12, stop_token_ids=tuple(range(20)))))
    assert sorted((c.key, c.index) for c in completions) == sorted((f"p{i}", j) for i in range(8) for j in range(2))
    for completion in completions:
        assert (completion.token_ids[-1] < 20) == (completion.finish_reason == "stop")
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logprobs), exact, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.7, top_p=0.9), Sampling(top_k=5), Sampling(min_p=0.2)])
def test_native_gives_a_sampled_token_the_probability_that_generate_gives_it(sampling: Sampling) -> None:
    model = tiny("qwen3", initializer_range=0.05)
    single = Sampling(
        **{f: getattr(sampling, f) for f in ("temperature", "top_p", "top_k", "min_p")}, n=400, max_tokens=1
    )
    prompt = [Prompt("p", (3, 4, 5), seed=2)]
    known = {c.token_ids[0]: c.logprobs[0] for c in HFEngine(model, pad_id=0, max_batch=400).generate(prompt, single)}
    ours = {c.token_ids[0]: c.logprobs[0] for c in NativeEngine(model, pad_id=0).generate(prompt, single)}
    shared = known.keys() & ours.keys()
    assert len(shared) >= 3
    for token in shared:
        assert ours[token] == pytest.approx(known[token], abs=1e-4)


def test_greedy_is_the_native_engines_greedy() -> None:
    model = tiny("llama")
    sampling = Sampling(temperature=0, max_tokens=20, stop_token_ids=(7,))
    ours = {c.key: c.token_ids for c in NativeEngine(model, pad_id=0, max_batch=3).generate(prompts(9), sampling)}
    theirs = {c.key: c.token_ids for c in HFEngine(model, pad_id=0, max_batch=4).generate(prompts(9), sampling)}
    assert ours == theirs


def test_the_global_generator_is_left_alone_and_seeds_repeat() -> None:
    engine = HFEngine(tiny("qwen2", initializer_range=0.05), pad_id=0)
    before = torch.get_rng_state()
    first = list(engine.generate(prompts(3), Sampling(max_tokens=8)))
    assert torch.equal(before, torch.get_rng_state())
    assert [c.token_ids for c in first] == [c.token_ids for c in engine.generate(prompts(3), Sampling(max_tokens=8))]


def test_stop_strings_end_at_the_token_that_completes_one() -> None:
    tokenizer = train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 20, 290)
    model = tiny("llama", vocab_size=len(tokenizer), initializer_range=0.02)
    engine = HFEngine(model, pad_id=0, tokenizer=tokenizer, max_batch=20)
    sampling = Sampling(n=20, max_tokens=60, stop=("e", "r"))
    completions = list(engine.generate([Prompt("p", (5, 6))], sampling))
    assert any(c.finish_reason == "stop" for c in completions)
    for completion in completions:
        text, before = tokenizer.decode(completion.token_ids), tokenizer.decode(completion.token_ids[:-1])
        assert ("e" in text or "r" in text) == (completion.finish_reason == "stop")
        assert "e" not in before
        assert "r" not in before


def test_score_and_weights_version() -> None:
    model = tiny("qwen2")
    engine = HFEngine(model, pad_id=0)
    engine.load_weights(model, 3)
    (scored,) = engine.score([tuple(range(1, 30))])
    torch.testing.assert_close(torch.tensor(scored), module_logprobs(model, tuple(range(1, 30))))
    assert {c.weights_version for c in engine.generate(prompts(2), Sampling(max_tokens=2))} == {3}
    engine.close()


@pytest.mark.parametrize("ids", [(), tuple([1] * CONTEXT), (VOCAB,)])
def test_impossible_prompts_are_refused(ids: tuple[int, ...]) -> None:
    with pytest.raises(EngineError):
        list(HFEngine(tiny("qwen2"), pad_id=0).generate([Prompt("x", ids)], Sampling()))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(EngineError, match="max_batch is 0"):
        HFEngine(tiny("qwen2"), pad_id=0, max_batch=0)
    with pytest.raises(EngineError, match="no tokenizer"):
        list(HFEngine(tiny("qwen2"), pad_id=0).generate(prompts(1), Sampling(stop=("x",))))
