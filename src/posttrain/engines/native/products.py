"""Matrix products by the fastest library at hand.

On the CPU F.linear takes MKL for float32, which runs at half its speed on AMD processors; oneDNN, which PyTorch carries
too (its compiler uses it), takes all of AVX-512 on both makers'. Two layouts:

packed: matrices laid out once for all steps by oneDNN, a copy; fastest for many rows.
plain: the module's own matrices where they lie. With few rows a product takes as long as reading its matrix: kernel.c
reads each weight once, and nothing is copied, so that neither memory nor the time to the first token doubles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from posttrain.engines.native.kernel import Kernel

FEW = 16  # rows up to which `plain` is as fast as `packed`

_ONEDNN: bool = (
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
)


def _onednn_takes(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not _ONEDNN:
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


class Product:
    """x [rows, in] times `parts` [out_i, in], one below the other, transposed, plus bias [sum of out_i].

    In the precision of the matrices; x and the result keep x's own.
    """

    def __init__(self, parts: Sequence[Tensor], bias: Tensor | None, few: Kernel | None = None) -> None:
        """few: the kernel for few rows; the matrices are then left as they lie, where it takes them all."""
        self.dtype = parts[0].dtype
        self.bias = bias
        self.onednn = _onednn_takes(parts[0])
        self.few = few if few is not None and all(few.multiplies(part) for part in parts) else None
        if self.few is not None:
            self.parts = list(parts)
            self.wide_bias = None if bias is None else bias.float()
        else:
            whole = torch.cat(list(parts)) if len(parts) > 1 else parts[0]
            self.parts = [torch.ops.mkldnn._reorder_linear_weight(whole, None) if self.onednn else whole]

    def __call__(self, x: Tensor) -> Tensor:
        if self.few is not None and x.dtype == torch.float32 and x.shape[0] <= FEW:
            return self._few(x, self.few)
        inputs = x.to(self.dtype)
        if len(self.parts) == 1:
            return self._linear(inputs, self.parts[0], self.bias).to(x.dtype)
        whole = torch.cat([self._linear(inputs, part, None) for part in self.parts], dim=-1)
        return (whole if self.bias is None else whole.add_(self.bias)).to(x.dtype)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.onednn:
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
            return out
        return F.linear(x, weight, bias)

    def _few(self, x: Tensor, kernel: Kernel) -> Tensor:
        out = x.new_empty(x.shape[0], sum(part.shape[0] for part in self.parts))
        column = 0
        for part in self.parts:
            height = part.shape[0]
            bias = None if self.wide_bias is None else self.wide_bias[column : column + height]
            kernel.product(x, part, bias, out, column)
            column += height
        return out
