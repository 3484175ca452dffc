"""lean.c as differentiable operations: what stands between the matrix products of a training step on the CPU.

Axes: n rows (tokens), H hidden, I intermediate, Q query heads, K key/value heads, D head size, W padded length.
Tensors are contiguous, float32 or bfloat16; the residual stream and every sum are float32.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posttrain.models.compiler import load_library, processor

_SOURCE = Path(__file__).with_name("lean.c")
_INCLUDES = (_SOURCE.with_suffix(".h"), _SOURCE.with_name("causal.h"))
_ARGUMENTS = {  # of each function: p a tensor (or none), f a number, i a size
    "add_norm": "pppfpppii",
    "add_norm_back": "ppppppppii",
    "swiglu": "ppii",
    "swiglu_back": "pppii",
    "split": "pppppppiiiii",
    "merge": "pppiiii",
    "attention": "ppppppiiiii",
    "attention_back": "pppppppppiiiii",
    "transpose": "ppii",
    "transpose_wide": "ppii",
    "causal_softmax": "pfii",
    "causal_softmax_back": "ppfii",
    "token_stats": "ppfppppii",
    "token_stats_back": "ppfpppii",
}
_TYPES = {"p": ctypes.c_void_p, "f": ctypes.c_float, "i": ctypes.c_int64}


class Lean:
    """The compiled functions by name and dtype: ``lean("swiglu", torch.float32)(tensor, …, number, …)``."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._functions = {}
        for name, kinds in _ARGUMENTS.items():
            for suffix, dtype in (("f", torch.float32), ("b", torch.bfloat16)):
                function = getattr(library, f"{name}_{suffix}", None)
                if function is None:  # the processor is not made for it
                    continue
                function.restype, function.argtypes = None, [_TYPES[kind] for kind in kinds]
                self._functions[name, dtype] = function

    def has(self, name: str, dtype: torch.dtype) -> bool:
        return (name, dtype) in self._functions

    def __call__(self, name: str, dtype: torch.dtype, *arguments: Tensor | float | None) -> None:
        self._functions[name, dtype](*(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments))


@cache
def lean() -> Lean | None:
    """None where no C compiler is at hand."""
    library = load_library(_SOURCE, _INCLUDES, ("-ffp-contract=fast", *processor()))
    return Lean(library) if library is not None else None


def serves(x: Tensor) -> bool:
    """Whether the compiled functions are here, and for such a tensor."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and lean() is not None


def run_lean(name: str, dtype: torch.dtype, *arguments: Tensor | float | None) -> None:
    """One call of a compiled function; only where `lean` gave one."""
    functions = lean()
    assert functions is not None
    functions(name, dtype, *arguments)


class AddNorm(torch.autograd.Function):
    """(x [n, H] float32, delta [n, H] or None) → (x + delta, RMS norm of it times weight in `dtype`)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        total, out = torch.empty_like(x), torch.empty_like(x, dtype=dtype)
        rstd, gain = x.new_empty(x.shape[0]), weight.float()
        run_lean("add_norm", dtype, x, delta, gain, eps, total, out, rstd, *x.shape)
        ctx.save_for_backward(total, rstd, gain)
        ctx.dtype, ctx.delta, ctx.weight = dtype, delta is not None, weight.dtype
        ctx.set_materialize_grads(False)
        return total, out

    @staticmethod
    def backward(ctx: Any, d_total: Tensor | None, d_out: Tensor | None) -> tuple[Tensor | None, ...]:
        total, rstd, gain = ctx.saved_tensors
        d_out = torch.zeros_like(total, dtype=ctx.dtype) if d_out is None else d_out.contiguous()
        d_total = None if d_total is None else d_total.contiguous()
        d_x = torch.empty_like(total)
        d_delta = torch.empty_like(total, dtype=ctx.dtype) if ctx.delta and ctx.dtype != torch.float32 else None
        parts = total.new_zeros(torch.get_num_threads(), total.shape[1])
        run_lean("add_norm_back", ctx.dtype, d_out, d_total, total, gain, rstd, d_x, d_delta, parts, *total.shape)
        if ctx.delta and d_delta is None:
            d_delta = d_x
        return d_x, d_delta, parts.sum(0).to(ctx.weight), None, None


class Swiglu(torch.autograd.Function):
    """silu(gate) · up [n, I] of [n, gate I + up I]."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        rows, width = gate_up.shape[0], gate_up.shape[1] // 2
        out = gate_up.new_empty(rows, width)
        run_lean("swiglu", gate_up.dtype, gate_up, out, rows, width)
        ctx.save_for_backward(gate_up)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        out = torch.empty_like(gate_up)
        run_lean("swiglu_back", out.dtype, d_out.contiguous(), gate_up, out, out.shape[0], out.shape[1] // 2)
        return out
