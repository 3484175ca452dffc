"""LoRA adapters through PEFT: injected in place, written in PEFT's format, merged in float32.

The adapters stand inside the transformers model itself, without a wrapper around it, so that everything that works on a
model (the loss, the engines, saving) works on an adapted one. Its frozen weights are the reference model: switch the
adapters off for a while.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from posttrain.errors import MissingExtraError, ModelError
from posttrain.models.base import ADAPTER_CONFIG, write_base
from posttrain.models.config import LoraConfig
from posttrain.models.quantise import dense_weight, hush, is_quantised

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

_BASE = "_posttrain_base"  # where an adapted model remembers what its adapters stand on


def peft() -> Any:
    """The library. MissingExtraError where it is absent."""
    hush()
    try:
        import peft as found
    except ImportError:
        raise MissingExtraError("adapters need the `peft` library. Install it: pip install 'posttrain[lora]'") from None
    return found


def add_lora(model: PreTrainedModel, config: LoraConfig, *, seed: int, base: dict[str, Any] | None = None) -> None:
    """Injects adapters, freezes everything else. B starts at 0, so the model answers as before; A is drawn by `seed`.

    base: what the adapter says it stands on, from `base_facts`. ModelError where a target is no layer of this model.
    """
    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    settings = peft().LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            model.add_adapter(settings)
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(
                f"lora.targets {targets} don't fit {type(model).__name__}: {reason} Try all-linear."
            ) from None
    # Named only in what is saved: with a name PEFT asks the Hub about the base at every save.
    cast("Any", model).peft_config["default"].base_model_name_or_path = None
    setattr(model, _BASE, base)


def has_adapters(model: nn.Module) -> bool:
    """Whether adapters stand inside this model."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


@contextlib.contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """For the block the model is its own base: the reference policy of KL terms, without a second copy.

    Only for models with adapters (ModelError otherwise: a fully trained model has no base left).
    """
    if not has_adapters(model):
        raise ModelError(
            "this model has no adapters to switch off, so it can't be its own reference. Keep a copy of it instead."
        )
    layers = _lora_layers(model)
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _lora_layers(model: nn.Module) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [m for m in model.modules() if isinstance(m, BaseTunerLayer)]


def write_adapter(model: PreTrainedModel, folder: Path, final: Path, state: dict[str, Tensor] | None = None) -> None:
    """adapter_model.safetensors and adapter_config.json as PEFT and transformers read them, and what they stand on.

    final: where the folder will be, from where the base is told relatively. There is no config.json: with one,
    transformers would look for a whole model's weights.
    """
    model.save_pretrained(folder, state_dict=state)
    base = getattr(model, _BASE, None)
    if base is not None:
        path = folder / ADAPTER_CONFIG
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.update(base_model_name_or_path=base["ref"], revision=base.get("revision"))
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        write_base(folder, base, final)


def merged(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """`base` with the LoRA adapter of `folder` added to its weights, as an ordinary model.

    ModelError where the adapter is of another kind or its matrices don't fit the base.
    """
    library = peft()
    try:
        settings = library.PeftConfig.from_pretrained(str(folder))
        state = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"the adapter {folder} can't be read ({error}). Put it back from a copy.") from None
    if str(settings.peft_type.value) != "LORA":
        raise ModelError(
            f"{folder} is a {settings.peft_type.value} adapter; posttrain reads LoRA. Merge it with PEFT first."
        )
    try:
        library.inject_adapter_in_model(settings, base)
        loaded = library.set_peft_model_state_dict(base, state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise _unfit(folder, " ".join(str(error).split())[:200]) from None
    missing = [name for name in loaded.missing_keys if ".lora_" in name]
    if missing or loaded.unexpected_keys:
        raise _unfit(folder, f"{(missing or loaded.unexpected_keys)[0]} is on one side only.")
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in list(base.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge(safe_merge=True)  # refuses NaN
                setattr(parent, name, layer.get_base_layer())
    return base


def _unfit(folder: Path, reason: str) -> ModelError:
    return ModelError(
        f"the adapter {folder} doesn't fit its base: {reason} Put the model it was trained on in its place "
        f"({ADAPTER_CONFIG} names it)."
    )


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors as an ordinary model of its architecture names them: adapters added in, quantised ones dense.

    What is neither is the model's own tensor, not a copy.
    """
    found: dict[str, Tensor] = {}
    replaced = {name: m for name, m in model.named_modules() if hasattr(m, "base_layer") or is_quantised(m)}
    for name, tensor in model.state_dict().items():
        if any(name.startswith(f"{inside}.") for inside in replaced):
            continue
        found[name] = tensor
    for name, module in replaced.items():
        if name.endswith(".base_layer"):
            continue  # with the adapter around it
        layer: Any = getattr(module, "base_layer", module)
        weight = dense_weight(layer) if is_quantised(layer) else layer.weight.detach()
        for adapter in getattr(module, "active_adapters", ()) if not getattr(module, "disable_adapters", True) else ():
            weight = weight + cast("Any", module).get_delta_weight(adapter).detach().to(weight.dtype)
        found[f"{name}.weight"] = weight
        if layer.bias is not None:
            found[f"{name}.bias"] = layer.bias.detach()
    return found


def trainable(model: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
