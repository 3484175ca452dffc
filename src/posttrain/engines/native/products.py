"""Matrix products by the fastest library at hand.

On the CPU F.linear takes MKL for float32, which runs at half its speed on AMD processors; oneDNN, which PyTorch carries
too (its compiler uses it), takes all of AVX-512 on both makers'. Two layouts:

packed: matrices laid out once for all steps, a copy; fastest for many rows. Where the processor has AVX-512 by
packed.h, which is faster than oneDNN for some ten to a hundred rows, and does with the sums at hand what comes after
them; else by oneDNN.
plain: the module's own matrices where they lie. With few rows a product takes as long as reading its matrix: kernel.c
reads each weight once, and nothing is copied, so that neither memory nor the time to the first token doubles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from posttrain.engines.native.kernel import LANES, PANEL, Kernel

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

    def __init__(
        self,
        parts: Sequence[Tensor],
        bias: Tensor | None,
        kernel: Kernel | None = None,
        *,
        few: bool = False,
        gated: bool = False,
    ) -> None:
        """kernel: takes float32 rows. few: there are few of them; the matrices are left as they lie, where it can.

        gated: the two parts are gates and what they let through: the result is silu(first) * second [rows, out / 2],
        which needs the kernel.
        """
        self.dtype, self.bias, self.kernel, self.gated = parts[0].dtype, bias, kernel, gated
        self.outs = sum(part.shape[0] for part in parts)
        self.onednn = _onednn_takes(parts[0])
        self.wide_bias = None if bias is None or kernel is None else bias.float()
        self.few = few and kernel is not None and all(kernel.multiplies(part) for part in parts)
        self.packed = False
        if self.few:
            self.parts = list(parts)
            return
        alternate = gated and parts[0].shape[0] % LANES == 0
        if kernel is not None and kernel.packs(parts[0]) and alternate == gated:
            self.packed = True
            self.parts = [kernel.pack(_alternate(parts) if gated else _join(parts))]
            if self.wide_bias is not None:
                ordered = _alternate(self.wide_bias.chunk(2)) if gated else self.wide_bias
                self.wide_bias = F.pad(ordered, (0, -self.outs % PANEL))
        else:
            self.parts = [torch.ops.mkldnn._reorder_linear_weight(_join(parts), None) if self.onednn else _join(parts)]

    def __call__(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        """add [rows, out]: what the result is added to."""
        if self.packed:
            assert self.kernel is not None
            return self.kernel.packed_product(x, self.parts[0], self.outs, self.wide_bias, add, gated=self.gated)
        out = self._plain(x)
        if self.gated:
            assert self.kernel is not None
            out = self.kernel.silu_product(out)
        return out if add is None else out.add_(add)

    def _plain(self, x: Tensor) -> Tensor:
        if self.few and x.dtype == torch.float32 and x.shape[0] <= FEW:
            assert self.kernel is not None
            return self._few(x, self.kernel)
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
        out = x.new_empty(x.shape[0], self.outs)
        column = 0
        for part in self.parts:
            height = part.shape[0]
            bias = None if self.wide_bias is None else self.wide_bias[column : column + height]
            kernel.product(x, part, bias, out, column)
            column += height
        return out


def _join(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]


def _alternate(parts: Sequence[Tensor]) -> Tensor:
    """LANES rows of the first, the LANES rows of the second that belong to them, and so on."""
    return torch.stack([part.view(-1, LANES, *part.shape[1:]) for part in parts], 1).flatten(0, 2)
