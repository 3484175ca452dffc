"""Frozen weights in 4 or 8 bits through bitsandbytes, and back to the dense weights that they stand for.

nf4: 4-bit normal floats with doubly quantised scales (Dettmers et al. 2023, arXiv 2305.14314). int8: LLM.int8
(Dettmers et al. 2022, arXiv 2208.07339). The vocabulary projection keeps its precision, as in both papers.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from posttrain.errors import MissingExtraError
from posttrain.models.config import Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def bitsandbytes() -> Any:
    """The library. MissingExtraError where it is absent."""
    hush()
    try:
        import bitsandbytes as found
    except ImportError:
        raise MissingExtraError(
            "8-bit optimizers and quantised weights need `bitsandbytes`. Install it: pip install 'posttrain[qlora]'"
        ) from None
    return found


def hush() -> None:
    """Before bitsandbytes is imported (PEFT does it too): that faster kernels can be downloaded and inputs are cast is
    known, and no news."""
    for name in ("bitsandbytes", "bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
        logging.getLogger(name).setLevel(logging.ERROR)


def quantise(model: PreTrainedModel, kind: Quantization, *, dtype: torch.dtype = torch.float32) -> None:
    """Replaces every linear layer but the output projection, in place, one at a time; all weights are frozen.

    dtype: that of the products.
    """
    model.requires_grad_(False)
    for parent, name, layer in _linears(model):
        setattr(parent, name, _quantised(layer, kind, dtype))
    setattr(model, "is_loaded_in_4bit" if kind == "nf4" else "is_loaded_in_8bit", True)  # PEFT looks for these


def dequantised(model: PreTrainedModel, kind: Quantization) -> PreTrainedModel:
    """`model` with each of those layers as dense as before, holding exactly the values that quantisation leaves."""
    for parent, name, layer in _linears(model):
        dense = dense_weight(_quantised(layer, kind, torch.float32)).to(layer.weight.dtype)
        replaced = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        replaced.weight, replaced.bias = nn.Parameter(dense), layer.bias
        setattr(parent, name, replaced)
    return model


def dense_weight(layer: nn.Module) -> torch.Tensor:
    """[out, in] float32: what a quantised layer multiplies by."""
    bnb: Any = bitsandbytes()
    weight: Any = layer.weight
    if isinstance(layer, bnb.nn.Linear4bit):
        dense: torch.Tensor = bnb.functional.dequantize_4bit(weight.data, weight.quant_state)
        return dense.float()
    state: Any = layer.state  # where the scales go when the layer has run
    scale = weight.SCB if weight.SCB is not None else state.SCB
    whole: torch.Tensor = weight.data.float() * (scale.float() / 127.0)[:, None]
    return whole


def is_quantised(layer: nn.Module) -> bool:
    """Whether `dense_weight` applies. Imports nothing: a model without bitsandbytes has no such layer."""
    return type(layer).__name__ in ("Linear4bit", "Linear8bitLt")


def _linears(model: PreTrainedModel) -> list[tuple[nn.Module, str, nn.Linear]]:
    head = model.get_output_embeddings()
    found = []
    for parent in model.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Linear and child is not head:
                found.append((parent, name, child))
    return found


def _quantised(layer: nn.Linear, kind: Quantization, dtype: torch.dtype) -> nn.Module:
    bnb, device = bitsandbytes(), layer.weight.device
    bias = layer.bias is not None
    if kind == "nf4":
        made = bnb.nn.Linear4bit(
            layer.in_features, layer.out_features, bias=bias, compute_dtype=dtype, quant_type="nf4", device="meta"
        )
        # At the first look without gradients it would lay the weights out anew for AVX512, with scales rounded to
        # bfloat16: a validation would change what is trained on.
        made.support_avx512bf16_for_cpu = False
        made.weight = bnb.nn.Params4bit(
            layer.weight.detach().clone(), requires_grad=False, quant_type="nf4", module=made
        )
    else:
        made = bnb.nn.Linear8bitLt(
            layer.in_features, layer.out_features, bias=bias, has_fp16_weights=False, device="meta"
        )
        made.weight = bnb.nn.Int8Params(layer.weight.detach().clone(), requires_grad=False, has_fp16_weights=False)
    if bias:
        made.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    made = made.to(device)  # bitsandbytes quantises when a layer is moved
    result: nn.Module = made
    return result
