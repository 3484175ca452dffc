"""What LLaMA-Factory and TRL share: the arguments of transformers' Trainer.

Defaults that differ from ours are written out, so that the recipe trains what the configuration would have trained.
Source of names and defaults: transformers 5, `training_args.py`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from posttrain.errors import RecipeError
from posttrain.pipeline.importing.settings import Settings

OPTIMIZERS = {
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw",
    "adamw_hf": "adamw",
    "adamw_bnb_8bit": "adamw_8bit",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "adamw_8bit",
    "adafactor": "adafactor",
    "sgd": "sgd",
}
# theirs → (ours, share of the rate that is left at the end)
SCHEDULES: dict[str, tuple[str, float | None]] = {
    "linear": ("linear", 0.0),
    "cosine": ("cosine", 0.0),
    "cosine_with_min_lr": ("cosine", None),
    "constant": ("constant", None),
    "constant_with_warmup": ("constant", None),
    "warmup_stable_decay": ("wsd", None),
}
NOTHING = {
    "do_train": "a recipe says what it makes",
    "do_predict": "the stage `eval` answers benchmarks",
    "do_eval": "validation.every says when",
    "overwrite_output_dir": "nothing is overwritten: --fresh STAGE keeps the old one beside the new",
    "overwrite_cache": "there is no cache of tokenised data to overwrite",
    "cache_dir": "HF_HOME says where the hub's files are kept",
    "logging_steps": "every step is logged",
    "logging_strategy": "every step is logged",
    "logging_first_step": "every step is logged",
    "logging_dir": "a stage's numbers stand in its own folder",
    "log_level": "there is one level",
    "log_completions": "every rollout and every validation answer is kept",
    "num_completions_to_print": "rollouts are kept, and none is printed",
    "disable_tqdm": "--quiet",
    "plot_loss": "the loss is always plotted",
    "include_num_input_tokens_seen": "tokens_seen is always logged",
    "include_tokens_per_second": "tokens_per_s is always logged",
    "ddp_timeout": "the launcher's own default",
    "ddp_find_unused_parameters": "there are none",
    "preprocessing_num_workers": "one process tokenises",
    "preprocessing_batch_size": "rows are tokenised one by one",
    "dataset_num_proc": "one process tokenises",
    "dataset_batch_size": "rows are tokenised one by one",
    "dataloader_num_workers": "sequences are held in memory: there are no loaders",
    "dataloader_pin_memory": "sequences are held in memory: there are no loaders",
    "dataloader_drop_last": "batches run across the border of epochs: none is partial",
    "group_by_length": "micro-batches are sorted by length in any case",
    "remove_unused_columns": "columns are named by what they hold",
    "save_only_model": "what a resume needs is kept until the stage is finished, and never after",
    "save_safetensors": "weights are always safetensors",
    "resume_from_checkpoint": "an interrupted run continues when it is run again",
    "flash_attn": "attention is chosen by what is installed",
    "attn_implementation": "attention is chosen by what is installed",
    "use_unsloth": "kernels are ours",
    "enable_liger_kernel": "the loss never holds all logits in any case",
    "use_liger": "the loss never holds all logits in any case",
    "use_liger_kernel": "the loss never holds all logits in any case",
    "tf32": "matrix products follow torch's own default",
    "trust_remote_code": "a model's own code is never run",
    "hub_strategy": "every checkpoint that is kept is pushed",
    "hub_token": "HF_TOKEN in the environment; a recipe holds no secrets",
    "hub_model_revision": "a revision is pushed for every step",
    "push_to_hub_revision": "a revision is pushed for every step",
    "per_device_eval_batch_size": "validation fills its batches itself",
    "eval_accumulation_steps": "validation fills its batches itself",
    "torch_empty_cache_steps": "not needed",
    "fp16": "weights are trained in float32 under bfloat16 or float32: say dtype",
    "pure_bf16": "trained weights stay float32",
    "label_smoothing_factor": "the loss is the plain likelihood",
    "neftune_noise_alpha": "no noise is added to embeddings",
    "auto_find_batch_size": "`posttrain plan` says before whether it fits; micro_tokens bounds memory",
    "average_tokens_across_devices": "denominators are always global",
    "save_on_each_node": "one node writes",
}


def optimizer(settings: Settings, *, rate: float = 5e-5) -> dict[str, Any]:
    """`optimizer:` of a stage. `rate`: the default of the configuration's own kind."""
    name = str(settings.take("optim", "adamw_torch"))
    ours: dict[str, Any] = {"lr": settings.number("learning_rate", rate)}
    if OPTIMIZERS.get(name, "adamw") != "adamw":
        ours["name"] = OPTIMIZERS[name]
    if name not in OPTIMIZERS:
        settings.leave("optim", name, f"known are {', '.join(OPTIMIZERS)}; the recipe says adamw")
    ours["betas"] = [settings.number("adam_beta1", 0.9), settings.number("adam_beta2", 0.999)]
    decay, eps = settings.number("weight_decay", 0.0), settings.number("adam_epsilon", 1e-8)
    ours |= {"weight_decay": decay} if decay else {}
    ours |= {"eps": eps} if eps != 1e-8 else {}
    ours["schedule"] = "linear"
    theirs = str(settings.take("lr_scheduler_type", "linear"))
    more = settings.take("lr_scheduler_kwargs", {})
    if theirs in SCHEDULES:
        ours["schedule"], final = SCHEDULES[theirs]
    else:
        final = 0.0
        settings.leave("lr_scheduler_type", theirs, f"known are {', '.join(SCHEDULES)}; the recipe says linear")
    if theirs == "cosine_with_min_lr":
        final = _least_share(more, float(ours["lr"]))
    elif more:
        settings.leave("lr_scheduler_kwargs", more, "of the schedules only cosine_with_min_lr takes one here")
    if final is not None:
        ours["final"] = final
    ours |= _warmup(settings)
    clip = settings.number("max_grad_norm", 1.0)
    return ours | ({"clip": clip} if clip != 1.0 else {})


def _least_share(more: Any, rate: float) -> float:
    if not isinstance(more, dict):
        return 0.0
    return float(more["min_lr_rate"]) if "min_lr_rate" in more else float(more.get("min_lr", 0.0)) / rate


def _warmup(settings: Settings) -> dict[str, float]:
    """A share of the steps; a number of steps is one where the steps are known."""
    share, count = settings.number("warmup_ratio", 0.0), settings.number("warmup_steps", 0)
    if 0 < count < 1:  # transformers 5 reads a fraction as a share
        return {"warmup": count}
    if count:
        steps = int(settings.values.get("max_steps") or -1)
        if steps > 0:
            return {"warmup": round(count / steps, 6)}
        settings.leave("warmup_steps", count, "optimizer.warmup is a share of the steps, and their number is not known")
    return {"warmup": share} if share else {}


def batch(settings: Settings, processes: int, *, per_device: int = 8) -> int:
    """Sequences of one optimizer step, over all processes."""
    here = settings.whole("per_device_train_batch_size", per_device)
    accumulation = settings.whole("gradient_accumulation_steps", 1)
    if processes == 1:
        settings.assumed.append(
            f"batch_size is {here} × {accumulation} for one process: multiply it by your number of GPUs, or import "
            "with --processes"
        )
    return here * accumulation * processes


def length(settings: Settings, *, epochs: float = 3.0) -> dict[str, Any]:
    """`steps` or `epochs`."""
    steps, passes = settings.whole("max_steps", -1), settings.number("num_train_epochs", epochs)
    return {"steps": steps} if steps > 0 else {"epochs": passes}


def precision(settings: Settings, *, default: bool = False) -> dict[str, str]:
    """`dtype`."""
    return {"dtype": "bfloat16"} if settings.flag("bf16", default) else {}


def checkpointing(settings: Settings, *, default: bool) -> dict[str, bool]:
    """`gradient_checkpointing`, which here is always of the kind that does not re-enter."""
    on = settings.flag("gradient_checkpointing", default)
    kind = settings.take("gradient_checkpointing_kwargs", {})
    if isinstance(kind, dict) and kind.get("use_reentrant"):
        settings.leave("gradient_checkpointing_kwargs", kind, "checkpointing here is never re-entrant")
    return {"gradient_checkpointing": True} if on else {}


def checkpoints(settings: Settings) -> dict[str, Any]:
    """`checkpoints: {every, keep, best}`. Without `save_steps` Trainer saves every 500 steps."""
    strategy = settings.take("save_strategy", "steps")
    every = settings.number("save_steps", 500)
    ours: dict[str, Any] = {}
    if strategy == "steps" and every >= 1:
        ours["every"] = int(every)
    elif strategy == "steps":
        settings.leave("save_steps", every, "checkpoints.every counts steps: a share of them is not known before")
    elif strategy == "epoch":
        settings.leave("save_strategy", strategy, "checkpoints.every counts steps; the last one is always kept")
    keep = settings.take("save_total_limit")
    if keep is not None and ours:
        ours["keep"] = int(keep)
    if settings.flag("load_best_model_at_end"):
        ours["best"] = True
        settings.leave_all({"metric_for_best_model": "the best is that of val_accuracy", "greater_is_better": "it is"})
    return {"checkpoints": ours} if ours else {}


def validation(settings: Settings) -> dict[str, Any]:
    """`validation.every`, where evaluation was on."""
    strategy = settings.take("eval_strategy", settings.take("evaluation_strategy", "no"))
    every = settings.take("eval_steps")
    if strategy == "steps":
        return {"validation": {"every": int(every or 500)}}
    if strategy == "epoch":
        settings.leave("eval_strategy", strategy, "validation.every counts steps")
    return {}


def pushing(settings: Settings) -> dict[str, Any]:
    """`push: {repo, private}`."""
    repo, private = settings.take("hub_model_id"), settings.flag("hub_private_repo")
    if not settings.flag("push_to_hub"):
        return {}
    if repo is None:
        settings.leave("push_to_hub", True, "hub_model_id is missing: say push: {repo: owner/name}")
        return {}
    if "/" not in str(repo):
        settings.assumed.append(f"push.repo is {repo!r}, which names no owner: write owner/{repo}")
    return {"push": {"repo": str(repo), "private": private}}


def tracking(settings: Settings) -> list[str]:
    """The trackers that both know."""
    given = settings.take("report_to", [])
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in ("wandb", "trackio", "tensorboard", "none", "all"):
            settings.leave("report_to", name, "trackers here are wandb, trackio and tensorboard")
    settings.leave_all({"run_name": "a run is called by its recipe", "wandb_project": "WANDB_PROJECT names it"})
    return [name for name in names if name in ("wandb", "trackio", "tensorboard")]


def launch(settings: Settings, processes: int) -> dict[str, Any]:
    """`launch: {processes, strategy, offload}` from a DeepSpeed file or an FSDP word."""
    ours: dict[str, Any] = {"processes": processes} if processes > 1 else {}
    deepspeed, sharded = settings.take("deepspeed"), settings.take("fsdp")
    settings.leave_all({"fsdp_config": "launch.strategy: fsdp2 wraps every decoder layer"})
    if deepspeed is not None:
        zero, offload = _zero(deepspeed)
        if zero is None:
            settings.leave("deepspeed", deepspeed, "ZeRO stages 2 and 3 are known; say launch: {strategy: zero2}")
        else:
            ours |= {"strategy": f"zero{zero}"} | ({"offload": True} if offload else {})
    elif sharded:
        ours |= {"strategy": "fsdp2"} | ({"offload": True} if "offload" in str(sharded) else {})
    return {"launch": ours} if ours else {}


def _zero(given: Any) -> tuple[int | None, bool]:
    """(stage, whether to the CPU) of a DeepSpeed config: a mapping, a file, or the name of one of LLaMA-Factory's."""
    path = Path(str(given))
    if isinstance(given, str) and path.is_file():
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RecipeError(f"deepspeed: {path} is not JSON ({error}). Mend it, or write launch: yourself.") from None
    if isinstance(given, dict):
        zero = given.get("zero_optimization", {})
        to = [zero.get(name, {}).get("device") for name in ("offload_optimizer", "offload_param")]
        return (zero.get("stage") if zero.get("stage") in (2, 3) else None), "cpu" in to
    match = re.search(r"z(?:ero)?_?([023])", path.name)
    return (int(match[1]) if match and match[1] != "0" else None), "offload" in path.name


def seed(settings: Settings) -> int:
    """The seed; that of the data order follows from it here."""
    settings.leave_all({"data_seed": "every consumer derives its own seed from the recipe's"})
    return settings.whole("seed", 42)
