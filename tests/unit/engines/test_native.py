"""Stopping, scheduling and refusing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.unit.engines.tiny import CONTEXT, VOCAB, prompts, tiny
from transformers import PreTrainedTokenizerBase

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native import NativeEngine
from posttrain.engines.native.cache import Cache
from posttrain.engines.stops import StopStrings
from posttrain.errors import EngineError
from posttrain.models import train_tokenizer


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return tiny("qwen2", initializer_range=0.05)


def test_a_stop_token_ends_a_completion_and_is_its_last_token(model: torch.nn.Module) -> None:
    engine = NativeEngine(model, pad_id=0)
    stops = tuple(range(30))
    completions = list(engine.generate(prompts(20), Sampling(max_tokens=50, stop_token_ids=stops)))
    assert any(len(c.token_ids) > 1 for c in completions)
    for completion in completions:
        assert completion.finish_reason == "stop"
        assert completion.token_ids[-1] in stops
        assert not set(completion.token_ids[:-1]) & set(stops)
        assert len(completion.logprobs) == len(completion.token_ids)


def test_ignore_eos_runs_to_max_tokens(model: torch.nn.Module) -> None:
    engine = NativeEngine(model, pad_id=0)
    sampling = Sampling(max_tokens=9, stop_token_ids=tuple(range(VOCAB)), ignore_eos=True)
    completions = list(engine.generate(prompts(5), sampling))
    assert [(len(c.token_ids), c.finish_reason) for c in completions] == [(9, "length")] * 5


def test_the_context_ends_a_completion(model: torch.nn.Module) -> None:
    engine = NativeEngine(model, pad_id=0, max_context=20)
    (completion,) = engine.generate([Prompt("p", tuple(range(1, 16)))], Sampling(max_tokens=100))
    assert (len(completion.token_ids), completion.finish_reason) == (5, "length")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(["the quick brown fox jumps over the lazy dog", "answer: 42 </answer> done"] * 20, 300)


def test_a_stop_string_ends_at_the_token_that_completes_it(tokenizer: PreTrainedTokenizerBase) -> None:
    model = tiny("llama", vocab_size=len(tokenizer), initializer_range=0.02)
    engine = NativeEngine(model, pad_id=0, tokenizer=tokenizer)
    wanted = ("ab", "é", "qu", "r")
    asked = [Prompt(str(i), (5, 6), seed=i) for i in range(60)]
    completions = list(engine.generate(asked, Sampling(max_tokens=200, stop=wanted)))
    assert {"stop", "length"} >= {c.finish_reason for c in completions}
    assert sum(c.finish_reason == "stop" for c in completions) > 3
    for completion in completions:
        text = tokenizer.decode(completion.token_ids)
        before = tokenizer.decode(completion.token_ids[:-1])
        assert any(s in text for s in wanted) == (completion.finish_reason == "stop")
        assert not any(s in before for s in wanted)


def test_a_stop_string_inside_a_thought_does_not_fire_unless_asked(tokenizer: PreTrainedTokenizerBase) -> None:
    def ended(prompt: str, said: str, *, in_thinking: bool = False) -> bool:
        stops = StopStrings(("done",), tokenizer, len(tokenizer), in_thinking=in_thinking)
        return stops.ended(tuple(tokenizer(prompt)["input_ids"]), np.array(tokenizer(said)["input_ids"], np.int32))

    assert ended("q", "I am done")
    assert not ended("q <think>", "I am done")
    assert not ended("q", "<think> I am done")
    assert ended("q <think>", "I am </think> done")
    assert ended("q <think>", "I am done", in_thinking=True)


def test_a_cancelled_prompt_ends_at_once_with_what_it_said(model: torch.nn.Module) -> None:
    engine = NativeEngine(model, pad_id=0, max_batch=4)
    asked = [Prompt("a", (1, 2)), Prompt("b", (3,)), Prompt("c", (4, 5))]
    stream = engine.generate(asked, Sampling(n=2, max_tokens=30, stop_token_ids=tuple(range(20))))
    found = [next(stream)]
    other = "b" if found[0].key != "b" else "a"
    engine.cancel(other)
    found += list(stream)
    cancelled = [c for c in found if c.finish_reason == "cancelled"]
    assert {c.key for c in cancelled} <= {other}
    assert cancelled
    assert all(0 < len(c.token_ids) < 30 for c in cancelled)
    assert {(c.key, c.index) for c in found} >= {(key, i) for key in {"a", "b", "c"} - {other} for i in range(2)}


def test_stop_strings_without_a_tokenizer_are_refused(model: torch.nn.Module) -> None:
    with pytest.raises(EngineError, match=r"no tokenizer\. Pass tokenizer="):
        next(NativeEngine(model, pad_id=0).generate(prompts(1), Sampling(stop=("x",))))


def test_a_prompt_is_computed_once_for_all_its_samples(model: torch.nn.Module) -> None:
    engine = NativeEngine(model, pad_id=0, max_batch=10)
    asked = prompts(16)
    completions = list(engine.generate(asked, Sampling(n=8, max_tokens=5)))
    assert sorted((c.key, c.index) for c in completions) == sorted((p.key, i) for p in asked for i in range(8))
    assert engine.counters.prefill_tokens == sum(len(p.token_ids) for p in asked)


def test_a_thousand_requests_pass_through_a_small_batch_with_bounded_pull(model: torch.nn.Module) -> None:
    pulled = 0

    def source() -> Iterator[Prompt]:
        nonlocal pulled
        for i in range(1000):
            pulled += 1
            yield Prompt(str(i), (1 + i % 90, 2), seed=i)

    engine = NativeEngine(model, pad_id=0, max_batch=10)
    done = set()
    for completion in engine.generate(source(), Sampling(max_tokens=6)):
        done.add(completion.key)
        assert pulled - len(done) <= 20
    assert done == {str(i) for i in range(1000)}


def test_a_budget_of_cache_is_kept_and_changes_no_token(model: torch.nn.Module) -> None:
    """Room for about 10 full samples, 200 requests: some are preempted, all finish, with the tokens of no budget."""
    asked = prompts(200, longest=60)
    sampling = Sampling(n=2, max_tokens=120, stop_token_ids=(5,))
    budget = 10 * 192
    tight = NativeEngine(model, pad_id=0, max_batch=64, kv_budget=budget, max_context=192)
    found = {}
    for completion in tight.generate(asked, sampling):
        found[completion.key, completion.index] = completion
    free = NativeEngine(model, pad_id=0, max_batch=64, max_context=192)
    expected = {(c.key, c.index): c for c in free.generate(asked, sampling)}
    assert tight.counters.preemptions > 0
    assert found.keys() == expected.keys()
    differ = [key for key, c in found.items() if c.token_ids != expected[key].token_ids]
    assert len(differ) <= 1  # a sample computed again sums in another order: a coin may fall on its edge
    for key, completion in found.items():
        assert len(completion.logprobs) == len(completion.token_ids)
        if key not in differ:
            assert completion.logprobs == pytest.approx(expected[key].logprobs, abs=1e-4)


def test_the_cache_never_exceeds_its_budget(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    reserve = Cache.reserve

    def watched(self: Cache, length: int, used_rows: int, most: int) -> None:
        reserve(self, length, used_rows, most)
        sizes.append(self.keys.shape[1] * self.capacity)

    monkeypatch.setattr(Cache, "reserve", watched)
    engine = NativeEngine(model, pad_id=0, max_batch=64, kv_budget=1000, max_context=192)
    assert len(list(engine.generate(prompts(100), Sampling(max_tokens=100)))) == 100
    assert 64 < max(sizes) <= 1000


def test_prompts_are_pulled_lazily_and_an_abandoned_stream_frees_the_engine(model: torch.nn.Module) -> None:
    engine = NativeEngine(model, pad_id=0, max_batch=4)
    endless = (Prompt(str(i), (1, 2, 3), seed=i) for i in itertools.count())
    stream = engine.generate(endless, Sampling(max_tokens=4))
    first = list(itertools.islice(stream, 25))
    stream.close()
    assert len(first) == 25
    assert len(list(engine.generate(prompts(3), Sampling(max_tokens=4)))) == 3


def test_weights_version_stands_in_every_completion(model: torch.nn.Module) -> None:
    engine = NativeEngine(model, pad_id=0)
    engine.load_weights(model, 7)
    assert {c.weights_version for c in engine.generate(prompts(3), Sampling(max_tokens=2))} == {7}


def test_another_modules_weights_are_taken_over() -> None:
    ours, theirs = tiny("qwen2", seed=1), tiny("qwen2", seed=2)
    engine = NativeEngine(ours, pad_id=0)
    engine.load_weights(theirs, 1)
    ids = [tuple(range(1, 30))]
    assert list(engine.score(ids)) == list(NativeEngine(theirs, pad_id=0).score(ids))


def test_nan_logits_are_an_error_and_not_tokens() -> None:
    broken = tiny("qwen2")
    broken.model.norm.weight.data[3] = float("nan")
    with pytest.raises(EngineError, match=r"not finite.*earlier checkpoint"):
        list(NativeEngine(broken, pad_id=0).generate(prompts(2), Sampling()))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt("x", ()), r"'x' is empty.*at least one token.*Begin it"),
        (Prompt("x", tuple([1] * CONTEXT)), rf"has {CONTEXT} tokens.*no room.*Shorten"),
        (Prompt("x", (1, VOCAB)), rf"token id {VOCAB}, outside.*vocabulary of {VOCAB}.*Encode"),
        (Prompt("x", (1, -1)), r"token id -1"),
    ],
)
def test_impossible_prompts_are_refused_with_a_remedy(model: torch.nn.Module, prompt: Prompt, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        list(NativeEngine(model, pad_id=0).generate([prompt], Sampling()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pad_id": VOCAB}, r"pad_id is 101.*Pass any id"),
        ({"pad_id": 0, "max_batch": 0}, r"max_batch is 0; it must be at least 1"),
        ({"pad_id": 0, "kv_budget": 100}, r"kv_budget is 100 tokens.*Raise it"),
        ({"pad_id": 0, "prefill_chunk": 0}, r"prefill_chunk is 0; it must be at least 1"),
        ({"pad_id": 0, "max_context": CONTEXT + 1}, r"max_context is 257.*Leave it out"),
    ],
)
def test_impossible_options_are_refused(model: torch.nn.Module, options: dict[str, int], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        NativeEngine(model, **options)


def test_stop_ids_outside_the_vocabulary_are_refused(model: torch.nn.Module) -> None:
    with pytest.raises(EngineError, match="stop_token_ids has 500"):
        list(NativeEngine(model, pad_id=0).generate(prompts(1), Sampling(stop_token_ids=(500,))))


@pytest.mark.parametrize(
    "options",
    [
        {"n": 0},
        {"temperature": -1},
        {"top_p": 0},
        {"top_k": -1},
        {"min_p": 2},
        {"max_tokens": 0},
        {"stop": ("",)},
        {"repetition_penalty": 0},
        {"presence_penalty": 3},
        {"frequency_penalty": -2.5},
    ],
)
def test_impossible_sampling_is_refused(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(EngineError, match=f"sampling: {name} is"):
        Sampling(**options)  # type: ignore[arg-type]


def test_empty_input_gives_empty_output(model: torch.nn.Module) -> None:
    engine = NativeEngine(model, pad_id=0)
    assert list(engine.generate([], Sampling())) == []
    assert list(engine.score([])) == []
    assert list(engine.score([(4,)])) == [[]]
