"""LLaMA-Factory's training YAML. Names and defaults: its `hparams/` and docs, version 0.9."""

from __future__ import annotations

from typing import Any

from posttrain.errors import RecipeError
from posttrain.pipeline.importing import trainer
from posttrain.pipeline.importing.settings import Settings

STAGES = {
    "pt": "continued pretraining on plain text",
    "rm": "a reward model",
    "ppo": "a critic",
    "dpo": "preference pairs",
    "kto": "unpaired preferences",
}
# Templates whose format is another than the one that the model's own tokenizer carries.
OWN_TEMPLATES = {"alpaca": "alpaca", "default": "plain", "empty": "plain", "qwen": "qwen"}
NOTHING = {
    "quantization_method": "4 and 8 bits are bitsandbytes'",
    "double_quantization": "NF4 is always doubly quantised",
    "quantization_type": "4 bits are NF4",
    "upcast_layernorm": "norms are computed in float32 in any case",
    "upcast_lmhead_output": "the loss is computed in float32 in any case",
    "resize_vocab": "a vocabulary is never changed",
    "additional_target": "only adapters are trained beside the base",
    "loraplus_lr_ratio": "LoRA+ is not built",
    "use_rslora": "rank-stabilised LoRA is not built",
    "use_dora": "DoRA is not built",
    "pissa_init": "PiSSA is not built",
    "use_galore": "GaLore is not built",
    "use_apollo": "APOLLO is not built",
    "use_badam": "BAdam is not built",
    "use_muon": "Muon is not built",
    "use_llama_pro": "block expansion is not built",
    "shift_attn": "S² attention is not built",
    "rope_scaling": "a model's positions are its own",
    "mask_history": "loss_on: response trains the last turn only: write it, if that is meant",
    "streaming": "data sets are read whole",
    "mix_strategy": "data sets are concatenated",
    "interleave_probs": "data sets are concatenated",
    "tokenized_path": "the stage `preprocess` keeps tokens",
    "eval_dataset": "validation problems come from the stage's input `problems`",
    "predict_with_generate": "validation always generates",
    "val_size": "validation problems come from the stage's input `problems`",
    "eval_on_each_dataset": "one validation split is asked",
    "compute_accuracy": "token_accuracy is always logged",
    "media_dir": "text only",
    "image_max_pixels": "text only",
    "video_max_pixels": "text only",
    "freeze_vision_tower": "text only",
    "ray_run_name": "devices: and launch: say where a recipe runs",
    "ray_storage_path": "devices: and launch: say where a recipe runs",
    "ray_num_workers": "launch.processes",
    "resources_per_worker": "launch.processes",
    "placement_strategy": "launch.nodes",
}


def convert(settings: Settings, processes: int) -> dict[str, Any]:
    """The recipe. RecipeError for a stage other than sft."""
    stage = settings.take("stage", "sft")
    if stage != "sft":
        what = STAGES.get(stage, "something else")
        raise RecipeError(
            f"{settings.source}: stage is {stage!r} ({what}), and the import knows 'sft'. Write that stage by hand: "
            "`posttrain --help` lists ours."
        )
    model = settings.take("model_name_or_path")
    if model is None:
        raise RecipeError(f"{settings.source}: model_name_or_path is missing. Say which model is trained.")
    revision = settings.take("model_revision", "main")
    body: dict[str, Any] = {"stage": "sft", "model": "{model}", "traces": "traces"}
    body |= _text(settings)
    body |= trainer.length(settings)
    body["batch_size"] = trainer.batch(settings, processes)
    body |= _method(settings)
    body["optimizer"] = trainer.optimizer(settings)
    body |= trainer.precision(settings)
    off = settings.flag("disable_gradient_checkpointing")
    body |= trainer.checkpointing(settings, default=not off)
    body |= trainer.checkpoints(settings) | trainer.validation(settings)
    body |= trainer.launch(settings, processes) | trainer.pushing(settings)
    return {
        "name": _name(settings, str(model)),
        "seed": trainer.seed(settings),
        "model": str(model) if revision == "main" else f"{model}@{revision}",
        "tracking": trainer.tracking(settings),
        "stages": {"traces": _data(settings), "sft": body},
    }


def _data(settings: Settings) -> dict[str, Any]:
    """The data sets by their names in dataset_info.json."""
    given = settings.take("dataset")
    folder = str(settings.take("dataset_dir", "data"))
    if not given:
        raise RecipeError(f"{settings.source}: dataset is missing. Say which data set is trained on.")
    names = [name.strip() for name in (given if isinstance(given, list) else str(given).split(","))]
    if len(names) > 1:
        settings.leave("dataset", ",".join(names[1:]), "a stage reads one data set: add a stage for each of the others")
    body: dict[str, Any] = {"stage": "examples", "source": f"{folder}/dataset_info.json", "name": names[0]}
    most = settings.take("max_samples")
    return body | ({"limit": int(most)} if most else {})


def _text(settings: Settings) -> dict[str, Any]:
    """Template, loss, packing, length."""
    name = str(settings.take("template", "default"))
    body: dict[str, Any] = {"template": OWN_TEMPLATES.get(name, "chat")}
    if name not in OWN_TEMPLATES:
        settings.assumed.append(
            f"template {name!r} is the model's own chat template: compare one example (it is shown)"
        )
    system = settings.take("default_system")
    if system:
        body["system"] = str(system)
    body["loss_on"] = "sequence" if settings.flag("train_on_prompt") else "assistant"
    packed, apart = settings.flag("packing"), settings.flag("neat_packing")
    if packed or apart:
        body["packing"] = "documents"
        if not apart:
            settings.leave("packing", True, "documents in one pack never see each other here, as with neat_packing")
    body |= {"max_tokens": settings.whole("cutoff_len", 2048), "overlong": "truncate"}
    return body


def _method(settings: Settings) -> dict[str, Any]:
    """LoRA and quantisation."""
    kind = settings.take("finetuning_type", "lora")
    body: dict[str, Any] = {}
    rank = settings.whole("lora_rank", 8)
    alpha, dropout = settings.whole("lora_alpha", 2 * rank), settings.number("lora_dropout", 0.0)
    targets = settings.take("lora_target", "all")
    if kind == "lora":
        names = targets if isinstance(targets, list) else [t.strip() for t in str(targets).split(",")]
        body["lora"] = {"rank": rank, "alpha": alpha, "dropout": dropout}
        if names != ["all"]:
            body["lora"]["targets"] = names
    elif kind != "full":
        settings.leave("finetuning_type", kind, "full and lora are known; the recipe trains all weights")
    bits = settings.take("quantization_bit")
    if bits in (4, 8):
        body["quantize"] = {4: "nf4", 8: "int8"}[bits]
    elif bits is not None:
        settings.leave("quantization_bit", bits, "4 and 8 are known")
    return body


def _name(settings: Settings, model: str) -> str:
    folder = str(settings.take("output_dir", "")) or f"{model.rpartition('/')[2]}-sft"
    return "-".join(part for part in folder.strip("/").split("/") if part not in ("saves", ".", ".."))
