"""Models that the lean path does not know run by their own forward, with the same sampling and the same promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.unit.engines.tiny import module_logprobs, prompts, tiny
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    Qwen2ForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

from posttrain.engines import HFEngine, NativeEngine, Prompt, Sampling
from posttrain.errors import EngineError

SIZES = {"vocab_size": 101, "bos_token_id": None, "eos_token_id": None, "initializer_range": 0.2}


def other(kind: str) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "gpt2":
            # Dropout, so that a model in training mode would show it.
            return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=128, **SIZES))
        small = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48}
        common = {**SIZES, **small, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128}
        if kind == "gemma2":
            return Gemma2ForCausalLM(Gemma2Config(sliding_window=8, **common)).eval()
        return tiny("qwen3", use_sliding_window=True, sliding_window=8, max_window_layers=0)


KINDS = ("gpt2", "gemma2", "sliding")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [3, 32])
def test_logprobs_are_the_modules(kind: str, rows: int) -> None:
    model = other(kind)
    engine = NativeEngine(model, pad_id=0, max_batch=rows)
    assert engine.fallback
    completions = list(engine.generate(prompts(10), Sampling(n=2, max_tokens=25, stop_token_ids=(5, 6, 7))))
    assert sorted((c.key, c.index) for c in completions) == sorted((f"p{i}", j) for i in range(10) for j in range(2))
    assert {c.finish_reason for c in completions} == {"stop", "length"}
    scores = engine.score([c.prompt_ids + c.token_ids for c in completions])
    model.eval()
    for completion, scored in zip(completions, scores, strict=True):
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)
        torch.testing.assert_close(torch.tensor(scored), exact, atol=1e-4, rtol=0)
        sampled = exact[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logprobs), sampled, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_is_transformers_greedy_and_noise_knows_nothing_of_the_batch(kind: str) -> None:
    model = other(kind).eval()
    greedy = Sampling(temperature=0, max_tokens=15)
    ours = {c.key: c.token_ids for c in NativeEngine(model, pad_id=0, max_batch=4).generate(prompts(9), greedy)}
    theirs = {c.key: c.token_ids for c in HFEngine(model, pad_id=0, max_batch=1).generate(prompts(9), greedy)}
    assert ours == theirs
    drawn = [
        {
            (c.key, c.index): c.token_ids
            for c in NativeEngine(model, pad_id=0, max_batch=rows).generate(asked, Sampling(n=3, max_tokens=12))
        }
        for rows, asked in ((2, prompts(7)), (40, prompts(7)[::-1]))
    ]
    assert drawn[0] == drawn[1]


def test_a_training_model_samples_without_dropout_and_stays_in_training() -> None:
    model = other("gpt2").train()
    engine = NativeEngine(model, pad_id=0)
    first = [c.token_ids for c in engine.generate(prompts(3), Sampling(max_tokens=10))]
    assert model.training
    assert first == [c.token_ids for c in engine.generate(prompts(3), Sampling(max_tokens=10))]


def test_a_budget_makes_waves_smaller_and_changes_no_token() -> None:
    model = other("gpt2").eval()
    free = NativeEngine(model, pad_id=0)
    tight = NativeEngine(model, pad_id=0, kv_budget=200)
    sampling = Sampling(n=2, max_tokens=30)
    found, expected = (
        {(c.key, c.index): c.token_ids for c in engine.generate(prompts(12), sampling)} for engine in (tight, free)
    )
    assert found == expected
    assert tight.counters.steps > 2 * free.counters.steps


def test_cancelled_prompts_end_and_others_go_on() -> None:
    engine = NativeEngine(other("gpt2").eval(), pad_id=0, max_batch=4)
    asked = [Prompt("a", (1, 2)), Prompt("b", (3,)), Prompt("c", (4, 5))]
    stream = engine.generate(asked, Sampling(n=2, max_tokens=20, stop_token_ids=tuple(range(10))))
    first = next(stream)
    gone = "b" if first.key != "b" else "a"
    engine.cancel(gone)
    found = [first, *stream]
    assert {c.key for c in found if c.finish_reason == "cancelled"} == {gone}
    assert sum(c.key not in (gone,) for c in found) == 4


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers for it
def test_adapters_of_another_kind_run_by_the_modules_forward() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], use_dora=True, init_lora_weights=False)
    model = peft.get_peft_model(tiny("qwen2"), config).eval()
    engine = NativeEngine(model, pad_id=0)
    (completion,) = engine.generate([Prompt("p", (1, 2, 3))], Sampling(max_tokens=10))
    assert engine.fallback == "its adapter 'default' is not plain LoRA"
    exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)[2:]
    torch.testing.assert_close(torch.tensor(completion.logprobs), exact, atol=1e-4, rtol=0)


def test_state_space_layers_run_too() -> None:
    """Qwen3.5's mix of linear and full attention: caches that transformers alone knows how to keep."""
    config = Qwen3_5TextConfig(
        **SIZES,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=48,
        max_position_embeddings=128,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
    )
    torch.manual_seed(0)
    model = Qwen3_5ForCausalLM(config).eval()
    engine = NativeEngine(model, pad_id=0, max_batch=4)
    for completion in engine.generate(prompts(5), Sampling(n=2, max_tokens=10, stop_token_ids=(3, 4))):
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logprobs), exact, atol=1e-4, rtol=0)


def test_another_precision_than_the_modules_is_refused() -> None:
    with pytest.raises(EngineError, match=r"dtype is torch.bfloat16.*Leave dtype out"):
        list(NativeEngine(other("gpt2"), pad_id=0, dtype=torch.bfloat16).generate(prompts(1), Sampling()))


def test_what_hangs_on_a_module_is_sampled_with() -> None:
    """A hook that halves one layer's MLP: log-probabilities are those of the module as it is called."""
    model = tiny("qwen2")
    engine = NativeEngine(model, pad_id=0, max_batch=4)
    plain = list(engine.score([(1, 2, 3, 4)]))
    halved = model.model.layers[1].mlp.register_forward_hook(lambda module, inputs, output: 0.5 * output)
    for completion in engine.generate(prompts(5), Sampling(max_tokens=8)):
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logprobs), exact, atol=1e-4, rtol=0)
    assert engine.fallback == "its module 'model.layers.1.mlp' has hooks or a forward of its own"
    halved.remove()
    assert list(engine.score([(1, 2, 3, 4)])) == plain
    assert engine.fallback is None


def test_hooks_of_transformers_that_only_watch_cost_no_speed() -> None:
    model = tiny("llama")
    model(torch.tensor([[1, 2, 3]]), output_hidden_states=True, output_attentions=False)
    engine = NativeEngine(model, pad_id=0)
    next(iter(engine.score([(1, 2, 3)])))
    assert engine.fallback is None


def test_a_class_of_ones_own_runs_by_its_own_forward() -> None:
    class Hotter(Qwen2ForCausalLM):
        def forward(self, *arguments: Any, **named: Any) -> Any:
            out = super().forward(*arguments, **named)
            out.logits = out.logits * 1.5
            return out

    plain = tiny("qwen2")
    model = Hotter(plain.config).eval()
    model.load_state_dict(plain.state_dict())
    engine = NativeEngine(model, pad_id=0)
    assert engine.fallback is not None
    assert "it is a Hotter" in engine.fallback
    for completion in engine.generate(prompts(4), Sampling(max_tokens=10)):  # of several lengths: padded
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logprobs), exact, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}, "depend on the text's"),
        ({"layer_types": ["full_attention", "sliding_attention", "full_attention"], "sliding_window": 8,
          "use_sliding_window": True}, "sliding_attention"),
    ],
)  # fmt: skip
def test_options_that_the_lean_path_does_not_know_are_left_to_the_module(options: dict[str, Any], why: str) -> None:
    model = tiny("qwen2", **options)
    engine = NativeEngine(model, pad_id=0, max_batch=4)
    assert engine.fallback is not None
    assert why in engine.fallback
    for completion in engine.generate(prompts(4), Sampling(max_tokens=20)):
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logprobs), exact, atol=1e-4, rtol=0)
