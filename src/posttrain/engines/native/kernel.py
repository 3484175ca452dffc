"""kernel.c, compiled once per machine and head shape by the C compiler at hand, and called through ctypes.

Without a compiler (or off Linux) there is no kernel, and the runner takes PyTorch's operations instead: same results,
about a third slower on small models.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from posttrain.models.compiler import load_library

_SOURCE = Path(__file__).with_name("kernel.c")


def _target() -> tuple[str, ...]:
    """The processor to compile for. A compiler older than the processor takes it for a lesser one, without AVX-512."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return ("-march=native",)
    known = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    flags = known & {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    if len(flags) < 5:
        return ("-march=native",)
    return ("-march=x86-64-v4", "-mprefer-vector-width=512", *(("-mavx512bf16",) if "avx512_bf16" in known else ()))


class Kernel:
    """The compiled functions for one head shape. Tensors are float32, contiguous, on the CPU."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._norm, self._silu, self._attend = library.rms_norm, library.silu_product, library.attend
        self._products = {torch.float32: library.product_float, torch.bfloat16: library.product_bfloat}
        for function in (self._norm, self._silu, self._attend, *self._products.values()):
            function.restype = None
        pointer, integer, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
        self._norm.argtypes = [pointer] * 3 + [integer] * 2 + [number]
        self._silu.argtypes = [pointer] * 2 + [integer] * 2
        self._attend.argtypes = [pointer] * 3 + [number] + [pointer] * 2 + [integer] * 2 + [pointer] * 3 + [integer] * 3

        for function in self._products.values():
            function.argtypes = [pointer] * 4 + [integer] * 4
        self._inputs = {torch.float32: torch.float32, torch.bfloat16: torch.float32}
        if library.bfloat_inputs():
            self._inputs[torch.bfloat16] = torch.bfloat16

    def multiplies(self, weight: Tensor) -> bool:
        """Whether `product` takes this matrix [O, I]."""
        return weight.dtype in self._products and weight.is_contiguous() and weight.shape[1] % 32 == 0

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, column: int) -> None:
        """out[:, column : column + O] = x [B, I] times weight [O, I] (float32 or bfloat16) transposed + bias [O].

        x, bias and out [B, >= column + O] are float32, contiguous. For few rows: up to some 16, reading the matrix is
        what takes time. Where the processor multiplies in bfloat16, x is rounded to it as the module's forward does.
        """
        inputs = x.to(self._inputs[weight.dtype])
        self._products[weight.dtype](
            inputs.data_ptr(),
            weight.data_ptr(),
            None if bias is None else bias.data_ptr(),
            out.data_ptr() + 4 * column,
            out.stride(0),
            x.shape[0],
            x.shape[1],
            weight.shape[0],
        )

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x [B, H] / rms * weight [H]."""
        out = torch.empty_like(x)
        self._norm(x.data_ptr(), weight.data_ptr(), out.data_ptr(), x.shape[0], x.shape[1], eps)
        return out

    def silu_product(self, gate_up: Tensor) -> Tensor:
        """silu(gate) * up [B, I] of gate_up [B, 2 I]."""
        rows, width = gate_up.shape[0], gate_up.shape[1] // 2
        out = gate_up.new_empty(rows, width)
        self._silu(gate_up.data_ptr(), out.data_ptr(), rows, width)
        return out

    @staticmethod
    def scratch(x: Tensor, heads: int, longest: int) -> Tensor:
        """Room for the scores of `attend`: [B, heads, longest rounded up to whole vectors]."""
        return x.new_empty(x.shape[0], heads, -(-longest // 16) * 16)

    def attend(
        self,
        qkv: Tensor,
        rotation: Tensor,
        qk_norm: Tensor | None,
        eps: float,
        keys: Tensor,
        values: Tensor,
        lengths: Tensor,
        scores: Tensor,
    ) -> Tensor:
        """Attention of one new token per row; writes its key and value into the cache.

        qkv [B, (Q + 2K) D], rotation complex64 [context, D / 2], keys and values [rows, K, capacity, D],
        lengths [B] int64, scores: scratch [B, Q, longest] as `scratch` makes it. Returns [B, Q D].
        """
        batch, queries, longest = scores.shape
        kv_heads, head_dim = keys.shape[1], keys.shape[3]
        out = qkv.new_empty(batch, queries * head_dim)
        self._attend(
            qkv.data_ptr(),
            rotation.data_ptr(),
            None if qk_norm is None else qk_norm.data_ptr(),
            eps,
            keys.data_ptr(),
            values.data_ptr(),
            keys.stride(0),
            keys.stride(1),
            lengths.data_ptr(),
            out.data_ptr(),
            scores.data_ptr(),
            longest,
            batch,
            kv_heads,
        )
        return out


@cache
def load_kernel(head_dim: int, group: int) -> Kernel | None:
    """The kernel for this head size and query heads per key/value head, or None where it can't be had."""
    if head_dim % 16:
        return None
    shape = (f"-DHEAD_DIM={head_dim}", f"-DGROUP={group}")
    library = load_library(_SOURCE, flags=("-ffp-contract=fast", *_target(), *shape))
    return Kernel(library) if library is not None else None
