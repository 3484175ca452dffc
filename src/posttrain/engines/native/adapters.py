"""What a projection really multiplies by: its own matrix, with the LoRA adapters that are active on it.

W = W0 + sum over active adapters of scaling x B A (Hu et al. 2021, equation 3). Adapters are recognised by their
attributes, so peft need not be installed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class UnsupportedError(Exception):
    """The lean path does not know this model, and why: the engine then takes the module's own forward."""


def causal_model(model: nn.Module) -> nn.Module:
    """The transformers model inside a peft wrapper; any other model itself."""
    unwrap = getattr(model, "get_base_model", None)
    return unwrap() if unwrap is not None else model


def active(module: Any) -> Any:
    """The trained copy that peft keeps beside a module of `modules_to_save`; any other module itself."""
    copies = getattr(module, "modules_to_save", None)
    if copies is None or getattr(module, "disable_adapters", False):
        return getattr(module, "original_module", module) if copies is not None else module
    return copies[module.active_adapters[0]]


def projection(module: Any) -> tuple[Tensor, Tensor | None]:
    """(weight [out, in], bias) of a linear layer with its active adapters. UnsupportedError for other kinds."""
    module = active(module)
    base = getattr(module, "base_layer", module)
    if not isinstance(base, nn.Linear) or base.weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UnsupportedError(f"it has layers of type {type(base).__name__}, {_kind(base)}")
    if base is module or module.merged or module.disable_adapters:
        return base.weight, base.bias
    weight, bias = base.weight, base.bias
    for name in module.active_adapters:
        if name not in getattr(module, "lora_A", {}) or name in getattr(module, "lora_variant", {}):
            raise UnsupportedError(f"its adapter {name!r} is not plain LoRA")
        up, down, scale = module.lora_B[name], module.lora_A[name], module.scaling[name]
        weight = weight + (scale * (up.weight.float() @ down.weight.float())).to(weight.dtype)
        if up.bias is not None:
            extra = (scale * up.bias).to(weight.dtype)
            bias = extra if bias is None else bias + extra
    return weight, bias


def _kind(base: Any) -> str:
    weight = getattr(base, "weight", None)
    return f"with weights in {weight.dtype}" if isinstance(weight, Tensor) else "without a weight matrix"
