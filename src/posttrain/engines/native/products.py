"""Matrix products by the fastest library at hand.

On the CPU F.linear takes MKL for float32, which runs at half its speed on AMD processors; oneDNN, which PyTorch carries
too (its compiler uses it), takes all of AVX-512 on both makers'. Matrices are packed once for all steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ONEDNN: bool = (
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
)


def _takes(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not _ONEDNN:
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


def pack(weight: Tensor) -> Tensor:
    """`weight` [out, in] in the layout that `linear` is fastest with: perhaps opaque, good for `linear` only."""
    if not _takes(weight):
        return weight
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return packed


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [rows, in] times packed weight [out, in] transposed, plus bias [out]."""
    if weight.is_mkldnn:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    return F.linear(x, weight, bias)
