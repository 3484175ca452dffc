"""Forecasts: sizes equal those of real models, and a whole recipe is told before anything of it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from posttrain.models import tiny_model, train_tokenizer
from posttrain.models.config import TinyConfig
from posttrain.models.cost import core_speed, training_bytes
from posttrain.models.size import read_shape, shape_of, tiny_shape
from posttrain.pipeline import build_graph, load_recipe, plan_graph
from posttrain.pipeline.plan import COSTS
from posttrain.training.config import TrainingConfig
from posttrain.training.forecast import memory_bytes

QWEN_1_5B = {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}


def test_qwen_1_5b_has_the_weights_its_card_says() -> None:
    shape = shape_of(QWEN_1_5B)
    assert shape is not None
    assert shape.parameters == 1_543_714_304  # 1.54B; 1.31B without embeddings (Qwen2.5's model card)
    assert round((shape.parameters - shape.vocabulary * shape.hidden) / 1e9, 2) == 1.31


@pytest.mark.parametrize(
    "config",
    [TinyConfig(), TinyConfig(hidden=96, layers=3, heads=6, kv_heads=2, vocabulary=300), TinyConfig(feed_forward=40)],
)
def test_the_shape_of_a_tiny_model_counts_its_real_weights(config: TinyConfig, tmp_path: Path) -> None:
    words = [f"{a}{b}{a} {b}{b}{a}" for a in "abcdefghijklmnop" for b in "qrstuvwxyz"]
    tokenizer = train_tokenizer(words * 3, config.vocabulary)
    model = tiny_model(tokenizer, config, seed=0)
    counted = sum(p.numel() for p in model.parameters())
    told = tiny_shape(config.model_copy(update={"vocabulary": len(tokenizer)}))
    assert told.parameters == counted
    model.save_pretrained(tmp_path)
    assert read_shape(tmp_path) == told


@pytest.mark.parametrize(("kind", "tied"), [("llama", False), ("qwen3", True)])
def test_other_families_are_counted_as_transformers_builds_them(kind: str, tied: bool, tmp_path: Path) -> None:
    import torch
    import transformers

    names = {"llama": ("LlamaConfig", "LlamaForCausalLM"), "qwen3": ("Qwen3Config", "Qwen3ForCausalLM")}[kind]
    config = getattr(transformers, names[0])(
        vocab_size=101,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=48,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        model = getattr(transformers, names[1])(config)
    config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    assert shape is not None
    assert shape.parameters == sum(p.numel() for p in model.parameters())


def test_training_holds_sixteen_bytes_a_weight() -> None:
    shape = shape_of(QWEN_1_5B)
    assert shape is not None
    assert training_bytes(shape, 0) > 16 * shape.parameters
    assert training_bytes(shape, 8192, "bfloat16") < training_bytes(shape, 8192, "float32")


def test_every_cost_of_the_quickstart_is_told_before_anything_of_it_stands(tmp_path: Path) -> None:
    planned = plan_graph(build_graph(load_recipe("quickstart", ())), tmp_path / "quickstart")
    unknown = [(one.node.name, key) for one in planned for key in COSTS if one.forecast[key] is None]
    assert unknown == []
    assert sum(one.forecast["dollars"] or 0 for one in planned) == 0
    told = {one.node.name: one.forecast["seconds"] or 0 for one in planned}
    assert told["base"] > told["sft"] > told["traces"]


def test_twice_the_steps_are_forecast_to_take_twice_as_long(tmp_path: Path) -> None:
    def seconds(steps: int) -> float:
        graph = build_graph(load_recipe("quickstart", (f"base.steps={steps}",)))
        return next(o.forecast["seconds"] or 0 for o in plan_graph(graph, tmp_path / "r") if o.node.name == "base")

    assert seconds(4000) - seconds(3000) == pytest.approx(seconds(3000) - seconds(2000))


def test_a_plan_with_forecasts_imports_no_torch() -> None:
    code = (
        "import sys; from posttrain.pipeline import *; "
        "plan_graph(build_graph(load_recipe('quickstart', ())), __import__('pathlib').Path('nowhere')); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_adapters_of_a_shape_are_counted_as_they_are_made() -> None:
    """73,859,072: rank 64 on all linear layers of Qwen2.5-1.5B; tests/unit/models/test_lora.py counts the tensors."""
    shape = shape_of(QWEN_1_5B)
    assert shape is not None
    assert shape.adapters(64) == 73_859_072


def test_every_method_that_saves_memory_is_forecast_to() -> None:
    shape = shape_of(QWEN_1_5B)
    assert shape is not None

    def needs(**config: object) -> float:
        return memory_bytes(TrainingConfig.model_validate(config), shape, 8192)

    full = needs()
    assert needs(optimizer={"name": "adamw_8bit"}) < full - 5 * shape.parameters
    assert needs(gradient_checkpointing=True) < full
    assert needs(lora={"rank": 64}) < full - 11 * shape.parameters
    assert needs(lora={"rank": 64}, quantize="nf4") < needs(lora={"rank": 64}) - 3 * 1.3e9
    assert needs(launch={"processes": 4, "strategy": "ddp"}) == full
    assert needs(launch={"processes": 4, "strategy": "fsdp2"}) < full - 11 * shape.parameters


def test_the_speed_of_this_machine_is_measured_once() -> None:
    assert core_speed() is core_speed()
    assert 1e8 < core_speed() < 1e13
