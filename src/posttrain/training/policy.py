"""The model that is trained, as `lora`, `quantize`, `gradient_checkpointing` and `compile` say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from posttrain.errors import TrainingError
from posttrain.models import load_model, pick_device
from posttrain.models.base import base_facts
from posttrain.models.forward import FLEX
from posttrain.models.load import DTYPES
from posttrain.models.lora import add_lora, trainable
from posttrain.models.quantise import quantise
from posttrain.training.config import TrainingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from posttrain.stage import Workspace
    from posttrain.store import Checkpoint


def load_policy(config: TrainingConfig, model: Checkpoint, work: Workspace) -> PreTrainedModel:
    """`model` on the workspace's device, ready to be trained: adapters added, frozen weights quantised.

    With adapters the base is the reference model too: `models.adapters_off(policy)`. ModelError where the model can't
    be loaded or a LoRA target is no layer of it; MissingExtraError for an absent library.
    """
    base = base_facts(model.ref, model.revision, config.quantize) if config.lora is not None else None
    policy = load_model(model.ref, revision=model.revision)
    if config.quantize is not None:
        quantise(policy, config.quantize, dtype=DTYPES[config.dtype])
    policy = policy.to(pick_device(work.device))  # layer by layer: only the quantised weights travel
    if config.lora is not None:
        add_lora(policy, config.lora, seed=work.derive("lora"), base=base)
        work.note(f"{trainable(policy):,} trainable parameters in adapters of rank {config.lora.rank}")
    prepare(config, policy)
    return policy


def prepare(config: TrainingConfig, policy: PreTrainedModel) -> None:
    """Switches on what changes memory and speed only. TrainingError for what this device doesn't have."""
    if config.gradient_checkpointing:
        if hasattr(policy, "activation_checkpointing_enable"):  # its new name; the old one warns
            policy.activation_checkpointing_enable({"use_reentrant": False})
        else:
            policy.gradient_checkpointing_enable({"use_reentrant": False})
    if config.compile:
        policy.base_model.compile(dynamic=True)
    if config.attention == "flex":
        if policy.device.type != "cuda":
            raise TrainingError(
                f"attention: flex is for GPUs, and this stage trains on {policy.device.type}: PyTorch has no gradient "
                "of FlexAttention there. Use attention: auto."
            )
        setattr(policy, FLEX, True)


def identity(config: TrainingConfig, policy: PreTrainedModel, tokenizer_digest: str) -> dict[str, Any]:
    """What a saved state must have been made with to be continued."""
    shape = policy.config.to_dict()
    return {
        "model": "/".join(str(shape.get(k)) for k in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")),
        "tokenizer": tokenizer_digest,
        "method": f"lora {config.lora.rank}" if config.lora is not None else "full",
        "quantization": config.quantize or "none",
    }
