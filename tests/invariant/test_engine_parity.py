"""The engine's log-probabilities are the trainer's: whatever the architecture, lengths, batch and cache size."""

from __future__ import annotations

import pytest
import torch
from tests.unit.engines.tiny import ARCHITECTURES, VOCAB, module_logprobs, prompts, tiny

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native import NativeEngine

# The scaling of Llama 3.1 and 3.2 (config.json of Llama-3.2-1B), for a context of 64 in place of 8,192.
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 500000.0,
}


def worst_difference(model: torch.nn.Module, engine: NativeEngine, sampling: Sampling, asked: list[Prompt]) -> float:
    worst = 0.0
    completions = list(engine.generate(asked, sampling))
    scores = engine.score([c.prompt_ids + c.token_ids for c in completions])
    for completion, scored in zip(completions, scores, strict=True):
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)
        sampled = exact[len(completion.prompt_ids) - 1 :]
        worst = max(worst, (exact - torch.tensor(scored)).abs().max().item())
        worst = max(worst, (sampled - torch.tensor(completion.logprobs)).abs().max().item())
    return worst


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("rows", [3, 16])
@pytest.mark.parametrize("compiled", [True, False])
def test_logprobs_are_those_of_the_modules_forward(kind: str, rows: int, compiled: bool) -> None:
    model = tiny(kind)
    engine = NativeEngine(model, pad_id=0, max_batch=rows, compiled=compiled)
    sampling = Sampling(n=2, max_tokens=70, stop_token_ids=(5, 9))
    assert worst_difference(model, engine, sampling, prompts(20)) < 1e-4


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"num_key_value_heads": 4}),
        ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}),
        ("llama", {"rope_parameters": LLAMA3, "head_dim": 32}),
        ("qwen2", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10000.0}}),
        ("qwen3", {"tie_word_embeddings": True}),
        ("qwen2", {"tie_word_embeddings": False, "hidden_act": "gelu"}),
        ("qwen3", {"head_dim": 16, "attention_bias": True}),
    ],
)
def test_options_of_the_architectures_are_honoured(kind: str, options: dict[str, object]) -> None:
    model = tiny(kind, **options)
    engine = NativeEngine(model, pad_id=0, max_batch=4)
    assert worst_difference(model, engine, Sampling(max_tokens=20), prompts(6)) < 1e-4


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_greedy_text_is_that_of_transformers_generate(kind: str) -> None:
    model = tiny(kind)
    engine = NativeEngine(model, pad_id=0, max_batch=4)
    asked = prompts(12)
    found = {c.key: c for c in engine.generate(asked, Sampling(temperature=0, max_tokens=30))}
    for prompt in asked:
        ids = torch.tensor([prompt.token_ids])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=30, pad_token_id=0
        )
        assert found[prompt.key].token_ids == tuple(expected[0, ids.shape[1] :].tolist())
        exact = module_logprobs(model, tuple(expected[0].tolist()))[ids.shape[1] - 1 :]
        torch.testing.assert_close(torch.tensor(found[prompt.key].logprobs), exact, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_bfloat16_stays_near_the_module_in_bfloat16(kind: str) -> None:
    model = tiny(kind, initializer_range=0.05).to(torch.bfloat16)
    engine = NativeEngine(model, pad_id=0, max_batch=8)
    differences = []
    for completion in engine.generate(prompts(12), Sampling(max_tokens=40)):
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)
        differences.append(exact[len(completion.prompt_ids) - 1 :] - torch.tensor(completion.logprobs))
    assert torch.cat(differences).abs().mean() < 0.01


def test_the_engine_can_compute_in_another_precision_than_the_module() -> None:
    model = tiny("qwen2", initializer_range=0.05)
    engine = NativeEngine(model, pad_id=0, dtype=torch.bfloat16)
    ids = tuple(range(1, 60))
    (scored,) = engine.score([ids])
    difference = (module_logprobs(model, ids) - torch.tensor(scored)).abs()
    assert 0 < difference.mean() < 0.02


def test_a_weight_changed_in_place_is_seen_by_the_next_call() -> None:
    model = tiny("qwen2")
    engine = NativeEngine(model, pad_id=0, max_batch=8)
    ids = tuple(range(1, 40))
    before = list(engine.score([ids]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    after = list(engine.score([ids]))
    assert before != after
    torch.testing.assert_close(torch.tensor(after[0]), module_logprobs(model, ids), atol=1e-4, rtol=0)
    assert worst_difference(model, engine, Sampling(max_tokens=10), prompts(4)) < 1e-4


def test_training_can_go_on_between_two_completions() -> None:
    """An abandoned or paused generator leaves no inference mode behind."""
    model = tiny("llama")
    engine = NativeEngine(model, pad_id=0, max_batch=2)
    stream = engine.generate(prompts(6), Sampling(max_tokens=4))
    next(stream)
    loss = model(torch.tensor([[1, 2, 3]])).logits.sum()
    loss.backward()
    stream.close()
    assert len(list(engine.generate(prompts(6), Sampling(max_tokens=4)))) == 6


def test_scoring_matches_however_sequences_are_batched() -> None:
    model = tiny("qwen3")
    engine = NativeEngine(model, pad_id=VOCAB - 1)
    sequences = [p.token_ids for p in prompts(30, shortest=1, longest=100)]
    together = list(engine.score(sequences))
    for sequence, scored in zip(sequences, together, strict=True):
        assert len(scored) == len(sequence) - 1
        (alone,) = engine.score([sequence])
        torch.testing.assert_close(torch.tensor(scored), torch.tensor(alone), atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("saved", [None, ["lm_head"]])
def test_lora_adapters_are_part_of_the_model(kind: str, saved: list[str] | None) -> None:
    peft = pytest.importorskip("peft")
    base = tiny(kind, tie_word_embeddings=False)
    plain = list(NativeEngine(base, pad_id=0).score([tuple(range(1, 40))]))
    config = peft.LoraConfig(
        r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, modules_to_save=saved
    )
    model = peft.get_peft_model(base, config).eval()
    engine = NativeEngine(model, pad_id=0, max_batch=4)
    assert list(engine.score([tuple(range(1, 40))])) != plain
    assert worst_difference(model, engine, Sampling(max_tokens=20), prompts(6)) < 1e-4
    assert engine.fallback is None
    tight = NativeEngine(model, pad_id=0, max_batch=16, max_context=128, kv_budget=400)
    assert worst_difference(model, tight, Sampling(n=3, max_tokens=60), prompts(8)) < 1e-4
    assert tight.counters.preemptions > 0
    with model.disable_adapter():
        torch.testing.assert_close(list(engine.score([tuple(range(1, 40))])), plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("compiled", [True, False])
def test_preempted_samples_keep_the_modules_logprobs(kind: str, compiled: bool) -> None:
    model = tiny(kind)
    engine = NativeEngine(model, pad_id=0, max_batch=32, max_context=192, kv_budget=600, compiled=compiled)
    assert worst_difference(model, engine, Sampling(n=2, max_tokens=100), prompts(16, longest=80)) < 1e-4
    assert engine.counters.preemptions > 0


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_prompts_computed_in_chunks_have_the_same_logprobs(kind: str, chunk: int) -> None:
    model = tiny(kind)
    asked = prompts(8, longest=100)
    sampling = Sampling(n=2, max_tokens=12)
    engine = NativeEngine(model, pad_id=0, max_batch=6, prefill_chunk=chunk)
    assert worst_difference(model, engine, sampling, asked) < 1e-4
    assert engine.counters.prefill_tokens == sum(len(p.token_ids) for p in asked)
    assert engine.counters.prefills > len(asked)
