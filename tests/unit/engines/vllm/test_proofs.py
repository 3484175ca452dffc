"""The canary's arithmetic, and the line it writes into a certificate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.unit.engines.tiny import VOCAB, tiny
from transformers import AutoModelForCausalLM

from posttrain.engines import HFEngine
from posttrain.engines.vllm.weights import (
    Canary,
    Proof,
    Tolerance,
    WeightFolders,
    is_adapted,
    save_adapter,
    save_plain,
)
from posttrain.errors import StoreError
from posttrain.models import adapters_off
from posttrain.models.config import LoraConfig
from posttrain.models.lora import add_lora
from posttrain.models.quantise import quantise
from posttrain.rl.certificate import certify_served
from posttrain.stage import Workspace

GOOD = Proof(version=1, how="endpoint", tokens=124, max=1e-6, mean=1e-7, moved=0.1, tolerance=1e-4, ok=True)


def test_the_canary_sees_stale_weights_and_nothing_in_right_ones() -> None:
    old, new = tiny("qwen2", seed=0), tiny("qwen2", seed=1)
    canary = Canary(VOCAB, 256, Tolerance.of("float32", None))
    canary.expect(old)
    canary.expect(new)

    def served(model: torch.nn.Module) -> list[float]:
        return [value for scores in HFEngine(model, pad_id=0).score(canary.sequences) for value in scores]

    right, stale = canary.check(served(new), 2, "endpoint"), canary.check(served(old), 2, "endpoint")
    assert right.ok
    assert not stale.ok
    assert stale.mean == pytest.approx(stale.moved)
    assert not canary.check([float("nan")] * right.tokens, 2, "endpoint").ok


def test_half_precision_is_judged_by_its_mean_and_float32_by_its_worst_token() -> None:
    canary = Canary(VOCAB, 256, Tolerance.of("bfloat16", None))
    canary.expect(tiny("qwen2"))
    assert canary.expected is not None
    one_off = [canary.expected[0] + 0.5, *canary.expected[1:]]
    assert canary.check(one_off, 0, "start").ok
    canary.tolerance = Tolerance.of("float32", None)
    assert not canary.check(one_off, 0, "start").ok


@pytest.mark.parametrize("untie", [True, False])
def test_a_tied_projection_is_written_twice_where_the_server_needs_it(tmp_path: Path, untie: bool) -> None:
    model = tiny("qwen2")
    save_plain(model, tmp_path / "model", untie=untie)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert again.config.tie_word_embeddings is not untie
    ids = torch.arange(20)[None]
    assert torch.equal(model(ids).logits, again(ids).logits)
    assert ("lm_head.weight" in load_file(tmp_path / "model" / "model.safetensors")) is untie


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*")
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "around"])
@pytest.mark.parametrize("kind", [None, "nf4"])
def test_an_adapted_model_hands_over_its_base_dense_and_without_the_adapter(
    tmp_path: Path, kind: Any, inside: bool
) -> None:
    """Adapters as training puts them into a model, and as peft puts them around one."""
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install 'posttrain[lora]'")
    model = tiny("qwen2")
    if kind:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
        quantise(model, kind)
    if inside:
        add_lora(model, LoraConfig(rank=4), seed=0)
        adapted: Any = model.eval()
    else:
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear")).eval()
    assert is_adapted(adapted)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
    save_plain(adapted, tmp_path / "model", untie=True)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert again.config.tie_word_embeddings
    ids = torch.arange(20)[None]
    with torch.no_grad(), adapters_off(adapted) if inside else adapted.disable_adapter():
        assert torch.allclose(adapted(ids).logits, again(ids).logits, atol=1e-4)
    assert save_adapter(adapted, tmp_path / "adapter") == 4
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (settings["peft_type"], settings["r"]) == ("LORA", 4)
    names = set(load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in names


def test_weights_without_room_say_how_much_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = WeightFolders(tmp_path / "fallback", untie=True)
    try:
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(StoreError, match=r"need 0\.0 GB.*Free some space"):
            folders.write(tiny("qwen2"), 0)
    finally:
        folders.close()
    assert not folders.root.exists()


@pytest.mark.parametrize(
    ("proofs", "ok", "facts"),
    [
        ([GOOD, dataclasses.replace(GOOD, version=2)], True, {"updates": 2, "by": {"endpoint": 2}, "failed": 0}),
        ([dataclasses.replace(GOOD, ok=False), dataclasses.replace(GOOD, how="restart")], True, {"failed": 1}),
        ([GOOD, dataclasses.replace(GOOD, version=2, ok=False, mean=0.4)], False, {"updates": 1, "failed": 1}),
    ],
)
def test_the_certificate_is_red_where_the_last_weights_are_not_served(
    tmp_path: Path, proofs: list[Proof], ok: bool, facts: dict[str, Any]
) -> None:
    engine: Any = SimpleNamespace(proofs=proofs)
    certify_served(engine, Workspace(tmp_path, seed=0))
    line = json.loads((tmp_path / "certificate.json").read_text())["the sampler serves the trained weights"]
    assert line["ok"] is ok
    assert {key: line[key] for key in facts} == facts
