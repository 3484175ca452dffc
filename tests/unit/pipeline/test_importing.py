"""Other trainers' configurations as recipes.

The settings are those of published examples, restated: LLaMA-Factory's `examples/` (train_full/llama3_full_sft,
train_lora/qwen3_lora_sft, train_lora/llama3_lora_dpo, train_qlora/llama3_lora_sft_otfq), open-r1's `recipes/`
(OlympicCoder-7B/sft, Qwen2.5-1.5B-Instruct/sft and grpo, Qwen2.5-Math-7B/grpo), and the configuration of a course on
reasoning SFT (Qwen2.5-3B on AceReason) with its remarks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from posttrain.cli import main
from posttrain.config import load_yaml
from posttrain.errors import RecipeError
from posttrain.pipeline import build_graph, parse_recipe
from posttrain.pipeline.importing import Imported, import_settings, read_arguments, read_settings

OUTPUT = {"logging_steps": 10, "save_steps": 500, "plot_loss": True, "overwrite_output_dir": True}
TRAIN = {"num_train_epochs": 3.0, "lr_scheduler_type": "cosine", "warmup_ratio": 0.1, "bf16": True}
LLAMA3 = {
    "model_name_or_path": "meta-llama/Meta-Llama-3-8B-Instruct",
    "stage": "sft",
    "do_train": True,
    "dataset": "identity,alpaca_en_demo",
    "template": "llama3",
    "cutoff_len": 2048,
    "max_samples": 1000,
    "overwrite_cache": True,
    "preprocessing_num_workers": 16,
    "per_device_train_batch_size": 1,
    "ddp_timeout": 180000000,
    **OUTPUT,
    **TRAIN,
}
FULL = LLAMA3 | {
    "trust_remote_code": True,
    "finetuning_type": "full",
    "deepspeed": "examples/deepspeed/ds_z3_config.json",
    "output_dir": "saves/llama3-8b/full/sft",
    "gradient_accumulation_steps": 2,
    "learning_rate": "1.0e-5",
}
QLORA = LLAMA3 | {
    "quantization_bit": 4,
    "quantization_method": "bitsandbytes",
    "finetuning_type": "lora",
    "lora_target": "all",
    "output_dir": "saves/llama3-8b/lora/sft",
    "gradient_accumulation_steps": 8,
    "learning_rate": 1e-4,
    "val_size": 0.1,
    "per_device_eval_batch_size": 1,
    "eval_strategy": "steps",
    "eval_steps": 500,
}
OPEN_R1 = {
    "model_revision": "main",
    "torch_dtype": "bfloat16",
    "attn_implementation": "flash_attention_2",
    "bf16": True,
    "gradient_checkpointing": True,
    "gradient_checkpointing_kwargs": {"use_reentrant": False},
    "hub_strategy": "every_save",
    "log_level": "info",
    "logging_steps": 1,
    "logging_strategy": "steps",
    "max_steps": -1,
    "overwrite_output_dir": True,
    "push_to_hub": True,
    "report_to": ["wandb"],
    "seed": 42,
}
OLYMPIC = OPEN_R1 | {
    "model_name_or_path": "Qwen/Qwen2.5-Coder-7B-Instruct",
    "dataset_name": "open-r1/codeforces-cots",
    "dataset_config": "solutions_decontaminated",
    "dataset_num_proc": 48,
    "do_eval": False,
    "eval_strategy": "no",
    "gradient_accumulation_steps": 8,
    "hub_model_id": "open-r1/OlympicCoder-7B",
    "learning_rate": 1e-5,
    "lr_scheduler_type": "cosine_with_min_lr",
    "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
    "packing": False,
    "max_grad_norm": 0.2,
    "max_length": 32768,
    "num_train_epochs": 10,
    "output_dir": "data/OlympicCoder-7B",
    "per_device_eval_batch_size": 1,
    "per_device_train_batch_size": 2,
    "save_strategy": "steps",
    "save_steps": 0.2,
    "save_total_limit": 1,
    "use_liger": True,
    "warmup_ratio": 0.03,
}
GRPO = OPEN_R1 | {
    "model_name_or_path": "Qwen/Qwen2.5-1.5B-Instruct",
    "dataset_name": "AI-MO/NuminaMath-TIR",
    "dataset_configs": ["all"],
    "num_processes": 7,
    "use_vllm": True,
    "vllm_device": "auto",
    "vllm_gpu_memory_utilization": 0.7,
    "do_eval": True,
    "eval_strategy": "steps",
    "eval_steps": 100,
    "gradient_accumulation_steps": 16,
    "hub_model_id": "Qwen2.5-1.5B-Open-R1-GRPO",
    "learning_rate": "2.0e-05",
    "log_completions": True,
    "logging_first_step": True,
    "lr_scheduler_type": "cosine",
    "max_prompt_length": 512,
    "max_completion_length": 1024,
    "num_generations": 7,
    "num_train_epochs": 1,
    "output_dir": "data/Qwen2.5-1.5B-Open-R1-GRPO",
    "per_device_eval_batch_size": 32,
    "per_device_train_batch_size": 16,
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "warmup_ratio": 0.1,
}
COURSE = """
### model
model_name_or_path: Qwen/Qwen2.5-3B-Instruct
### method
stage: sft
finetuning_type: full
deepspeed: examples/deepspeed/ds_z3_offload_config.json //Edit if needed
flash_attn: fa2
### dataset
dataset: yourdata  // Edit if needed
cutoff_len: 16384
template: qwen
### output
output_dir: saves/qwen25_3b_instruct/your_name      //Edit accordingly
save_steps: 100
### train
per_device_train_batch_size: 1      //Edit if needed
gradient_accumulation_steps: 8      //Edit if needed
learning_rate: 5.0e-6               //Edit if needed
num_train_epochs: 10                //Edit if needed
lr_scheduler_type: cosine
warmup_ratio: 0.0                   //Edit if needed
bf16: true
report_to: wandb
"""


def stage(found: Imported, name: str) -> dict[str, Any]:
    body: dict[str, Any] = found.recipe["stages"][name]
    return body


def reasons(found: Imported) -> dict[str, str]:
    return {one.key: one.reason for one in found.unmapped}


def test_full_training_under_zero_3() -> None:
    found = import_settings(FULL, "llama3_full_sft.yaml", processes=8)
    assert found.kind == "llama-factory"
    assert found.recipe["name"] == "llama3-8b-full-sft"
    assert found.recipe["model"] == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert stage(found, "sft") == {
        "stage": "sft",
        "model": "{model}",
        "traces": "traces",
        "template": "chat",
        "loss_on": "assistant",
        "max_tokens": 2048,
        "overlong": "truncate",
        "epochs": 3.0,
        "batch_size": 16,
        "optimizer": {"lr": 1e-5, "betas": [0.9, 0.999], "schedule": "cosine", "final": 0.0, "warmup": 0.1},
        "dtype": "bfloat16",
        "gradient_checkpointing": True,
        "checkpoints": {"every": 500},
        "launch": {"processes": 8, "strategy": "zero3"},
    }
    assert stage(found, "traces")["limit"] == 1000
    assert reasons(found)["dataset"] == "a stage reads one data set: add a stage for each of the others"
    assert reasons(found)["trust_remote_code"] == "a model's own code is never run"


def test_qlora_with_evaluation() -> None:
    found = import_settings(QLORA, "llama3_lora_sft_otfq.yaml", processes=2)
    body = stage(found, "sft")
    assert body["lora"] == {"rank": 8, "alpha": 16, "dropout": 0.0}
    assert body["quantize"] == "nf4"
    assert body["batch_size"] == 16
    assert body["validation"] == {"every": 500}
    assert body["launch"] == {"processes": 2}
    assert "the stage's input `problems`" in reasons(found)["val_size"]


def test_the_yaml_of_a_course_with_its_remarks(tmp_path: Path) -> None:
    (tmp_path / "sft_config.yaml").write_text(COURSE)
    found = import_settings(read_settings(tmp_path / "sft_config.yaml"), "sft_config.yaml")
    body = stage(found, "sft")
    assert body["launch"] == {"strategy": "zero3", "offload": True}
    assert (body["batch_size"], body["epochs"], body["max_tokens"], body["template"]) == (8, 10, 16384, "qwen")
    assert body["optimizer"] == {"lr": 5e-6, "betas": [0.9, 0.999], "schedule": "cosine", "final": 0.0}
    assert body["checkpoints"] == {"every": 100}
    assert found.recipe["tracking"] == ["wandb"]
    assert found.assumed == [
        "batch_size is 1 × 8 for one process: multiply it by your number of GPUs, or import with --processes"
    ]
    assert set(reasons(found)) == {"flash_attn"}


def test_trls_sft_with_a_least_rate() -> None:
    found = import_settings(OLYMPIC, "config_v00.00.yaml", processes=8)
    assert found.kind == "trl-sft"
    body = stage(found, "sft")
    assert body["optimizer"] == {
        "lr": 1e-5,
        "betas": [0.9, 0.999],
        "schedule": "cosine",
        "final": 0.1,
        "warmup": 0.03,
        "clip": 0.2,
    }
    assert (body["batch_size"], body["max_tokens"], body["epochs"], body["loss_on"]) == (128, 32768, 10, "response")
    assert "packing" not in body
    assert body["push"] == {"repo": "open-r1/OlympicCoder-7B", "private": False}
    assert stage(found, "traces") == {
        "stage": "examples",
        "source": "open-r1/codeforces-cots",
        "subset": "solutions_decontaminated",
    }
    assert "checkpoints.every counts steps" in reasons(found)["save_steps"]


def test_trls_grpo_counts_completions_and_ours_counts_groups() -> None:
    found = import_settings(GRPO, "config_demo.yaml")
    assert found.kind == "trl-grpo"
    body = stage(found, "rl")
    assert (body["prompts"], body["group"]) == (16 * 7 * 16 // 7, 7)
    assert (body["aggregation"], body["advantage"]) == ("token_mean", "group_norm")
    assert (body["clip_low"], body["clip_high"]) == (0.2, 0.2)
    assert (body["max_tokens"], body["temperature"]) == (1024, 1.0)
    assert body["reward"] == {"correct": 1.0}
    assert body["optimizer"]["lr"] == 2e-5
    assert "launch" not in body
    assert reasons(found)["num_processes"].startswith("rl is imported for one process")
    assert "rl counts steps" in reasons(found)["num_train_epochs"]
    assert reasons(found)["max_prompt_length"].startswith("a prompt is never cut")
    assert "names no owner" in " ".join(found.assumed)


def test_grpos_rewards_system_prompt_and_loss() -> None:
    more = {
        "system_prompt": "Think first.",
        "reward_funcs": ["accuracy", "format", "tag_count"],
        "reward_weights": [1.0, 0.5, 0.1],
        "loss_type": "dr_grpo",
        "scale_rewards": False,
        "epsilon_high": 0.28,
        "beta": 0.04,
        "max_steps": 50,
        "num_iterations": 2,
        "generation_batch_size": 56,
    }
    found = import_settings(GRPO | more, "x.yaml")
    body = stage(found, "rl")
    assert body["reward"] == {"correct": 1.0, "format": 0.5}
    assert "file.py:name" in reasons(found)["reward_funcs"]
    assert (body["aggregation"], body["advantage"], body["clip_high"]) == ("constant", "group_mean", 0.28)
    assert (body["kl"], body["steps"], body["passes"], body["prompts"]) == (0.04, 50, 2, 8)
    assert body["system"] == "Think first."


def test_a_command_line() -> None:
    words = "trl sft --model_name_or_path a/b --dataset_name c/d --learning-rate=2e-4 --packing --use_peft --lora_r 32"
    found = import_settings(read_arguments(words.split()), "the command line")
    body = stage(found, "sft")
    assert body["packing"] == "documents"
    assert body["optimizer"]["lr"] == 2e-4
    assert body["lora"] == {"rank": 32, "alpha": 32, "dropout": 0.05}
    assert body["gradient_checkpointing"], "TRL's default"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stage": "dpo", "model_name_or_path": "a/b"}, r"stage is 'dpo' \(preference pairs\)"),
        ({"stage": "sft"}, "model_name_or_path is missing"),
        ({"model_name_or_path": "a/b"}, "neither LLaMA-Factory's nor TRL's"),
        (FULL | {"learning_rate": "fast"}, "learning_rate is no number"),
        (FULL | {"gradient_accumulation_steps": 1.5}, "must be a whole number"),
        (FULL | {"bf16": "perhaps"}, "must be true or false"),
        (GRPO | {"reward_funcs": ["accuracy"], "reward_weights": [1, 2]}, "2 reward_weights for 1 reward_funcs"),
        (OLYMPIC | {"dataset_name": None}, "dataset_name is missing"),
    ],
)
def test_what_cannot_be_imported_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        import_settings(settings, "x.yaml")


def test_nothing_is_lost_in_silence() -> None:
    """Every key is in the recipe or in the list, an invented one too."""
    found = import_settings(FULL | {"make_it_good": 3, "optim": "muon"}, "x.yaml")
    assert reasons(found)["make_it_good"] == "this key is not known here"
    assert "the recipe says adamw" in reasons(found)["optim"]


def test_zero_is_read_from_a_deepspeed_file(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}))
    found = import_settings(FULL | {"deepspeed": str(path)}, "x.yaml")
    assert stage(found, "sft")["launch"] == {"strategy": "zero2", "offload": True}
    path.write_text("{")
    with pytest.raises(RecipeError, match="is not JSON"):
        import_settings(FULL | {"deepspeed": str(path)}, "x.yaml")


def test_the_verb_writes_a_recipe_with_what_found_no_place_at_its_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.yaml").write_text(COURSE)
    with pytest.raises(SystemExit) as ended:
        main(["import", "theirs.yaml", "--out", "ours.yaml"])
    assert ended.value.code == 0
    shown = capsys.readouterr()
    assert shown.out == "wrote ours.yaml; next: posttrain plan ours.yaml\n"
    assert "no place for flash_attn: attention is chosen by what is installed" in shown.err
    text = (tmp_path / "ours.yaml").read_text()
    assert text.startswith("# Imported from theirs.yaml (llama-factory).\n")
    assert "#   flash_attn: fa2 – attention is chosen" in text
    assert load_yaml(tmp_path / "ours.yaml")["model"] == "Qwen/Qwen2.5-3B-Instruct"
    with pytest.raises(SystemExit):
        main(["import", "theirs.yaml", "--out", "ours.yaml"])
    assert "ours.yaml is there already" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [FULL, QLORA, OLYMPIC, GRPO], ids=["full", "qlora", "sft", "grpo"])
def test_what_is_imported_can_be_planned(settings: dict[str, Any]) -> None:
    graph = build_graph(parse_recipe(import_settings(settings, "x.yaml", processes=2).recipe, "x.yaml"))
    assert len(graph.nodes) == 2
