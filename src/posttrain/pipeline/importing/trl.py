"""TRL's SFTConfig and GRPOConfig with the script and model arguments that its command line and open-r1 put beside them.

Names and defaults: TRL 1.16, `trainer/sft_config.py`, `trainer/grpo_config.py`, `trainer/model_config.py`.
"""

from __future__ import annotations

from typing import Any

from posttrain.errors import RecipeError
from posttrain.pipeline.importing import trainer
from posttrain.pipeline.importing.settings import Settings

SCRIPT = {
    "dtype": "trained weights stay float32; bf16 is dtype: bfloat16",
    "torch_dtype": "trained weights stay float32; bf16 is dtype: bfloat16",
    "use_cache": "the trainer keeps no cache of keys and values",
    "dataset_streaming": "data sets are read whole",
    "dataset_text_field": "columns: {question: …, response: …} name the columns",
    "dataset_kwargs": "tokenisation has the keys of the stage",
    "eos_token": "the tokenizer's own ends a turn, and it is checked to be supervised",
    "pad_token": "the tokenizer's own",
    "pad_to_multiple_of": "micro-batches are as long as their longest sequence",
    "padding_free": "no padding reaches the model where attention allows it",
    "eval_packing": "validation packs nothing",
    "activation_offloading": "not built",
    "benchmarks": "the stage `eval` answers benchmarks",
    "callbacks": "code of one's own is a stage",
}
ADAPTER = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "use_peft", "load_in_4bit", "load_in_8bit")
AGGREGATIONS = {"grpo": "sequence_mean", "dr_grpo": "constant", "dapo": "token_mean", "bnpo": "token_mean"}
VLLM = {
    "use_vllm": "rollouts are sampled by the native engine, on the trainer's own weights",
    "vllm_mode": "the engine says where it runs",
    "vllm_device": "the engine says where it runs",
    "vllm_gpu_memory_utilization": "a key of the engine's, not of the recipe's",
    "vllm_max_model_len": "max_tokens and the prompts' length bound it",
    "vllm_max_model_length": "max_tokens and the prompts' length bound it",
    "vllm_server_host": "a key of the engine's, not of the recipe's",
    "vllm_server_port": "a key of the engine's, not of the recipe's",
    "vllm_server_timeout": "a key of the engine's, not of the recipe's",
    "vllm_tensor_parallel_size": "a key of the engine's, not of the recipe's",
    "max_prompt_length": "a prompt is never cut: one that does not fit is an error",
    "ds3_gather_for_generation": "weights are always gathered",
    "disable_dropout": "the models here have none",
    "sync_ref_model": "the reference is the model that training started from",
    "log_unique_prompts": "rollouts are kept with their problems",
}


def convert_sft(settings: Settings, processes: int) -> dict[str, Any]:
    """The recipe of an SFTConfig."""
    processes = settings.whole("num_processes", processes)
    recipe = _head(settings, "sft")
    body: dict[str, Any] = {"stage": "sft", "model": "{model}", "traces": "traces"}
    body |= _text(settings)
    body |= trainer.length(settings)
    body["batch_size"] = trainer.batch(settings, processes)
    body |= _adapter(settings)
    body["optimizer"] = trainer.optimizer(settings, rate=2e-5)
    body |= trainer.precision(settings, default=True) | trainer.checkpointing(settings, default=True)
    body |= trainer.checkpoints(settings) | trainer.validation(settings)
    body |= trainer.launch(settings, processes) | trainer.pushing(settings)
    return {**recipe, "stages": {"traces": _data(settings, "examples"), "sft": body}}


def convert_grpo(settings: Settings, processes: int) -> dict[str, Any]:
    """The recipe of a GRPOConfig."""
    processes = settings.whole("num_processes", processes)
    recipe = _head(settings, "grpo")
    body: dict[str, Any] = {"stage": "rl", "model": "{model}", "problems": "problems"}
    system = settings.take("system_prompt")
    if system:
        body["system"] = str(system)
    if settings.take("chat_template", settings.take("chat_template_path")):
        settings.leave("chat_template", "…", "write it to a file and name that: template: file.jinja")
    body |= _rollouts(settings, processes)
    body |= _objective(settings)
    body |= {"reward": _reward(settings)}
    body |= _adapter(settings)
    body["optimizer"] = trainer.optimizer(settings, rate=1e-6)
    body |= trainer.precision(settings, default=True) | trainer.checkpointing(settings, default=True)
    body |= trainer.checkpoints(settings) | trainer.validation(settings)
    body |= trainer.pushing(settings)
    _in_one_process(settings, processes)
    settings.leave_all(VLLM)
    return {**recipe, "stages": {"problems": _data(settings, "data"), "rl": body}}


def _in_one_process(settings: Settings, processes: int) -> None:
    """What asks for more ranks is left out: whether further GPUs learn or sample is for the person to say."""
    for key, value in trainer.launch(settings, processes).get("launch", {}).items():
        settings.leave(
            {"processes": "num_processes", "strategy": "deepspeed or fsdp"}.get(key, key),
            value,
            "rl is imported for one process: add launch: {processes: n} to spread its learning, or let further GPUs "
            "sample (engine: vllm with vllm.replicas)",
        )


def _head(settings: Settings, what: str) -> dict[str, Any]:
    model = settings.take("model_name_or_path")
    if model is None:
        raise RecipeError(f"{settings.source}: model_name_or_path is missing. Say which model is trained.")
    revision = settings.take("model_revision", "main")
    folder = str(settings.take("output_dir", "")) or f"{str(model).rpartition('/')[2]}-{what}"
    settings.leave_all(SCRIPT)
    return {
        "name": folder.strip("/").rpartition("/")[2],
        "seed": trainer.seed(settings),
        "model": str(model) if revision == "main" else f"{model}@{revision}",
        "tracking": trainer.tracking(settings),
    }


def _data(settings: Settings, stage: str) -> dict[str, Any]:
    name = settings.take("dataset_name")
    if name is None:
        if settings.take("dataset_mixture") is not None:
            settings.leave("dataset_mixture", "…", "a stage reads one data set: add a stage for each")
        raise RecipeError(f"{settings.source}: dataset_name is missing. Say which data set is trained on.")
    body: dict[str, Any] = {"stage": stage, "source" if stage == "examples" else "dataset": str(name)}
    subset = settings.take("dataset_config", settings.take("dataset_configs"))
    subset = subset[0] if isinstance(subset, list) else subset
    if subset not in (None, "default"):
        body["subset"] = str(subset)
    train, test = settings.take("dataset_train_split", "train"), settings.take("dataset_test_split", "test")
    if stage == "examples":
        body |= {"split": str(train)} if train != "train" else {}
    elif (train, test) != ("train", "test"):
        body["splits"] = {"train": train, "test": test}
    column = settings.take("dataset_prompt_column")
    return body | ({"columns": {"question": str(column)}} if column else {})


def _text(settings: Settings) -> dict[str, Any]:
    body: dict[str, Any] = {"template": "chat"}
    system = settings.take("system_prompt")
    if system:
        body["system"] = str(system)
    if settings.take("chat_template") or settings.take("chat_template_path"):
        settings.leave("chat_template", "…", "write it to a file and name that: template: file.jinja")
    assistant, completion = settings.flag("assistant_only_loss"), settings.take("completion_only_loss")
    body["loss_on"] = "assistant" if assistant else "response" if completion is not False else "sequence"
    if completion is None and not assistant:
        settings.assumed.append("loss_on is response, as TRL does it for prompt and completion; messages: sequence")
    most = settings.take("max_length", settings.take("max_seq_length", 1024))
    strategy = settings.take("packing_strategy", "bfd")
    if settings.flag("packing"):
        body["packing"] = "concatenate" if strategy == "wrapped" else "documents"
        body |= {"pack_tokens": int(most)}
    if settings.take("truncation_mode", "keep_start") != "keep_start":
        settings.leave("truncation_mode", "keep_end", "what is cut is the end")
    kind = settings.take("loss_type", "nll")
    if kind not in ("nll", "chunked_nll"):
        settings.leave("loss_type", kind, "the loss is the likelihood")
    return body | {"max_tokens": int(most), "overlong": "truncate"}


def _adapter(settings: Settings) -> dict[str, Any]:
    values = {key: settings.take(key) for key in ADAPTER}
    body: dict[str, Any] = {}
    if values["use_peft"]:
        body["lora"] = {
            "rank": int(values["lora_r"] or 16),
            "alpha": int(values["lora_alpha"] or 32),
            "dropout": float(values["lora_dropout"] if values["lora_dropout"] is not None else 0.05),
        }
        targets = values["lora_target_modules"]
        if targets and targets not in ("all-linear", ["all-linear"]):
            body["lora"]["targets"] = targets if isinstance(targets, list) else [targets]
    if values["load_in_4bit"] or values["load_in_8bit"]:
        body["quantize"] = "nf4" if values["load_in_4bit"] else "int8"
    settings.leave_all(
        {
            "lora_task_type": "the models are causal",
            "lora_modules_to_save": "only adapters are trained beside the base",
            "use_rslora": "rank-stabilised LoRA is not built",
            "use_dora": "DoRA is not built",
            "bnb_4bit_quant_type": "4 bits are NF4",
            "use_bnb_nested_quant": "NF4 is always doubly quantised",
        }
    )
    return body


def _rollouts(settings: Settings, processes: int) -> dict[str, Any]:
    """prompts × group: TRL counts completions, and samples for `steps_per_generation` optimizer steps at once."""
    group = settings.whole("num_generations", 8)
    here = settings.whole("per_device_train_batch_size", 8)
    accumulation = settings.whole("gradient_accumulation_steps", 1)
    per = settings.whole("steps_per_generation", accumulation)
    sampled = settings.whole("generation_batch_size", here * processes * per)
    if processes == 1:
        settings.assumed.append(
            f"prompts is {sampled} // {group} for one process: multiply it by your number of GPUs, or import with "
            "--processes"
        )
    if sampled % group:
        settings.assumed.append(
            f"prompts is {sampled} // {group}, rounded down: {sampled} completions are no whole groups"
        )
    body: dict[str, Any] = {"prompts": max(1, sampled // group), "group": group}
    if per > accumulation:
        body["updates"] = per // accumulation
    if (passes := settings.whole("num_iterations", 1)) > 1:
        body["passes"] = passes
    steps = settings.whole("max_steps", -1)
    epochs = settings.number("num_train_epochs", 3.0)
    if steps > 0:
        body["steps"] = steps
    else:
        settings.leave("num_train_epochs", epochs, "rl counts steps: epochs × problems / prompts; the recipe has 100")
    body |= {
        "temperature": settings.number("temperature", 1.0),
        "max_tokens": settings.whole("max_completion_length", 512),
    }
    if (share := settings.number("top_p", 1.0)) < 1:
        body["top_p"] = share
    for key, off in (("top_k", 0), ("min_p", 0.0), ("repetition_penalty", 1.0)):
        value = settings.number(key, off)
        if value not in (off, -1):
            settings.leave(key, value, "the policy that is trained is the one that is sampled: the plain distribution")
    return body


def _objective(settings: Settings) -> dict[str, Any]:
    low = settings.number("epsilon", 0.2)
    body: dict[str, Any] = {"clip_low": low, "clip_high": settings.number("epsilon_high", low)}
    kl = settings.number("beta", 0.0)
    body |= {"kl": kl} if kl else {}
    kind = str(settings.take("loss_type", "dapo"))
    level = settings.take("importance_sampling_level", "token")
    if level == "sequence":
        body["objective"] = "gspo"
    if kind == "cispo":
        body |= {"objective": "cispo", "aggregation": "token_mean"}
    elif kind in AGGREGATIONS:
        body["aggregation"] = AGGREGATIONS[kind]
    else:
        settings.leave("loss_type", kind, f"known are cispo, {', '.join(AGGREGATIONS)}")
    scale = settings.take("scale_rewards", "group")
    if scale in (False, "none", "false"):
        body["advantage"] = "group_mean"
    elif scale in (True, "group", "true"):
        body["advantage"] = "group_norm"
    else:
        settings.leave("scale_rewards", scale, "rewards are scaled within their group or not at all")
    return body


def _reward(settings: Settings) -> dict[str, Any]:
    names = settings.take("reward_funcs", ["accuracy"])
    names = [names] if isinstance(names, str) else list(names)
    weights = settings.take("reward_weights", [1.0] * len(names))
    if len(weights) != len(names):
        raise RecipeError(
            f"{settings.source}: {len(weights)} reward_weights for {len(names)} reward_funcs. Give one each."
        )
    body: dict[str, Any] = {"correct": 0.0}
    for name, weight in zip(names, weights, strict=True):
        if name in ("accuracy", "accuracy_reward"):
            body["correct"] = float(weight)
        elif name in ("format", "think_format_reward"):
            body["format"] = float(weight)
        else:
            settings.leave("reward_funcs", name, "put the function into a file: reward: {function: file.py:name}")
    return body
