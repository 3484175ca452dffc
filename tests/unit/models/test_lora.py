"""Adapters and quantised weights: counted, switched off, merged, and told apart from a wrong base."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.unit.engines.tiny import module_logprobs, tiny
from tests.unit.training.methods import make_base
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from posttrain.engines.native import NativeEngine
from posttrain.errors import ModelError
from posttrain.models import adapters_off, load_model, load_tokenizer, save_model
from posttrain.models.base import base_facts, weights_digest
from posttrain.models.config import LoraConfig
from posttrain.models.lora import add_lora, trainable
from posttrain.models.quantise import dense_weight, dequantised, is_quantised, quantise
from posttrain.models.size import read_shape

IDS = tuple(range(3, 40, 2))


def moved(model: torch.nn.Module) -> None:
    """As if the adapters had been trained."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def test_rank_64_on_all_linear_layers_of_qwen_1_5b_is_the_published_number() -> None:
    """73,859,072 (the reference distillation experiment), counted on tensors without data."""
    with torch.device("meta"):
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=151936,
                hidden_size=1536,
                num_hidden_layers=28,
                num_attention_heads=12,
                num_key_value_heads=2,
                intermediate_size=8960,
                tie_word_embeddings=True,
            )
        )
        add_lora(model, LoraConfig(rank=64, alpha=128, dropout=0.08), seed=0)
    assert trainable(model) == 73_859_072


def test_the_base_is_the_reference_model_while_adapters_are_off() -> None:
    model = tiny("qwen2")
    before = module_logprobs(model, IDS)
    add_lora(model, LoraConfig(rank=4), seed=0)
    assert torch.equal(module_logprobs(model, IDS), before), "B starts at 0"
    moved(model)
    adapted = module_logprobs(model, IDS)
    assert not torch.allclose(adapted, before, atol=1e-2)
    engine = NativeEngine(model, pad_id=0)
    with adapters_off(model):
        assert torch.equal(module_logprobs(model, IDS), before)
        assert next(iter(engine.score([IDS]))) == pytest.approx(before.tolist(), abs=1e-4)
        assert engine.fallback is None, "adapters inside a model are known to the lean path"
    assert torch.equal(module_logprobs(model, IDS), adapted)
    with pytest.raises(ModelError, match="no adapters to switch off"), adapters_off(tiny("qwen2")):
        pass


def test_the_same_seed_draws_the_same_adapters() -> None:
    def drawn(seed: int) -> torch.Tensor:
        model = tiny("qwen2")
        add_lora(model, LoraConfig(rank=4), seed=seed)
        return torch.cat([p.flatten() for n, p in model.named_parameters() if "lora_A" in n])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("kind", [None, "nf4", "int8"])
def test_a_saved_adapter_is_loaded_as_the_model_that_was_trained(kind: str | None, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    model = load_model(base)
    if kind is not None:
        quantise(model, kind)  # type: ignore[arg-type]
    add_lora(model, LoraConfig(rank=4), seed=0, base=base_facts(base, None, kind))
    moved(model)
    save_model(model, load_tokenizer(base), tmp_path / "adapter")
    loaded = load_model(tmp_path / "adapter")
    worst = (module_logprobs(loaded, IDS) - module_logprobs(model, IDS)).abs().max()
    # LLM.int8 rounds activations too, which no merged weights can; the others differ by float32's rounding
    assert worst < (0.05 if kind == "int8" else 1e-4)
    assert read_shape(tmp_path / "adapter") == read_shape(base)


def test_transformers_reads_our_adapter_folders(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    model = load_model(base)
    add_lora(model, LoraConfig(rank=4), seed=0, base=base_facts(base, None, None))
    moved(model)
    save_model(model, load_tokenizer(base), tmp_path / "adapter")
    theirs = AutoModelForCausalLM.from_pretrained(str(tmp_path / "adapter"))
    assert torch.allclose(module_logprobs(theirs, IDS), module_logprobs(model, IDS), atol=1e-5)


def test_an_adapter_of_another_tool_whose_matrices_do_not_fit_is_an_error(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    other = tiny("qwen2")  # wider
    add_lora(other, LoraConfig(rank=4), seed=0, base=base_facts(base, None, None))
    save_model(other, load_tokenizer(base), tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_base.json").unlink()
    with pytest.raises(ModelError, match="doesn't fit its base"):
        load_model(tmp_path / "adapter")


def test_nf4_keeps_sixteen_values_per_block_and_frees_the_rest() -> None:
    model, dense = tiny("llama"), tiny("llama")
    quantise(model, "nf4")
    layer, same = model.model.layers[0].mlp.down_proj, dense.model.layers[0].mlp.down_proj
    assert is_quantised(layer)
    assert layer.weight.numel() == same.weight.numel() // 2  # two weights in a byte
    block = dense_weight(layer).flatten()[:64]
    assert len(block.unique()) <= 16
    assert (block - same.weight.flatten()[:64]).abs().max() < 0.16 * same.weight.flatten()[:64].abs().max()
    assert torch.equal(dense_weight(layer), dequantised(dense, "nf4").model.layers[0].mlp.down_proj.weight)
    assert type(model.lm_head) is torch.nn.Linear
    assert trainable(model) == 0


def test_a_model_trained_further_has_another_digest(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    model = load_model(base)
    save_model(model, load_tokenizer(base), tmp_path / "same")
    assert weights_digest(tmp_path / "same") == weights_digest(base)
    with torch.no_grad():
        model.model.norm.weight.mul_(1.001)
    save_model(model, load_tokenizer(base), tmp_path / "further")
    assert weights_digest(tmp_path / "further") != weights_digest(base)
