"""Full training, LoRA, QLoRA, 8-bit AdamW, checkpoints that are kept, early stopping; and what may go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.unit.training.methods import Room, column, make_base, summary

from posttrain.config import parse
from posttrain.errors import ModelError, RecipeError, TrainingError
from posttrain.models import load_model, load_tokenizer, save_model
from posttrain.models.base import is_adapter
from posttrain.sft.config import SFTConfig
from posttrain.store import Checkpoint
from posttrain.training.config import EarlyStoppingConfig, OptimizerConfig
from posttrain.training.keeper import best_step
from posttrain.training.optimizer import learning_rate, make_optimizer


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("methods"))


def test_lora_trains_the_adapters_and_nothing_else(room: Room) -> None:
    stage = room.sft("lora", lora={"rank": 4}, checkpoints={"every": 2})
    assert column(stage, "loss")[-1] < column(stage, "loss")[0]
    for folder in (stage / "model", stage / "checkpoints" / "step-000002"):
        assert is_adapter(folder)
        assert not (folder / "model.safetensors").exists()
    before, after = load_model(room.base).state_dict(), load_model(stage / "model").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {n for n in before if n.endswith("_proj.weight")}  # all linear layers but the output projection


def test_a_merge_on_request_leaves_an_ordinary_model_and_says_how_exact_it_is(room: Room) -> None:
    stage = room.sft("merged", lora={"rank": 4, "merge": True})
    assert not is_adapter(stage / "model")
    assert is_adapter(stage / "adapter")
    assert summary(stage)["merge_error"] < 1e-5
    line = json.loads((stage / "certificate.json").read_text())["merged adapter"]
    assert line["ok"]
    assert line["tokens"] > 100
    whole, adapted = load_model(stage / "model").state_dict(), load_model(stage / "adapter").state_dict()
    assert all(torch.allclose(whole[n], adapted[n], atol=1e-7) for n in whole)
    assert load_tokenizer(stage / "model").chat_template


def test_qlora_is_loaded_with_the_weights_it_was_trained_on(room: Room) -> None:
    """trl#3466: an NF4 adapter on dense weights is another model than the one that was trained."""
    stage = room.sft(
        "qlora", lora={"rank": 4, "merge": True}, quantize="nf4", optimizer={"name": "adamw_8bit", "lr": 5e-3}
    )
    assert column(stage, "loss")[-1] < column(stage, "loss")[0]
    assert summary(stage)["merge_error"] < 1e-4  # against the quantised model as trained


def test_the_stage_of_an_adapter_can_be_moved_with_its_run(room: Room, tmp_path: Path) -> None:
    room.sft("movable", lora={"rank": 2})
    shutil.copytree(room.folder / "base", tmp_path / "run" / "base")
    shutil.copytree(room.folder / "movable", tmp_path / "run" / "movable")
    moved = load_model(tmp_path / "run" / "movable" / "model").state_dict()
    stayed = load_model(room.folder / "movable" / "model").state_dict()
    assert all(torch.equal(moved[n], stayed[n]) for n in stayed)
    assert load_tokenizer(Checkpoint(tmp_path / "run" / "movable").ref).eos_token == "<|im_end|>"


def test_an_adapter_over_the_wrong_base_is_an_error(room: Room, tmp_path: Path) -> None:
    room.sft("lora-of-base", lora={"rank": 2})
    shutil.copytree(room.folder / "lora-of-base", tmp_path / "run" / "adapter")
    make_base(tmp_path / "run" / "base", seed=1)  # the same shape, other weights
    with pytest.raises(ModelError, match="trained on other weights"):
        load_model(tmp_path / "run" / "adapter" / "model")


def test_an_adapter_whose_base_is_gone_says_which(room: Room, tmp_path: Path) -> None:
    base = make_base(tmp_path / "gone")
    stage = room.sft("orphan", base=base, lora={"rank": 2})
    shutil.rmtree(base)
    with pytest.raises(ModelError, match=r"stands on .*gone, which can't be had"):
        load_model(stage / "model")


def test_gradient_checkpointing_changes_no_loss(room: Room) -> None:
    plain = room.sft("plain")
    again = room.sft("again", gradient_checkpointing=True)
    assert column(again, "loss") == pytest.approx(column(plain, "loss"), rel=1e-6)
    assert column(again, "grad_norm") == pytest.approx(column(plain, "grad_norm"), rel=1e-5)


def test_bfloat16_keeps_float32_weights_and_learns(room: Room) -> None:
    stage = room.sft("half", dtype="bfloat16")
    assert column(stage, "loss")[-1] < column(stage, "loss")[0]
    assert {t.dtype for t in load_model(stage / "model").state_dict().values()} == {torch.float32}


def test_only_the_newest_checkpoints_and_the_best_one_stay(room: Room) -> None:
    stage = room.sft(
        "kept",
        validated=True,
        steps=5,
        checkpoints={"every": 1, "keep": 2, "best": True},
        validation={"every": 1, "problems": 2, "max_tokens": 4},
        early_stopping={"metric": "val_truncated"},  # 1.0 from the beginning: the first checkpoint stays the best
    )
    assert sorted(p.name for p in (stage / "checkpoints").iterdir()) == [
        "step-000001",
        "step-000003",
        "step-000004",
        "step-000005",
    ]
    assert summary(stage)["best_step"] == 1
    facts = json.loads((stage / "model" / "posttrain.json").read_text())
    assert facts["step"] == 1


def test_training_stops_when_the_selection_split_gets_no_better(room: Room) -> None:
    stage = room.sft(
        "stopped",
        validated=True,
        steps=9,
        validation={"every": 1, "problems": 2, "max_tokens": 4},
        early_stopping={"patience": 3, "metric": "val_accuracy"},
    )
    assert summary(stage)["stopped_at"] == 3  # no better than before the first step, three times
    assert len(column(stage, "loss")) == 3


def test_the_best_step_and_the_patience_are_read_from_the_scores() -> None:
    rows = [{"step": s, "val_loss": v} for s, v in ((0, 3.0), (2, 2.0), (4, 1.995), (6, 2.5))]
    assert best_step(rows, EarlyStoppingConfig(metric="val_loss")) == (4, 1)
    assert best_step(rows, EarlyStoppingConfig(metric="val_loss", min_delta=0.01)) == (2, 2)
    assert best_step([*rows, {"step": 6, "loss": 1.0}], EarlyStoppingConfig(metric="val_accuracy")) == (None, 0)


def test_wsd_is_flat_between_warmup_and_decay() -> None:
    config = OptimizerConfig(lr=1.0, schedule="wsd", warmup=0.1, decay=0.2, final=0.0)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:81] == [1.0] * 71
    assert rates[80:] == pytest.approx([1 - i / 19 for i in range(20)])


def test_eight_bit_adamw_keeps_its_moments_in_bytes() -> None:
    weight = torch.nn.Parameter(torch.randn(64, 128, generator=torch.Generator().manual_seed(0)))
    optimizer = make_optimizer([weight], OptimizerConfig(name="adamw_8bit", lr=1e-2))
    before = weight.detach().clone()
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert optimizer.state[weight]["state1"].dtype == torch.uint8
    # Adam's first step is lr·sign(g)
    assert torch.allclose(before - weight.detach(), torch.full_like(before, 1e-2), rtol=0.02)


@pytest.mark.parametrize("name", ["adafactor", "sgd"])
def test_other_optimizers_learn_too(room: Room, name: str) -> None:
    stage = room.sft(name, optimizer={"name": name, "lr": 0.05})
    assert column(stage, "loss")[-1] < column(stage, "loss")[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantize": "nf4"}, "nothing is left to train. Add lora"),
        ({"lora": {}, "quantize": "nf4", "launch": {"processes": 2, "strategy": "fsdp2"}}, "can't be cut in parts"),
        ({"launch": {"processes": 2, "offload": True}}, "needs a strategy that cuts"),
        ({"push": {"repo": "a/b", "every": 3}, "checkpoints": {"every": 2}}, "not a multiple of checkpoints.every"),
        ({"lora": {"rank": 0}}, "greater than or equal to 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_before_anything_runs(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(SFTConfig, {"steps": 1, **values}, "stage 'sft'")


def test_a_lora_target_that_is_no_layer_is_named(room: Room) -> None:
    with pytest.raises(ModelError, match=r"lora.targets \['query'\] don't fit"):
        room.sft("no-target", lora={"targets": ["query"]})


def test_a_gradient_that_is_not_finite_names_the_batch_and_the_last_good_state_stands(
    room: Room, tmp_path: Path
) -> None:
    base = load_model(room.base)
    with torch.no_grad():
        base.model.layers[0].mlp.up_proj.weight.fill_(3e38)
    save_model(base, load_tokenizer(room.base), tmp_path / "broken")
    with pytest.raises(TrainingError, match=r"batch of 6 sequences \(examples \d+, .*\) is nan at step 1.*No weight"):
        room.sft("nan", base=tmp_path / "broken")
    state = room.folder / "nan" / ".work" / "resume-00000000"
    assert json.loads((state / "state.json").read_text())["step"] == 0


def test_a_state_of_another_model_tokenizer_or_method_is_not_continued(room: Room) -> None:
    from posttrain.training.checkpoint import Saver

    def saver(folder: Path, **identity: str) -> Saver:
        layer = torch.nn.Linear(2, 2)
        return Saver(folder, layer, torch.optim.AdamW(layer.parameters()), identity=identity)

    folder = room.folder / "states"
    saver(folder, model="qwen2/32/2/300", tokenizer="a" * 64).save(3, {})
    assert saver(folder, model="qwen2/32/2/300", tokenizer="a" * 64).restore() == (3, {})
    with pytest.raises(TrainingError, match="state of another tokenizer: aaaaaaaaaaaa… there, bbbbbbbbbbbb… here"):
        saver(folder, model="qwen2/32/2/300", tokenizer="b" * 64).restore()
    with pytest.raises(TrainingError, match="state of another model"):
        saver(folder, model="llama/32/2/300", tokenizer="a" * 64).restore()


def test_out_of_memory_says_what_to_change(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real refusal of PyTorch's allocator: more than any address space has."""
    monkeypatch.setattr("posttrain.sft.supervised.token_stats", lambda *arguments: torch.empty(1 << 46))
    with pytest.raises(
        TrainingError, match=r"out of memory .*lower token_budget \(it is 128.*gradient_checkpointing: true"
    ):
        room.sft("too-much")


@pytest.mark.real
def test_a_compiled_body_has_the_losses_of_the_plain_one(room: Room) -> None:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on the CPU, and there is none")
    from posttrain.training.policy import prepare

    model = load_model(room.base)
    prepare(SFTConfig(steps=1, compile=True), model)
    assert model.model._compiled_call_impl is not None
    compiled, plain = room.sft("compiled", compile=True), room.sft("eager")
    assert column(compiled, "loss") == pytest.approx(column(plain, "loss"), rel=1e-4)


def test_rl_with_adapters_has_their_base_as_its_reference(room: Room) -> None:
    from posttrain.pipeline import run_stage

    config = {
        "steps": 3,
        "prompts": 2,
        "group": 4,
        "max_tokens": 6,
        "kl": 0.1,
        "lora": {"rank": 4},
        "optimizer": {"lr": 0.05, "schedule": "constant"},
    }
    inputs = {"model": room.base, "problems": room.problems}
    stage = run_stage("rl", config, inputs, room.folder / "rl", quiet=True).path  # type: ignore[arg-type]
    assert is_adapter(stage / "model")
    distance = column(stage, "kl")
    assert distance[0] == pytest.approx(0.0, abs=1e-6), "before the first update policy and base are one"
    before, after = load_model(room.base).state_dict(), load_model(stage / "model").state_dict()
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
