"""Promises about much work: counted model steps, bounded memory, and greedy text of a trained model."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator

import psutil
import torch
from tests.unit.engines.tiny import VOCAB, tiny

from posttrain.engines import HFEngine, NativeEngine, Prompt, Sampling
from posttrain.engines.native.cache import Cache


def small(context: int = 256) -> torch.nn.Module:
    return tiny("qwen2", hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
                intermediate_size=32, initializer_range=0.05, max_position_embeddings=context)  # fmt: skip


def test_lengths_10_and_500_mixed_in_8_slots_cost_at_most_a_tenth_more_steps_than_the_ideal() -> None:
    engine = NativeEngine(small(1024), pad_id=0, max_batch=8)
    lengths = [10, 500] * 80
    asked = [Prompt(str(i), (3, i % VOCAB), i, Sampling(max_tokens=n)) for i, n in enumerate(lengths)]
    completions = list(engine.generate(asked, Sampling()))
    assert sorted(len(c.token_ids) for c in completions) == sorted(lengths)
    ideal = sum(n - 1 for n in lengths) / 8  # the first token of each comes with its prompt
    assert engine.counters.row_steps == sum(n - 1 for n in lengths)
    assert engine.counters.steps <= 1.1 * ideal


def test_a_budget_for_10_sequences_serves_1000_requests_within_it() -> None:
    """Requests that may take the whole context of 128: the cache never holds more than 10 of them."""
    context, budget = 128, 10 * 128
    engine = NativeEngine(small(), pad_id=0, max_batch=256, max_context=context, kv_budget=budget)
    held = 0
    reserve = Cache.reserve

    def watched(self: Cache, length: int, used_rows: int, most: int) -> None:
        nonlocal held
        reserve(self, length, used_rows, most)
        held = max(held, self.keys.shape[1] * self.capacity)

    draw = random.Random(0)
    asked = [Prompt(str(i), tuple(draw.randrange(VOCAB) for _ in range(1 + i % 60)), i) for i in range(1000)]
    Cache.reserve = watched  # type: ignore[method-assign]
    try:
        found = {c.key for c in engine.generate(asked, Sampling(max_tokens=100, stop_token_ids=(5, 6)))}
    finally:
        Cache.reserve = reserve  # type: ignore[method-assign]
    assert found == {p.key for p in asked}
    assert context < held <= budget
    assert engine.counters.preemptions > 0


def test_10000_requests_stream_through_with_bounded_memory() -> None:
    process = psutil.Process()
    pulled = 0

    def source() -> Iterator[Prompt]:
        nonlocal pulled
        for i in range(10_000):
            pulled += 1
            yield Prompt(str(i), (1 + i % 90, 2, 3), i)

    engine = NativeEngine(small(), pad_id=0, max_batch=128)
    after_a_tenth = done = ahead = 0
    for _ in engine.generate(source(), Sampling(max_tokens=4)):
        done += 1
        ahead = max(ahead, pulled - done)
        if done == 1000:
            gc.collect()
            after_a_tenth = process.memory_info().rss
    gc.collect()
    assert done == 10_000
    assert ahead <= 2 * 128
    assert process.memory_info().rss - after_a_tenth < 16 << 20


def trained() -> torch.nn.Module:
    """A tiny model that has learned to count in steps: next = last + step (mod 90), the step told by the first id."""
    model = tiny("qwen2", initializer_range=0.05)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(120):
        step = torch.randint(1, 9, (32, 1), generator=generator)
        start = torch.randint(0, 90, (32, 1), generator=generator)
        ids = torch.cat([90 + step, (start + step * torch.arange(20)) % 90], dim=1)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def test_greedy_text_of_a_trained_model_is_that_of_hf() -> None:
    """At least 999 of 1,000 sequences are equal; others differ first where two tokens are within 1e-5."""
    model = trained()
    draw = random.Random(1)
    asked = []
    for i in range(1000):
        step, start = draw.randint(1, 8), draw.randrange(90)
        length = draw.randint(1, 12)
        asked.append(Prompt(str(i), (90 + step, *((start + step * t) % 90 for t in range(length))), i))
    sampling = Sampling(temperature=0, max_tokens=24, stop_token_ids=(0,))
    ours = {c.key: c for c in NativeEngine(model, pad_id=0, max_batch=64).generate(asked, sampling)}
    theirs = {c.key: c for c in HFEngine(model, pad_id=0, max_batch=250).generate(asked, sampling)}
    different = [key for key, c in ours.items() if c.token_ids != theirs[key].token_ids]
    assert len(different) <= 1
    for key in different:
        first, second = ours[key].token_ids, theirs[key].token_ids
        at = next(t for t, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
        with torch.no_grad():
            logits = model(torch.tensor([ours[key].prompt_ids + first[:at]])).logits[0, -1]
        assert abs(logits[first[at]] - logits[second[at]]) < 1e-5
    follows = sum(  # it has learned something: the comparison is not over noise
        c.token_ids[0] == (c.prompt_ids[-1] + c.prompt_ids[0] - 90) % 90 for c in ours.values() if len(c.prompt_ids) > 1
    )
    assert follows > 500
