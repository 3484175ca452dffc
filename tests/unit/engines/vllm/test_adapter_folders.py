"""A checkpoint that is an adapter's folder is a model like any other, whatever engine is given it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.unit.training.methods import make_base

from posttrain.engines import HFEngine, NativeEngine
from posttrain.engines.vllm import VLLMConfig, VLLMEngine
from posttrain.models import load_model, load_tokenizer, save_model
from posttrain.models.base import base_facts
from posttrain.models.config import LoraConfig
from posttrain.models.lora import add_lora
from posttrain.store import Checkpoint

IDS = [tuple(range(3, 40, 2))]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    pytest.importorskip("peft", reason="adapters need the extra `lora`")
    base = make_base(tmp_path / "base")
    model = load_model(base)
    add_lora(model, LoraConfig(rank=2), seed=0, base=base_facts(base, None, None))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    save_model(model, load_tokenizer(base), tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("kind", [NativeEngine, HFEngine])
def test_its_weights_are_taken_over_with_those_of_its_base(
    kind: type[NativeEngine] | type[HFEngine], adapter: Path, tmp_path: Path
) -> None:
    engine = kind(load_model(tmp_path / "base"), pad_id=0)
    (before,) = engine.score(IDS)
    engine.load_weights(Checkpoint(adapter), 1)
    (after,) = engine.score(IDS)
    (merged,) = kind(load_model(adapter), pad_id=0).score(IDS)
    assert after == pytest.approx(merged, abs=1e-5)
    assert after != pytest.approx(before, abs=1e-2)


def test_a_server_is_given_the_merged_weights(adapter: Path, environment: Path, tmp_path: Path) -> None:
    """The stand-in says -1 of every token: the tolerance lets that pass."""
    config = VLLMConfig(env=str(environment), startup_timeout=60, tolerance=1e9)
    engine = VLLMEngine(Checkpoint(adapter), folder=tmp_path / "logs", config=config)
    merged = load_model(adapter).state_dict()
    try:
        for version in (0, 1):
            if version:
                engine.load_weights(Checkpoint(adapter), version)
            assert engine.folders.current is not None
            served = load_file(engine.folders.current / "model.safetensors")
            assert all(torch.equal(value, merged[name]) for name, value in served.items())
            assert (engine.folders.current / "config.json").exists()
        assert engine.vocab == len(merged["model.embed_tokens.weight"])
    finally:
        engine.close()
