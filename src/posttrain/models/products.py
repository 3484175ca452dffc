"""Linear layers of a training step: several that read the same input as one product, each gradient by hand.

On the CPU F.linear takes MKL for float32, which runs at half its speed on AMD processors; oneDNN, which PyTorch carries
too (its compiler uses it), takes all of AVX-512 on both makers'. In bfloat16 both are oneDNN.

Axes: n rows, i inputs, o outputs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posttrain.models.lean import run_lean, serves

_ONEDNN: bool = torch.backends.mkldnn.is_available() and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_linear_pointwise"
)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [n, i] · weight [o, i]ᵀ + bias; either may be a transposed view."""
    if _ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    return F.linear(x, weight, bias)


def weight_gradient(grad: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    """gradᵀ [o, n] · x [n, i], in `dtype`.

    oneDNN is faster when the longer side of the result is its rows' length, and with a first factor whose rows lie one
    after the other: the copy costs less than that saves.
    """
    if grad.shape[1] >= x.shape[1]:
        return _turned(product(_turned(x), grad.t()), dtype)
    return product(_turned(grad), x.t()).to(dtype)


def _turned(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """xᵀ, in `dtype` if that is given: rows one after the other where a compiled function does it, a view elsewhere."""
    dtype = dtype or x.dtype
    if serves(x) and x.is_contiguous() and dtype in (x.dtype, torch.float32):
        out = x.new_empty(x.shape[1], x.shape[0], dtype=dtype)
        run_lean("transpose" if dtype == x.dtype else "transpose_wide", x.dtype, x, out, *x.shape)
        return out
    return x.t().to(dtype)


class _Linear(torch.autograd.Function):
    """One product with the rows of several weights below one another. Gradients come in the weights' own dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int, *parameters: Tensor | None) -> Tensor:
        weights, biases = parameters[:count], parameters[count:]
        weight = _stack(weights, x.dtype)
        bias = _stack(biases, x.dtype) if biases[0] is not None else None
        ctx.save_for_backward(x, weight)
        ctx.dtypes = [p.dtype if p is not None else None for p in parameters]
        ctx.sizes = [len(w) for w in weights if w is not None]
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        count, needs = len(ctx.sizes), ctx.needs_input_grad[2:]
        d_x = product(grad, weight.t()) if ctx.needs_input_grad[0] else None
        found: list[Tensor | None] = [None] * (2 * count)
        if any(needs[:count]):
            found[:count] = torch.split(weight_gradient(grad, x, ctx.dtypes[0]), ctx.sizes)
        if any(needs[count:]):
            found[count:] = torch.split(grad.sum(0, dtype=torch.float32), ctx.sizes)
        given = [f.to(t) if f is not None and n else None for f, t, n in zip(found, ctx.dtypes, needs, strict=True)]
        return d_x, None, *given


def _stack(parts: tuple[Tensor | None, ...], dtype: torch.dtype) -> Tensor:
    present = [part for part in parts if part is not None]
    return present[0].to(dtype) if len(present) == 1 else torch.cat([part.to(dtype) for part in present])


def linear(x: Tensor, *modules: nn.Module) -> Tensor:
    """The modules' outputs side by side: x [n, i] → [n, Σ o], in x's dtype.

    Plain nn.Linear modules become one product. Any other (an adapter's, a quantised one) is called as it is.
    """
    plain = [m for m in modules if type(m) is nn.Linear]
    if len(plain) == len(modules) and len({m.bias is None for m in plain}) == 1:
        parameters = (*(m.weight for m in plain), *(m.bias for m in plain))
        out: Tensor = _Linear.apply(x, len(plain), *parameters)  # type: ignore[no-untyped-call]
        return out
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.dtype == torch.bfloat16):
        return torch.cat([m(x).to(x.dtype) for m in modules], dim=-1)
